"""The passes of the closed loop in plain NumPy, one time step after the other: the definition of the fused ones.

    y_t = observe(x_{t-d_y}) + sensory noise               u_t = limit(c_{t-d_u}) (1 + gain_t) + motor noise
    rows_t = network(rows_{t-1}, [target_t, y_t]; theta)   x_{t+1} = taper(step(x_t, u_t, params) + disturbance_t)

Before the first sample y is that of x_0; before the first command c is 0.
"""

import numpy as np


class PlainPasses:
    """Rollout, tangent and adjoint of one network on one plant and scenario; arrays as in closed_loop.py.

    `rows` has the shape (1, T+1, row, N): all trials are one block. Its first entry holds the start of the hidden units.
    With `store_every` K a rollout keeps the steps 0, K, 2 K, ... only, for the fused passes: the others need all of them.
    """

    def __init__(self, network, kernels, scenario, wiring, store_every=1):
        self.network, self.kernels, self.scenario, self.wiring = (
            network,
            kernels,
            scenario,
            wiring,
        )
        self.store_every = store_every

    def rollout(self, theta, linear_model, exploration=None):
        """Trajectories (x, u, command, y, rows) of the weights theta, with what `linear_model` keeps fixed; `exploration`
        (T, nu, N), if given, is added to the commands."""
        net, s, w, every = self.network, self.scenario, self.wiring, self.store_every
        T, N = s.steps, s.trials
        x, u = (
            np.zeros_like(s.x0, shape=(T + 1, *s.x0.shape)),
            np.zeros_like(s.motor_noise),
        )
        command, y = np.zeros_like(u), np.zeros_like(s.sensory_noise)
        rows = np.zeros_like(s.x0, shape=(T // every + 1, net.n_activations, N))
        if net.start:
            rows[0, net.hidden] = theta[net.start, None]
        x[0], now = s.x0, rows[0]
        for t in range(T):
            y[t] = self._see(t, x, linear_model)
            now = net.step(theta, now, np.concatenate([s.target[t], y[t]]))
            command[t] = now[net.outputs] + (
                0.0 if exploration is None else exploration[t]
            )
            if (t + 1) % every == 0:
                rows[(t + 1) // every] = now
            if t >= w.command_delay:
                u[t] = w.apply_limit(command[t - w.command_delay])
            u[t] = u[t] * (1.0 + s.motor_gain[t]) + s.motor_noise[t]
            x[t + 1] = self._move(t, x[t], u[t], linear_model)
        return x, u, command, y, rows[None]

    def _see(self, t, x, linear_model):
        s = max(t - self.wiring.feedback_delay, 0)
        if linear_model.replays_inputs:
            return linear_model.recorded[t]
        if linear_model.replaces_plant:
            seen = linear_model.observed[s] + np.einsum(
                "ijn,jn->in", linear_model.C[s], x[s] - linear_model.x[s]
            )
        else:
            seen = self.kernels.observe(x[s][None], self.scenario.params)[0]
        return seen + self.scenario.sensory_noise[t]

    def _move(self, t, x, u, linear_model):
        if linear_model.replaces_plant:
            moved = np.einsum("ijn,jn->in", linear_model.A[t], x - linear_model.x[t])
            return (
                linear_model.x[t + 1]
                + moved
                + np.einsum("ijn,jn->in", linear_model.B[t], u - linear_model.u[t])
            )
        s = self.scenario
        return self.kernels.simulate(
            x, u[None], s.params, s.disturbance[t][None], self.wiring.taper
        )[1]

    @staticmethod
    def picked_rows(rows, trials, passes):
        """The rows of some trials, given by their numbers; `passes` are those for these alone."""
        return rows[..., trials].copy()

    def activity(self, theta, rollout):
        """Activity of the hidden units [time, unit, trial] (T, n_hidden, N)."""
        return rollout.rows[0, 1:, self.network.hidden]

    def hidden_alone(self, d_rows):
        """Tangents of the rows with all but those of the hidden units put to zero; the start's are not counted either."""
        alone = np.zeros_like(d_rows)
        alone[:, 1:, self.network.hidden] = d_rows[:, 1:, self.network.hidden]
        return alone

    def tangent(self, theta, lines, rollout, v, keep_rows=False):
        """Tangents (dx, du, d_rows) of a rollout in the direction v (P,) of the weights."""
        net, w, rows = self.network, self.wiring, rollout.rows[0]
        T, N = len(rollout.u), rollout.u.shape[2]
        dx, du, dc = (
            np.zeros_like(rollout.x),
            np.zeros_like(rollout.u),
            np.zeros_like(rollout.u),
        )
        d_rows = np.zeros_like(rows)
        if net.start:
            d_rows[0, net.hidden] = v[net.start, None]
        d_input = np.zeros_like(rollout.x, shape=(net.n_input, N))
        n_target = net.n_input - lines.C.shape[1]
        for t in range(T):
            s = t - w.feedback_delay
            if s > 0 and not lines.replays_inputs:
                d_input[n_target:] = np.einsum("ijn,jn->in", lines.C[s], dx[s])
            d_rows[t + 1] = net.step_jvp(
                theta, v, rows[t], rows[t + 1], d_rows[t], d_input
            )
            dc[t] = d_rows[t + 1, net.outputs]
            if t >= w.command_delay:
                du[t] = lines.slope[t] * dc[t - w.command_delay]
            dx[t + 1] = np.einsum("ijn,jn->in", lines.A[t], dx[t]) + np.einsum(
                "ijn,jn->in", lines.B[t], du[t]
            )
        return dx, du, d_rows[None]

    def _deltas(self, theta, lines, rollout, x_bar, u_bar, rows_bar=None):
        """Cotangents of the summed inputs (T+1, row, N), from those of the trajectory; the first entry is that of h0."""
        net, w, rows = self.network, self.wiring, rollout.rows[0]
        n_target = net.n_input - lines.C.shape[1]
        T = u_bar.shape[0]
        x_bar, c_bar = x_bar.copy(), np.zeros_like(u_bar)
        deltas, before_bar = np.zeros_like(rows), np.zeros_like(rows[0])
        for t in reversed(range(T)):
            total = u_bar[t] + np.einsum("ijn,in->jn", lines.B[t], x_bar[t + 1])
            if t >= w.command_delay:
                c_bar[t - w.command_delay] = lines.slope[t] * total
            now_bar = (
                before_bar if rows_bar is None else before_bar + rows_bar[0, t + 1]
            )
            now_bar[net.outputs] += c_bar[t]
            deltas[t + 1], before_bar = net.step_vjp(
                theta, rows[t], rows[t + 1], now_bar
            )
            s = t - w.feedback_delay
            if s > 0 and not lines.replays_inputs:
                x_bar[s] += np.einsum(
                    "ijn,in->jn", lines.C[s], deltas[t + 1, n_target : net.n_input]
                )
            x_bar[t] += np.einsum("ijn,in->jn", lines.A[t], x_bar[t + 1])
        deltas[0] = before_bar
        return deltas

    def adjoint(self, theta, lines, rollout, x_bar, u_bar, rows_bar=None):
        """Cotangent (P,) of the weights from those of the trajectory and, if given, of the rows."""
        deltas = self._deltas(theta, lines, rollout, x_bar, u_bar, rows_bar)
        return self._weight_rows(theta, rollout.rows[0], deltas).sum(axis=0)

    def adjoint_rows(self, theta, lines, rollout, x_bar, u_bar):
        """Cotangents (K, N, P) of the weights, one for each trial and each of K cotangents (K, T+1, nx, N), (K, T, nu, N)."""
        pairs = zip(x_bar, u_bar)
        return np.stack(
            [
                self._weight_rows(
                    theta, rollout.rows[0], self._deltas(theta, lines, rollout, *pair)
                )
                for pair in pairs
            ]
        )

    def _weight_rows(self, theta, rows, deltas):
        net = self.network
        J = np.zeros_like(rows, shape=(rows.shape[2], net.size))
        for layer, W in zip(net.layers, net.matrices(theta)):
            for before, now, delta in zip(rows[:-1], rows[1:], deltas[1:]):
                for d, X in layer.weight_products(before, now, delta):
                    J[:, layer.weights] += layer.connection_type.weight_vjp(
                        W, X, d
                    ).reshape(len(J), -1)
                if layer.work:
                    J[:, layer.parameters] += (
                        layer.split_work(delta)[2].reshape(-1, len(J)).T
                    )
        if net.start:
            J[:, net.start] = deltas[0, net.hidden].T
        return J

    @staticmethod
    def gram(J):
        """J J' (m, m) of rows J (m, P)."""
        return J @ J.T
