"""Estimators of the gradient on a continuous trajectory.

What each keeps of the trajectory, and how it goes back:

| name                    | trajectory              | backward                        |
|---|---|---|
| `ctpg`                  | adaptive, interpolated  | adjoint on the interpolant [1]  |
| `backsolve`             | adaptive, discarded     | adjoint with the state [2]      |
| `backsolve_checkpoints` | adaptive, ends of steps | the same, the state reset [3]   |
| `discrete`              | adaptive, with stages   | exact adjoint of the steps [4]  |
| `euler`, `rk4`          | steps of one length     | exact adjoint of the steps [5]  |

[1] CTPG: the adjoint equation has its own adaptive steps.
[2] As in neural ODEs: the state is integrated backward with its adjoint.
[3] The state is set to the stored one at the end of every step.
[4] Of the accepted steps, whose lengths count as fixed.
[5] Back-propagation through time.

CTPG and its comparison with the others: Ainsworth et al., "Faster Policy Learning with
Continuous-Time Gradients" (L4DC 2021). They show that back-propagation through Euler
steps is an instance of it. `rk4` and `discrete` are added for a fair comparison.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hfcontrol.errors import UsageError

ESTIMATORS = ("ctpg", "backsolve", "backsolve_checkpoints", "discrete", "euler", "rk4")

# Estimators with steps of one length.
FIXED = ("euler", "rk4")

# Methods of Gauss-Newton products on adaptive steps.
PRODUCTS = ("rk4", "midpoint")

# Relative tolerances below which differences of the plant's formulas are of order two
# and four: the errors of cheaper ones would show.
SECOND_ORDER_BELOW = 1e-6
FOURTH_ORDER_BELOW = 1e-8


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
    def total(self) -> int:
        """Count of the source's training curves: every derivative counts."""
        return self.f + self.dx + self.dtheta + self.tangent

    @property
    def passes(self) -> int:
        """Count of the source's gradient errors: a backward evaluation is one."""
        return self.f + self.dx


@dataclass(frozen=True)
class Estimator:
    """How trajectories are solved and differentiated.

    * `name`: one of ESTIMATORS
    * `rtol`, `atol`: relative and absolute tolerance of the adaptive solver
    * `step`: step [s] of the fixed solvers; None for the control step
    * `max_steps`: most steps tried, in addition to ten for every time at which a step
      has to end
    * `block_size`: trials that share their steps
    * `slack`: tolerance of the adjoint in units of that of the state
    * `products`: method of Gauss-Newton products on adaptive steps. The midpoint rule
      takes half of the evaluations of rk4 and is much less exact; gradient and loss do
      not depend on it.

    The source integrates the P gradients with the n adjoints. Their common error norm
    loosens the control of the adjoints by about the root of P / n, 15 for its robot.
    Here each step's quadrature integrates the gradients, and `slack` sets how loose the
    control is: 10 costs at most a factor of two in the gradient's error, and saves a
    quarter of the evaluations.

    Raises UsageError if a value is not allowed.
    """

    name: str = "ctpg"
    rtol: float = 1e-3
    atol: float = 1e-6
    step: float | None = None
    max_steps: int = 1000
    block_size: int = 32
    slack: float = 10.0
    products: str = "rk4"

    def __post_init__(self) -> None:
        if self.name not in ESTIMATORS:
            known = ", ".join(ESTIMATORS)
            raise UsageError(f"`estimator` {self.name}: must be one of {known}")
        if self.products not in PRODUCTS:
            known = ", ".join(PRODUCTS)
            raise UsageError(f"products {self.products}: must be one of {known}")
        for setting in ("rtol", "atol"):
            value = getattr(self, setting)
            if not 0 < value < np.inf:
                raise UsageError(
                    f"`{setting}` {value}: must be a finite number above 0"
                )
        if self.step is not None and not 0 < self.step < np.inf:
            raise UsageError(
                f"`solver_step` {self.step}: must be a positive time in seconds"
            )
        if self.max_steps < 1 or self.block_size < 1:
            raise UsageError(
                "an estimator needs at least one step, and one trial that takes it"
            )

    @property
    def fixed(self) -> bool:
        """Whether steps are of one length."""
        return self.name in FIXED

    @property
    def order(self) -> int:
        """Order of the differences that give the plant's derivatives: 1, 2 or 4.

        Their errors are about 1e-8, 1e-10 and 1e-12.
        """
        if self.fixed:
            return 2 if self.name == "euler" else 4
        if self.rtol >= SECOND_ORDER_BELOW:
            return 1
        return 2 if self.rtol >= FOURTH_ORDER_BELOW else 4
