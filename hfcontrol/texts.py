"""Texts from files, made safe for where they go.

A name or message may come from a plant file, a model or a checkpoint of anyone. Printed
as it is, it could colour a terminal, set its title, forge a line or hide characters;
written into C it could end a comment. Each place has its function here.
"""

import re
import unicodedata

# Categories of Unicode that are no visible characters: control characters (C0 and C1),
# formats such as those that reverse the direction of writing, surrogates, and
# separators of lines and paragraphs.
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}

# Longest name of a file made of others; file systems allow 255 bytes, of which
# suffixes and temporary names take some.
LONGEST_NAME = 120

# What ends or begins a comment, and the trigraphs that mean other characters.
IN_COMMENTS = {"*/": "* /", "/*": "/ *", "??": "? ?"}


def one_line(text: object) -> str:
    r"""Return a text as one visible line: `\n`, `\x1b` and the like are spelt out."""
    characters = str(text)
    # The common case needs no look at each character.
    if characters.isascii() and characters.isprintable():
        return characters
    return "".join(map(_visible, characters))


def _visible(character: str) -> str:
    """Return a character, or its escape sequence if it is not visible."""
    if unicodedata.category(character) not in INVISIBLE:
        return character
    return character.encode("unicode_escape").decode("ascii")


def plain_label(text: object) -> str:
    r"""Return a text for matplotlib, which would take `$...$` for mathematics."""
    return one_line(text).replace("$", r"\$")


def c_comment(text: object) -> str:
    """Return a text for the inside of a comment in C, in ASCII."""
    comment = one_line(text).encode("ascii", "backslashreplace").decode("ascii")
    for mark, harmless in IN_COMMENTS.items():
        # Repeated, because a replacement can be next to another mark: `**//`.
        while mark in comment:
            comment = comment.replace(mark, harmless)
    # A backslash at the end of a line would join the next one.
    return comment.rstrip("\\")


def file_name(text: object) -> str:
    """Return a text as the name of a file: letters, digits, `_`, `-` and inner dots.

    It names no folder, is no option and no hidden file, and has at most LONGEST_NAME
    bytes.
    """
    words = re.sub(r"[^\w.-]+", "-", str(text))
    name = words.encode("utf-8", "ignore")[:LONGEST_NAME].decode("utf-8", "ignore")
    return name.strip(".-") or "unnamed"
