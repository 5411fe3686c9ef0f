"""Training states as nested dictionaries for checkpoints."""

from dataclasses import asdict

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.optim.first_order import FirstOrderState
from hfcontrol.optim.hessian_free import HFState
from hfcontrol.policy_gradient.learner import PolicyState
from hfcontrol.training.curriculum import CurriculumState
from hfcontrol.training.holds import HoldState
from hfcontrol.training.state import CurvePoint, TrainingState, move_state

CURVES = ("history", "curve")  # of marks, kept as arrays


OPTIMIZER_STATES = {
    "hf": HFState,
    "first_order": FirstOrderState,
    "policy": PolicyState,
}


def state_tree(state):
    """A `TrainingState` as a nested dict for a checkpoint, which is the same wherever it was trained."""
    state = move_state(state, to_host)
    tree = {}
    for name, value in vars(state).items():
        if name == "counts":
            tree.update(value._asdict())
        elif name not in (*CURVES, "optimizer", "hold", "begun"):
            tree[name] = value
    kind = next(
        k for k, v in OPTIMIZER_STATES.items() if isinstance(state.optimizer, v)
    )
    tree["optimizer"] = {"kind": kind, **asdict(state.optimizer)}
    tree["hold"] = asdict(state.hold)
    for curve in CURVES:
        tree[curve] = {
            name: np.array([getattr(m, name) for m in getattr(state, curve)])
            for name in CurvePoint._fields
        }
    tree["begun"] = state.begun and state_tree(state.begun)
    return tree


def state_from_tree(tree):
    """The `TrainingState` of a checkpoint."""
    tree = dict(tree)
    counts = Counts(*(tree.pop(name) for name in Counts._fields))
    optimizer = dict(tree["optimizer"])
    changes = {
        "counts": counts,
        "optimizer": OPTIMIZER_STATES[optimizer.pop("kind")](**optimizer),
        "hold": HoldState(**tree["hold"]),
        "begun": tree["begun"] and state_from_tree(tree["begun"]),
    }
    for curve in CURVES:
        marks = zip(*(tree[curve][name].tolist() for name in CurvePoint._fields))
        changes[curve] = tuple(
            CurvePoint(loss, int(updates), int(rollouts), seconds)
            for loss, updates, rollouts, seconds in marks
        )
    return TrainingState(**{**tree, **changes})


def curriculum_tree(state):
    """A `CurriculumState` as a nested dict for a file."""
    return {
        **vars(state),
        "others": state.others._asdict(),
        "training": state_tree(state.training),
        "best": state.best and state_tree(state.best),
    }


def curriculum_from_tree(tree):
    """The `CurriculumState` of a file."""
    states = {
        name: tree[name] and state_from_tree(tree[name])
        for name in ("training", "best")
    }
    others = Counts(**tree["others"])
    return CurriculumState(**{**tree, **states, "others": others})
