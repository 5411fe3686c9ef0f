"""Many seeds of one training: each is a run of its own, in a process of its own with one thread, as many at once as there are cores.

A run is the same bit for bit as the one that `--seed` alone would make. On a GPU they run one after the other unless asked otherwise:
processes share a card by turns.
"""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hfcontrol.errors import HFControlError, TrainingError, UsageError
from hfcontrol.run_folder import thin
from hfcontrol.runs import begin
from hfcontrol.settings import Settings

THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
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


def parsed(text):
    """The seeds that "0-31", "0,3,7" or both together name, in order; UsageError for other words."""
    fault = UsageError(f"--seeds {text}: whole numbers such as 0-31 or 0,3,7, at most {MOST} of them")
    found = []
    for part in str(text).split(","):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or (dash and int(high) - int(low) >= MOST):
            raise fault
        found += range(int(low), int(high or low) + 1)
    found = sorted(set(found))
    if not 1 <= len(found) <= MOST:
        raise fault
    return found


def train_seeds(settings, seeds, out=None, jobs=None, command=None, on_outcome=None):
    """The `Outcome` of every seed, the best first; `on_outcome` is called with each as it comes.

    `settings` are those of every training but for the seed, `command` what their checkpoints tell. The best run stays whole, of each
    other some of its checkpoints. After an interruption there are the outcomes that came. Raises UsageError for a number of jobs below
    1, and TrainingError, with the first seed's own line, where no seed could be trained.
    """
    jobs = jobs if jobs is not None else 1 if settings.device != "cpu" else os.cpu_count() or 1
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least 1 is needed")
    outcomes, faults, stopped = [], [], []

    def one(seed):
        if stopped:
            return
        asked = {"settings": settings.changed(seed=seed).tree(), "out": out and str(out), "command": command and f"{command} --seed {seed}"}
        told = _trained(asked, jobs)
        if "fault" in told:
            faults.append(told["fault"])
            return
        outcome = Outcome(seed, Path(told["path"]), *(told[name] for name in ("loss", "updates", "rollouts", "seconds", "stop")))
        outcomes.append(outcome)
        if outcome.stop == "interrupted":
            stopped.append(seed)
        if on_outcome:
            on_outcome(outcome)

    with ThreadPoolExecutor(min(jobs, len(seeds))) as pool:
        try:
            list(pool.map(one, seeds))
        except KeyboardInterrupt:  # it has reached their processes too, which end after the update in progress
            stopped.append(None)
    if not outcomes:
        raise TrainingError(faults[0] if faults else "stopped before any seed was done, and nothing was saved")
    outcomes.sort(key=lambda o: (o.loss, o.seed))
    for outcome in outcomes[1:]:
        thin(outcome.path, keep=1)
    return outcomes


def _trained(asked, jobs):
    """What a process of its own tells of the training asked for."""
    threads = {name: "1" for name in THREADS} if jobs > 1 else {}
    process = subprocess.Popen([sys.executable, "-m", "hfcontrol.seeds"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env={**os.environ, **threads})
    told, errors = process.communicate(json.dumps(asked))
    lines = told.strip().splitlines()
    return json.loads(lines[-1]) if lines else {"fault": f"the process of a seed ended without a word: {errors.strip()[-300:]}"}


def _answer():
    """Makes the training that is asked for on standard input, and tells on standard output what became of it."""
    asked = json.loads(sys.stdin.read())
    interrupted = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.append(True))
    try:
        training = begin(Settings.from_tree(asked["settings"]), asked["out"], command=asked["command"])
        for event in training.events():
            training.trainer.interrupted = bool(interrupted)
        state = event.state
        told = {"path": str(training.folder.path), "loss": state.loss, "updates": state.updates, "rollouts": state.rollouts,
                "seconds": state.seconds, "stop": event.stop.word}
    except HFControlError as error:
        told = {"fault": str(error)}
    print(json.dumps(told))


if __name__ == "__main__":
    _answer()
