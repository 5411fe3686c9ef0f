"""Plant and network as one dynamical system with parameters theta.

`ClosedLoop.rollout(theta)` simulates all trials of a scenario.
`ClosedLoop.linearise(rollout)` gives the derivative of the residuals there, as `jvp`
(tangent of all residuals) and `vjp` (gradient by theta). The two are the exact discrete
derivatives of the rollout as coded, through the plant *and* through the feedback path
x -> y -> network. passes/plain.py has the equations. Trajectories are arrays
[time, unit, trial].

Where processes share a training, each simulates and differentiates its own share of the
trials. Losses, gradients and rows of the Jacobian are those of all trials in every
process; trajectories and residuals are those of the share (`own` trials). `whole` joins
the trajectories.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from hfcontrol.arrays.communicator import Communicator, current_communicator
from hfcontrol.arrays.device import to_device, to_device_of
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts, Tally
from hfcontrol.closed_loop.linear_model import (
    NOTHING_FIXED,
    LinearModel,
    PlantJacobians,
)
from hfcontrol.closed_loop.passes.plain import PlainPasses
from hfcontrol.closed_loop.passes.protocol import Activations, Passes
from hfcontrol.closed_loop.shares import HandOver, Shares
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.errors import UsageError
from hfcontrol.kernels.base import Kernels
from hfcontrol.network.cells import timed_matrices
from hfcontrol.network.network import Network
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.cost import LinearCost, ResidualIndex, Residuals
from hfcontrol.tasks.scenario import Scenario, move_scenario, select_trials


@dataclass(frozen=True)
class PassOptions:
    """Options of a loop's passes.

    `fused` selects compiled passes instead of plain ones. With `store_every` K a
    rollout stores the activations of every K-th step only; tangent and adjoint
    recompute the others, which saves much memory for little time. (Plain passes store
    every step.) `dtype` is that of the network in compiled passes.
    """

    fused: bool = True
    store_every: int = 1
    dtype: str = "float64"


DEFAULT_PASSES = PassOptions()

# Most entries of the cotangents in one adjoint pass of many residuals.
MOST_COTANGENTS = 20_000_000


@dataclass(frozen=True)
class Rollout:
    """One simulation of all trials.

    The trained vector theta (P,), states x (T+1, nx, own), controls u and commands
    (T, nu, own), observations y (T, ny, own), activations, what was kept fixed, the
    loss of every trial (N,), whether all their states are finite, and the passes that
    made it. Only these can read the activations.
    """

    theta: Array
    x: Array
    u: Array
    command: Array
    y: Array
    activations: Activations
    linear_model: LinearModel
    losses: Array
    is_finite: bool
    passes: Passes

    @cached_property
    def loss(self) -> float:
        """Mean loss of all trials; infinite if any number of a trial is not finite."""
        mean = float(np.mean(self.losses))
        return mean if self.is_finite and np.isfinite(mean) else np.inf

    @property
    def counts(self) -> Counts:
        """What making it cost: a rollout of the true plant, or none of its model."""
        return Counts(rollouts=int(not self.linear_model.replaces_plant))

    def hidden(self, network: Network) -> Array:
        """Activations of the hidden units at all steps (T, n_hidden, own)."""
        weights = network.weights(self.theta)
        return self.passes.hidden_activations(weights, self)


# Fields of a rollout that are arrays whose last axis is the trial of a share.
ROLLOUT_ARRAYS = ("x", "u", "command", "y")


def _check_lengths(network: Network) -> None:
    """Raise UsageError if the cells do not train with steps of any length."""
    cell = network.architecture.cell
    if network.clock is None:
        reason = "has a step of one length"
    elif timed_matrices(cell):
        reason = "trains with steps of one length"
    else:
        return
    raise UsageError(
        f"`jitter` with `cell` {cell}: this cell {reason}; choose a cell in continuous "
        "time, such as ltc or ctrnn, or leave it out"
    )


class ClosedLoop:
    """One network on one plant and scenario, in discrete time.

    With the kernels of a GPU all arrays are there, from weights to residuals. The
    processes of `communicator`, by default that of the context, share the trials:
    `scenario` has all of them, `share` those of this process. Raises TaskError if a
    delay is not shorter than the horizon, and UsageError if steps have different
    lengths and the network has no time.
    """

    def __init__(
        self,
        plant: Plant,
        kernels: Kernels,
        network: Network,
        scenario: Scenario,
        wiring: Wiring,
        options: PassOptions = DEFAULT_PASSES,
        communicator: Communicator | None = None,
    ) -> None:
        wiring.check(scenario.steps)
        if plant.irregular:
            _check_lengths(network)
        if kernels.device == "gpu":
            scenario = move_scenario(scenario, to_device, kernels)
            wiring = wiring.move(to_device)
        self.plant, self.kernels, self.network = plant, kernels, network
        self.scenario, self.wiring, self.options = scenario, wiring, options
        self.shares = Shares(scenario.trials, communicator or current_communicator())
        self.share = self.shares.select(scenario)
        self.passes = self._choose_passes()

        # Loops on a subset of the trials, by their number. They are kept, because
        # every update uses the same ones.
        self._subsets: dict[int, ClosedLoop] = {}

    def _choose_passes(self) -> Passes:
        """The passes for this network and device.

        Time-continuous cells on a GPU run with plain passes.
        """
        network, scenario, wiring = self.network, self.share, self.wiring
        options = self.options
        # Imported here, because Numba takes a second that plain passes can do without.
        if options.fused and self.kernels.device == "cpu":
            from hfcontrol.closed_loop.passes.cpu import FusedPasses

            return FusedPasses(
                network,
                self.plant,
                self.kernels,
                scenario,
                wiring,
                self.shares.width,
                options.store_every,
                options.dtype,
            )
        has_stages = any(layer.work for layer in network.layers)
        if options.fused and not has_stages:
            from hfcontrol.closed_loop.passes.cuda import CudaPasses

            return CudaPasses(network, self.plant, scenario, wiring, options.dtype)
        return PlainPasses(network, self.kernels, scenario, wiring)

    @property
    def trials(self) -> int:
        """Number of trials, N."""
        return self.scenario.trials

    def active_residuals(self) -> list[ResidualIndex]:
        """Indices of the residuals whose weight is not zero in every trial."""
        return self.scenario.cost.active_residuals()

    def with_scenario(
        self, scenario: Scenario, kernels: Kernels | None = None
    ) -> "ClosedLoop":
        """The same loop on another scenario, and with other kernels of the plant."""
        return type(self)(
            self.plant,
            kernels or self.kernels,
            self.network,
            scenario,
            self.wiring,
            self.options,
            self.shares.communicator,
        )

    def subset(self, trials: int) -> "ClosedLoop":
        """The loop on a number of evenly spaced trials."""
        if trials not in self._subsets:
            indices = to_device_of(self.trial_indices(trials), self.scenario.x0)
            scenario = select_trials(self.scenario, indices)
            self._subsets[trials] = self.with_scenario(scenario)
        return self._subsets[trials]

    def trial_indices(self, count: int) -> Array:
        """Indices of `count` evenly spaced trials."""
        return np.arange(count) * self.trials // count

    def whole(self, rollout: Rollout) -> Rollout:
        """A rollout with the trajectories of all trials, in every process.

        Its activations stay those of the share.
        """
        if self.shares.is_whole:
            return rollout
        joined = self.shares.join_all(rollout.x, rollout.u, rollout.command, rollout.y)
        x, u, command, y = joined
        return replace(rollout, x=x, u=u, command=command, y=y)

    def gather(self, a: Array, indices: Array) -> Array:
        """Entries (..., n) of some trials, in their order, of an array (..., own)."""
        held = to_device_of(self.shares.held(indices), a)
        return self.shares.join(a[..., held].copy())

    def rollout(
        self,
        theta: Array,
        linear_model: LinearModel = NOTHING_FIXED,
        exploration: Array | None = None,
    ) -> Rollout:
        """Simulate all trials with theta (P,), with `linear_model` fixed.

        `exploration` (T, nu, N) is added to the commands.
        """
        weights = self.network.weights(theta)
        if exploration is not None:
            exploration = self.shares.take(exploration)
        # Weights on trial may be unstable: their loss is infinite, and no error.
        with np.errstate(all="ignore"):
            simulated = self.passes.rollout(weights, linear_model, exploration)
        losses = self.share.cost.losses(simulated.x, simulated.u)
        is_finite = np.isfinite(simulated.x).all().reshape(1)
        # Decisions are taken from the losses of all trials.
        losses, is_finite = self.shares.join_all(losses, is_finite)
        return Rollout(
            theta,
            *simulated,
            linear_model=linear_model,
            losses=losses,
            is_finite=bool(is_finite.all()),
            passes=self.passes,
        )

    def plant_jacobians(self, rollout: Rollout) -> PlantJacobians:
        """The plant's Jacobians along a rollout, or those of its linear model."""
        s, w, model = self.share, self.wiring, rollout.linear_model
        delay = w.command_delay

        # Before the first command arrives, controls do not depend on commands.
        slope = np.zeros_like(rollout.u)
        arriving = rollout.command[: s.steps - delay]
        slope[delay:] = w.limits.slope(arriving) * (1.0 + s.motor_gain[delay:])

        if model.replaces_plant:
            A, B, C = model.A, model.B, model.C
            tables = (model.A_table, model.C_table)
        else:
            A, B, A_table = self.kernels.packed_jacobians_along(
                rollout.x, rollout.u, s.params, w.taper
            )
            before = rollout.x[:-1]
            C, C_table = self.kernels.packed_observe_jacobian(before, s.params)
            tables = (A_table, C_table)
        return PlantJacobians(A, B, C, slope, model.replays_inputs, *tables)

    def jacobian_counts(self, rollout: Rollout) -> Counts:
        """What the plant's Jacobians along a rollout cost; nothing for a model."""
        if rollout.linear_model.replaces_plant:
            return NO_COUNTS
        s = self.scenario
        # Central differences take two plant steps for every group of columns: for
        # every state and control, unless their structure is known.
        groups = self.kernels.step_groups
        return Counts(jacobian_steps=2 * groups * s.steps * s.trials)

    def linearise(self, rollout: Rollout) -> "LinearisedLoop":
        """The derivative of all residuals by theta, at a rollout."""
        return LinearisedLoop(
            self,
            rollout,
            self.plant_jacobians(rollout),
            self.share.cost.linearise(rollout.x, rollout.u),
            Tally(self.jacobian_counts(rollout)),
        )

    def linear_model(self, rollout: Rollout) -> LinearModel:
        """The plant linearised about a rollout, to replace the plant in others."""
        # Observations without noise: the loop adds it again.
        jacobians = self.plant_jacobians(rollout)
        observed = self.kernels.observe(rollout.x[:-1], self.share.params)
        return LinearModel(
            A=jacobians.A,
            B=jacobians.B,
            C=jacobians.C,
            x=rollout.x,
            u=rollout.u,
            observed=observed,
            recorded=rollout.y,
            replaces_plant=True,
            A_table=jacobians.A_table,
            C_table=jacobians.C_table,
        )


@dataclass(frozen=True)
class LinearisedLoop:
    """The closed loop linearised at one rollout.

    A linear map from theta (P,) to residuals, and its transpose.
    """

    loop: ClosedLoop
    rollout: Rollout
    plant_jacobians: PlantJacobians
    cost: LinearCost
    tally: Tally = field(default_factory=lambda: Tally(NO_COUNTS), compare=False)

    @property
    def trials(self) -> int:
        """Number of trials."""
        return self.loop.trials

    @property
    def counts(self) -> Counts:
        """What it and its subsets have cost so far: Jacobians, tangents, adjoints."""
        return self.tally.total

    @cached_property
    def weights(self) -> Array:
        """The weights (P,) at the rollout."""
        return self.loop.network.weights(self.rollout.theta)

    def _pull(self, w: Array) -> Array:
        """Cotangent (..., P) of theta for cotangents (..., P) of the weights."""
        return self.loop.network.weights_vjp(self.rollout.theta, w)

    def _push(self, v: Array) -> Array:
        """Tangent (P,) of the weights for a tangent v (P,) of theta."""
        return self.loop.network.weights_jvp(self.rollout.theta, v)

    def subset(self, trials: int) -> "LinearisedLoop":
        """The derivative of a number of evenly spaced trials; needs no plant."""
        if trials >= self.loop.trials:
            return self
        loop = self.loop.subset(trials)
        indices = self.loop.trial_indices(trials)
        select: HandOver = self.loop.shares.hand_over(indices, loop.shares)
        whole = self.rollout
        activations = self.loop.passes.select_activations(
            whole.activations, select, loop.passes
        )
        arrays: dict[str, Any] = {
            name: select(getattr(whole, name)) for name in ROLLOUT_ARRAYS
        }
        losses = whole.losses[to_device_of(indices, whole.losses)]
        # The selected Jacobians stand for what the rollout kept fixed.
        rollout = replace(
            whole,
            **arrays,
            losses=losses,
            activations=activations,
            linear_model=NOTHING_FIXED,
            passes=loop.passes,
        )
        # The plant is not differentiated again: its Jacobians are at hand.
        whole_plant = self.plant_jacobians
        jacobians = whole_plant._replace(
            A=select(whole_plant.A),
            B=select(whole_plant.B),
            C=select(whole_plant.C),
            slope=select(whole_plant.slope),
        )
        cost = self.cost.map(select)
        return LinearisedLoop(loop, rollout, jacobians, cost, self.tally)

    def jvp(self, v: Array) -> Residuals:
        """Tangent of the residuals of the share in the direction v (P,)."""
        dx, du, _ = self.loop.passes.tangent(
            self.weights, self.plant_jacobians, self.rollout, self._push(v)
        )
        self.tally.add(Counts(tangent_steps=len(du) * self.trials))
        return self.cost.jvp(dx, du)

    def vjp(self, w: Residuals) -> Array:
        """Gradient (P,) of <w, residuals>, summed over all trials.

        w are cotangents of the residuals of the share.
        """
        x_bar, u_bar = self.cost.vjp(w)
        self.tally.add(Counts(adjoint_steps=len(u_bar) * self.trials))
        return self._sum_adjoint(x_bar, u_bar)

    def _sum_adjoint(
        self, x_bar: Array, u_bar: Array, activations_bar: Activations | None = None
    ) -> Array:
        """Cotangent (P,) of theta, of all trials, for those of the share."""
        blocks = self.loop.passes.adjoint(
            self.weights,
            self.plant_jacobians,
            self.rollout,
            x_bar,
            u_bar,
            activations_bar,
        )
        return self._pull(self.loop.shares.communicator.sum_blocks(blocks))

    def inner(self, residuals: Residuals, others: Residuals) -> float:
        """Inner product of residuals, summed over all trials."""
        by_trial = self.loop.shares.join(residuals.dot_by_trial(others))
        return float(np.sum(by_trial))

    @cached_property
    def gradient(self) -> Array:
        """Gradient of the loss (P,)."""
        return self.vjp(self.cost.weights * self.cost.residuals) / self.loop.trials

    def rows(self, indices: Sequence[ResidualIndex]) -> Array:
        """Jacobian (K, N, P) of K residuals of every trial.

        Each row is scaled by the root of its residual's weight.
        """
        # Cotangents of all residuals at once could take more memory than the rows.
        per_index = self.rollout.x.size + self.rollout.u.size
        # A share may be empty, where a subset has fewer blocks than processes.
        most = max(1, MOST_COTANGENTS // max(1, per_index))
        if len(indices) <= most:
            return self._join_rows(self._some_rows(indices))
        own = self.rollout.x.shape[-1]
        shape = (len(indices), own, self.rollout.theta.size)
        rows = np.empty_like(self.rollout.x, shape=shape)
        for k in range(0, len(indices), most):
            rows[k : k + most] = self._some_rows(indices[k : k + most])
        return self._join_rows(rows)

    def _join_rows(self, rows: Array) -> Array:
        """Rows (K, N, P) of all trials, of those (K, own, P) of the share."""
        if self.loop.shares.is_whole:
            return rows
        by_trial = np.moveaxis(rows, 1, -1)
        joined = self.loop.shares.join(by_trial)
        return np.ascontiguousarray(np.moveaxis(joined, -1, 1))

    def scaled_residuals(self, indices: Sequence[ResidualIndex]) -> Array:
        """K residuals of every trial times the roots of their weights (K, N)."""
        return self.loop.shares.join(self.cost.scaled_residuals(indices))

    def _some_rows(self, indices: Sequence[ResidualIndex]) -> Array:
        """Rows (K, own, P) of `rows`, by one adjoint pass with K cotangents."""
        x_bar, u_bar = self.cost.residual_cotangents(indices)
        count, steps, *_ = u_bar.shape
        self.tally.add(Counts(adjoint_steps=count * steps * self.trials))
        J = self.loop.passes.adjoint_rows(
            self.weights, self.plant_jacobians, self.rollout, x_bar, u_bar
        )
        return self._pull(J)

    def structural_product(self, v: Array) -> Array:
        """S @ v (P,), the matrix of structural damping times v.

        <v, S v> is 1/N times the sum of the squared changes of hidden states, states
        and controls along v. The tangents of all steps are kept meanwhile, whichever
        steps are stored.
        """
        passes, rollout = self.loop.passes, self.rollout
        dx, du, d_activations = passes.tangent(
            self.weights,
            self.plant_jacobians,
            rollout,
            self._push(v),
            keep_activations=True,
        )
        d_hidden = passes.keep_hidden(d_activations)
        return self._sum_adjoint(dx, du, d_hidden) / self.loop.trials
