"""Training states as nested dictionaries, and back.

The keys are those of the checkpoint format: they do not change when a field of a state
class is renamed.
"""

from dataclasses import asdict

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.network.input_scaling import Typical
from hfcontrol.optim.first_order import FirstOrderState
from hfcontrol.optim.hessian_free import HFState
from hfcontrol.policy_gradient.state import PolicyState
from hfcontrol.runs.hdf5 import Tree
from hfcontrol.training.conditioning import Conditioning
from hfcontrol.training.curriculum import CurriculumState
from hfcontrol.training.holds import HoldState
from hfcontrol.training.rungs import LadderState
from hfcontrol.training.state import Best, CurvePoint, TrainingState, move_state

# Fields that hold learning curves; each becomes one array per field of `CurvePoint`.
CURVES = ("history", "curve")

# Fields whose key in a checkpoint differs from their name.
STATE_KEYS = {
    "generator": "random",
    "small_gains": "small",
    "rejected_holds": "rejected",
    "updates_in_hold": "in_hold",
    "hold_over": "over",
    "first_loss": "first",
    "hold_start": "begun",
    "mean_theta": "mean",
}
HOLD_KEYS = {
    "short_holds": "short",
    "stalled_holds": "stalled",
    "lowest_loss": "lowest",
}
CURRICULUM_KEYS = {
    "stage_started": "entered",
    "guide_counted": "guided",
    "earlier": "others",
}

# Fields of a conditioning that hold typical values and sizes.
TYPICALS = ("inputs", "outputs")

# The optimizer's state by its "kind" in a checkpoint.
OPTIMIZER_STATES = {
    "hf": HFState,
    "first_order": FirstOrderState,
    "policy": PolicyState,
}


def state_to_tree(state: TrainingState) -> Tree:
    """Turn a `TrainingState` into a tree, the same on whatever device it is."""
    state = move_state(state, to_host)
    tree: Tree = {}
    for name, value in vars(state).items():
        if name == "counts":
            tree.update(value._asdict())
        elif name not in (*CURVES, "optimizer", "hold", "hold_start", "earlier"):
            tree[STATE_KEYS.get(name, name)] = value

    tree["optimizer"] = _optimizer_to_tree(state.optimizer)
    tree["hold"] = _to_keys(asdict(state.hold), HOLD_KEYS)
    for name in CURVES:
        tree[name] = _curve_to_tree(getattr(state, name))
    tree["begun"] = state.hold_start and state_to_tree(state.hold_start)
    tree["earlier"] = state.earlier and state.earlier._asdict()
    return tree


def state_from_tree(tree: Tree) -> TrainingState:
    """Restore the `TrainingState` of a tree."""
    fields = _from_keys(tree, STATE_KEYS)
    fields["counts"] = Counts(*(fields.pop(name) for name in Counts._fields))
    optimizer = dict(tree["optimizer"])
    fields["optimizer"] = OPTIMIZER_STATES[optimizer.pop("kind")](**optimizer)
    fields["hold"] = HoldState(**_from_keys(tree["hold"], HOLD_KEYS))
    for name in CURVES:
        fields[name] = _curve_from_tree(tree[name])
    fields["hold_start"] = tree["begun"] and state_from_tree(tree["begun"])
    earlier = tree.get("earlier")
    fields["earlier"] = earlier and Best(**earlier)
    return TrainingState(**fields)


def curriculum_to_tree(state: CurriculumState) -> Tree:
    """Turn a `CurriculumState` into a tree."""
    fields = {
        **vars(state),
        "earlier": state.earlier._asdict(),
        "training": state_to_tree(state.training),
        "best": state.best and state_to_tree(state.best),
    }
    return _to_keys(fields, CURRICULUM_KEYS)


def curriculum_from_tree(tree: Tree) -> CurriculumState:
    """Restore the `CurriculumState` of a tree."""
    fields = _from_keys(tree, CURRICULUM_KEYS)
    fields["earlier"] = Counts(**tree["others"])
    for name in ("training", "best"):
        fields[name] = tree[name] and state_from_tree(tree[name])
    return CurriculumState(**fields)


def ladder_to_tree(state: LadderState) -> Tree:
    """Turn a `LadderState` into a tree."""
    return {
        **vars(state),
        "begun": state.begun._asdict(),
        "spent": state.spent._asdict(),
        "best": state.best and state_to_tree(state.best),
    }


def ladder_from_tree(tree: Tree) -> LadderState:
    """Restore the `LadderState` of a tree; the empty one is that of older runs."""
    fields = dict(tree)
    for name in ("begun", "spent"):
        if name in fields:
            fields[name] = Counts(**fields[name])
    fields["best"] = fields.get("best") and state_from_tree(fields["best"])
    return LadderState(**fields)


def conditioning_to_tree(conditioning: Conditioning) -> Tree:
    """Turn a `Conditioning` into a tree."""
    tree: Tree = dict(vars(conditioning))
    for name in TYPICALS:
        signals = tree[name]
        tree[name] = signals and signals._asdict()
    return tree


def conditioning_from_tree(tree: Tree) -> Conditioning:
    """Restore the `Conditioning` of a tree; the empty tree is that of older runs."""
    fields = dict(tree)
    for name in TYPICALS:
        signals = fields.get(name)
        fields[name] = signals and Typical(**signals)
    return Conditioning(**fields)


def _to_keys(fields: Tree, keys: dict[str, str]) -> Tree:
    """Rename fields to their keys in a checkpoint."""
    return {keys.get(name, name): value for name, value in fields.items()}


def _from_keys(tree: Tree, keys: dict[str, str]) -> Tree:
    """Rename keys of a checkpoint to the fields' names."""
    names = {key: name for name, key in keys.items()}
    return {names.get(key, key): value for key, value in tree.items()}


def _optimizer_to_tree(state: HFState | FirstOrderState | PolicyState) -> Tree:
    """The fields of an optimizer's state, and under "kind" which optimizer it is."""
    for kind, state_class in OPTIMIZER_STATES.items():
        if isinstance(state, state_class):
            return {"kind": kind, **asdict(state)}
    raise TypeError(f"no optimizer has the state {type(state).__name__}")


def _curve_to_tree(points: tuple[CurvePoint, ...]) -> Tree:
    """A learning curve as one array per field of its points."""
    # A dataset per field, not per point: a long training has thousands of points.
    return {
        name: np.array([getattr(point, name) for point in points])
        for name in CurvePoint._fields
    }


def _curve_from_tree(tree: Tree) -> tuple[CurvePoint, ...]:
    """The learning curve of a tree."""
    columns = [tree[name].tolist() for name in CurvePoint._fields]
    return tuple(
        CurvePoint(loss, int(updates), int(rollouts), seconds)
        for loss, updates, rollouts, seconds in zip(*columns, strict=True)
    )
