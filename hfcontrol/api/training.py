"""Train and resume from Python."""

from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import settings_for
from hfcontrol.runs.training import continue_training, start_training


def train(plant="arm2", *, out=None, start=None, on_event=None, **settings):
    """Train a controller and return its `Run`: `hf.train("arm2", task="reach", batches=32, seed=0)`.

    `settings` are the fields of `Settings`; `start` is a run whose weights to begin with, `on_event` is called with every
    `Event`, those of the warm-up too. Raises kinds of HFControlError only.
    """
    training = start_training(settings_for(plant=plant, **settings), out, start)
    for event in training.events():
        if on_event:
            on_event(event)
    return training.run


def resume(where=None, *, force=False, on_event=None, **limits):
    """Go on with a run, the newest by default, and return it: `hf.resume("weights/...", rollouts=100)`."""
    training = continue_training(Run.load(where, allow_unfinished=True), limits, force)
    for event in training.events():
        if on_event:
            on_event(event)
    return training.run
