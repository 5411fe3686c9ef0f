"""The trainer: a generator of events, which prints and writes nothing.

    for event in Trainer(task, ..., limits=limits).run(state):
        ...

A `TrainingState` is all that a later `run` needs to continue bit for bit.
"""

from collections.abc import Iterator

from hfcontrol.training.outer_loop import OuterLoop
from hfcontrol.training.problem import TrainingProblem
from hfcontrol.training.state import Event, TrainingState
from hfcontrol.training.stop import StopToken


class Trainer(TrainingProblem):
    """A training problem that can be run."""

    def run(
        self, state: TrainingState, stop_token: StopToken | None = None
    ) -> Iterator[Event]:
        """Yield the events of a training from `state` on, the last of kind "done".

        `stop_token` is read between updates. Raises DivergedError if the loss of the
        first weights is not finite.
        """
        yield from OuterLoop(self, state, stop_token or StopToken()).events()
