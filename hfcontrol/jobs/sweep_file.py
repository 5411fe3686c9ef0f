"""A sweep: grids and lists of settings times seeds, in Python or as a TOML file.

seeds = "0-3"

[settings]              # shared by all trainings
plant = "arm2"
rollouts = 40

[grid]                  # every combination of these
effort = [1e-5, 1e-4, 1e-3]
hidden = [[16], [32, 32]]

[[points]]              # each of these, with every combination of the grid
cell = "gru"
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from hfcontrol.arrays.files import expand_home
from hfcontrol.errors import HFControlError, UsageError
from hfcontrol.jobs.seeds import parse_seeds
from hfcontrol.runs.settings import Settings, settings_for
from hfcontrol.schema import describe_unknown, format_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Grid: TypeAlias = Mapping[str, Iterable[Any]] | None
Points: TypeAlias = Iterable[Mapping[str, Any]] | None
Seeds: TypeAlias = str | int | Iterable[int]

# More than anyone trains, and less than fills the memory.
MOST_JOBS = 10_000

# What a file may hold at its top.
ENTRIES = ("out", "seeds", "settings", "grid", "points")


class Point(NamedTuple):
    """One training of a sweep: the settings that vary, and all of them."""

    varied: dict[str, Any]
    settings: Settings

    @property
    def label(self) -> str:
        """The training in words: what varies, and the seed."""
        words = [f"{name} {format_value(value)}" for name, value in self.varied.items()]
        return ", ".join([*words, f"seed {self.settings.seed}"])


@dataclass(frozen=True)
class Sweep:
    """Settings of many trainings; raises UsageError for what does not fit together.

    settings: shared by all.
    grid: lists of values; every combination is trained.
    points: settings of one or more trainings each, combined with the grid.
    seeds: each combination is trained with each of them.
    out: the folder of its runs and its table.
    """

    settings: dict[str, Any]
    grid: dict[str, list[Any]]
    points: list[dict[str, Any]]
    seeds: list[int]
    out: Path

    def __post_init__(self) -> None:
        _check_names("settings", self.settings)
        _check_names("grid", self.grid)
        for point in self.points:
            _check_names("points", point)
        for name, values in self.grid.items():
            if not isinstance(values, list) or not values:
                raise UsageError(
                    f"`grid`: {name} {values!r} must be a list of values, such as "
                    f"{name} = [1, 2]"
                )
        inside = {name for point in self.points for name in point}
        for name in self.grid:
            if name in inside:
                raise UsageError(f"`grid`: {name} is in `points` too; leave out one")
        if self.count > MOST_JOBS:
            raise UsageError(
                f"`grid`: makes {self.count} trainings; at most {MOST_JOBS} are allowed"
            )

    @property
    def count(self) -> int:
        """The number of trainings."""
        total = len(self.points or [{}]) * len(self.seeds)
        for values in self.grid.values():
            total *= len(values)
        return total

    def trainings(self) -> list[Point]:
        """Return all trainings; those with equal settings once.

        Raises UsageError, or another error of a plant or task, that names the settings
        that vary.
        """
        found: dict[str, Point] = {}
        for varied in self._combinations():
            for seed in self.seeds:
                given = {**self.settings, **varied, "seed": seed}
                try:
                    settings = settings_for(**given)
                except HFControlError as error:
                    where = Point(varied, Settings(seed=seed)).label
                    raise type(error)(f"at {where}: {error}") from error
                found.setdefault(repr(settings.tree()), Point(varied, settings))
        return list(found.values())

    def _combinations(self) -> Iterator[dict[str, Any]]:
        """Yield the settings of each training that are not those of all."""
        names = list(self.grid)
        for point in self.points or [{}]:
            for values in product(*self.grid.values()):
                yield {**point, **dict(zip(names, values, strict=True))}


def _check_names(where: str, settings: Mapping[str, Any]) -> None:
    """Raise UsageError for names that are no settings, and for the seed."""
    if not isinstance(settings, Mapping):
        raise UsageError(f"`{where}` {settings!r}: must be a table of settings")
    for name in settings:
        if name == "seed":
            raise UsageError(f"`{where}`: seed belongs into `seeds`")
        if name not in Settings.model_fields:
            raise UsageError(f"`{where}`: {describe_unknown(Settings, name)}")


def make_sweep(
    settings: Mapping[str, Any],
    grid: Grid = None,
    points: Points = None,
    seeds: Seeds = 0,
    out: Path | str = "weights/sweep",
) -> Sweep:
    """Return a sweep of Python's values; UsageError for wrong ones."""
    lists = {name: _as_list(values) for name, values in (grid or {}).items()}
    numbers = _as_list(seeds)
    text = ",".join(map(str, numbers)) if isinstance(numbers, list) else str(numbers)
    every = [dict(point) for point in points or ()]
    return Sweep(dict(settings), lists, every, parse_seeds(text), expand_home(out))


def _as_list(values: Any) -> Any:
    """Return several values as a list; one value, or a text, as it is."""
    is_one = isinstance(values, (str, Mapping)) or not isinstance(values, Iterable)
    return values if is_one else list(values)


def read_sweep(path: Path | str, out: Path | str | None = None) -> Sweep:
    """Return the sweep of a TOML file.

    out: the folder of its runs, in place of the file's own; by default weights/STEM.

    Raises UsageError, in one line that begins with the file, for a file that cannot be
    read or has wrong entries.
    """
    path = expand_home(path)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from None
    try:
        return _sweep_of(tree, out or tree.get("out") or Path("weights", path.stem))
    except UsageError as error:
        # The entries of a file are no options: without the marks of a setting.
        raise UsageError(f"{path}: {error}".replace("`", "")) from None


def _sweep_of(tree: dict[str, Any], out: Any) -> Sweep:
    """Return the sweep of a TOML file's entries."""
    for name in tree:
        if name not in ENTRIES:
            near = get_close_matches(name, ENTRIES, n=1)
            known = "settings of a training go into [settings], [grid] or [[points]]"
            if near:
                known = f"did you mean '{near[0]}'?"
            raise UsageError(f"unknown entry '{name}'; {known}")
    if not isinstance(out, (str, Path)):
        raise UsageError(f"`out` {out!r}: must be the path of a folder")
    points = tree.get("points", [])
    if not isinstance(points, list):
        raise UsageError("`points`: write each as a table of its own, [[points]]")
    for name in ("settings", "grid"):
        if not isinstance(tree.get(name, {}), dict):
            raise UsageError(f"`{name}`: must be a table, [{name}]")
    for point in points:
        _check_names("points", point)
    return make_sweep(
        tree.get("settings", {}), tree.get("grid"), points, tree.get("seeds", 0), out
    )
