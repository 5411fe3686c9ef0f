"""Reports: complete, self-contained, and safe whatever a run says of itself."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from trainings import call, complaint

import hfcontrol as hf
from hfcontrol.reports import pages, report

# Elements without a closing tag.
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
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
    page = Page(text)
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
    page = Page(text)
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
    page = Page(hf.report(lost, tmp_path / "a.html").read_text(encoding="utf-8"))
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
