"""The pages: links lead somewhere, and the code on them runs."""

import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hfcontrol as hf

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def code_blocks(page):
    """The Python code blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.S)


def anchors(page):
    """Anchors of the headings of a page, as Markdown renderers make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {word.replace(" ", "-") for word in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_to_a_file_and_a_heading(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_readme_fits_on_200_lines():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200


def test_the_plant_on_the_page_about_plants_passes_every_check(tmp_path):
    path = tmp_path / "pendulum.py"
    path.write_text(code_blocks("docs/plants.md")[0], encoding="utf-8")
    findings = hf.check_plant(hf.load_plant(path))
    assert findings
    assert [finding.name for finding in findings if not finding.ok] == []


def test_the_controller_on_the_page_about_deployment_acts(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    exec(code_blocks("docs/deployment.md")[0], names)
    assert names["torque"].shape == (2,)
    assert np.isfinite(names["torque"]).all()
    assert len(names["observation"]) == len(names["controller"].observes)


def test_the_page_about_runs_follows_trainings(tmp_path, monkeypatch):
    """Trackers that are not installed are played by modules of the same calls."""
    first, following, trackers = code_blocks("docs/runs.md")
    monkeypatch.chdir(ROOT)
    names = {}
    exec(first, names)
    assert names["rollout"].states.shape[::2] == (len(names["rollout"].time), 8)
    assert len(names["table"].rows) == 2

    monkeypatch.chdir(tmp_path)
    exec(following, names)
    assert names["losses"][-1] == names["run"].history.loss[-1]

    logged = []
    tracked = SimpleNamespace(log=logged.append)
    wandb = SimpleNamespace(init=lambda **options: nullcontext(tracked))
    mlflow = SimpleNamespace(
        start_run=nullcontext,
        log_params=logged.append,
        log_metrics=lambda numbers, step: logged.append({**numbers, "step": step}),
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    exec(trackers, names)
    assert logged[0]["update"] == 0 and logged[-1]["step"] == logged[-1]["update"]


def test_the_environments_on_the_page_about_deployment_step(tmp_path, monkeypatch):
    pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    plant = code_blocks("docs/plants.md")[0]
    (tmp_path / "pendulum.py").write_text(plant, encoding="utf-8")
    names = {}
    exec(code_blocks("docs/deployment.md")[-1], names)
    for env in (names["env"], names["many"]):
        env.reset(seed=0)
        _, reward, *_ = env.step(env.action_space.sample())
        assert np.isfinite(reward).all()
        env.close()
