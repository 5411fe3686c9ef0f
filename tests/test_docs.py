"""The pages: links lead somewhere, their code and their commands run, the site builds.

A block of Python runs, after the blocks before it on the page. A comment before a
block says otherwise: `<!-- file: NAME -->` writes it to a file, `<!-- not run: why -->`
only parses it, as does `<!-- needs: PACKAGE -->` where this is not installed. Commands
are parsed with their options; those after `<!-- run -->` run.
"""

import ast
import os
import re
import runpy
import shlex
import sys
import warnings
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

import hfcontrol as hf
from hfcontrol import errors
from hfcontrol.cli.app import cli, main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted(DOCS.rglob("*.md")),
]

# A block between fences, with the comment before it and its language.
BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```(\w+)\n(.*?)```", re.S)
# A command in a block that is indented; in a block between fences, it is not.
INDENTED = re.compile(r"^    (?:\$ )?(hfcontrol .*)", re.M)
FENCED = re.compile(r"^(?:\$ )?(hfcontrol .*)", re.M)


def name_of(page):
    """A page's name: its place in the project."""
    return page.relative_to(ROOT).as_posix()


def text_of(page):
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page):
    """The blocks of a page: what the comment before says, language and code."""
    return BLOCK.findall(text_of(page))


def code_blocks(page):
    """The Python code blocks of a page."""
    return [code for _, language, code in blocks(page) if language == "python"]


def split(lines):
    """Commands of hfcontrol, split into words."""
    return [shlex.split(line, comments=True) for line in lines]


def commands(page):
    """The commands of hfcontrol on a page, split into words."""
    fenced = [code for _, language, code in blocks(page) if language == "sh"]
    return split(INDENTED.findall(text_of(page)) + FENCED.findall("".join(fenced)))


def headings(page):
    """The headings of a page, and those of the page that it includes."""
    text = page.read_text(encoding="utf-8")
    for included in re.findall(r"```\{include\} (\S+)", text):
        text += (page.parent / included).read_text(encoding="utf-8")
    return re.findall(r"^#+ (.*)$", text, re.M)


def anchors(page):
    """Anchors of the headings of a page, as Markdown renderers make them."""
    words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings(page)]
    return {word.replace(" ", "-") for word in words}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the shipped run and the files that the pages write."""
    place = tmp_path_factory.mktemp("pages")
    (place / "weights").mkdir()
    (place / "weights" / "arm2-reach").symlink_to(ROOT / "weights" / "arm2-reach")
    for page in PAGES:
        for mark, _, code in blocks(page):
            if mark.startswith("file: "):
                path = place / mark.removeprefix("file: ")
                path.write_text(code, encoding="utf-8")
    return place


def run_block(mark, language, code, names):
    """Do with a block what the comment before it says."""
    needed = mark.removeprefix("needs: ") if mark.startswith("needs: ") else None
    is_missing = needed is not None and find_spec(needed) is None
    if is_missing or mark.startswith(("not run: ", "file: ")):
        if language == "python":
            ast.parse(code)
    elif language == "python":
        exec(compile(code, "<block>", "exec"), names)
    elif mark == "run":
        for words in split(FENCED.findall(code)):
            main(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_to_a_file_and_a_heading(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


NOTEBOOKS = ("first-controller", "noisy-arm", "your-plant")

# The page about runs and notebooks have tests of their own below.
OWN_TESTS = {"runs", *(NOTEBOOKS if find_spec("nbclient") else ())}
RUN_PAGES = [page for page in PAGES if code_blocks(page) and page.stem not in OWN_TESTS]


@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_the_code_of_a_page_runs(page, folder, monkeypatch):
    if "import gymnasium" in text_of(page):
        pytest.importorskip("gymnasium")
    monkeypatch.chdir(folder)
    names = {}
    for mark, language, code in blocks(page):
        run_block(mark, language, code, names)


def test_tutorials_run_as_notebooks(tmp_path, monkeypatch):
    """One after another in one kernel, because its start takes seconds."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.syspath_prepend(str(DOCS))
    notebooks = import_module("notebooks")
    assert notebooks.NOTEBOOKS == NOTEBOOKS
    # The kernel is a process of its own.
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    cells = []
    for name in NOTEBOOKS:
        made = notebooks.notebook(text_of(f"docs/tutorials/{name}.md"))
        nbformat.validate(made)
        cells += made.cells
    for k, cell in enumerate(cells):
        cell["id"] = f"cell-{k}"
    with warnings.catch_warnings():
        # Those of Jupyter about itself.
        warnings.simplefilter("ignore")
        made.cells = cells
        resources = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(made, timeout=600, resources=resources).execute()
    outputs = [o for cell in made.cells for o in cell.get("outputs", ())]
    assert outputs
    assert not [o for o in outputs if o.output_type == "error"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_exist_with_their_options(page):
    for _, name, *words in commands(page):
        with cli.make_context("hfcontrol", [name, *words]) as context:
            command = cli.get_command(context, name)
            assert command, f"{page.name}: hfcontrol {name}"
            if not {"-h", "--help"} & set(words):
                command.make_context(name, words, parent=context)


def test_a_block_of_an_unknown_command_is_noticed():
    with pytest.raises(click.NoSuchOption):
        cli.get_command(None, "train").make_context("train", ["--no-such-option", "1"])


def test_every_block_that_is_not_python_is_marked_or_no_program():
    shown = {"sh", "c", "cff", "text", "toml"}
    for page in PAGES:
        for mark, language, _ in blocks(page):
            assert language in {"python", *shown}, f"{page.name}: ```{language}"
            if language in {"sh", "c", "toml"}:
                assert mark, f"{page.name}: a block of {language} without a comment"


def test_readme_fits_on_200_lines():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200


def test_the_plant_on_the_page_about_plants_passes_every_check(folder):
    findings = hf.check_plant(hf.load_plant(folder / "pendulum.py"))
    assert findings
    assert [finding.name for finding in findings if not finding.ok] == []


def test_the_page_about_runs_follows_trainings(tmp_path, folder, monkeypatch):
    """Trackers that are not installed are played by modules of the same calls."""
    first, following, trackers = code_blocks("docs/runs.md")
    monkeypatch.chdir(folder)
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


def test_the_version_to_cite_is_that_of_the_program():
    cited = re.findall(r"^version: (.*)$", text_of("CITATION.cff"), re.M)
    assert cited == [hf.__version__]


def test_the_long_description_has_no_address_that_leads_nowhere(monkeypatch):
    """All else is the README's: its headings and its commands."""
    setuptools = pytest.importorskip("setuptools")
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    runpy.run_path(str(ROOT / "setup.py"))
    text = given["long_description"]
    readme = text_of("README.md")
    assert re.findall(r"\]\((?!https?:)", readme) and "![" in readme
    assert not re.findall(r"\]\((?!https?:)", text) and "![" not in text
    kept = r"^(?:#|    ).*$"
    assert re.findall(kept, text, re.M) == re.findall(kept, readme, re.M)


def test_the_index_of_errors_has_every_error():
    page = text_of("docs/reference/errors.md")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    own = [kind for kind in kinds if issubclass(kind, (Exception, Warning))]
    assert own
    for kind in own:
        assert f"`{kind.__name__}`" in page


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    pytest.importorskip("sphinx_copybutton")
    pytest.importorskip("sphinx_design")
    from sphinx.cmd.build import build_main

    with warnings.catch_warnings():
        # Those of Sphinx about itself; its warnings about pages are failures.
        warnings.simplefilter("ignore")
        status = build_main(["-W", "--keep-going", "-q", str(DOCS), str(tmp_path)])
    assert status == 0
    for page in DOCS.rglob("*.md"):
        assert (tmp_path / page.relative_to(DOCS).with_suffix(".html")).exists()
    reference = (tmp_path / "reference" / "python.html").read_text(encoding="utf-8")
    for name in set(hf.__all__) - {"__version__"}:
        assert f'id="hfcontrol.{name}"' in reference, name
        assert f'href="#hfcontrol.{name}"' in reference.split("<dl")[0], name
    # Examples are code, and keep the quotes that Python reads.
    assert not re.search(r"hf\.\w+\(“", reference)
    for page in tmp_path.rglob("*.html"):
        assert not re.search(
            r'(?:src|href)="https?://[^"]*\.(?:js|css)"', page.read_text()
        ), f"{page.name} needs the network"
