"""Texts from files: what each place must not see, and how places use the functions."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hfcontrol as hf
from hfcontrol import errors
from hfcontrol.texts import (
    INVISIBLE,
    LONGEST_NAME,
    c_comment,
    file_name,
    one_line,
    plain_label,
)

PACKAGE = Path(__file__).parents[1] / "hfcontrol"

# The same examples in every run, and nothing is kept on disk.
QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)

# All code points, surrogates too: names of files that are not UTF-8 have them.
TEXTS = st.text(st.characters(codec=None), max_size=20)


@QUICK
@given(TEXTS)
@example("\x1b]0;owned\x07\x1b[2J\r")
@example("a\nhfcontrol: all is well\x0b\x0c\x85\u2028\u2029")
@example("\x9b31m\u202e\u2066\u200b\ufeff\x7f\ud800")
def test_one_line_has_visible_characters_alone(text):
    line = one_line(text)
    assert not any(unicodedata.category(c) in INVISIBLE for c in line)
    assert len(line.splitlines()) <= 1
    # Nothing is swallowed.
    assert len(line) >= len(text)


@pytest.mark.parametrize("text", ["", "arm2 reach [m/s^2]", "é² µ 角度 - \\", "a  b"])
def test_visible_texts_stay_as_they_are(text):
    assert one_line(text) == text


def test_escapes_tell_what_was_there():
    assert one_line("a\n\x1b\u202e") == r"a\n\x1b\u202e"


@QUICK
@given(TEXTS)
@example("**// ??/ /*/ *//* ???/")
@example("ends with \\")
def test_comment_ends_where_the_program_ends_it(text):
    comment = c_comment(text)
    assert comment.isascii() and comment.isprintable()
    assert not any(mark in f"/* {comment} " for mark in ("*/", "??"))
    assert "/*" not in comment and not comment.endswith("\\")


@QUICK
@given(TEXTS)
@example("../../etc/passwd")
@example("-rf")
@example(".hidden")
@example("x" * 500)
@example("角" * 100)
@example("a/b\\c:d\x00e\nf")
def test_file_name_stays_in_its_folder(text):
    name = file_name(text)
    assert re.fullmatch(r"[\w.-]+", name)
    assert name[0] not in ".-" and name[-1] not in ".-"
    assert len(name.encode()) <= LONGEST_NAME
    assert Path(name).name == name


def test_labels_are_no_mathematics():
    text = pytest.importorskip("matplotlib.text")
    for label in ("$x$", "a$b", r"\$x$", "$\\frac{1}{$", "a\nb$c$"):
        shown, is_math = text.Text(0, 0)._preprocess_math(plain_label(label))
        assert not is_math and shown == one_line(label)


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=str)
def test_commands_print_through_echo(path):
    """Only `echo` and its siblings escape; what app.py prints itself is escaped.

    Tables are escaped cell by cell, and click writes the scripts of shells.
    """
    own = ("output.py", "terminal.py", "completion.py", "reference.py", "streams.py")
    if path.name in own:
        return
    source = path.read_text(encoding="utf-8")
    for call in re.findall(r"click\.echo\((.*)", source):
        assert call == ")" or "one_line" in call or "get_help" in call, call
    assert not re.search(r"(?<!\w)print\(", source)


@pytest.mark.parametrize("kind", [errors.HFControlError, errors.TaskError])
def test_errors_show_what_is_invisible_in_what_they_quote(kind):
    """A traceback shows the same as the command line; each fault has one line."""
    error = kind("plant \x1b[31m is\nunknown", "task \u202e too")
    assert str(error) == "plant \\x1b[31m is\\nunknown\ntask \\u202e too"
    assert str(kind()) == ""
    # Quoting a message in another one changes nothing more.
    assert str(kind(*str(error).split("\n"))) == str(error)


def test_a_notebook_shows_the_call_and_the_message():
    """`rollout` has a decorator of NumPy, whose function is not the user's call."""
    for call in (
        lambda: hf.Run.load("arm2-reach").rollout("heldout"),  # no such split
        lambda: hf.load_plant("no such plant"),
    ):
        with pytest.raises(errors.HFControlError) as caught:
            call()
        *shown, message = caught.value._render_traceback_()
        assert message == f"{type(caught.value).__name__}: {caught.value}"
        assert len(shown) <= 3 and __file__ in shown[0] and "lambda" in shown[0]
    assert errors.UsageError("raised nowhere")._render_traceback_() == [
        "UsageError: raised nowhere"
    ]
