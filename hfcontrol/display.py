"""How the public objects show: one line as text, a card in a notebook.

A card has a learning curve and tables, for which it needs matplotlib and jinja2. Those
belong to later packages; the module that draws is found by its name when a notebook
asks for the first card.
"""

from importlib import import_module
from typing import Any

CARDS = "hfcontrol.reports.cards"


class Displayed:
    """An object that shows as a card in notebooks (`reports/cards.py`)."""

    def _repr_html_(self) -> str:
        """Return the card of the object, a piece of HTML."""
        cards: Any = import_module(CARDS)
        html: str = cards.make_card(self)
        return html
