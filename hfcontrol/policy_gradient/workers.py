"""Copies of an environment whose episodes go on from one rollout to the next.

A checkpoint says how each copy got where it is: the seed of its episode, and the
actions since. So nothing of an environment is copied or pickled, and a resumed training
brings its copies there by the same actions. A copy that reaches something else, because
its environment draws random numbers that the seed does not decide, begins a new
episode.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import CheckpointError
from hfcontrol.plant.environment import Environment
from hfcontrol.plant.episodes import EnvironmentCopy, Transition

# Seeds of environments are drawn below this number.
SEED_LIMIT = 2**31 - 1

# The length of an episode that has not begun.
NOT_BEGUN = -1


@dataclass(frozen=True)
class WorkersState:
    """How N copies got where they are, in flat arrays of floats.

    `seeds` (N,) and `lengths` (N,) are those of the episodes in progress; `lengths` is
    -1 where the next step begins an episode. `actions` are those of all steps since the
    seeds (na each), copy by copy. `observations` (N n,) is what the copies show,
    `memory` (hidden N,) the hidden state of the network, and `returns` (N,) are the
    sums of rewards so far.
    """

    seeds: Array
    lengths: Array
    actions: Array
    observations: Array
    memory: Array
    returns: Array


class Workers:
    """`copies` of an environment with observations of n numbers, and what they show.

    `observations` (n, N), `memory` (hidden, N) and `returns` (N,) are those of
    `WorkersState`; `is_over` (N,) marks copies whose next step begins an episode.
    `restarted` copies have begun a new episode instead of the one in a checkpoint.
    """

    def __init__(
        self,
        environment: Environment,
        copies: Sequence[EnvironmentCopy],
        n_hidden: int,
        saved: WorkersState | None = None,
    ) -> None:
        count = len(copies)
        self.environment = environment
        self.copies = copies
        self.observations = np.zeros((environment.n_observation, count))
        self.memory = np.zeros((n_hidden, count))
        self.returns = np.zeros(count)
        self.is_over = np.ones(count, dtype=bool)
        self.restarted = 0
        self._seeds = np.zeros(count, dtype=np.int64)
        self._actions: list[list[Array]] = [[] for _ in copies]
        if saved is not None:
            self._restore(saved)

    def _restore(self, saved: WorkersState) -> None:
        """Bring the copies where they were, by the actions that they took.

        Raises CheckpointError for a state of other copies.
        """
        count = len(self.copies)
        _check_numbers(saved)
        lengths = np.maximum(saved.lengths, 0).astype(int)
        n_action = 1 if self.environment.discrete else self.environment.n_control
        taken_size = n_action * int(lengths.sum())
        shown = (self.observations.size, self.memory.size)
        sizes = [array.size for array in vars(saved).values()]
        if sizes != [count, count, taken_size, *shown, count]:
            raise CheckpointError(
                f"its workers are not those of {count} copies of {self.environment.id}"
            )
        self._seeds[:] = saved.seeds
        self.memory[:] = saved.memory.reshape(self.memory.shape)
        observations = saved.observations.reshape(count, -1)
        taken = np.split(saved.actions.reshape(-1, n_action), np.cumsum(lengths)[:-1])
        for n in map(int, np.flatnonzero(saved.lengths != NOT_BEGUN)):
            actions = list(taken[n])
            reached = self._repeat(n, actions)
            if not np.array_equal(reached, observations[n]):
                self.restarted += 1
                continue
            self.observations[:, n] = reached
            self.returns[n] = saved.returns[n]
            self.is_over[n] = False
            self._actions[n] = actions

    def _repeat(self, n: int, actions: Sequence[Array]) -> Array:
        """Return the observation (n,) of a copy after an episode's actions so far."""
        reached = self.copies[n].reset(int(self._seeds[n]))
        for action in actions:
            step = self.copies[n].step(self.environment.action(action))
            reached = step.observation
        return reached

    def saved(self) -> WorkersState:
        """Return how the copies got where they are."""
        lengths = np.array([float(len(actions)) for actions in self._actions])
        lengths[self.is_over] = NOT_BEGUN
        taken = [action for actions in self._actions for action in actions]
        return WorkersState(
            self._seeds.astype(float),
            lengths,
            np.concatenate([np.zeros(0), *taken]),
            self.observations.T.ravel(),
            self.memory.ravel().copy(),
            self.returns.copy(),
        )

    def begin(self, rng: np.random.Generator) -> Array:
        """Begin an episode where one is due; return where that was (N,)."""
        begun = self.is_over.copy()
        for n in map(int, np.flatnonzero(begun)):
            self._seeds[n] = rng.integers(SEED_LIMIT)
            self._actions[n] = []
            self.observations[:, n] = self.copies[n].reset(int(self._seeds[n]))
        self.returns[begun] = 0.0
        self.is_over[:] = False
        return begun

    def step(self, actions: Array) -> list[Transition]:
        """Make one step of each copy under actions (na, N)."""
        steps = []
        for n, copy in enumerate(self.copies):
            step = copy.step(self.environment.action(actions[:, n]))
            self._actions[n].append(actions[:, n].copy())
            self.observations[:, n] = step.observation
            self.returns[n] += step.reward
            self.is_over[n] = step.terminated or step.truncated
            if self.is_over[n]:
                # Nothing leads on from here.
                self._actions[n] = []
            steps.append(step)
        return steps


def _check_numbers(saved: WorkersState) -> None:
    """Raise CheckpointError for numbers that no workers have saved."""
    for name, values in vars(saved).items():
        if not np.isfinite(values).all():
            raise CheckpointError(f"the {name} of its workers are not finite")
    for name, values, least in (
        ("seeds", saved.seeds, 0),
        ("lengths", saved.lengths, NOT_BEGUN),
    ):
        is_in_range = (values >= least) & (values < SEED_LIMIT)
        if not (is_in_range & (values == np.round(values))).all():
            raise CheckpointError(
                f"the {name} of its workers must be whole numbers from {least} to "
                f"{SEED_LIMIT - 1}"
            )
