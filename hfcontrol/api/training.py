"""Train and resume from Python."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hfcontrol.api.callbacks import (
    Callback,
    ProgressBar,
    is_notebook,
    list_callbacks,
)
from hfcontrol.errors import HFControlWarning, UsageError
from hfcontrol.runs.interrupts import stop_on_interrupt
from hfcontrol.runs.logs import check_logs, open_logs
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import SettingsDict, TrainKeywords, settings_for
from hfcontrol.runs.training import Training, continue_training, start_training
from hfcontrol.training.state import Stop
from hfcontrol.training.stop import StopToken, StopTraining

if TYPE_CHECKING:
    from typing_extensions import Unpack


def train(
    plant: str | Path = "arm2",
    *,
    out: str | Path | None = None,
    start: Run | Path | str | None = None,
    on_event: Callback | Iterable[Callback] | None = None,
    progress: bool | None = None,
    log: str | Iterable[str] = (),
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
    on_event: a function, or several, called with every `Event`, those of the curriculum
        too. It may raise `hf.StopTraining` to end the training.
    progress: whether a bar shows the training; default in notebooks only.
    log: "csv", "tensorboard" or both: files in the run's folder (docs/runs.md).
    settings: the keywords of `Settings`; docs/options.md describes them.

    Raises UsageError, PlantError or TaskError if the settings do not fit together,
    DeviceError without a usable GPU, TrainingError if training cannot go on, and
    CheckpointError if the folder cannot be written.
    """
    follow = _Followers(list_callbacks(on_event), progress, check_logs(log))
    if not isinstance(out, (str, PathLike, NoneType)):
        raise UsageError(f"`out` {out!r}: must be the path of a folder")
    first = None if start is None else Run.load(start)
    chosen = settings_for(plant=plant, **settings)
    return _run(start_training(chosen, out, first), follow)


def resume(
    where: Run | Path | str | None = None,
    *,
    force: bool = False,
    on_event: Callback | Iterable[Callback] | None = None,
    progress: bool | None = None,
    log: str | Iterable[str] = (),
    **limits: "Unpack[SettingsDict]",
) -> Run:
    """Continue a run, the newest by default, and return it.

        run = hf.resume("weights/arm2-reach-20261121-093105-seed0", rollouts=100)

    where: a `Run`, its folder or a checkpoint.
    force: continue although the plant's file has changed.
    on_event, progress, log: as in `train`.
    limits: new values of `rollouts`, `max_seconds`, `target_loss` or `target_ratio`,
        and of `plant` and `device`.

    Raises UsageError for other settings, TrainingError if the plant's file has changed,
    and CheckpointError if there is no such run.
    """
    follow = _Followers(list_callbacks(on_event), progress, check_logs(log))
    run = Run.load(where, allow_unfinished=True)
    return _run(continue_training(run, {**limits}, force), follow)


class _Followers(NamedTuple):
    """What follows a training: callbacks, whether a bar does, and names of logs."""

    callbacks: list[Callback]
    progress: bool | None
    logs: list[str]


def _run(training: Training, follow: _Followers) -> Run:
    """Run a training to its end, or until it is interrupted, and return its run."""
    stop_token = StopToken()
    was_asked = False
    # Numbers that run away are reported in words, not by warnings of NumPy.
    with (
        _opened(training, follow) as followers,
        stop_on_interrupt(stop_token),
        np.errstate(all="ignore"),
    ):
        for event in training.events(stop_token):
            try:
                for callback in followers:
                    callback(event)
            except StopTraining:
                was_asked = True
                stop_token.stop()
    if event.stop is Stop.INTERRUPTED and not was_asked:
        where = training.folder.path
        warnings.warn(
            f"the training was interrupted; hf.resume({str(where)!r}) continues it",
            HFControlWarning,
            stacklevel=3,
        )
    if event.kind == "curriculum":
        return Run.load(training.folder.path, allow_unfinished=True)
    return training.run


@contextmanager
def _opened(training: Training, follow: _Followers) -> Iterator[list[Callback]]:
    """Yield all that follows a training: first the bar and the logs, then callbacks."""
    shows_bar = is_notebook() if follow.progress is None else follow.progress
    folder = training.folder.path
    with ExitStack() as stack:
        followers: list[Callback] = []
        for log in open_logs(follow.logs, folder, training.updates):
            followers.append(stack.enter_context(closing(log)))
        if shows_bar:
            followers.append(stack.enter_context(closing(ProgressBar())))
        yield [*followers, *follow.callbacks]
