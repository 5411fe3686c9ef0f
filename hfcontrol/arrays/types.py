"""Types of arrays in signatures; shapes stand in docstrings."""

from typing import Any, TypeAlias

import numpy.typing as npt

# An array of NumPy's or, on a GPU, one of CuPy's with the same interface.
Array: TypeAlias = npt.NDArray[Any]
