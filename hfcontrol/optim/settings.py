"""Settings of the optimizer."""

from typing import Literal

from hfcontrol.arrays.settings import RATE_OPTIMIZERS, OptimizerName
from hfcontrol.closed_loop.settings import CONTROL_STEPS_ONLY
from hfcontrol.schema import Number, OnlyWith, SettingsModel, Whole, join_words, setting

SolverName = Literal["auto", "cg", "residual"]

HESSIAN_FREE = OnlyWith("optimizer", ("hf",), "applies only to hf; leave it out")


class OptimizerSettings(SettingsModel):
    """The optimizer and the parts of the Hessian-free step."""

    optimizer: OptimizerName = setting(
        "hf",
        "hf (Hessian-free), or for comparison adam, momentum or lbfgs; ppo, a2c "
        "and reinforce need no derivatives.",
        "WORD",
    )
    learning_rate: Number | None = setting(
        None,
        "Learning rate; by default 3e-3 for adam, 1e-2 for momentum, 1e-3 for ppo, "
        "7e-4 for a2c and 3e-3 for reinforce.",
        "RATE",
        only_with=(
            OnlyWith(
                "optimizer",
                RATE_OPTIMIZERS,
                f"applies only to {join_words(RATE_OPTIMIZERS, 'and')}; leave it out",
            ),
        ),
        gt=0,
    )
    solver: SolverName = setting(
        "auto",
        "Linear solver of the Hessian-free step: auto, cg or residual.",
        "WORD",
        only_with=(
            HESSIAN_FREE,
            OnlyWith(
                "estimator",
                (None,),
                "a continuous trajectory has no residuals per step; leave one of them "
                "out",
                harmless=("auto", "cg"),
            ),
        ),
    )
    damping: Number | None = setting(
        None,
        "Initial Tikhonov damping, which adapts; 1 by default or, for a network that "
        "is trained in typical sizes, from the curvature.",
        "LAM",
        only_with=(HESSIAN_FREE,),
        gt=0,
        allow_inf_nan=False,
    )
    structural: Number = setting(
        0.0,
        "Structural damping of changes of hidden state and trajectory, relative to the "
        "damping.",
        "MU",
        only_with=(
            HESSIAN_FREE,
            CONTROL_STEPS_ONLY,
        ),
        ge=0,
        allow_inf_nan=False,
    )
    cg_cap: Whole = setting(
        100,
        "Maximum number of conjugate-gradient iterations per update.",
        "N",
        only_with=(HESSIAN_FREE,),
        ge=1,
    )
    curvature_trials: Whole | None = setting(
        None,
        "Compute the curvature on N evenly spaced trials only; by default 16 on a "
        "task's own circle of targets, else all.",
        "N",
        only_with=(HESSIAN_FREE,),
        ge=1,
    )
