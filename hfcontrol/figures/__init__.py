"""Figures and movies of a run; the only package that imports matplotlib.

- `plots`: learning curves, paths, controls, speeds, hidden activity and its tuning
- `movies`: movements of a controller, or its paths while it learns
- `benchmarks`: paths of trained and classical controllers next to each other
- `scenes`: the frames of a movie; `movie_files`: gif, mp4 and html
- `coordinates`: what of a rollout is drawn, and in which order
- `drawing`: paths with goals, traces against time, bodies
- `output`: the style of all figures, files and windows
"""

import os
import sys
from contextlib import suppress


def _import_matplotlib() -> None:
    """Import matplotlib, whatever backend MPLBACKEND names.

    A notebook's shell hands on its own, which need not be installed here. Matplotlib
    could not be imported then, although files need no backend.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


_import_matplotlib()
