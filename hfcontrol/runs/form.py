"""The form of a checkpoint: which entries a training has, of which type and range.

A checkpoint may come from anyone. `check_tree` looks at its whole tree before anything
is built of it. What a state holds follows from the annotations of the state classes, so
that the form needs no list of its own; settings are checked by their models.
"""

import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin
from typing import get_type_hints as hints_of

import numpy as np

from hfcontrol.arrays.settings import POLICY_OPTIMIZERS
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.errors import CheckpointError, HFControlError
from hfcontrol.network.input_scaling import Moments, Typical
from hfcontrol.runs.hdf5 import Tree
from hfcontrol.runs.interface import Interface
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.state_tree import (
    CURRICULUM_KEYS,
    CURVES,
    HOLD_KEYS,
    OPTIMIZER_STATES,
    STATE_KEYS,
)
from hfcontrol.training.conditioning import Conditioning
from hfcontrol.training.curriculum import CurriculumState
from hfcontrol.training.holds import HoldState
from hfcontrol.training.rungs import LadderState, further_rungs
from hfcontrol.training.state import CurvePoint, Stop, TrainingState
from hfcontrol.training.trial_sets import FACTORS

# Larger counts would not fit into the integers of NumPy.
MOST_COUNT = 2**63 - 1

# Numbers from which memory is allocated, and the largest that a checkpoint may ask for.
SIZES = (
    "trials",
    "steps",
    "race",
    "unfold",
    "feedback_delay",
    "command_delay",
    "minibatches",
    "n_steps",
    "epochs",
    "store_every",
)
MOST_SIZE = 10_000_000
MOST_STEPS_OF_TRIALS = 100_000_000

# Steps of the integrator in a control step, which a conditioning chooses.
MOST_SUBSTEPS = 1000

# Floats that must be finite; losses need not be.
FINITE = ("damping", "radius", "seconds", "count", "compile_seconds")

# Arrays whose entries must be finite, and those that must be above zero.
FINITE_ARRAYS: tuple[str, ...] = ("theta", "mean_theta", "best_theta", "mean", "trim")
FINITE_ARRAYS += ("variance", "discounted", "seeds", "lengths", "actions", "memory")
SIZE_ARRAYS = ("size", "state_size", "control_size", "typical_control")


class Field(NamedTuple):
    """A field of a state class: its type, and whether it must be given."""

    kind: Any
    needed: bool


@cache
def fields_of(state_class: Any) -> dict[str, Field]:
    """Return the fields of a dataclass or a named tuple, by name."""
    hints = hints_of(state_class)
    if not is_dataclass(state_class):
        defaults = state_class._field_defaults
        return {n: Field(hints[n], n not in defaults) for n in state_class._fields}
    found = {}
    for entry in fields(state_class):
        is_needed = entry.default is MISSING and entry.default_factory is MISSING
        found[entry.name] = Field(hints[entry.name], is_needed)
    return found


def check_tree(tree: Tree) -> None:
    """Raise CheckpointError unless a tree is the checkpoint of a training.

    The message names the entry, and says what it must be.
    """
    for name, kind in TEXTS.items():
        check_value(_entry(tree, name, ""), kind, name)
    versions = _entry(tree, "versions", "")
    check_value(versions, dict[str, str], "versions")
    check_value(_entry(versions, "hfcontrol", "versions/"), str, "versions/hfcontrol")
    check_value(tree.get("connections"), int | None, "connections")
    check_value(tree.get("time_constants"), list[float] | None, "time_constants")

    plant = _entry(tree, "plant", "")
    check_value(plant, dict[str, str], "plant")
    for name in ("name", "source", "hash"):
        _entry(plant, name, "plant/")
    check_value(tree.get("inputs"), dict[str, str] | None, "inputs")
    if not re.fullmatch("[0-9a-f]{64}", plant["hash"]):
        _refuse("plant/hash", plant["hash"], "a SHA-256 in hexadecimal")

    settings = check_settings(_entry(tree, "settings", ""))
    conditioning = tree.get("conditioning", {})
    _check_conditioning(conditioning)
    _check_interface(tree.get("interface"), conditioning)
    race, weights = _check_ladder(tree.get("ladder", {}), settings)
    if "warming" in tree:
        _check_curriculum(tree["warming"], settings, race, weights)
        return
    check_stop(_entry(tree, "stop", ""))
    _check_state(_entry(tree, "state", ""), settings, "state", weights)


def check_stop(word: Any) -> None:
    """Raise CheckpointError unless a word is that of a `Stop`, or None."""
    # An array is equal to nothing: it would compare entry by entry.
    is_word = word is None or isinstance(word, str)
    if not is_word or word not in {None, *(stop.word for stop in Stop)}:
        _refuse("stop", word, "why a training stopped")


# Texts and numbers beside settings and state.
TEXTS: dict[str, Any] = {
    "task": str,
    "command": str,
    "solver": str | None,
    "compile_seconds": float,
}


def _entry(tree: Any, name: str, where: str) -> Any:
    """Return an entry of a dictionary, which must exist."""
    if not isinstance(tree, dict):
        _refuse(where.rstrip("/"), tree, "a group of entries")
    if name not in tree:
        raise CheckpointError(f"its entry {where}{name} is missing")
    return tree[name]


def _refuse(where: str, value: Any, allowed: str) -> NoReturn:
    """Raise CheckpointError about an entry."""
    # Escaped and cut: the value is a stranger's.
    shown = ascii(value)
    if isinstance(value, np.ndarray):
        shown = f"an array {value.shape} of {value.dtype}"
    if len(shown) > 60:
        shown = f"{shown[:60]}..."
    raise CheckpointError(
        f"its entry {ascii(where)[1:-1]} is {shown}; it must be {allowed}"
    )


def _check_word(value: Any, words: list[str], where: str, allowed: str) -> None:
    """Check that a value is one of some texts; an array would compare by entries."""
    if not isinstance(value, str) or value not in words:
        _refuse(where, value, allowed)


def check_value(value: Any, kind: Any, where: str) -> None:
    """Raise CheckpointError unless a value is of the type that an annotation names.

    Integers are counts, from 0 on. Named tuples and dataclasses are dictionaries.
    """
    origin = get_origin(kind)
    name = where.rpartition("/")[2]
    if kind is Any:
        return
    if origin in (Union, types.UnionType):
        _check_union(value, get_args(kind), where)
    elif origin is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            _refuse(where, value, f"one of {', '.join(get_args(kind))}")
    elif origin in (dict, list, tuple):
        _check_container(value, kind, where)
    elif origin is np.ndarray:
        _check_array(value, name, where)
    elif kind is bool:
        if not isinstance(value, bool | np.bool_):
            _refuse(where, value, "true or false")
    elif kind is int:
        is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not is_whole or not 0 <= value <= MOST_COUNT:
            _refuse(where, value, "a whole number from 0 on")
    elif kind is float:
        _check_float(value, name, where)
    elif kind is str:
        if not isinstance(value, str):
            _refuse(where, value, "a text")
    else:
        check_fields(value, kind, where)


def _check_union(value: Any, kinds: tuple[Any, ...], where: str) -> None:
    """Check a value that may be None, or of one other type."""
    if value is None and type(None) in kinds:
        return
    others = [kind for kind in kinds if kind is not type(None)]
    for kind in others[:-1]:
        try:
            return check_value(value, kind, where)
        except CheckpointError:
            continue
    check_value(value, others[-1], where)


def _check_container(value: Any, kind: Any, where: str) -> None:
    """Check the entries of a list, a tuple of any length or a dictionary."""
    container = get_origin(kind)
    if type(value) is not container:
        _refuse(where, value, f"a {container.__name__}")
    # Of `dict[str, int]` and `tuple[int, ...]`.
    entry_kind = get_args(kind)[0 if container is tuple else -1]
    named = value.items() if container is dict else enumerate(value)
    for name, entry in named:
        check_value(entry, entry_kind, f"{where}/{name}")


def _check_float(value: Any, name: str, where: str) -> None:
    is_number = isinstance(value, float | int | np.floating | np.integer)
    if not is_number or isinstance(value, bool):
        _refuse(where, value, "a number")
    if isinstance(value, int) and abs(value) > MOST_COUNT:
        _refuse(where, value, "a number of float64")
    if name in FINITE and not (math.isfinite(value) and value >= 0):
        _refuse(where, value, "a finite number from 0 on")


def _check_array(value: Any, name: str, where: str) -> None:
    """Check an array (n,) of floats."""
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        _refuse(where, value, "an array of one dimension")
    if value.dtype not in (np.float64, np.float32):
        _refuse(where, value, "an array of float64 or float32")
    if name in (*FINITE_ARRAYS, *SIZE_ARRAYS) and not np.isfinite(value).all():
        _refuse(where, value, "finite in all entries")
    if name in SIZE_ARRAYS and not (value > 0).all():
        _refuse(where, value, "above zero in all entries")
    if name == "variance" and not (value >= 0).all():
        _refuse(where, value, "from zero on in all entries")


def check_fields(
    tree: Any,
    state_class: Any,
    where: str,
    keys: Mapping[str, str] = types.MappingProxyType({}),
    others: Mapping[str, Any] = types.MappingProxyType({}),
) -> None:
    """Check a dictionary of the fields of a dataclass or a named tuple.

    keys: the keys of the fields whose key is not their name
    others: keys that are checked elsewhere
    """
    if not isinstance(tree, dict):
        _refuse(where, tree, "a group of entries")
    known = {keys.get(n, n): (n, f) for n, f in fields_of(state_class).items()}
    for key in tree:
        if key not in known and key not in others:
            raise CheckpointError(f"its entry {where}/{ascii(key)[1:-1]} is unknown")
    for key, (name, entry) in known.items():
        if key in others:
            continue
        if key in tree:
            # Ranges go by the names of the fields.
            check_value(tree[key], entry.kind, f"{where}/{name}")
        elif entry.needed:
            _entry(tree, key, f"{where}/")
    if state_class in SAME_SIZE:
        _check_sizes(tree, where)


def _check_sizes(tree: Tree, where: str) -> None:
    """Raise CheckpointError unless the arrays of a dictionary have one size."""
    arrays = {key: a for key, a in tree.items() if isinstance(a, np.ndarray)}
    # L-BFGS has no moments: those arrays are empty.
    if len({array.size for array in arrays.values() if array.size}) > 1:
        sizes = ", ".join(f"{key} {array.size}" for key, array in arrays.items())
        raise CheckpointError(f"arrays of its entry {where} differ in size: {sizes}")


# Classes whose arrays have one size.
# A policy's are those of its workers too.
SAME_SIZE = (OPTIMIZER_STATES["hf"], OPTIMIZER_STATES["first_order"], Moments, Typical)


def _check_state(
    tree: Any, settings: Settings, where: str, weights: int | None = None
) -> int:
    """Check a training state, of a known number of weights or of any; returns it."""
    counts = dict.fromkeys(Counts._fields, Any)
    others = {*counts, "counts", *CURVES, "optimizer", "hold", "begun", "random"}
    check_fields(tree, TrainingState, where, STATE_KEYS, dict.fromkeys(others))
    for name in Counts._fields:
        check_value(_entry(tree, name, f"{where}/"), int, f"{where}/{name}")

    hold = _entry(tree, "hold", f"{where}/")
    check_fields(hold, HoldState, f"{where}/hold", HOLD_KEYS)
    _check_generator(_entry(tree, "random", f"{where}/"), f"{where}/random")
    for name in CURVES:
        _check_curve(_entry(tree, name, f"{where}/"), f"{where}/{name}")

    size = _check_optimizer(
        _entry(tree, "optimizer", f"{where}/"), settings, f"{where}/optimizer"
    )
    weights = weights or size
    for name, array in (("optimizer/theta", size), *_mean_sizes(tree)):
        if array != weights:
            raise CheckpointError(
                f"its entry {where}/{name} has {array} weights, and others {weights}"
            )
    begun = _entry(tree, "begun", f"{where}/")
    if begun is not None:
        # A hold begins between holds.
        if not isinstance(begun, dict) or begun.get("begun") is not None:
            _refuse(f"{where}/begun", begun, "a state at the beginning of a hold")
        _check_state(begun, settings, f"{where}/begun", weights)
    return weights


def _mean_sizes(tree: Tree) -> list[tuple[str, int]]:
    """Return the sizes of the weights in a state beside the optimizer's."""
    earlier = tree.get("earlier") or {}
    arrays = {
        "mean": tree.get("mean"),
        "best_theta": tree.get("best_theta"),
        "earlier/theta": earlier.get("theta"),
    }
    return [(name, a.size) for name, a in arrays.items() if a is not None]


def _check_optimizer(tree: Any, settings: Settings, where: str) -> int:
    """Check the state of an optimizer; returns its number of weights."""
    kind = "first_order"
    if settings.optimizer in POLICY_OPTIMIZERS:
        kind = "policy"
    elif settings.optimizer == "hf":
        kind = "hf"
    allowed = f"{kind}, for {settings.optimizer}"
    _check_word(_entry(tree, "kind", f"{where}/"), [kind], f"{where}/kind", allowed)
    check_fields(tree, OPTIMIZER_STATES[kind], where, others={"kind": None})
    size: int = tree["theta"].size
    others = [tree[name] for name in ("direction", "first", "second") if name in tree]
    if settings.optimizer != "lbfgs" and any(array.size != size for array in others):
        raise CheckpointError(f"the arrays of its entry {where} differ in size")
    if not sum(settings.hidden) <= size:
        raise CheckpointError(
            f"its entry {where}/theta has {size} weights, too few for the units "
            f"{settings.hidden} of its settings"
        )
    return size


def _check_curve(tree: Any, where: str) -> None:
    """Check a learning curve: an array for each field of its points."""
    sizes = set()
    for name, entry in fields_of(CurvePoint).items():
        column = _entry(tree, name, f"{where}/")
        allowed = "iu" if entry.kind is int else "f"
        is_array = isinstance(column, np.ndarray) and column.ndim == 1
        # An empty array has no integers to tell its type from.
        if not is_array or (column.size and column.dtype.kind not in allowed):
            _refuse(f"{where}/{name}", column, "an array of one number for each point")
        if column.size and entry.kind is int and column.min() < 0:
            _refuse(f"{where}/{name}", column, "from 0 on in all entries")
        sizes.add(column.size)
    if len(sizes) > 1:
        raise CheckpointError(f"the columns of its entry {where} differ in length")


def _check_generator(tree: Any, where: str) -> None:
    """Check the state of a random generator, which NumPy has to take."""
    generator = np.random.default_rng()
    name = type(generator.bit_generator).__name__
    word = _entry(tree, "bit_generator", f"{where}/")
    _check_word(word, [name], f"{where}/bit_generator", name)
    try:
        generator.bit_generator.state = tree
        # NumPy drops what does not fit into its integers.
        is_whole = bool(generator.bit_generator.state == tree)
    except Exception as error:
        raise CheckpointError(
            f"its entry {where} is no state of a generator: {ascii(str(error))[1:-1]}"
        ) from error
    if not is_whole:
        raise CheckpointError(f"its entry {where} is no state of a generator")


def check_settings(tree: Any) -> Settings:
    """Return the settings of a checkpoint, checked by their models and for size."""
    if not isinstance(tree, dict):
        _refuse("settings", tree, "a group of entries")
    try:
        settings = Settings.from_tree(tree)
    except HFControlError as error:
        reason = ascii(" ".join(str(error).split()))[1:-1]
        raise CheckpointError(f"its settings are wrong: {reason[:200]}") from error
    except Exception as error:
        kind = type(error).__name__
        raise CheckpointError(f"its settings cannot be read ({kind})") from error

    for name in SIZES:
        value = getattr(settings, name)
        if isinstance(value, int) and value > MOST_SIZE:
            _refuse(f"settings/{name}", value, f"at most {MOST_SIZE}")
    if (settings.trials or 1) * (settings.steps or 1) > MOST_STEPS_OF_TRIALS:
        raise CheckpointError(
            f"its settings ask for {settings.trials} trials of {settings.steps} steps; "
            f"a checkpoint may ask for {MOST_STEPS_OF_TRIALS} steps in all"
        )
    return settings


def _check_conditioning(tree: Any) -> None:
    """Check how a problem was conditioned; older runs have nothing."""
    check_fields(tree, Conditioning, "conditioning")
    substeps = tree.get("substeps")
    if substeps is not None and not 1 <= substeps <= MOST_SUBSTEPS:
        _refuse("conditioning/substeps", substeps, f"from 1 to {MOST_SUBSTEPS}")
    if (tree.get("inputs") is None) != (tree.get("outputs") is None):
        raise CheckpointError("its conditioning has inputs or outputs, but not both")


def _check_interface(tree: Any, conditioning: Tree) -> None:
    """Check what the network needs to know of the plant; older runs have nothing.

    The conditioning must be of the same sizes.
    """
    if tree is None:
        return
    where = "interface"
    check_fields(tree, Interface, where)
    if not 0 < tree["dt"] < math.inf:
        _refuse(f"{where}/dt", tree["dt"], "a finite number above zero")
    if tree["n_target"] > MOST_SIZE:
        _refuse(f"{where}/n_target", tree["n_target"], f"at most {MOST_SIZE}")
    for name in ("state", "control", "observation", "output"):
        count = len(tree[name])
        if not count:
            _refuse(f"{where}/{name}", tree[name], "at least one name")
        if len(tree["units"].get(name, ())) != count:
            _refuse(f"{where}/units/{name}", tree["units"].get(name), f"{count} texts")
    for name in ("low", "high", "trim", "typical_control"):
        if tree[name].size != len(tree["control"]):
            _refuse(f"{where}/{name}", tree[name], "a number for each control")
    inputs = tree["n_target"] + len(tree["observation"])
    counts = {
        "state_size": len(tree["state"]),
        "control_size": len(tree["control"]),
        "inputs": inputs,
        "outputs": len(tree["control"]),
    }
    for name, count in counts.items():
        found = conditioning.get(name)
        # Those of a network have a mean and a size.
        sizes = found["size"] if isinstance(found, dict) else found
        if sizes is not None and sizes.size != count:
            _refuse(f"conditioning/{name}", sizes, f"of {count} numbers")
    # NaN fails the comparison too.
    if not (tree["low"] < tree["high"]).all():
        raise CheckpointError(f"its entry {where} has limits that are no range")


def _check_ladder(tree: Any, settings: Settings) -> tuple[int, int | None]:
    """Check the state of a ladder; older runs have nothing.

    Returns the initialisations of the rung's race, and the number of weights if known.
    """
    check_fields(tree, LadderState, "ladder", others={"best": None})
    rungs = further_rungs(settings) if tree.get("climbs") else ()
    rung = tree.get("rung", 0)
    most = len(rungs) + 1 if rungs else 0
    if rung > most:
        _refuse("ladder/rung", rung, f"at most {most}")
    for name in ("trials", "best_trials"):
        factor = tree.get(name, 1)
        if factor not in FACTORS:
            _refuse(f"ladder/{name}", factor, f"one of {', '.join(map(str, FACTORS))}")
    theta, best = tree.get("theta"), tree.get("best")
    weights = None if theta is None else theta.size
    if best is not None:
        weights = _check_state(best, settings, "ladder/best", weights)
    # after the last rung there is no curriculum
    has_own = 0 < rung <= len(rungs)
    return (rungs[rung - 1].race if has_own else settings.race), weights


def _check_curriculum(
    tree: Any, settings: Settings, race: int, weights: int | None
) -> None:
    """Check the state of a curriculum with a race that has not finished.

    Its weights are of a known number, or of any.
    """
    where = "warming"
    others = dict.fromkeys(("training", "best", "others"))
    check_fields(tree, CurriculumState, where, CURRICULUM_KEYS, others)
    check_fields(_entry(tree, "others", "warming/"), Counts, "warming/others")
    if tree.get("initialisation", 0) >= race:
        _refuse(
            "warming/initialisation",
            tree["initialisation"],
            f"below the number of initialisations, {race}",
        )
    training = _entry(tree, "training", "warming/")
    weights = _check_state(training, settings, "warming/training", weights)
    best = _entry(tree, "best", "warming/")
    if best is not None:
        _check_state(best, settings, "warming/best", weights)
