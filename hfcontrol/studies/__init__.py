"""The sources' comparisons, which anybody can repeat: `hfcontrol compare NAME`.

A study is a generator of dicts for JSON. Each dict holds everything known so far, so a
study that is stopped loses nothing.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

from hfcontrol.errors import UsageError
from hfcontrol.studies import (
    backsolving,
    cells,
    gradients,
    holds,
    methods,
    orders,
    training,
)
from hfcontrol.studies.course import Report

__all__ = ["STUDIES", "Study", "study"]


class Study(NamedTuple):
    """A study and a phrase about it."""

    run: Callable[..., Iterator[dict[str, Any]]]
    about: str


# Sizes without an option of the command: tools/claims chooses the seed.
NOT_OFFERED = ("seed",)

STUDIES = {
    "gradients": Study(
        gradients.study,
        "the error of a gradient against evaluations and time, for every estimator",
    ),
    "backsolve": Study(
        backsolving.study,
        "how integrating backward fails on a stable closed loop",
    ),
    "diffdrive": Study(
        partial(training.study, "diffdrive"),
        "a robot's paths at three stages of training, by CTPG and Euler's method",
    ),
    "electric": Study(
        partial(training.study, "electric"),
        "a charge that follows a goal, by CTPG and Euler's method",
    ),
    "cartpole": Study(
        partial(training.study, "cartpole"),
        "swinging up by finite differences: training curves and states visited",
    ),
    "quadrotor": Study(
        partial(training.study, "quadrotor"),
        "CTPG and Euler's method with as many evaluations, and 1.5 times as many",
    ),
    "orders": Study(
        orders.study,
        "CTPG with Hessian-free and with tuned first-order optimizers",
    ),
    "methods": Study(
        methods.study,
        "Hessian-free, L-BFGS and Adam on the exact gradient; PPO and A2C without it",
    ),
    "holds": Study(
        holds.study,
        "what a hold keeps fixed, for 1 to 32 updates, and the blog post's claim",
    ),
    "cells": Study(
        cells.study,
        "every cell with the same units and the same weights, and its gradients",
    ),
}


def study(
    name: str, report: Report | None = None, **sizes: Any
) -> Iterator[dict[str, Any]]:
    """Return the generator of a study by name.

    Raises UsageError for an unknown name, and for sizes that the study does not have.
    """
    if name not in STUDIES:
        known = ", ".join(STUDIES)
        raise UsageError(f"unknown study '{name}'; choose one of {known}")
    run = STUDIES[name].run
    known_sizes = [size for size in signature(run).parameters if size != "report"]
    for size, value in sizes.items():
        if size not in known_sizes:
            offered = [word for word in known_sizes if word not in NOT_OFFERED]
            allowed = ", ".join(f"`{word}`" for word in offered)
            raise UsageError(f"`{size}`: the study {name} has only {allowed}")
        if not isinstance(value, str) and not 0 < value < math.inf:
            raise UsageError(f"`{size}` {value}: must be a finite number above 0")
    return run(report=report, **sizes)
