"""What a policy recorded while it explored: what policy gradients learn from."""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop, Rollout


class Truncations(NamedTuple):
    """Episodes that were truncated: time and trial of each, and what it had reached.

    `steps` (K,), `trials` (K,), `context` (nc, K). Their returns are bootstrapped: the
    critic's value of what was reached takes the place of the rewards to come.
    """

    steps: Array
    trials: Array
    context: Array

    @classmethod
    def none(cls, n_context: int) -> "Truncations":
        """Return no truncations at all, for a critic with `n_context` inputs."""
        no_index = np.zeros(0, dtype=int)
        return cls(no_index, no_index, np.zeros((n_context, 0)))


class Trajectories(NamedTuple):
    """Recorded steps of N trials over T steps, with one or more episodes per trial.

    `inputs` (T, n_input, N) of the network, `starts` (T, N): an episode starts at this
    step, `actions` (T, na, N), `rewards` (T, N), `done` (T, N): the episode is over
    after this step, `terminated` (T, N): it is over and has no future rewards,
    `context` (T, nc, N): the critic's inputs besides the network's hidden state,
    `is_kept` (T, N): the step is learnt from. Steps after the loss of a trial are not;
    their numbers are zero, and each of them starts an episode.

    `memory` (hidden, N) is the hidden state before the first step, of trials that do
    not start there; `is_cut` (N,) marks episodes that were not over at the end.

    `loss` is the loss to report, and `finished` are the returns of the episodes that
    ended in an environment. On a plant, `loop` and `rollout` are its closed loop and
    rollout, and `lost` trials ran away; in an environment they are None and 0.
    """

    inputs: Array
    starts: Array
    actions: Array
    rewards: Array
    done: Array
    terminated: Array
    context: Array
    truncations: Truncations
    is_kept: Array
    loss: float
    memory: Array
    is_cut: Array
    loop: ClosedLoop | None = None
    rollout: Rollout | None = None
    lost: int = 0
    finished: tuple[float, ...] = ()

    def whole_episodes(self) -> "Trajectories":
        """Return the trajectories without the steps of episodes that were cut.

        If there are no others, all are returned.
        """
        times = np.arange(len(self.starts))[:, None]
        last_start = np.where(self.starts, times, 0).max(axis=0)
        is_kept = self.is_kept & ~(self.is_cut & (times >= last_start))
        return self._replace(is_kept=is_kept) if is_kept.any() else self
