"""Second-order training of recurrent controllers on your simulator.

import hfcontrol as hf
run = hf.train("arm2", task="reach", batches=32, seed=0)
print(run, hf.evaluate(run).ratio)
"""

import os
import sys

try:
    from typing import TYPE_CHECKING, Any

    from hfcontrol import api
    from hfcontrol.version import __version__
except KeyboardInterrupt:
    # Ctrl-C in the first instants of the command line; elsewhere it is the caller's.
    program = [os.path.basename(word) for word in sys.orig_argv[1:3]]
    if program[:1] == ["hfcontrol"] or program == ["-m", "hfcontrol"]:
        os.write(2, b"\nhfcontrol: stopped\n")
        os._exit(130)
    raise

if TYPE_CHECKING:
    from hfcontrol.api import (
        Controller,
        EarlyStop,
        Evaluation,
        Event,
        HFControlError,
        Plant,
        Run,
        RunTable,
        Settings,
        StopTraining,
        SweepTable,
        Trajectories,
        animate,
        benchmark,
        check_plant,
        compare,
        evaluate,
        export,
        load_plant,
        plant_names,
        plot,
        plot_tradeoff,
        report,
        resume,
        simulate,
        sweep,
        train,
    )

__all__ = [
    "Controller",
    "EarlyStop",
    "Evaluation",
    "Event",
    "HFControlError",
    "Plant",
    "Run",
    "RunTable",
    "Settings",
    "StopTraining",
    "SweepTable",
    "Trajectories",
    "__version__",
    "animate",
    "benchmark",
    "check_plant",
    "compare",
    "evaluate",
    "export",
    "load_plant",
    "plant_names",
    "plot",
    "plot_tradeoff",
    "report",
    "resume",
    "simulate",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that `import hfcontrol` is quick."""
    return getattr(api, name)


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return list(__all__)
