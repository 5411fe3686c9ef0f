"""Types of arrays in signatures; docstrings give the shapes."""

from typing import Any, TypeAlias

import numpy.typing as npt

# A NumPy array or, on a GPU, a CuPy array with the same interface.
Array: TypeAlias = npt.NDArray[Any]
