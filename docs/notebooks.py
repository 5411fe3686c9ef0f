"""Tutorials as notebooks: the text of a page in cells, its blocks of Python to run."""

import re

import nbformat

# The tutorials that are notebooks too; each runs in a folder of its own.
NOTEBOOKS = ("first-controller", "noisy-arm", "your-plant")

BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```python\n(.*?)```\n?", re.S)


def notebook(page: str) -> nbformat.NotebookNode:
    """Return a page in Markdown as a notebook.

    A block after `<!-- file: NAME -->` becomes a cell that writes the file; one after
    `<!-- not run: why -->` stays text.
    """
    cells = []
    text = ""
    end = 0
    for block in BLOCK.finditer(page):
        text += page[end : block.start()]
        end = block.end()
        mark, code = block[1] or "", block[2].strip()
        if mark.startswith("not run"):
            text += f"```python\n{code}\n```\n"
            continue
        if mark.startswith("file: "):
            code = f"%%writefile {mark.removeprefix('file: ')}\n{code}"
        cells += [_text_cell(text), nbformat.v4.new_code_cell(code)]
        text = ""
    cells.append(_text_cell(text + page[end:]))

    found = nbformat.v4.new_notebook(cells=cells)
    # Cells have random names by default; a page gives the same notebook every time.
    for k, cell in enumerate(cells):
        cell["id"] = f"cell-{k}"
    found.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return found


def _text_cell(text: str) -> nbformat.NotebookNode:
    """Return a cell of text; links to other pages lead nowhere from a notebook."""
    plain = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", text.strip())
    return nbformat.v4.new_markdown_cell(plain)
