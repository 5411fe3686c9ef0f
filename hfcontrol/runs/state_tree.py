"""Training states as nested dictionaries, and back.

The keys are those of the checkpoint format: they do not change when a field of a state
class is renamed.
"""

from dataclasses import asdict

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.optim.first_order import FirstOrderState
from hfcontrol.optim.hessian_free import HFState
from hfcontrol.policy_gradient.learner import PolicyState
from hfcontrol.runs.hdf5 import Tree
from hfcontrol.training.curriculum import CurriculumState
from hfcontrol.training.holds import HoldState
from hfcontrol.training.state import CurvePoint, TrainingState, move_state

# Fields that hold learning curves; each becomes one array per field of `CurvePoint`.
CURVES = ("history", "curve")

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
        elif name not in (*CURVES, "optimizer", "hold", "begun"):
            tree[name] = value

    tree["optimizer"] = _optimizer_to_tree(state.optimizer)
    tree["hold"] = asdict(state.hold)
    for name in CURVES:
        tree[name] = _curve_to_tree(getattr(state, name))
    tree["begun"] = state.begun and state_to_tree(state.begun)
    return tree


def state_from_tree(tree: Tree) -> TrainingState:
    """Restore the `TrainingState` of a tree."""
    fields = dict(tree)
    fields["counts"] = Counts(*(fields.pop(name) for name in Counts._fields))
    optimizer = dict(tree["optimizer"])
    fields["optimizer"] = OPTIMIZER_STATES[optimizer.pop("kind")](**optimizer)
    fields["hold"] = HoldState(**tree["hold"])
    for name in CURVES:
        fields[name] = _curve_from_tree(tree[name])
    fields["begun"] = tree["begun"] and state_from_tree(tree["begun"])
    return TrainingState(**fields)


def curriculum_to_tree(state: CurriculumState) -> Tree:
    """Turn a `CurriculumState` into a tree."""
    return {
        **vars(state),
        "others": state.others._asdict(),
        "training": state_to_tree(state.training),
        "best": state.best and state_to_tree(state.best),
    }


def curriculum_from_tree(tree: Tree) -> CurriculumState:
    """Restore the `CurriculumState` of a tree."""
    fields = dict(tree)
    fields["others"] = Counts(**tree["others"])
    for name in ("training", "best"):
        fields[name] = tree[name] and state_from_tree(tree[name])
    return CurriculumState(**fields)


def _optimizer_to_tree(state: HFState | FirstOrderState | PolicyState) -> Tree:
    """The fields of an optimizer's state, and under "kind" which optimizer it is."""
    for kind, state_class in OPTIMIZER_STATES.items():
        if isinstance(state, state_class):
            return {"kind": kind, **asdict(state)}
    raise TypeError(f"no optimizer has the state {type(state).__name__}")


def _curve_to_tree(points: tuple[CurvePoint, ...]) -> Tree:
    """A learning curve as one array per field of its points."""
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
