"""Settings of arrays: where and in which precision a network is trained.

The names of the optimizers are here too, because the rules of this package and of all
later ones choose among them. To add an optimizer, add its name to `OptimizerName`, and
its builder to `OPTIMIZERS` in runs/factory.py.
"""

from typing import Literal, get_args

from hfcontrol.schema import OnlyWith, SettingsModel, setting

DeviceName = Literal["cpu", "gpu", "auto"]
DtypeName = Literal["float64", "float32"]

OptimizerName = Literal["hf", "adam", "momentum", "lbfgs", "ppo", "a2c", "reinforce"]

# They learn from costs alone; all others need the derivatives of the closed loop.
POLICY_OPTIMIZERS = ("ppo", "a2c", "reinforce")
DERIVATIVE_OPTIMIZERS = tuple(
    name for name in get_args(OptimizerName) if name not in POLICY_OPTIMIZERS
)

# hf and lbfgs find the length of a step themselves.
RATE_OPTIMIZERS = ("adam", "momentum", *POLICY_OPTIMIZERS)

CPU_ONLY = "trains on the CPU in float64; leave it out"


class DeviceSettings(SettingsModel):
    """Device and dtype."""

    device: DeviceName = setting(
        "cpu",
        "Where to train: cpu, gpu, or auto for a GPU if one is usable.",
        "WORD",
        only_with=(
            OnlyWith("optimizer", DERIVATIVE_OPTIMIZERS, CPU_ONLY),
            OnlyWith("estimator", (None,), CPU_ONLY),
        ),
    )
    dtype: DtypeName = setting(
        "float64",
        "Dtype of the network while it trains: float64 or float32.",
        "WORD",
        only_with=(
            OnlyWith("optimizer", DERIVATIVE_OPTIMIZERS, CPU_ONLY),
            OnlyWith("estimator", (None,), CPU_ONLY),
            OnlyWith(
                "cell",
                ("tanh", "linear"),
                "only the cells tanh and linear compute in float32; leave it out",
            ),
        ),
    )
