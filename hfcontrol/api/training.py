"""Train and resume from Python."""

import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

import numpy as np

from hfcontrol.errors import HFControlWarning, UsageError
from hfcontrol.runs.interrupts import stop_on_interrupt
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import SettingsDict, TrainKeywords, settings_for
from hfcontrol.runs.training import Training, continue_training, start_training
from hfcontrol.training.state import Event, Stop
from hfcontrol.training.stop import StopToken

if TYPE_CHECKING:
    from typing_extensions import Unpack


def train(
    plant: str | Path = "arm2",
    *,
    out: str | Path | None = None,
    start: Run | Path | str | None = None,
    on_event: Callable[[Event], object] | None = None,
    **settings: "Unpack[TrainKeywords]",
) -> Run:
    """Train a controller and return its run.

        run = hf.train("arm2", task="reach", batches=32, seed=0)

    An interrupt (Ctrl-C, or a notebook's stop button) ends the training after the
    update in progress. The run is saved and returned, with a warning; a second
    interrupt raises KeyboardInterrupt. A run that is interrupted in its curriculum can
    only be resumed.

    plant: the name of a shipped plant, a file, or a simulator's name such as gym:ID.
    out: where the run's folder is created, default ./weights.
    start: a run, or its path, whose weights it starts from, default random weights.
    on_event: called with every event, those of the curriculum too.
    settings: the keywords of `Settings`; docs/options.md describes them.

    Raises UsageError, PlantError or TaskError if the settings do not fit together,
    DeviceError without a usable GPU, TrainingError if training cannot go on, and
    CheckpointError if the folder cannot be written.
    """
    _check_callback(on_event)
    if not isinstance(out, (str, PathLike, NoneType)):
        raise UsageError(f"`out` {out!r}: must be the path of a folder")
    first = None if start is None else Run.load(start)
    chosen = settings_for(plant=plant, **settings)
    return _run(start_training(chosen, out, first), on_event)


def resume(
    where: Run | Path | str | None = None,
    *,
    force: bool = False,
    on_event: Callable[[Event], object] | None = None,
    **limits: "Unpack[SettingsDict]",
) -> Run:
    """Continue a run, the newest by default, and return it.

        run = hf.resume("weights/arm2-reach-20261121-093105-seed0", rollouts=100)

    where: a `Run`, its folder or a checkpoint.
    force: continue although the plant's file has changed.
    on_event: called with every event.
    limits: new values of `rollouts`, `max_seconds`, `target_loss` or `target_ratio`,
        and of `plant` and `device`.

    Raises UsageError for other settings, TrainingError if the plant's file has changed,
    and CheckpointError if there is no such run.
    """
    _check_callback(on_event)
    run = Run.load(where, allow_unfinished=True)
    return _run(continue_training(run, {**limits}, force), on_event)


def _check_callback(on_event: object) -> None:
    """Raise UsageError for what cannot be called with an event."""
    if on_event is not None and not callable(on_event):
        raise UsageError(f"`on_event` {on_event!r}: must be a function of an event")


def _run(training: Training, on_event: Callable[[Event], object] | None) -> Run:
    """Run a training to its end, or until it is interrupted, and return its run."""
    stop_token = StopToken()
    # Numbers that run away are reported in words, not by warnings of NumPy.
    with stop_on_interrupt(stop_token), np.errstate(all="ignore"):
        for event in training.events(stop_token):
            if on_event is not None:
                on_event(event)
    if event.stop is Stop.INTERRUPTED:
        where = training.folder.path
        warnings.warn(
            f"the training was interrupted; hf.resume({str(where)!r}) continues it",
            HFControlWarning,
            stacklevel=3,
        )
    if event.kind == "curriculum":
        return Run.load(training.folder.path, allow_unfinished=True)
    return training.run
