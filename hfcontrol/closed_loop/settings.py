"""Settings of the closed loop: stored activations and continuous trajectories.

The settings of `continuous/` are here too, because importing that package takes NumPy,
which the help of the command line does without.
"""

from typing import Literal

from hfcontrol.arrays.settings import DERIVATIVE_OPTIMIZERS
from hfcontrol.schema import Number, OnlyWith, SettingsModel, Whole, join_words, setting

EstimatorName = Literal[
    "ctpg", "backsolve", "backsolve_checkpoints", "discrete", "euler", "rk4"
]

# Rules that settings of later packages share.
NEEDS_DERIVATIVES = OnlyWith(
    "optimizer",
    DERIVATIVE_OPTIMIZERS,
    f"applies only to training by derivatives ({join_words(DERIVATIVE_OPTIMIZERS)}); "
    "leave it out",
)
CONTROL_STEPS_ONLY = OnlyWith(
    "estimator",
    (None,),
    "applies only to training on control steps; leave one of them out",
)
CONTINUOUS_ONLY = OnlyWith(
    "estimator",
    ("ctpg", "backsolve", "backsolve_checkpoints", "discrete", "euler", "rk4"),
    "applies only with an `estimator` such as ctpg, which solves in continuous time; "
    "leave it out",
)


class StorageSettings(SettingsModel):
    """How much of a trajectory is kept in memory."""

    store_every: Whole = setting(
        1,
        "Store the network's activations every K steps only and recompute the others: "
        "long horizons in less memory, at 1.5 times the time.",
        "K",
        only_with=(
            NEEDS_DERIVATIVES,
            CONTROL_STEPS_ONLY,
            OnlyWith(
                "device", ("cpu",), "a GPU stores every step; leave one of them out"
            ),
        ),
        ge=1,
    )


class EstimatorSettings(SettingsModel):
    """How trajectories are solved and differentiated in continuous time."""

    estimator: EstimatorName | None = setting(
        None,
        "Train on the differential equation itself, with gradients by ctpg, backsolve, "
        "backsolve_checkpoints, discrete, euler or rk4.",
        "WORD",
        only_with=(NEEDS_DERIVATIVES,),
    )
    rtol: Number = setting(
        1e-4,
        "Relative tolerance of the estimator's adaptive solver.",
        "TOL",
        only_with=(CONTINUOUS_ONLY,),
        gt=0,
        allow_inf_nan=False,
    )
    atol: Number = setting(
        1e-6,
        "Absolute tolerance of the estimator's adaptive solver.",
        "TOL",
        only_with=(CONTINUOUS_ONLY,),
        gt=0,
        allow_inf_nan=False,
    )
    solver_step: Number | str | None = setting(
        None,
        "Step of the estimators euler and rk4, such as 10ms; the control step by "
        "default.",
        "TIME",
        only_with=(
            OnlyWith(
                "estimator",
                ("euler", "rk4"),
                "applies only with `estimator` euler or rk4; the others choose their "
                "steps by `rtol` and `atol`",
            ),
        ),
        allowed="seconds such as 0.01, or milliseconds such as 10ms",
    )
