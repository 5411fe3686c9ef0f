"""What comes before a training proper: horizons that grow, guidance, and initial weights that race each other.

They are for hard plants. Over a long horizon an unstable plant runs away from an untrained network, and what it does at the
end drowns what could be learnt at the beginning; a short horizon tells the first moves, and the next, twice as long, those
after. Where that does not help, good trajectories show the way (guide.py). Where the loss has many local minima, several
initial weights get a start and the best goes on.
"""

import time
from dataclasses import replace
from typing import NamedTuple

from hfcontrol.building import SCENARIOS, WEIGHTS, stream
from hfcontrol.guide import PARTS, Guide
from hfcontrol.training_state import Limits

RACE_UPDATES = 12  # that each of the raced initialisations gets
FOLLOWED = 4  # updates on the same trajectories
GROWTH = (1 / 8, 1 / 4, 1 / 2)  # of the horizon
SPENT = ("rollouts", "jacobian_steps", "tangent_steps", "adjoint_steps", "seconds")
FIRST = 128  # trials at most, for the first moves


class Stage(NamedTuple):
    """A task, the most updates to be made on it, those within a hold, and the loss at which it is done."""

    task: object
    updates: int
    batches: int
    close: float | None = None


def warm_up(trainer, settings, theta=None, tell=None):
    """The state to train on from: after `settings.grow` updates at each shorter horizon, at most `settings.guide` updates of
    following at each, and the race of `settings.race` initialisations, or from given weights theta (P,), not raced.

    Rollouts, Jacobian steps and seconds of all of it are counted; of iLQR, the seconds. The trainer's limit of seconds ends
    it too. `tell`, if given, is called with a text of what is being done.
    """
    tell = tell or (lambda text: None)
    stages, guiding = [], 0.0
    if settings.grow:
        task, trials = trainer.task, min(trainer.task.trials, FIRST)
        stages += [Stage(task.smaller(max(1, round(part * task.steps)), trials), settings.grow, settings.grow) for part in GROWTH]
    if settings.guide:
        begin = time.perf_counter()
        tell("iLQR looks for trajectories to follow")
        guide = Guide(trainer.plant, trainer.kernels, trainer.task, trainer.wiring, stream(settings, SCENARIOS))
        stages += [Stage(task, settings.guide, FOLLOWED, task.close) for task in map(guide.following, PARTS)]
        guiding = time.perf_counter() - begin
    states = [_raced(trainer, settings, stages, guiding, tell, theta if theta is not None else trainer.network.initial(
        stream(settings, WEIGHTS, *((k,) if k else ())))) for k in range(settings.race)]
    best, others = min(states, key=lambda state: state.loss), (settings.race - 1) * guiding
    spent = {name: sum(getattr(state, name) for state in states) for name in SPENT}
    return replace(best, **spent | {"seconds": spent["seconds"] - others})


def _raced(trainer, settings, stages, seconds, tell, theta):
    """The state of one initialisation: after the stages, before which so many seconds were spent, and with a dozen updates
    where others race it."""
    spent = dict.fromkeys(SPENT, 0) | {"seconds": seconds}
    for stage in stages:
        left = None if trainer.limits.seconds is None else trainer.limits.seconds - spent["seconds"]
        if left is not None and left <= 0:
            break
        first = replace(trainer, task=stage.task, limits=Limits(stage.batches, seconds=left))
        done = _updated(first, first.init(theta, stream(settings, SCENARIOS)), stage.updates, tell, stage.close)
        theta = done.theta
        spent = {name: spent[name] + getattr(done, name) for name in spent}
    state = replace(trainer.init(theta, stream(settings, SCENARIOS)), **spent)
    return _updated(trainer, state, RACE_UPDATES, tell) if settings.race > 1 else state


def _updated(trainer, state, updates, tell, close=None):
    """The state after so many updates, or where the training ends before or, if given, a hold begins with a loss so close."""
    for event in trainer.run(state):
        state = event.state
        tell(f"{'growing' if close is None else 'following'}, {event.loop.scenario.steps} steps: update {state.updates}, "
             f"loss {state.loss:.3g}")
        if state.updates >= updates or (close is not None and event.kind == "hold" and state.loss <= close):
            break
    return state
