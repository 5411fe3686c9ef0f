"""Numbers of runs as pandas and xarray objects, where these packages are installed."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from hfcontrol.errors import UsageError


def make_dataframe(columns: Mapping[str, Any]) -> Any:
    """Return a pandas DataFrame of columns; UsageError without pandas."""
    try:
        import pandas
    except ImportError:
        raise _missing("to_dataframe", "pandas") from None
    return pandas.DataFrame(dict(columns))


def import_xarray() -> ModuleType:
    """Return the module xarray; UsageError if it is not installed."""
    try:
        import xarray
    except ImportError:
        raise _missing("to_xarray", "xarray") from None
    return xarray


def _missing(method: str, package: str) -> UsageError:
    """Return the error for a package that is not installed."""
    return UsageError(
        f"{method}() needs {package}, which is not installed: pip install {package}"
    )
