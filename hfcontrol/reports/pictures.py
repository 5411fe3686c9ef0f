"""Figures and movies as images inside HTML."""

import base64
import io
from typing import NamedTuple

from matplotlib.figure import Figure

from hfcontrol.figures.movies import Movie
from hfcontrol.figures.output import project_style

# Resolution of figures: sharp on most screens, and small enough to be mailed.
DPI = 130


class Picture(NamedTuple):
    """An image as a data URI, what it shows, and how much room it needs."""

    source: str
    caption: str
    layout: str = ""


def figure_picture(figure: Figure, caption: str, layout: str = "") -> Picture:
    """Return a figure as a picture."""
    buffer = io.BytesIO()
    with project_style():
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return Picture(_data_uri("image/png", buffer.getvalue()), caption, layout)


def movie_picture(movie: Movie, caption: str) -> Picture:
    """Return a movie as a picture that moves."""
    return Picture(_data_uri("image/gif", movie.to_gif()), caption, "movie")


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
