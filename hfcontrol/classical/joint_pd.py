"""Joint PD with gravity compensation.

    u = K_p (q_d - q) + K_d (q_d' - q') + g(q)

Source: Takegaki and Arimoto, "A new feedback method for dynamic control of
manipulators", Journal of Dynamic Systems, Measurement, and Control 103 (1981), who
prove that it is stable for any positive gains if q_d stays. Here K_p = omega^2 D and
K_d = 2 zeta omega D, where D is the diagonal of the mass matrix in the start posture:
every joint alone has the natural frequency omega and the damping zeta. Gravity is
g(q) = -M(q) a(q, 0).
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.classical.mechanics import Mechanics
from hfcontrol.classical.problem import Problem


class JointPD:
    """The law for gains omega [1/s] and zeta; UnsuitableError as for `Mechanics`."""

    def __init__(self, problem: Problem, gains: tuple[float, float]) -> None:
        omega, zeta = gains
        self.goal = problem.goal
        self.mechanics = Mechanics(problem)
        M = self.mechanics.at_rest(problem.scenario.x0).M
        D = np.diagonal(M, axis1=1, axis2=2).T
        self.K_p = omega**2 * D
        self.K_d = 2 * zeta * omega * D

    def __call__(self, t: int, x: Array) -> Array:
        """Return the controls (nu, N) in step t, for states x (nx, N)."""
        positions, rates = self.mechanics.positions, self.mechanics.rates
        error = self.goal[t] - x
        M, _, a = self.mechanics.at_rest(x)
        gravity = -np.einsum("nij,nj->in", M, a)
        pull = self.K_p * error[positions] + self.K_d * error[rates]
        return pull + gravity


def settling_gains(problem: Problem) -> tuple[float, float]:
    """Return gains (omega, zeta): critically damped, settled at the first arrival."""
    return problem.settling_frequency, 1.0
