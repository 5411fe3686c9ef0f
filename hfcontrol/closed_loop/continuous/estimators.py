"""The estimators of a gradient on a continuous trajectory: what each keeps of it, and how it goes back.

| name                     | trajectory             | backward |
|---|---|---|
| `ctpg`                   | adaptive, interpolated | adjoint equation on the interpolant, with steps of its own (CTPG) |
| `backsolve`              | adaptive, thrown away  | adjoint with the state integrated backward beside it (Neural ODE) |
| `backsolve_checkpoints`  | adaptive, ends of steps| the same, the state put right at the end of every step forward |
| `discrete`               | adaptive, with stages  | exact adjoint of the accepted steps, their lengths held fixed |
| `euler`, `rk4`           | steps of one length    | exact adjoint of the steps (back-propagation through time) |

CTPG and its comparison with the others: Ainsworth et al., "Faster Policy Learning with Continuous-Time Gradients" (L4DC 2021).
`euler` stands on what they show to be an instance of it. `rk4` and `discrete` are what a fair comparison needs besides.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hfcontrol.errors import UsageError

ESTIMATORS = ("ctpg", "backsolve", "backsolve_checkpoints", "discrete", "euler", "rk4")
FIXED = ("euler", "rk4")
PRODUCTS = (
    "rk4",
    "midpoint",
)  # by which Gauss-Newton products are found on adaptive steps
ROUGH, SHARP = (
    1e-6,
    1e-8,
)  # relative tolerances below which differences of second, and of fourth order are worth their price


class Evaluations(NamedTuple):
    """Numbers of evaluations, summed over trials.

    Of the vector field f, of its derivatives by the state and by the weights, and of
    tangents.
    """

    f: int = 0
    dx: int = 0
    dtheta: int = 0
    tangent: int = 0

    def __add__(self, other: "Evaluations") -> "Evaluations":  # type: ignore[override]
        """Add field by field, not as tuples do."""
        return Evaluations(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def total(self):
        """The count of the source's training curves: every derivative on its own."""
        return self.f + self.dx + self.dtheta + self.tangent

    @property
    def passes(self):
        """The count of the source's gradient errors: a backward evaluation is one."""
        return self.f + self.dx


@dataclass(frozen=True)
class Estimator:
    """How trajectories are solved and differentiated: a name of ESTIMATORS, tolerances of the adaptive solver, the step [s] of
    the fixed ones (None: the control step), the most steps tried (beside ten for every time at which a step has to end), how many
    trials share their steps, and the adjoint's tolerance in units of the state's.

    The source integrates the P gradients with the n adjoints, whose common error norm loosens the control of the latter by about the
    root of P / n, which is 15 for its robot; here gradients are integrated by the steps' own quadrature, and `slack` tells how
    loose. It costs a gradient at most a factor of two in error, and saves a quarter of the evaluations.

    Gauss-Newton products on adaptive steps are by rk4, or by the midpoint rule, which takes half of its evaluations and is far
    less exact; the gradient and the loss do not depend on it.
    """

    name: str = "ctpg"
    rtol: float = 1e-3
    atol: float = 1e-6
    step: float | None = None
    most: int = 1000
    together: int = 32
    slack: float = 10.0
    products: str = "rk4"

    def __post_init__(self):
        if self.name not in ESTIMATORS:
            raise UsageError(
                f"--estimator {self.name}: known are {', '.join(ESTIMATORS)}"
            )
        if self.products not in PRODUCTS:
            raise UsageError(
                f"products {self.products}: known are {', '.join(PRODUCTS)}"
            )
        for name in ("rtol", "atol"):
            if not 0 < getattr(self, name) < np.inf:
                raise UsageError(
                    f"--{name} {getattr(self, name)}: a positive number is needed"
                )
        if self.step is not None and not 0 < self.step < np.inf:
            raise UsageError(
                f"--solver-step {self.step}: a positive time in seconds is needed"
            )
        if self.most < 1 or self.together < 1:
            raise UsageError(
                "an estimator needs at least one step, and one trial that takes it"
            )

    @property
    def fixed(self):
        """Whether steps are of one length."""
        return self.name in FIXED

    @property
    def order(self):
        """Of the differences that the plant's derivatives come from, whose errors are about 1e-8, 1e-10 and 1e-12."""
        if self.fixed:
            return 2 if self.name == "euler" else 4
        return 1 if self.rtol >= ROUGH else 2 if self.rtol >= SHARP else 4
