"""Plant and network as one dynamical system with parameters theta, and its three operations.

`ClosedLoop.rollout(theta)` simulates all trials of a scenario; `ClosedLoop.linearise(rollout)` gives the system's
derivative there, with `jvp` (tangent of all residuals) and `vjp` (cotangent of the weights): the exact discrete pair of
the rollout as coded, through the plant *and* through the feedback path x -> y -> network. The equations stand in
sweeps/plain.py. Trajectories are arrays [time, unit, trial]; `rows` are the network's, [block, stored step, row, trial].

On a GPU several networks of one shape may go as one loop, which costs as many calls as one: the trials of each stand after those of
the one before, and what has P entries, weights, tangents and gradients, begins with an axis for the networks, (networks, P).
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device, to_device_of, to_host
from hfcontrol.closed_loop.counts import Counts, Tally
from hfcontrol.closed_loop.passes.plain import PlainPasses
from hfcontrol.tasks.scenario import move_scenario, select_trials


class LinearModel(NamedTuple):
    """What stays fixed in a rollout.

    With `model` the plant is its linear model about the trajectory x, u, with A (T, nx, nx, N), B (T, nx, nu, N), the
    noiseless observations `observed` (T, ny, N) of x and C (T, ny, nx, N); with `replay` the network sees `recorded`.
    """

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    x: np.ndarray
    u: np.ndarray
    observed: np.ndarray
    recorded: np.ndarray
    replaces_plant: bool = False
    replays_inputs: bool = False

    def arrays(self):
        """The arrays alone, in the order of the fields."""
        return tuple(self[:7])


NOTHING_FIXED = LinearModel(
    *(np.empty((0,) * n) for n in (4, 4, 4, 3, 3, 3, 3))
)  # nothing is fixed: plant and feedback as they are


@dataclass(frozen=True)
class Rollout:
    """One simulation of all trials: weights, trajectories, what was kept fixed, the loss of every trial (N,), and the
    passes that made it, which know the activity between stored steps."""

    theta: np.ndarray
    x: np.ndarray
    u: np.ndarray
    command: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    linear_model: LinearModel
    losses: np.ndarray
    passes: object

    @cached_property
    def loss(self):
        """The mean over trials, of each network where there are several (networks,); infinite where any trial left the finite
        numbers."""
        if self.theta.ndim == 1:
            total = float(np.mean(self.losses))
            return total if np.isfinite(total) and np.isfinite(self.x).all() else np.inf
        losses = self.losses.reshape(len(self.theta), -1)
        finite = (
            np.isfinite(losses)
            & np.isfinite(self.x).all(axis=(0, 1)).reshape(losses.shape)
        ).all(axis=1)
        return to_host(np.where(finite, losses.mean(axis=1), np.inf))

    @property
    def counts(self) -> Counts:
        """What making it cost: a rollout of the true plant, or none of its model."""
        return Counts(rollouts=int(not self.linear_model.replaces_plant))

    def hidden(self, network):
        """Activity of the hidden units [time, unit, trial] (T, n_hidden, N), at all steps."""
        return self.passes.activity(network.weights(self.theta), self)


class Lines(NamedTuple):
    """The plant's Jacobians along a rollout, and the slope of control against command (T, nu, N)."""

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    slope: np.ndarray
    replays_inputs: bool


class ClosedLoop:
    """One network on one plant and scenario.

    `fused` asks for the compiled passes; without it they are the plain ones. With `store_every` K a rollout keeps the
    network's activity at every K-th step only, its *stored steps*; tangent and adjoint compute the segments between them
    again, one at a time, which takes a little time for much memory. The plain passes store every step all the same. With kernels
    of a GPU everything is there, from weights to residuals; `dtype` is the network's kind of number in the fused passes, and
    `networks`, in the fused passes of a GPU alone, how many there are; None is one whose arrays have no axis for them.
    """

    def __init__(
        self,
        plant,
        kernels,
        network,
        scenario,
        wiring,
        fused=True,
        store_every=1,
        dtype="float64",
        networks=None,
    ):
        wiring.check(scenario.steps)
        if kernels.device == "gpu":
            scenario, wiring = (
                move_scenario(scenario, to_device, kernels),
                wiring.move(to_device),
            )
        self.plant, self.kernels, self.network = plant, kernels, network
        self.scenario, self.wiring, self.fused, self.store_every, self.dtype = (
            scenario,
            wiring,
            fused,
            store_every,
            dtype,
        )
        self.networks, self._parts = networks, {}
        self.passes = self._passes()

    def _passes(self):
        """The passes for this network and device; those of time-continuous cells on a GPU are the plain ones."""
        network, scenario, wiring = self.network, self.scenario, self.wiring
        if self.fused and self.kernels.device == "cpu":
            from hfcontrol.closed_loop.passes.cpu import FusedPasses

            return FusedPasses(
                network,
                self.plant,
                self.kernels,
                scenario,
                wiring,
                self.store_every,
                self.dtype,
            )
        if self.fused and not any(layer.work for layer in network.layers):
            from hfcontrol.closed_loop.passes.cuda import CudaPasses

            return CudaPasses(
                network, self.plant, scenario, wiring, self.dtype, self.networks
            )
        return PlainPasses(network, self.kernels, scenario, wiring)

    @property
    def trials(self):
        """The number of trials, N, of each network."""
        return self.scenario.trials // (self.networks or 1)

    def active_residuals(self):
        """The residuals that weigh anything, as a list of `ResidualIndex`."""
        return self.scenario.cost.active_residuals()

    def subset(self, trials):
        """The same loop on some of its trials, given by how many, spread evenly among all of each network."""
        if trials not in self._parts:
            chosen = self.everywhere(self.chosen(trials))
            self._parts[trials] = ClosedLoop(
                self.plant,
                self.kernels,
                self.network,
                select_trials(self.scenario, chosen),
                self.wiring,
                self.fused,
                self.store_every,
                self.dtype,
                self.networks,
            )
        return self._parts[trials]

    def chosen(self, trials):
        """The numbers of so many trials of a network, spread evenly among all, where the scenario is."""
        return to_device_of(np.arange(trials) * self.trials // trials, self.scenario.x0)

    def everywhere(self, chosen):
        """The numbers, among the trials of all networks, of trials chosen in each."""
        if self.networks is None:
            return chosen
        firsts = to_device_of(self.trials * np.arange(self.networks), chosen)
        return (firsts[:, None] + chosen).ravel()

    def rollout(self, theta, linear_model=NOTHING_FIXED, exploration=None):
        """The simulation of all trials with weights theta (..., P), with what `linear_model` keeps fixed; `exploration` (T, nu, N), if
        given, is added to the commands."""
        with np.errstate(all="ignore"):
            x, u, command, y, rows = self.passes.rollout(
                self.network.weights(theta), linear_model, exploration
            )
        return Rollout(
            theta,
            x,
            u,
            command,
            y,
            rows,
            linear_model,
            self.scenario.cost.losses(x, u),
            self.passes,
        )

    def lines(self, rollout):
        """The plant's Jacobians along a rollout, by central differences, or those of its linear model."""
        w, s, linear_model = self.wiring, self.scenario, rollout.linear_model
        slope = np.zeros_like(rollout.u)
        used = rollout.command[: s.steps - w.command_delay]
        slope[w.command_delay :] = w.slope(used) * (
            1.0 + s.motor_gain[w.command_delay :]
        )
        if linear_model.replaces_plant:
            return Lines(
                linear_model.A,
                linear_model.B,
                linear_model.C,
                slope,
                linear_model.replays_inputs,
            )
        A, B = self.kernels.jacobians_along(rollout.x, rollout.u, s.params, w.taper)
        C = self.kernels.observe_jacobian(rollout.x[:-1], s.params)
        return Lines(A, B, C, slope, linear_model.replays_inputs)

    def jacobian_counts(self, rollout: Rollout) -> Counts:
        """Return what the plant's Jacobians along a rollout cost: a model's are free."""
        if rollout.linear_model.replaces_plant:
            return Counts()
        s = self.scenario
        # central differences: two plant steps for every state and control
        columns = len(s.x0) + rollout.u.shape[1]
        return Counts(jacobian_steps=2 * columns * s.steps * s.trials)

    def linearise(self, rollout):
        """The derivative of all residuals with respect to the weights, at a rollout."""
        return Linearised(
            self,
            rollout,
            self.lines(rollout),
            self.scenario.cost.linearise(rollout.x, rollout.u),
            Tally(self.jacobian_counts(rollout)),
        )

    def linear_model(self, rollout):
        """The linear_model that replaces the plant by its linear time-varying model about a rollout."""
        lines = self.lines(rollout)
        observed = self.kernels.observe(rollout.x[:-1], self.scenario.params)
        return LinearModel(
            lines.A,
            lines.B,
            lines.C,
            rollout.x,
            rollout.u,
            observed,
            rollout.y,
            replaces_plant=True,
        )


@dataclass(frozen=True)
class Linearised:
    """The closed loop about one rollout: a linear map from weights (..., P) to residuals, and its transpose; of several networks,
    each to its own residuals."""

    loop: ClosedLoop
    rollout: Rollout
    lines: Lines
    cost: object
    tally: Tally = field(default_factory=lambda: Tally(Counts()), compare=False)

    @property
    def trials(self):
        """The number of trials, of each network."""
        return self.loop.trials

    @property
    def counts(self) -> Counts:
        """What it and its parts cost so far: Jacobians, tangents and adjoints."""
        return self.tally.total

    @cached_property
    def weights(self):
        """The weights (P,) at the rollout."""
        return self.loop.network.weights(self.rollout.theta)

    @cached_property
    def slope(self):
        """Derivative of each weight by what is trained, (P,) or 1."""
        return self.loop.network.slope(self.rollout.theta)

    def subset(self, trials):
        """The derivative of some of the trials alone, given by how many, spread evenly among all; it needs no plant."""
        if trials >= self.loop.trials:
            return self
        loop, chosen, rollout = (
            self.loop.subset(trials),
            self.loop.chosen(trials),
            self.rollout,
        )
        rows, chosen = (
            self.loop.passes.picked_rows(rollout.rows, chosen, loop.passes),
            self.loop.everywhere(chosen),
        )

        def pick(*arrays):
            return [a[..., chosen].copy() for a in arrays]

        rollout = Rollout(
            rollout.theta,
            *pick(rollout.x, rollout.u, rollout.command, rollout.y),
            rows,
            NOTHING_FIXED,
            *pick(rollout.losses),
            loop.passes,
        )
        lines = Lines(*pick(*self.lines[:4]), self.lines.replays_inputs)
        return Linearised(
            loop, rollout, lines, self.cost.select_trials(chosen), self.tally
        )

    def jvp(self, v):
        """Tangent of all residuals in the direction v (P,), as `Residuals`."""
        dx, du, _ = self.loop.passes.tangent(
            self.weights, self.lines, self.rollout, self.slope * v
        )
        self.tally.add(Counts(tangent_steps=du.shape[0] * du.shape[2]))
        return self.cost.jvp(dx, du)

    def vjp(self, w):
        """Gradient (P,) of <w, residuals>, for w given as `Residuals`."""
        x_bar, u_bar = self.cost.vjp(w)
        self.tally.add(Counts(adjoint_steps=u_bar.shape[0] * u_bar.shape[2]))
        return self.slope * self.loop.passes.adjoint(
            self.weights, self.lines, self.rollout, x_bar, u_bar
        )

    @cached_property
    def gradient(self):
        """Gradient of the loss (P,)."""
        return self.vjp(self.cost.weights * self.cost.residuals) / self.loop.trials

    def rows(self, channels):
        """Jacobian of K weighted residuals of every trial (..., K, N, P): each row is scaled by the root of its weight."""
        x_bar, u_bar = self.cost.residual_cotangents(channels)
        steps = u_bar.shape[0] * u_bar.shape[1] * u_bar.shape[3]
        self.tally.add(Counts(adjoint_steps=steps))
        J = self.loop.passes.adjoint_rows(
            self.weights, self.lines, self.rollout, x_bar, u_bar
        )
        if self.loop.network.constraint is not None:
            J *= self.slope
        return J

    def structural_product(self, v):
        """S @ v (P,) with <v, S v> = 1/N sum of the squared changes of hidden state, state and control along v.

        The changes of the rows of all steps are held meanwhile, whichever steps are stored.
        """
        passes, rollout = self.loop.passes, self.rollout
        dx, du, d_rows = passes.tangent(
            self.weights, self.lines, rollout, self.slope * v, keep_rows=True
        )
        changed = passes.hidden_alone(d_rows)
        return (
            self.slope
            * passes.adjoint(self.weights, self.lines, rollout, dx, du, changed)
            / self.loop.trials
        )
