"""What comes before a training proper: horizons that grow, guidance, and initial weights that race each other.

They are for hard plants. Over a long horizon an unstable plant runs away from an untrained network, and what it does at the
end drowns what could be learnt at the beginning; a short horizon tells the first moves, and the next, twice as long, those
after. Where that does not help, good trajectories show the way (guide.py). Where the loss has many local minima, several
initial weights get a start and the best goes on.
"""

import time
from dataclasses import replace

from hfcontrol.guide import PARTS, Guide
from hfcontrol.settings import SCENARIOS, WEIGHTS, stream
from hfcontrol.training_state import Limits

RACE_UPDATES = 12  # that each of the raced initialisations gets
GROWTH = (1 / 8, 1 / 4, 1 / 2)  # of the horizon


def warm_up(trainer, settings, theta=None):
    """The state to train on from: after `settings.grow` updates at each shorter horizon, at most `settings.guide` updates of
    following at each, and the race of `settings.race` initialisations, or from given weights theta (P,), not raced.

    Rollouts, Jacobian steps and seconds of all of it are counted; of iLQR, the seconds.
    """
    stages = [(trainer.task.shortened(max(1, round(part * trainer.task.steps))), Limits(settings.grow)) for part in GROWTH
              if settings.grow]
    begin = time.perf_counter()
    if settings.guide:
        loop = trainer.loop(stream(settings, SCENARIOS))
        guide = Guide(trainer.plant, trainer.kernels, loop.scenario, trainer.wiring)
        stages += [(task, Limits(settings.guide, task.close)) for task in map(guide.following, PARTS)]
    guiding = time.perf_counter() - begin
    states = [_raced(trainer, settings, stages, theta if theta is not None else trainer.network.initial(
        stream(settings, WEIGHTS, *((k,) if k else ())))) for k in range(settings.race)]
    best = min(states, key=lambda state: state.loss)
    totals = {name: sum(getattr(state, name) for state in states) for name in ("rollouts", "seconds", "jacobian_steps")}
    return replace(best, **{**totals, "seconds": totals["seconds"] + guiding}) if settings.guide or settings.race > 1 else best


def _raced(trainer, settings, stages, theta):
    """The state of one initialisation: after the stages, tasks and limits, and with a dozen updates where others race it."""
    spent = {"rollouts": 0, "seconds": 0.0, "jacobian_steps": 0}
    for task, limits in stages:
        first = replace(trainer, task=task, limits=limits)
        done = _updated(first, first.init(theta, stream(settings, SCENARIOS)), limits.batches)
        theta = done.theta
        spent = {name: spent[name] + getattr(done, name) for name in spent}
    state = replace(trainer.init(theta, stream(settings, SCENARIOS)), **spent)
    return _updated(trainer, state, RACE_UPDATES) if settings.race > 1 else state


def _updated(trainer, state, updates):
    """The state after so many updates, or where the training ends before."""
    for event in trainer.run(state):
        state = event.state
        if state.updates >= updates:
            break
    return state
