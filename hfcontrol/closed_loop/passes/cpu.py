"""Compiled passes on the CPU: plant and network in one loop over time.

They compute the same numbers as `PlainPasses` up to rounding. Trials are divided into
blocks of fixed width, which run in parallel on all cores. Sums over trials are made
block by block in a fixed order, so that the result has the same bits on any number of
cores.

A linearised rollout takes 8 bytes x (activations of the network + 70, for arm2) per
trial and step. With `store_every` K it takes 8 bytes x (activations / K + 70): only
every K-th step stores its activations, and tangent and adjoint recompute the segments
between them. 40 of these 70 numbers are the plant's Jacobians. They are kept, because a
plant may cost far more to differentiate than a network to step.

`dtype` is that of the activations, their tangents and cotangents, and the products;
everything else is float64.
"""

from collections.abc import Iterable

import numpy as np

from hfcontrol.arrays.threads import run_in_parallel, single_threaded_blas
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.linear_model import LinearModel, PlantJacobians
from hfcontrol.closed_loop.passes.plain import PlainPasses
from hfcontrol.closed_loop.passes.protocol import StoredRollout, Trajectories
from hfcontrol.closed_loop.shares import HandOver
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels import derivatives, segments
from hfcontrol.kernels.base import Kernels
from hfcontrol.kernels.cell_module import fill_functions
from hfcontrol.kernels.derivatives import Cotangents, LinearPlant
from hfcontrol.kernels.network_step import (
    NetworkFunctions,
    NetworkTables,
    load_function,
)
from hfcontrol.kernels.plant_functions import load_plant_functions
from hfcontrol.kernels.plant_types import NO_PLANT
from hfcontrol.kernels.rollout import HeldModel, RolloutInputs, RolloutResults
from hfcontrol.kernels.rollout import rollout as run_rollout
from hfcontrol.kernels.segments import StoredActivations
from hfcontrol.network.network import Network
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.scenario import Scenario

# Most rows of J in one product of `gram`: small enough for all cores to get a share.
CHUNK = 64


def is_staged(network: Network) -> bool:
    """Whether any layer takes several stages per step (time-continuous cells)."""
    return any(layer.state_source for layer in network.layers)


def kernel_tables(
    network: Network, functions: Iterable[str], dtype: str = "float64"
) -> NetworkTables:
    """A network as kernels take it, with the functions that they call.

    These are fields of `NetworkFunctions`; each is compiled when it is first needed.
    """
    layers, sources = network.tables()
    hidden = network.hidden
    start = network.start.start if network.start else -1
    clock = -1 if network.clock is None else network.clock
    staged = is_staged(network)
    found = {name: load_function(name, staged, dtype) for name in functions}
    addresses = NetworkFunctions(**found)
    layers = fill_functions(layers, [layer.cell for layer in network.layers])
    hidden_units = (hidden.start, hidden.stop)
    return NetworkTables(layers, sources, *hidden_units, start, clock, addresses)


class FusedPasses:
    """Compiled `Passes` of one network on one plant, scenario and blocks of a `width`.

    A plant that is not compiled is simulated by the plain pass. Its linear model,
    tangent and adjoint are compiled nevertheless, since they do not need the plant.
    Activations have the shape (block, T // store_every + 1, unit, trial).
    """

    def __init__(
        self,
        network: Network,
        plant: Plant,
        kernels: Kernels,
        scenario: Scenario,
        wiring: Wiring,
        width: int,
        store_every: int = 1,
        dtype: str = "float64",
    ) -> None:
        self.network, self.scenario, self.wiring = network, scenario, wiring
        self.store_every = store_every
        self.dtype = np.dtype(dtype)
        self.width = width
        self.blocks = -(-scenario.trials // self.width)

        self.inputs = self._collect_inputs()
        # The network with the functions that a kernel calls, by their names.
        self._tables: dict[tuple[str, ...], NetworkTables] = {}

        self.simulated: PlainPasses | None = None
        self.plant_functions = NO_PLANT
        if plant.compiled:
            self.plant_functions = load_plant_functions(plant)
        else:
            self.simulated = PlainPasses(
                network, kernels, scenario, wiring, store_every
            )

    def _collect_inputs(self) -> RolloutInputs:
        """The scenario as the rollout takes it, without exploration."""
        s, w = self.scenario, self.wiring
        _, nu, N = s.motor_noise.shape
        # Kernels read along the last axis, and would compile again for other layouts.
        own = np.ascontiguousarray
        return RolloutInputs(
            x0=own(s.x0),
            target=own(s.target),
            elapsed=own(s.elapsed),
            params=own(s.params.T),
            sensory_noise=own(s.sensory_noise),
            motor_noise=own(s.motor_noise),
            motor_gain=own(s.motor_gain),
            disturbance=own(s.disturbance),
            limits=own(w.limits.table),
            taper=own(w.taper),
            feedback_delay=w.feedback_delay,
            command_delay=w.command_delay,
            exploration=np.empty((0, nu, N)),
        )

    def rollout(
        self,
        weights: Array,
        linear_model: LinearModel,
        exploration: Array | None = None,
    ) -> Trajectories:
        """See `Passes.rollout`."""
        if self.simulated and not linear_model.replaces_plant:
            plain = self.simulated.rollout(weights, linear_model, exploration)
            activations = self._divide_into_blocks(plain.activations[0])
            return plain._replace(activations=activations)

        s = self.scenario
        T, N = s.steps, s.trials
        x = np.empty((T + 1, len(s.x0), N))
        u = np.empty((T, s.motor_noise.shape[1], N))
        command, y = np.empty_like(u), np.empty_like(s.sensory_noise)
        inputs = self.inputs
        if exploration is not None:
            inputs = inputs._replace(exploration=np.ascontiguousarray(exploration))
        activations = self._empty_activations(T // self.store_every + 1)
        results = RolloutResults(x, u, command, y, activations, self.store_every)
        # The blocks keep all cores busy, so that each product takes one thread.
        with single_threaded_blas():
            run_in_parallel(
                self.blocks,
                run_rollout,
                self._cast(weights),
                self._kernel_tables("step"),
                self.plant_functions,
                inputs,
                HeldModel(*linear_model),
                results,
            )
        return Trajectories(x, u, command, y, activations)

    def all_activations(self, weights: Array, rollout: StoredRollout) -> Array:
        """Activations of all steps of a rollout (block, T+1, unit, trial)."""
        if self.store_every == 1:
            return rollout.activations
        out = self._empty_activations(self.scenario.steps + 1)
        with single_threaded_blas():
            run_in_parallel(
                self.blocks,
                segments.all_activations,
                self._cast(weights),
                self._kernel_tables("step"),
                self._stored_activations(rollout),
                out,
            )
        return out

    def hidden_activations(self, weights: Array, rollout: StoredRollout) -> Array:
        """See `Passes.hidden_activations`."""
        activations = self.all_activations(weights, rollout)
        hidden = activations[:, 1:, self.network.hidden]
        merged = np.concatenate(list(hidden), axis=2)
        return merged[:, :, : self.scenario.trials]

    def keep_hidden(self, d_activations: Array) -> Array:
        """See `Passes.keep_hidden`."""
        hidden = self.network.hidden
        kept = np.zeros_like(d_activations)
        kept[:, 1:, hidden] = d_activations[:, 1:, hidden]
        # The last block is filled up with trials that do not exist.
        trials_in_last_block = self.scenario.trials - (self.blocks - 1) * self.width
        # A share without any block has no last one.
        kept[-1:, :, :, trials_in_last_block:] = 0.0
        return kept

    def select_activations(
        self, activations: Array, select: HandOver, passes: "FusedPasses"
    ) -> Array:
        """See `Passes.select_activations`."""
        block, column = select.held // self.width, select.held % self.width
        held = np.moveaxis(activations[block, :, :, column], 0, 2)
        return passes._divide_into_blocks(select.send(held))

    def _divide_into_blocks(self, activations: Array) -> Array:
        """Activations (step, unit, N) in blocks (block, step, unit, width).

        The last block is filled up with zeros.
        """
        steps, units, trials = activations.shape
        padded = np.zeros((steps, units, self.blocks * self.width), self.dtype)
        padded[:, :, :trials] = activations
        divided = padded.reshape(steps, units, self.blocks, self.width)
        return np.ascontiguousarray(divided.transpose(2, 0, 1, 3))

    def _empty_activations(self, steps: int) -> Array:
        """Room for the activations of all blocks at some number of steps."""
        units = self.network.n_activations
        return np.empty((self.blocks, steps, units, self.width), self.dtype)

    def _cast(self, weights: Array) -> Array:
        """Weights (P,) in the dtype of the network."""
        return weights.astype(self.dtype, copy=False)

    def _kernel_tables(self, *functions: str) -> NetworkTables:
        """The network with the functions that a kernel calls."""
        if self.store_every > 1:
            # Kernels recompute activations that are not stored.
            functions = ("step", *functions)
        if functions not in self._tables:
            name = self.dtype.name
            self._tables[functions] = kernel_tables(self.network, functions, name)
        return self._tables[functions]

    def _stored_activations(self, rollout: StoredRollout) -> StoredActivations:
        """What kernels need to read or recompute activations."""
        seen = (self.inputs.target, self.inputs.elapsed)
        y = np.ascontiguousarray(rollout.y)
        return StoredActivations(self.store_every, *seen, y, rollout.activations)

    def _linear_plant(self, jacobians: PlantJacobians) -> LinearPlant:
        """The plant's Jacobians as kernels take them."""
        arguments = jacobians.kernel_arguments(self.wiring)
        plant = LinearPlant(*arguments)
        return plant._replace(A_table=jacobians.A_table, C_table=jacobians.C_table)

    def tangent(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        v: Array,
        keep_activations: bool = False,
    ) -> tuple[Array, Array, Array]:
        """See `Passes.tangent`."""
        T, nx, nu, N = jacobians.B.shape
        dx, du = np.empty((T + 1, nx, N)), np.empty((T, nu, N))
        plant = self._linear_plant(jacobians)
        # Without `keep_activations`, two steps take turns.
        d_activations = self._empty_activations(T + 1 if keep_activations else 2)
        with single_threaded_blas():
            run_in_parallel(
                self.blocks,
                derivatives.tangent,
                self._cast(weights),
                self._cast(v),
                self._kernel_tables("jvp"),
                plant,
                self._stored_activations(rollout),
                dx,
                du,
                d_activations,
            )
        return dx, du, d_activations

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
        if activations_bar is None:
            activations_bar = self._no_activations_bar()
        size = self.network.size
        # One sum per block: their order is the same on any number of cores.
        weights_bars = np.zeros((1, self.blocks, size))
        no_rows = np.empty((1, 0, size), self.dtype)
        self._run_adjoint(
            weights,
            jacobians,
            rollout,
            (x_bar[None], u_bar[None], activations_bar),
            (weights_bars, no_rows),
        )
        return weights_bars[0]

    def adjoint_rows(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        x_bar: Array,
        u_bar: Array,
    ) -> Array:
        """See `Passes.adjoint_rows`."""
        K = len(x_bar)
        J = np.empty((K, self.scenario.trials, self.network.size), self.dtype)
        no_sums = np.empty((K, self.blocks, 0))
        self._run_adjoint(
            weights,
            jacobians,
            rollout,
            (x_bar, u_bar, self._no_activations_bar()),
            (no_sums, J),
        )
        return J.astype(float, copy=False)

    def _no_activations_bar(self) -> Array:
        """Activation cotangents of no step, which kernels take for zeros."""
        return self._empty_activations(0)

    def _run_adjoint(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        cotangents: tuple[Array, Array, Array],
        results: tuple[Array, Array],
    ) -> None:
        """Run the adjoint kernel, which adds to `weights_bars` or fills J.

        `results` are both; one of them has no entries, and is not computed.
        """
        weights_bars, J = results
        x_bar, u_bar, activations_bar = cotangents
        contiguous = Cotangents(
            np.ascontiguousarray(x_bar), np.ascontiguousarray(u_bar), activations_bar
        )
        reduction = "trial_row" if J.size else "weight_cotangents"
        with single_threaded_blas():
            run_in_parallel(
                len(x_bar) * self.blocks,
                derivatives.adjoint,
                self._cast(weights),
                self._kernel_tables("vjp", reduction),
                self._linear_plant(jacobians),
                self._stored_activations(rollout),
                contiguous,
                weights_bars,
                J,
            )

    def gram(self, J: Array) -> Array:
        """See `Passes.gram`."""
        m = len(J)
        out = np.empty((m, m))
        width = min(CHUNK, -(-m // 2))
        chunks = -(-m // width)
        # J J' is symmetric: the products on and below the diagonal suffice.
        products = chunks * (chunks + 1) // 2
        with single_threaded_blas():
            run_in_parallel(products, derivatives.gram, J, width, out)
        return out
