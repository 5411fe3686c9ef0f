"""Reports: complete, self-contained, and safe whatever a run says of itself."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from reports.browser import BROWSER, Page
from trainings import call, complaint

import hfcontrol as hf
from hfcontrol.reports import pages, report

# Elements without a closing tag.
VOID = {"meta", "img", "br", "link"}


class Elements(HTMLParser):
    """What a page holds: balanced elements, addresses, images, texts."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.tags = []
        self.addresses = []
        self.policy = ""
        self.texts = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [given[key] for key in ("src", "href") if key in given]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two tiny runs; the second one says of itself what it should not."""
    folder = tmp_path_factory.mktemp("runs")
    small = {"trials": 4, "steps": 4, "hidden": (3,), "strategy": "plain"}
    first, second = (
        hf.train("arm2", **small, rollouts=4, seed=seed, out=folder)
        for seed in range(2)
    )
    evil = '</pre><script src="http://x.y/z.js"></script>\x1b[2J\u202e'
    return first, type(second)(second.path, {**second.tree, "command": evil})


@pytest.fixture(scope="module")
def text(runs, tmp_path_factory):
    """The report of both runs, with disturbances."""
    path = tmp_path_factory.mktemp("reports") / "both.html"
    assert hf.report(runs, path, motor_noise="5%") == path
    assert [file.name for file in path.parent.iterdir()] == ["both.html"]
    return path.read_text(encoding="utf-8")


def test_a_report_holds_all_that_matters(runs, text):
    page = Elements(text)
    assert not page.open
    # Curves of both, then five pictures of each.
    assert page.tags.count("img") == 1 + 2 * 5
    shown = " ".join(page.texts)
    for run in runs:
        evaluation = hf.evaluate(run)
        assert run.path.name in shown
        assert f"{evaluation.ratio:.4f}" in shown
        assert run.tree["plant"]["hash"] in shown
        assert "hf.train('arm2', trials=4, steps=4, hidden=(3,)" in shown
    noisy = hf.evaluate(runs[0], motor_noise="5%")["sets"]["held_out"]
    assert f"{noisy['loss']:.3e}" in shown and "motor_noise=5%" in shown


def test_a_page_loads_nothing_and_runs_nothing(text):
    page = Elements(text)
    assert all(a.startswith(("data:image/", "#run-")) for a in page.addresses)
    assert "script" not in page.tags and "link" not in page.tags
    # The style of the page is the one that its policy allows, and nothing else is.
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert page.policy == pages.POLICY.format(digest=digest)
    assert page.policy.startswith("default-src 'none'") and "style=" not in text


def test_texts_of_a_strangers_run_stay_texts(text):
    assert "&lt;/pre&gt;&lt;script" in text
    assert "\x1b" not in text and "\u202e" not in text


def test_a_run_without_its_plant_has_a_report(runs, tmp_path, monkeypatch):
    run, _ = runs
    gone = run.settings.changed(plant=tmp_path / "gone.py")
    lost = type(run)(run.path, {**run.tree, "settings": gone.tree()})
    page = Elements(hf.report(lost, tmp_path / "a.html").read_text(encoding="utf-8"))
    shown = " ".join(page.texts)
    assert page.tags.count("img") == 1 and "plant file not found" in shown


def test_the_command_writes_next_to_the_run(capsys, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "make_report", lambda runs, given, show: str(given))
    run, _ = runs
    status, out, _ = call(capsys, "report", run.path, "--push", 2)
    path = run.path / f"{run.path.name}-report.html"
    assert status == 0 and out == f"{path}\n"
    assert path.read_text(encoding="utf-8") == "{'push': 2.0}"
    assert not list(tmp_path.iterdir())
    line = complaint(capsys, "report", run.path, "--out", "a.png", status=2)
    assert "a.png" in line and ".html" in line


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A page in a headless Chromium."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    page = Page(tmp_path_factory.mktemp("browser"))
    yield page
    page.close()


def contrast(colours):
    """The contrast of two colours such as rgb(0, 0, 0), by WCAG 2: from 1 to 21."""
    channels = [
        [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]] for colour in colours
    ]
    linear = [
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        for colour in channels
    ]
    weights = (0.2126, 0.7152, 0.0722)
    light = [
        sum(w * c for w, c in zip(weights, colour, strict=True)) for colour in linear
    ]
    return (max(light) + 0.05) / (min(light) + 0.05)


@pytest.mark.parametrize("width", [375, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page(browser, text, tmp_path, width, scheme):
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    browser.open(path, width, scheme)
    assert browser.complaints == []
    # No horizontal scroll, and every picture is there.
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    pictures = "[...document.images]"
    assert browser.evaluate(
        f"Promise.all({pictures}.map(i => i.decode())).then(() => 1)"
    )
    assert browser.evaluate(f"{pictures}.every(i => i.naturalWidth && i.clientWidth)")
    style = "getComputedStyle(document.body)"
    colours = [browser.evaluate(f"{style}.{c}") for c in ("color", "backgroundColor")]
    assert contrast(colours) > 7  # AAA of WCAG 2
    is_dark = contrast([colours[1], "rgb(0, 0, 0)"]) < contrast(
        [colours[1], "rgb(255, 255, 255)"]
    )
    assert is_dark == (scheme == "dark")


def test_a_browser_refuses_scripts_in_the_page(browser, text, tmp_path):
    path = tmp_path / "page.html"
    evil = "<script>document.title = 'owned'</script>"
    path.write_text(text.replace("<footer>", f"{evil}<footer>"), encoding="utf-8")
    browser.open(path, 800, "light")
    assert browser.evaluate("document.title") == "2 runs"
    assert any("Content Security Policy" in str(said) for said in browser.complaints)
