"""Settings of arrays: where and in which precision a network is trained."""

from typing import Literal

from hfcontrol.schema import OnlyWith, SettingsModel, setting

DeviceName = Literal["cpu", "gpu", "auto"]
DtypeName = Literal["float64", "float32"]

CPU_ONLY = "trains on the CPU in float64; leave it out"


class DeviceSettings(SettingsModel):
    """Device and dtype."""

    device: DeviceName = setting(
        "cpu",
        "Where to train: cpu, gpu, or auto for a GPU if one is usable.",
        "WORD",
        only_with=(
            OnlyWith("optimizer", ("hf", "adam", "momentum", "lbfgs"), CPU_ONLY),
            OnlyWith("estimator", (None,), CPU_ONLY),
        ),
    )
    dtype: DtypeName = setting(
        "float64",
        "Dtype of the network while it trains: float64 or float32.",
        "WORD",
        only_with=(
            OnlyWith("optimizer", ("hf", "adam", "momentum", "lbfgs"), CPU_ONLY),
            OnlyWith("estimator", (None,), CPU_ONLY),
            OnlyWith(
                "cell",
                ("tanh", "linear"),
                "cells in continuous time are solved in float64; leave it out",
            ),
        ),
    )
