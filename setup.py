"""The long description of the package; setup.cfg has all other metadata.

It is README.md without its pictures, and with its links to files as plain text: on the
page of a package index their relative addresses lead nowhere.
"""

import re
from pathlib import Path

from setuptools import setup

PICTURE = re.compile(r"!\[[^]]*\]\([^)]*\)\n*")
LINK_TO_FILE = re.compile(r"\[([^]]*)\]\((?![a-z]+:)[^)]*\)")


def describe() -> str:
    """Return the long description."""
    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    return LINK_TO_FILE.sub(r"\1", PICTURE.sub("", readme))


setup(long_description=describe(), long_description_content_type="text/markdown")
