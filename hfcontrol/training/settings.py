"""Settings of training: holds, curriculum and limits."""

from typing import Literal

from hfcontrol.closed_loop.settings import CONTROL_STEPS_ONLY, NEEDS_DERIVATIVES
from hfcontrol.schema import Number, OnlyWith, SettingsModel, Whole, setting

StrategyName = Literal["auto", "plain", "law"]
HoldName = Literal["auto", "model", "scenario", "inputs", "post"]


class HoldSettings(SettingsModel):
    """Updates within a hold, and the number of rollouts."""

    batches: Whole | None = setting(
        None,
        "Maximum number of updates in a hold, on one rollout of the plant; by default "
        "32, or 8 if every hold draws new trials.",
        "N",
        only_with=(NEEDS_DERIVATIVES,),
        ge=1,
    )
    average: Whole = setting(
        1,
        "Average the weights after about the last N holds; for random tasks.",
        "N",
        only_with=(NEEDS_DERIVATIVES,),
        ge=1,
    )
    hold: HoldName = setting(
        "auto",
        "What stays fixed during the updates of a hold: auto, model, scenario, inputs, "
        "or post (inputs, renewed at every update once the loss stops falling).",
        "WORD",
        only_with=(
            NEEDS_DERIVATIVES,
            OnlyWith(
                "estimator",
                (None,),
                "a continuous trajectory is simulated again at every update; leave one "
                "of them out",
                harmless=("auto", "scenario"),
            ),
        ),
    )
    rollouts: Whole | None = setting(
        None,
        "Stop after N simulations of all trials on the true plant.",
        "N",
        gt=0,
    )


class CurriculumSettings(SettingsModel):
    """What precedes training on the full horizon."""

    strategy: StrategyName = setting(
        "auto",
        "How training begins: auto chooses typical sizes, substeps and a start from "
        "the optima of a few trials, and draws random trials again for every hold; law "
        "does the same, but always starts from a linear law; plain takes random "
        "weights and keeps the trials.",
        "WORD",
        only_with=(
            NEEDS_DERIVATIVES._replace(harmless=("plain",)),
            CONTROL_STEPS_ONLY._replace(harmless=("plain",)),
        ),
    )
    race: Whole = setting(
        1,
        "Start N networks, train each for a dozen updates and continue with the best.",
        "N",
        only_with=(NEEDS_DERIVATIVES,),
        ge=1,
    )
    imitate: Whole = setting(
        0,
        "Start by imitating the laws about the optima of a few trials, with at most N "
        "updates.",
        "N",
        only_with=(NEEDS_DERIVATIVES, CONTROL_STEPS_ONLY),
        ge=0,
    )
    grow: Whole = setting(
        0,
        "Start with an eighth of the horizon, then a quarter and a half, with N "
        "updates each.",
        "N",
        only_with=(NEEDS_DERIVATIVES,),
        ge=0,
    )
    guide: Whole = setting(
        0,
        "Start by following trajectories that iLQR finds, over growing horizons, with "
        "at most N updates each.",
        "N",
        only_with=(NEEDS_DERIVATIVES, CONTROL_STEPS_ONLY),
        ge=0,
    )


class LimitSettings(SettingsModel):
    """Where training stops."""

    # An environment's loss, minus the return, is rarely positive.
    target_loss: Number | None = setting(
        None, "Stop at this loss.", "LOSS", plants_only=True, gt=0
    )
    target_ratio: Number | None = setting(
        None,
        "Stop at this ratio to the optimal loss.",
        "RATIO",
        only_with=(NEEDS_DERIVATIVES, CONTROL_STEPS_ONLY),
        allowed="a number of at least 1: 1 is the optimum",
        ge=1,
    )
    max_seconds: Number | None = setting(
        None,
        "Stop after S seconds of training; checked between updates.",
        "S",
        gt=0,
    )
