"""Operational-space control: the hand moves like a point mass on a damped spring.

    u = J^T Lambda (F - dJ q') + h + (I - J^T Jbar^T) u_0

J (2, n) is the Jacobian of the hand by the positions, dJ its time derivative,
Lambda = (J M^-1 J^T)^-1 the mass matrix at the hand, Jbar = M^-1 J^T Lambda the inverse
of J that needs the least kinetic energy, and h = -M a the forces of gravity, friction
and inertia. With this law the hand z obeys

    z'' = F = omega^2 (z_d - z) + 2 zeta omega (z_d' - z').

Movements of the joints that leave the hand where it is follow the same law in the
joints: u_0 = M (omega^2 (q_d - q) + 2 zeta omega (q_d' - q')).

Source: Khatib, "A unified approach for motion and force control of robot manipulators:
the operational space formulation", IEEE Journal of Robotics and Automation 3 (1987).
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.classical.mechanics import Mechanics
from hfcontrol.classical.problem import Problem, UnsuitableError

# Step [s] along the rates for the central difference of J: it balances truncation and
# the rounding of J, which is a difference itself.
STEP = 1e-4


class OperationalSpace:
    """The law for gains omega [1/s] and zeta.

    Raises UnsuitableError as for `Mechanics`, and for a plant without a hand or with
    fewer positions than the hand has coordinates.
    """

    def __init__(self, problem: Problem, gains: tuple[float, float]) -> None:
        plant = problem.plant
        if plant.hand is None:
            raise UnsuitableError(
                f"{plant.name} has no hand (hand_x and hand_y among its OUTPUT names)"
            )
        if len(plant.positions) < len(plant.hand):
            raise UnsuitableError(
                f"{plant.name} has fewer positions than its hand has coordinates"
            )
        self.omega, self.zeta = gains
        self.hand = plant.hand
        self.goal = problem.goal
        self.goal_hand = problem.scenario.goal_output[1:, self.hand]
        self.mechanics = Mechanics(problem)
        self.kernels, self.params = problem.kernels, problem.params

    def __call__(self, t: int, x: Array) -> Array:
        """Return the controls (nu, N) in step t, for states x (nx, N)."""
        positions, rates = self.mechanics.positions, self.mechanics.rates
        q_rate = x[rates].T[:, :, None]
        J, dJ = self._jacobians(x)
        J_T = J.transpose(0, 2, 1)
        M, W, a = self.mechanics.at(x)
        h = -M @ a[:, :, None]

        # The hand's distance from its goal, and its velocity.
        z = self.kernels.output(x[None], self.params)[0, self.hand]
        off = (self.goal_hand[t] - z).T[:, :, None]
        goal_rate = self.goal[t][rates].T[:, :, None]
        slower = J @ (goal_rate - q_rate)
        F = self.omega**2 * off + 2 * self.zeta * self.omega * slower

        # Lambda is symmetric, and so is W = M^-1. A stretched arm has no Lambda: the
        # pseudoinverse asks nothing of the direction that it lost.
        Lambda = np.linalg.pinv(J @ W @ J_T, hermitian=True)
        Jbar_T = Lambda @ J @ W
        error = (self.goal[t] - x)[:, :, None].transpose(1, 0, 2)
        pull = self.omega**2 * error[:, positions]
        u_0 = M @ (pull + 2 * self.zeta * self.omega * error[:, rates])
        force = Lambda @ (F - dJ @ q_rate)
        u = J_T @ force + h + u_0 - J_T @ (Jbar_T @ u_0)
        controls: Array = u[:, :, 0].T
        return controls

    def _jacobians(self, x: Array) -> tuple[Array, Array]:
        """Return J and its time derivative along the rates, (N, 2, n) each."""
        positions = self.mechanics.positions
        ahead = np.zeros_like(x)
        ahead[positions] = STEP * x[self.mechanics.rates]
        points = np.stack([x, x + ahead, x - ahead])
        all_J = self.kernels.output_jacobian(points, self.params)
        J, later, earlier = all_J[:, self.hand][:, :, positions].transpose(0, 3, 1, 2)
        return J, (later - earlier) / (2 * STEP)
