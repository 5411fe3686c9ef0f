"""Templates of HTML, filled by jinja2: texts are escaped, pages load nothing.

A run may come from anyone, with any text as its task or command. Its page shows texts
as texts (autoescape), and its content-security policy allows the images and the style
inside the page alone: no script, and nothing from the network.
"""

import base64
import hashlib
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hfcontrol.texts import one_line
from hfcontrol.version import __version__

POLICY = (
    "default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
    "form-action 'none'"
)


@cache
def _environment() -> Environment:
    """Return the environment of all templates."""
    environment = Environment(
        loader=PackageLoader("hfcontrol.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Invisible characters could reverse or hide what stands next to them.
    environment.filters["visible"] = one_line
    return environment


def fill(template: str, **values: Any) -> str:
    """Return a template of hfcontrol/reports/templates with its values."""
    return _environment().get_template(template).render(**values)


def fill_page(template: str, **values: Any) -> str:
    """Return a whole page, with its style and its policy."""
    style = fill("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return fill(
        template,
        style=Markup(style),
        policy=POLICY.format(digest=digest),
        version=__version__,
        **values,
    )
