"""The comparisons of the sources, each a study that anybody can repeat: `hfcontrol compare NAME`.

A study is a generator of dicts that JSON can hold, each all that is known so far, so that one that is stopped loses nothing.
"""

from functools import partial
from inspect import signature

from hfcontrol.errors import UsageError
from hfcontrol.studies import backsolving, gradients, methods, orders, training
from hfcontrol.studies import cells as every_cell

STUDIES = {
    "gradients": (
        gradients.study,
        "the error of a gradient against evaluations and time, by every estimator",
    ),
    "backsolve": (
        backsolving.study,
        "how integrating backward fails on a stable closed loop",
    ),
    **{
        name: (partial(training.study, name), text)
        for name, text in {
            "diffdrive": "a robot's trajectories at three stages of training, by CTPG and Euler's method",
            "electric": "a charge that follows a goal, by CTPG and Euler's method",
            "cartpole": "swinging up by finite differences: training curves and states visited",
            "quadrotor": "CTPG and Euler's method with as many evaluations, and with half as many again",
        }.items()
    },
    "orders": (
        orders.study,
        "CTPG with Hessian-free and with first-order optimizers, tuned",
    ),
    "methods": (
        methods.study,
        "Hessian-free, L-BFGS and Adam on the exact gradient, PPO and A2C without one",
    ),
    "cells": (
        every_cell.study,
        "every cell, with as many units and as many weights, and three ways back through time",
    ),
}


def study(name, tell=None, **sizes):
    """The generator of a study by name; raises UsageError for another name, and for sizes that it does not have."""
    if name not in STUDIES:
        raise UsageError(
            f"compare {name}: no such study; known are {', '.join(STUDIES)}"
        )
    function = STUDIES[name][0]
    known = [
        size for size in signature(function).parameters if size not in ("name", "tell")
    ]
    for size, value in sizes.items():
        if size not in known:
            has = ", ".join("--" + word.replace("_", "-") for word in known)
            raise UsageError(
                f"--{size.replace('_', '-')} with compare {name}: it has {has}"
            )
        if not isinstance(value, str) and not value > 0:
            raise UsageError(
                f"--{size.replace('_', '-')} {value}: a number above zero is needed"
            )
    return function(tell=tell, **sizes)
