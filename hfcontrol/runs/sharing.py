"""One training in several processes: what must be the same in all of them.

Each process takes the same decisions from the same numbers. Where a process reads
another plant, or computes other last bits, they would part at some decision, and wait
for each other for ever: that is refused before the training begins.
"""

from collections.abc import Mapping
from typing import Any

from hfcontrol.arrays.communicator import current_communicator
from hfcontrol.closed_loop.shares import check_ranks
from hfcontrol.errors import UsageError
from hfcontrol.plant.contract import Plant
from hfcontrol.policy_gradient.trainer import PolicyTrainer
from hfcontrol.runs.machine import Machine
from hfcontrol.runs.settings import Settings
from hfcontrol.training.trainer import Trainer

# Characters of a hash that are shown.
SHOWN = 12


def check_processes(settings: Settings, plant: Plant) -> None:
    """Raise UsageError if the processes of a training are not alike.

    They need the same versions, type of processor, plant file and settings.
    """
    communicator = current_communicator()
    if communicator.ranks == 1:
        return
    here = Machine.here()
    own = {
        "versions": here.versions,
        "processor": here.processor,
        "plant": plant.source_hash[:SHOWN],
        "settings": repr(settings.tree()),
    }
    first, *others = communicator.collect(own)
    for rank, other in enumerate(others, 1):
        fault = _compare(settings, first, other)
        if fault:
            raise UsageError(f"process {rank} {fault}")


def _compare(
    settings: Settings, first: Mapping[str, Any], other: Mapping[str, Any]
) -> str | None:
    """Return how a process differs from the first one, in words; None if it does not.

    The words follow the name of the process.
    """
    for name, version in first["versions"].items():
        found = other["versions"].get(name)
        if found != version:
            return (
                f"has {name} {found}, and process 0 has {version}: install the same "
                "versions on all machines"
            )
    if other["plant"] != first["plant"]:
        return (
            f"reads another plant {settings.plant} (hash {other['plant']}) than "
            f"process 0 ({first['plant']}): give all the same file, on a shared disk"
        )
    if other["processor"] != first["processor"]:
        return (
            f"runs on a processor of type {other['processor']}, and process 0 on "
            f"{first['processor']}, which differ in the last bits of their results: "
            "use machines of one type"
        )
    if other["settings"] != first["settings"]:
        return "has other settings than process 0: give all the same options"
    return None


def check_shares(trainer: Trainer | PolicyTrainer) -> None:
    """Raise UsageError if a training cannot be shared by the processes that there are.

    An environment or a trajectory in continuous time has no blocks of trials.
    """
    ranks = current_communicator().ranks
    if ranks == 1:
        return
    in_one = "trains in one process; start it without mpiexec"
    if isinstance(trainer, PolicyTrainer) and trainer.plant.environment:
        raise UsageError(f"{ranks} processes: an environment {in_one}")
    if isinstance(trainer, Trainer) and trainer.estimator:
        raise UsageError(f"{ranks} processes with `estimator`: it {in_one}")
    task: Any = trainer.task
    check_ranks(task.trials)
