"""Many seeds of one training: each is a run of its own, the one that `--seed` alone would make.

On the CPU each has a process of its own with one thread, as many at once as there are cores, and is the same bit for bit. On a GPU
all go abreast in this process (gathering.py), and are the same to rounding; what cannot go so goes by turns, in processes as on
the CPU but one at a time unless asked otherwise.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hfcontrol.arrays.device import resolve_device
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.errors import HFControlError, TrainingError, UsageError
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.factory import Preparation, make_trainer
from hfcontrol.runs.folder import thin
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.training import start_training
from hfcontrol.training import many_networks as gathering
from hfcontrol.training.stop import StopToken

THREADS = (
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
MOST = 1024  # seeds


@dataclass(frozen=True)
class Outcome:
    """What became of one seed: its run's folder, loss, updates, rollouts, seconds, and the word for why it stopped."""

    seed: int
    path: Path
    loss: float
    updates: int
    rollouts: int
    seconds: float
    stop: str


def parse_seeds(text):
    """The seeds that "0-31", "0,3,7" or both together name, in order; UsageError for other words."""
    fault = UsageError(
        f"--seeds {text}: whole numbers such as 0-31 or 0,3,7, at most {MOST} of them"
    )
    found = []
    for part in str(text).split(","):
        low, dash, high = part.partition("-")
        if (
            not low.isdecimal()
            or (dash and not high.isdecimal())
            or (dash and int(high) - int(low) >= MOST)
        ):
            raise fault
        found += range(int(low), int(high or low) + 1)
    found = sorted(set(found))
    if not 1 <= len(found) <= MOST:
        raise fault
    return found


def train_seeds(
    settings, seeds, out=None, jobs=None, command=None, on_outcome=None, tell=None
):
    """The `Outcome` of every seed, the best first; `on_outcome` is called with each as it comes, and `tell` with a line on how they go.

    `settings` are those of every training but for the seed, `command` what their checkpoints tell; a number of `jobs` asks for
    processes. The best run stays whole, of each other some of its checkpoints. After an interruption there are the outcomes that came.
    Raises UsageError for a number of jobs below 1, DeviceError where they do not fit on a GPU, and TrainingError, with the first
    seed's own line, where no seed could be trained.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least 1 is needed")
    outcomes, faults = [], []

    def note(seed, told):
        if told.get("warming"):
            if tell:
                tell(
                    f"seed {seed:4d}  stopped in its warm-up; go on with: hfcontrol train --resume {told['path']}"
                )
            return
        if "fault" in told:
            faults.append(told["fault"])
            return
        outcomes.append(Outcome(seed, **{**told, "path": Path(told["path"])}))
        if on_outcome:
            on_outcome(outcomes[-1])

    on_gpu = resolve_device(settings.device) == "gpu"
    try:
        why = (
            None
            if not on_gpu
            else "--jobs asks for processes"
            if jobs
            else _abreast(settings, seeds, out, command, note)
        )
        if why and tell:
            tell(f"the seeds share the GPU by turns: {why}")
        if why or not on_gpu:
            _in_processes(
                settings,
                seeds,
                out,
                jobs or (1 if on_gpu else os.cpu_count() or 1),
                command,
                note,
            )
    except (
        KeyboardInterrupt
    ):  # it has reached their processes too, which end after the update in progress
        pass
    if not outcomes:
        raise TrainingError(
            faults[0]
            if faults
            else "stopped before any seed was done; `hfcontrol runs` lists what was saved of them"
        )
    outcomes.sort(key=lambda o: (o.loss, o.seed))
    for outcome in outcomes[1:]:
        thin(outcome.path, keep=1)
    return outcomes


def _abreast(settings, seeds, out, command, note):
    """Trains all seeds at once on a GPU, and notes what became of each; or does nothing, and returns why they cannot go so."""
    begun = time.perf_counter()
    plant = load_plant(settings.plant)
    trainer = make_trainer(settings, plant)
    loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    why = gathering.obstacle(settings, loop)
    if why:
        return why
    gathering.check_memory(loop, trainer.optimizer, len(seeds))
    gathering.Gathering(trainer).prepare(loop, len(seeds))
    prepared = Preparation(
        time.perf_counter() - begun, trainer.optimizer.choose_solver(loop)[0], ()
    )
    trainings = {}
    with _interruptible() as stop_token:
        for seed in seeds:
            try:
                trainings[seed] = start_training(
                    settings.changed(seed=seed),
                    out,
                    command=command and f"{command} --seed {seed}",
                    plant=plant,
                    prepared=prepared,
                )
            except HFControlError as error:
                note(seed, {"fault": str(error)})
        if not trainer.task.random:
            _share_optimum(trainings.values())
        names = list(trainings)
        events = (
            gathering.train(list(trainings.values()), stop_token) if trainings else ()
        )
        for k, event in events:
            if isinstance(event, HFControlError):
                note(names[k], {"fault": str(event)})
            elif event.stop:
                note(names[k], _told(trainings[names[k]], event))
    return None


def _share_optimum(trainings):
    """Lets trainings whose scenarios are the same look for the optimum once, where one of them wants to know it."""
    found, look = [], [training.trainer.optimal for training in trainings][:1]

    def optimal(loop):
        if not found:
            found.append(look[0](loop))
        return found[0]

    for training in trainings:
        training.trainer.optimal = optimal


@contextmanager
def _interruptible():
    """A `StopToken` that a signal to stop sets; a second signal stops at once."""
    stop_token = StopToken()

    def stop(number, frame):
        if stop_token.stopped:
            raise KeyboardInterrupt
        stop_token.stop()

    with _handled(stop, signal.SIGINT, signal.SIGTERM):
        yield stop_token


@contextmanager
def _handled(handler, *numbers):
    """Hands signals of these numbers to a handler, in the main thread, which is the one that they reach."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _in_processes(settings, seeds, out, jobs, command, note):
    """Trains every seed in a process of its own, so many at once, and notes what became of each."""
    processes, stopped = [], []

    def one(seed):
        if stopped:
            return
        told = _trained(
            {
                "settings": settings.changed(seed=seed).tree(),
                "out": out and str(out),
                "command": command and f"{command} --seed {seed}",
            },
            jobs,
            started,
        )
        if told.get("stop") == "interrupted":
            stopped.append(seed)
        note(seed, told)

    def started(process):
        processes.append(process)
        if stopped:
            process.terminate()

    def end(*_):
        stopped.append(None)
        for process in processes:
            process.terminate()  # one that runs ends after the update in progress

    with (
        ThreadPoolExecutor(min(jobs, len(seeds))) as pool,
        _handled(end, signal.SIGTERM),
    ):
        try:
            list(pool.map(one, seeds))
        except KeyboardInterrupt:  # it has reached the processes too
            stopped.append(None)
            raise


def _told(training, event):
    """What is told of a training that has ended with an event: its `Outcome` but for the seed, or that it was interrupted in its
    warm-up."""
    state, path = event.state, str(training.folder.path)
    if event.kind == "warming":
        return {"path": path, "stop": event.stop.word, "warming": True}
    return {
        "path": path,
        "loss": state.loss,
        "updates": state.updates,
        "rollouts": state.rollouts,
        "seconds": state.seconds,
        "stop": event.stop.word,
    }


def _trained(asked, jobs, started):
    """What a process of its own tells of the training asked for; `started` is called with the process."""
    threads = {name: "1" for name in THREADS} if jobs > 1 else {}
    process = subprocess.Popen(
        [sys.executable, "-m", "hfcontrol.runs.seeds"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads},
    )
    started(process)
    told, errors = process.communicate(json.dumps(asked))
    lines = told.strip().splitlines()
    return (
        json.loads(lines[-1])
        if lines
        else {
            "fault": f"the process of a seed ended without a word: {errors.strip()[-300:]}"
        }
    )


def _answer():
    """Makes the training that is asked for on standard input, and tells on standard output what became of it."""
    asked = json.loads(sys.stdin.read())
    stop_token = StopToken()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop_token.stop())
    try:
        training = start_training(
            Settings.from_tree(asked["settings"]),
            asked["out"],
            command=asked["command"],
        )
        for event in training.events(stop_token):
            pass
        told = _told(training, event)
    except HFControlError as error:
        told = {"fault": str(error)}
    print(json.dumps(told))


if __name__ == "__main__":
    _answer()
