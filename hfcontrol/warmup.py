"""What comes before a training proper: horizons that grow, and initial weights that race each other.

Both are for hard plants. Over a long horizon an unstable plant runs away from an untrained network, and what it does at the
end drowns what could be learnt at the beginning; a short horizon tells the first moves, and the next, twice as long, those
after. Where the loss has many local minima, several initial weights get a start and the best goes on.
"""

from dataclasses import replace

from hfcontrol.settings import SCENARIOS, WEIGHTS, stream
from hfcontrol.training_state import Limits

RACE_UPDATES = 12  # that each of the raced initialisations gets
GROWTH = (1 / 8, 1 / 4, 1 / 2)  # of the horizon


def warm_up(trainer, settings, theta=None):
    """The state to train on from: after `settings.grow` updates at each shorter horizon and the race of `settings.race`
    initialisations, or from given weights theta (P,), which are not raced.

    Rollouts, Jacobian steps and seconds of all of it are counted.
    """
    states = [_raced(trainer, settings, theta if theta is not None else trainer.network.initial(
        stream(settings, WEIGHTS, *((k,) if k else ())))) for k in range(settings.race)]
    best = min(states, key=lambda state: state.loss)
    if settings.race == 1:
        return best
    return replace(best, **{name: sum(getattr(state, name) for state in states)
                            for name in ("rollouts", "seconds", "jacobian_steps")})


def _raced(trainer, settings, theta):
    """The state of one initialisation: grown, and with a dozen updates where there are others to race."""
    spent = {"rollouts": 0, "seconds": 0.0, "jacobian_steps": 0}
    for part in GROWTH if settings.grow else ():
        short = replace(trainer, task=trainer.task.shortened(max(1, round(part * trainer.task.steps))),
                        limits=Limits(settings.grow))
        grown = _updated(short, short.init(theta, stream(settings, SCENARIOS)), settings.grow)
        theta = grown.theta
        spent = {name: spent[name] + getattr(grown, name) for name in spent}
    state = replace(trainer.init(theta, stream(settings, SCENARIOS)), **spent)
    return _updated(trainer, state, RACE_UPDATES) if settings.race > 1 else state


def _updated(trainer, state, updates):
    """The state after so many updates, or where the training ends before."""
    for event in trainer.run(state):
        state = event.state
        if state.updates >= updates:
            break
    return state
