"""How Sphinx builds the site: `tools/docs`, or `sphinx-build -W docs FOLDER`.

The build needs no network. Formulas become MathML, which browsers typeset themselves,
and the names of other libraries are not linked.
"""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from hfcontrol.version import __version__

sys.path.insert(0, str(Path(__file__).parent))

from notebooks import NOTEBOOKS, notebook

project = "hfcontrol"
author = "the hfcontrol developers"
copyright = "the hfcontrol developers"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
nitpicky = True

# Headings get the anchors that GitHub gives them, so that links work in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]

# `name` in a docstring is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Types of other libraries, and internal types.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_title = f"hfcontrol {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
# Prompts of commands and of Python are not copied.
copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True

# Pages that stand at the top of the project, and their copies in the site.
TOP_PAGES = {
    "../CONTRIBUTING.md": "contributing.md",
    "../CHANGELOG.md": "changelog.md",
    "../README.md": "index.md",
    "../tools/NOTES.md": "notes.md",
}


def link_to_copies(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to pages at the top of the project lead to their copies in the site."""
    up = "../" * page.count("/")
    for top, copy in TOP_PAGES.items():
        source[0] = source[0].replace(f"]({up}{top}", f"]({up}{copy}")


def link_to_notebook(app: Sphinx, page: str, source: list[str]) -> None:
    """Offer a tutorial as a notebook, below its title."""
    name = page.removeprefix("tutorials/")
    if name in NOTEBOOKS:
        title, rest = source[0].split("\n", 1)
        link = f'<a href="{name}.ipynb" download>This page as a notebook</a>'
        source[0] = f"{title}\n\n{link}\n{rest}"


def write_notebooks(app: Sphinx, error: Exception | None) -> None:
    """Write the notebooks next to the pages of the tutorials."""
    for name in NOTEBOOKS if error is None else ():
        page = Path(app.srcdir, "tutorials", f"{name}.md")
        made = notebook(page.read_text(encoding="utf-8"))
        nbformat.write(made, Path(app.outdir, "tutorials", f"{name}.ipynb"))


def list_parameters(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Turn the lines `parameter: text` of a docstring into a list of parameters."""
    if name == "hfcontrol":  # a summary for help(hfcontrol); the page has its own
        lines.clear()
    try:
        names = inspect.signature(thing).parameters
    except (TypeError, ValueError):  # not a function
        return
    is_listed = False
    for k, line in enumerate(lines):
        found = re.match(r"(\w+(?:, \w+)*): (.*)", line)
        if found and set(found[1].split(", ")) <= set(names):
            # Sphinx would take what stands before a space for a type.
            lines[k] = f":param {found[1].replace(' ', '')}: {found[2]}"
            is_listed = True
        elif is_listed and line.strip():
            lines[k] = f"    {line.strip()}"
        else:
            is_listed = False


def mark_examples(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Let indented paragraphs of a docstring be code, with straight quotes."""
    starts = [
        k
        for k, line in enumerate(lines)
        if k and line.startswith("    ") and not lines[k - 1].strip()
    ]
    for k in reversed(starts):
        lines[k:k] = ["::", ""]


# What annotations of NumPy stand for, as readers know it.
PLACES = r"~(?:\w+\.)+"  # "~numpy.ndarray" shows as "ndarray"
NESTED = r"_NestedSequence\[complex \| bytes \| str\]"
ENTRIES = rf"tuple\[{PLACES}Any, \.\.\.\], {PLACES}dtype\[{PLACES}Any\]"
ARRAYS = (
    (rf"{PLACES}_Buffer \| .*?{NESTED}", "ArrayLike"),
    (rf"{PLACES}ndarray\[{ENTRIES}\]", "Array"),
)


def shorten_arrays(
    app: Sphinx,
    what: str,
    name: str,
    thing: Any,
    options: Any,
    signature: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:
    """Write `Array` and `ArrayLike` for what they stand for."""
    for pattern, word in ARRAYS:
        signature = signature and re.sub(pattern, word, signature)
        result = result and re.sub(pattern, word, result)
    return signature, result


def mathml(formula: str, as_block: bool) -> str:
    """A formula in LaTeX as MathML."""
    return latex2mathml.tex2mathml(formula, as_block=as_block)


def write_inline_formula(writer: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in a line of text."""
    writer.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def write_displayed_formula(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Write a displayed formula."""
    writer.body.append(mathml(node.astext(), as_block=True))
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the renderer of formulas and the links between copies."""
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(write_inline_formula, None),
        block_renderers=(write_displayed_formula, None),
    )
    app.connect("source-read", link_to_copies)
    app.connect("source-read", link_to_notebook)
    app.connect("build-finished", write_notebooks)
    app.connect("autodoc-process-docstring", list_parameters)
    app.connect("autodoc-process-docstring", mark_examples)
    app.connect("autodoc-process-signature", shorten_arrays)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
