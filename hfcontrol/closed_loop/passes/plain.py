"""Passes in plain NumPy, one time step after the other: the definition of all passes.

    y_t = observe(x_{t-d_y}) + sensory noise
    a_t = network(a_{t-1}, [target_t, y_t], elapsed_t; weights),   c_t = outputs of a_t
    u_t = limit(c_{t-d_u}) (1 + gain_t) + motor noise
    x_{t+1} = taper(step(x_t, u_t, params) + disturbance_t)

Before the first sample y is that of x_0; before the first command the control is 0, or
the bound that is nearest to 0.
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.linear_model import LinearModel, PlantJacobians
from hfcontrol.closed_loop.passes.protocol import StoredRollout, Trajectories
from hfcontrol.closed_loop.shares import HandOver
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.base import Kernels
from hfcontrol.kernels.structure import unpack
from hfcontrol.network.network import Network
from hfcontrol.tasks.scenario import Scenario


def multiply(J: Array, d: Array) -> Array:
    """J d for every trial: J (m, n, N), d (n, N) -> (m, N)."""
    return np.einsum("ijn,jn->in", J, d)


def multiply_transposed(J: Array, w: Array) -> Array:
    """J' w for every trial: J (m, n, N), w (m, N) -> (n, N)."""
    return np.einsum("ijn,in->jn", J, w)


class PlainPasses:
    """The definition of `Passes`.

    Activations have the shape (1, T+1, unit, N): all trials are one block. The first
    entry in time holds the start of the hidden units. With `store_every` K a rollout
    keeps only the steps 0, K, 2 K, ... This is for `FusedPasses`, which share the
    rollout of a plant that is not compiled; tangent and adjoint here need all steps.
    """

    def __init__(
        self,
        network: Network,
        kernels: Kernels,
        scenario: Scenario,
        wiring: Wiring,
        store_every: int = 1,
    ) -> None:
        self.network, self.kernels = network, kernels
        self.scenario, self.wiring = scenario, wiring
        self.store_every = store_every

    def rollout(
        self,
        weights: Array,
        linear_model: LinearModel,
        exploration: Array | None = None,
    ) -> Trajectories:
        """See `Passes.rollout`."""
        net, s, w = self.network, self.scenario, self.wiring
        every = self.store_every
        T, N = s.steps, s.trials

        # `zeros_like` makes arrays on the scenario's device.
        x = np.zeros_like(s.x0, shape=(T + 1, *s.x0.shape))
        u, command = np.zeros_like(s.motor_noise), np.zeros_like(s.motor_noise)
        y = np.zeros_like(s.sensory_noise)
        stored_shape = (T // every + 1, net.n_activations, N)
        stored = np.zeros_like(s.x0, shape=stored_shape)
        if net.start:
            stored[0, net.hidden] = weights[net.start, None]

        x[0] = s.x0
        now = stored[0]
        idle = w.limits.clip(u[0])
        for t in range(T):
            y[t] = self._observe(t, x, linear_model)
            seen = np.concatenate([s.target[t], y[t]])
            elapsed = s.elapsed[t] if self.kernels.plant.irregular else 1.0
            now = net.step(weights, now, seen, elapsed)
            added = 0.0 if exploration is None else exploration[t]
            command[t] = now[net.outputs] + added
            if (t + 1) % every == 0:
                stored[(t + 1) // every] = now

            u[t] = idle
            if t >= w.command_delay:
                u[t] = w.limits.apply(command[t - w.command_delay])
            gain = 1.0 + s.motor_gain[t]
            u[t] = u[t] * gain + s.motor_noise[t]
            x[t + 1] = self._step(t, x[t], u[t], linear_model)
        return Trajectories(x, u, command, y, stored[None])

    def _observe(self, t: int, x: Array, linear_model: LinearModel) -> Array:
        """What the network sees of the plant at time t (ny, N)."""
        # Recorded observations already include their noise.
        if linear_model.replays_inputs:
            return linear_model.recorded[t]

        # Until the first sample arrives, the network sees that of x_0.
        s = max(t - self.wiring.feedback_delay, 0)
        if linear_model.replaces_plant:
            C = unpack(linear_model.C[s], linear_model.C_table, len(x[s]))
            change = multiply(C, x[s] - linear_model.x[s])
            seen = linear_model.observed[s] + change
        else:
            seen = self.kernels.observe(x[s][None], self.scenario.params)[0]
        return seen + self.scenario.sensory_noise[t]

    def _step(self, t: int, x: Array, u: Array, linear_model: LinearModel) -> Array:
        """The state after time t (nx, N), of the plant or of its linear model."""
        if linear_model.replaces_plant:
            A = unpack(linear_model.A[t], linear_model.A_table, len(x))
            by_state = multiply(A, x - linear_model.x[t])
            by_control = multiply(linear_model.B[t], u - linear_model.u[t])
            return linear_model.x[t + 1] + by_state + by_control

        s, taper = self.scenario, self.wiring.taper
        disturbance = s.disturbance[t][None]
        return self.kernels.simulate(x, u[None], s.params, disturbance, taper)[1]

    @staticmethod
    def select_activations(
        activations: Array, select: HandOver, passes: "PlainPasses"
    ) -> Array:
        """See `Passes.select_activations`."""
        return select(activations)

    def hidden_activations(self, weights: Array, rollout: StoredRollout) -> Array:
        """See `Passes.hidden_activations`."""
        return rollout.activations[0, 1:, self.network.hidden]

    def keep_hidden(self, d_activations: Array) -> Array:
        """See `Passes.keep_hidden`."""
        hidden = self.network.hidden
        kept = np.zeros_like(d_activations)
        kept[:, 1:, hidden] = d_activations[:, 1:, hidden]
        return kept

    def tangent(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        v: Array,
        keep_activations: bool = False,
    ) -> tuple[Array, Array, Array]:
        """See `Passes.tangent`; d_activations always covers all steps."""
        net, activations = self.network, rollout.activations[0]
        feedback_delay = self.wiring.feedback_delay
        command_delay = self.wiring.command_delay
        A, B, C, slope, replays_inputs, A_table, C_table = jacobians
        nx = B.shape[1]
        T, _, N = rollout.u.shape
        n_target = net.n_input - C.shape[1]

        dx, du = np.zeros_like(rollout.x), np.zeros_like(rollout.u)
        d_command = np.zeros_like(rollout.u)
        d_activations = np.zeros_like(activations)
        if net.start:
            d_activations[0, net.hidden] = v[net.start, None]

        d_input = np.zeros_like(rollout.x, shape=(net.n_input, N))
        for t in range(T):
            s = t - feedback_delay
            # The state at time 0 is fixed, so that its observation has no tangent.
            if s > 0 and not replays_inputs:
                d_input[n_target:] = multiply(unpack(C[s], C_table, nx), dx[s])
            before, now = activations[t], activations[t + 1]
            d_before = d_activations[t]
            d_now = net.step_jvp(weights, v, before, now, d_before, d_input)
            d_activations[t + 1] = d_now

            d_command[t] = d_now[net.outputs]
            if t >= command_delay:
                du[t] = slope[t] * d_command[t - command_delay]
            by_state = multiply(unpack(A[t], A_table, nx), dx[t])
            dx[t + 1] = by_state + multiply(B[t], du[t])
        return dx, du, d_activations[None]

    def _deltas(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        x_bar: Array,
        u_bar: Array,
        activations_bar: Array | None = None,
    ) -> Array:
        """Cotangents of the summed inputs of all units (T+1, unit, N).

        The first entry in time is that of the start of the hidden units.
        """
        net, activations = self.network, rollout.activations[0]
        feedback_delay = self.wiring.feedback_delay
        command_delay = self.wiring.command_delay
        A, B, C, slope, replays_inputs, A_table, C_table = jacobians
        nx = B.shape[1]
        observed = slice(net.n_input - C.shape[1], net.n_input)

        x_bar, command_bar = x_bar.copy(), np.zeros_like(u_bar)
        deltas = np.zeros_like(activations)
        before_bar = np.zeros_like(activations[0])
        # Each step of `tangent` transposed, in reverse order.
        for t in reversed(range(len(u_bar))):
            after_bar = x_bar[t + 1]
            u_total = u_bar[t] + multiply_transposed(B[t], after_bar)
            if t >= command_delay:
                command_bar[t - command_delay] = slope[t] * u_total

            now_bar = before_bar
            if activations_bar is not None:
                now_bar = before_bar + activations_bar[0, t + 1]
            now_bar[net.outputs] += command_bar[t]
            before, now = activations[t], activations[t + 1]
            delta, before_bar = net.step_vjp(weights, before, now, now_bar)
            deltas[t + 1] = delta

            s = t - feedback_delay
            if s > 0 and not replays_inputs:
                C_s = unpack(C[s], C_table, nx)
                x_bar[s] += multiply_transposed(C_s, delta[observed])
            A_t = unpack(A[t], A_table, nx)
            x_bar[t] += multiply_transposed(A_t, after_bar)
        deltas[0] = before_bar
        return deltas

    def adjoint(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        x_bar: Array,
        u_bar: Array,
        activations_bar: Array | None = None,
    ) -> Array:
        """See `Passes.adjoint`."""
        deltas = self._deltas(
            weights, jacobians, rollout, x_bar, u_bar, activations_bar
        )
        rows = self._weight_cotangents(weights, rollout.activations[0], deltas)
        return rows.sum(axis=0)[None]

    def adjoint_rows(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        x_bar: Array,
        u_bar: Array,
    ) -> Array:
        """See `Passes.adjoint_rows`."""
        rows = []
        for x_bar_k, u_bar_k in zip(x_bar, u_bar, strict=True):
            deltas = self._deltas(weights, jacobians, rollout, x_bar_k, u_bar_k)
            activations = rollout.activations[0]
            rows.append(self._weight_cotangents(weights, activations, deltas))
        return np.stack(rows)

    def _weight_cotangents(
        self, weights: Array, activations: Array, deltas: Array
    ) -> Array:
        """Cotangents of the weights (N, P), one row per trial, from `_deltas`."""
        net = self.network
        N = activations.shape[2]
        J = np.zeros_like(activations, shape=(N, net.size))
        # One outer product per trial and step, summed over the steps.
        for layer, W in zip(net.layers, net.matrices(weights), strict=True):
            weight_vjp = layer.summation.weight_vjp
            steps = zip(activations[:-1], activations[1:], deltas[1:], strict=True)
            for before, now, delta in steps:
                for d, X in layer.weight_products(before, now, delta):
                    J[:, layer.weights] += weight_vjp(W, X, d).reshape(N, -1)
                if layer.work:
                    parameters_bar = layer.split_work(delta)[2]
                    J[:, layer.parameters] += parameters_bar.reshape(-1, N).T
        if net.start:
            J[:, net.start] = deltas[0, net.hidden].T
        return J

    @staticmethod
    def gram(J: Array) -> Array:
        """See `Passes.gram`."""
        return J @ J.T
