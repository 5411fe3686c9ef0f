"""Second-order training of recurrent controllers on your simulator.

import hfcontrol as hf
run = hf.train("arm2", task="reach", batches=32, seed=0)
print(run.info()["loss"], hf.evaluate(run)["sets"]["held_out"]["ratio"])
"""

from typing import TYPE_CHECKING, Any

from hfcontrol import api
from hfcontrol.version import __version__

if TYPE_CHECKING:
    from hfcontrol.api import (
        Controller,
        HFControlError,
        Run,
        Settings,
        benchmark,
        check_plant,
        evaluate,
        load_plant,
        plant_names,
        resume,
        train,
    )

__all__ = [
    "Controller",
    "HFControlError",
    "Run",
    "Settings",
    "__version__",
    "benchmark",
    "check_plant",
    "evaluate",
    "load_plant",
    "plant_names",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that `import hfcontrol` is quick."""
    return getattr(api, name)


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return list(__all__)
