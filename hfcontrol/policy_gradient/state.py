"""The state of training by policy gradients, and the data of its updates."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.network.input_scaling import Moments
from hfcontrol.optim.first_order import FirstOrderState
from hfcontrol.policy_gradient.workers import WorkersState


class Parameters(NamedTuple):
    """The trained vector in parts: network, log standard deviations and critic."""

    network: Array
    log_std: Array
    critic: Array


class Values(NamedTuple):
    """The critic's values, with the activations and starts that its adjoint needs."""

    values: Array
    activations: Array
    starts: Array


class Diagnostics(NamedTuple):
    """What an update reports: divergence from the old policy, clipping and entropy."""

    divergence: float
    clip_fraction: float
    entropy: float


class Batch(NamedTuple):
    """The data of an update, computed once per rollout before the first update.

    `inputs` (T, n_input, N), `actions` (T, na, N), critic `features` (T, nf, N) and
    `memory` (hidden, N), the hidden state before the first step; the others are (T, N).
    Losses are means over the steps that `is_kept` marks.
    """

    inputs: Array
    starts: Array
    actions: Array
    log_prob: Array
    advantages: Array
    values: Array
    features: Array
    is_kept: Array
    memory: Array

    def select(self, trials: Array | Sequence[int]) -> "Batch":
        """Return the batch of some trials, given by their indices."""
        # Compiled passes read contiguous arrays.
        return Batch(*(np.ascontiguousarray(a[..., trials]) for a in self))


@dataclass(frozen=True)
class PolicyState:
    """The state of policy-gradient training; checkpoints store its fields by name.

    `theta` (P,) is the controller's, `trained` holds all trained parameters (network on
    normalised inputs, log_std, critic) with the moments of their gradient, and
    `inputs`, `features` and `returns` are running moments. `discounted` (N,) are the
    discounted rewards so far of the episodes in progress, and `workers` are what
    collected them; on a plant, every rollout has whole episodes, and these are empty.
    """

    theta: Array
    trained: FirstOrderState
    inputs: Moments
    features: Moments
    returns: Moments
    updates: int = 0
    rollouts: int = 0
    discounted: Array = field(default_factory=lambda: np.zeros(0))
    workers: WorkersState | None = None

    def __post_init__(self) -> None:
        # A checkpoint stores these as dictionaries.
        if isinstance(self.trained, dict):
            object.__setattr__(self, "trained", FirstOrderState(**self.trained))
        kinds: dict[str, type] = dict.fromkeys(
            ("inputs", "features", "returns"), Moments
        )
        for name, kind in (*kinds.items(), ("workers", WorkersState)):
            value = getattr(self, name)
            if isinstance(value, dict):
                object.__setattr__(self, name, kind(**value))


@dataclass(frozen=True)
class PolicyReport:
    """What a round of updates did, and how many trials its rollout had lost.

    `accepted` and `rho` are those of other optimizers.
    """

    updates: int
    divergence: float
    clip_fraction: float
    entropy: float
    solver: str
    accepted: bool = True
    rho: float = np.nan
    lost: int = 0

    @property
    def iterations(self) -> int:
        """Number of gradient steps: one per update."""
        return self.updates
