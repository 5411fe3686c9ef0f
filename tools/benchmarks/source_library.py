"""The library that the source trained with, on our arm from our initial weights.

It is `hessianfree` (pip install hessianfree). Its network, loss and optimizer are used
as the source's script uses them: at most 96 iterations of conjugate gradients, and
every 32 updates a new optimizer, with damping 100 and no warm start. Three things are
better here than in the script: the arm moves all trials in one batch, compiled; its
Jacobians are differences of float64 numbers, not of float32; and the layer of fixed
weights between network and arm, which the script masks after each step, is left out.

The library's weights are ours, transposed, with two exceptions. Every connection has
its own bias, so a unit's bias is a sum. A recurrent layer has a vector that is added at
the first step, when nothing comes back yet: in our network that is a learned start
state h0, seen through the recurrent weights W; the vector is W h0.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import hessianfree
import numpy as np
from hessianfree.nonlinearities import Linear, Plant, Tanh

from benchmarks.report import check_start
from hfcontrol.arrays.threads import limited_threads
from hfcontrol.arrays.types import Array
from hfcontrol.runs.settings import Settings
from hfcontrol.studies.harness import Setup

# Layers are input, hidden, hidden and arm.
CONNECTIONS = {0: [1, 2], 1: [2], 2: [3]}
RECURRENT = (1, 2)
INPUT_LAYER = 0
ARM_LAYER = 3

# Names of these layers in our network.
NAMES = ("in", "1", "2", "out")

# As in the source's script.
CG_CAP = 96
DAMPING = 100
UPDATES = 32


class Arm(Plant):
    """The plant as the last layer of the library's network and source of its inputs.

    A layer has as many inputs as outputs, here states: as in the source's script, a
    torque is the sum of every second input. The library's arrays are (trial, step,
    unit).
    """

    def __init__(self, loop: Any) -> None:
        super().__init__(stateful=True)
        self.loop = loop
        scenario, nx = loop.scenario, loop.plant.nx
        shape = (scenario.trials, scenario.steps, nx)
        self.shape = [scenario.trials, scenario.steps, loop.network.n_input]
        # NaN: a step without a target.
        self.targets = np.full(shape, np.nan, dtype=np.float32)
        self.targets[:, -1] = scenario.goal[-1].T
        self.identities = np.tile(np.eye(nx), (scenario.trials, 1, 1))
        self.reset()

    def reset(self, init: Array | None = None) -> None:
        """Go back to the scenario's start states, or to others (N, nx)."""
        self.state = self.loop.scenario.x0 if init is None else init.T
        self.inputs: list[Array] = []

    def __call__(self, x: Array) -> Array:
        """Return the network's next input (N, n_input): targets and states.

        x is not needed: as the last layer's input it has moved the arm already.
        """
        target = self.loop.scenario.target[len(self.inputs)]
        self.inputs.append(np.concatenate([target, self.state]).T)
        return self.inputs[-1]

    def get_vecs(self) -> tuple[Array, Array]:
        """Return inputs (N, T, n_input) and targets (N, T, nx) since the last reset."""
        return np.stack(self.inputs, axis=1).astype(np.float32), self.targets

    def activation(self, x: Array) -> Array:
        """Return the states (N, nx) after one more step, for layer inputs x (N, nx)."""
        scenario = self.loop.scenario
        by_torque = x.reshape(len(x), -1, self.loop.plant.nu)
        self.torques = by_torque.sum(axis=1, dtype=float).T
        self.path = self.loop.kernels.simulate(
            self.state,
            self.torques[None],
            scenario.params,
            scenario.disturbance[:1],
            self.loop.wiring.taper,
        )
        self.state = self.path[1]
        return self.state.T

    def d_activation(self, x: Array, a: Array) -> Array:
        """Return the derivatives (N, nx, nx, 3) of this step.

        They are those of the state by the input and by the state before, and of the
        output by the state.
        """
        params, taper = self.loop.scenario.params, self.loop.wiring.taper
        A, B = self.loop.kernels.jacobians_along(
            self.path, self.torques[None], params, taper
        )
        plant = self.loop.plant
        by_input = np.tile(B[0], (1, plant.nx // plant.nu, 1))
        trials_first = (2, 0, 1)
        derivatives = [
            by_input.transpose(trials_first),
            A[0].transpose(trials_first),
            self.identities,
        ]
        return np.stack(derivatives, axis=-1)


class Connection(NamedTuple):
    """A connection of the library, from layer `source` to layer `layer`.

    W (source, unit) and bias are its weights, ours and b the views of our weights.
    """

    source: int
    layer: int
    W: Array
    bias: Array
    ours: Array
    b: Array

    @property
    def has_our_bias(self) -> bool:
        """Whether it holds our bias: one connection of every layer does."""
        return self.source == INPUT_LAYER or self.layer == ARM_LAYER


class SourceTraining:
    """A training by the library, on our scenario and from our initial weights."""

    def __init__(self, seed: int, settings: dict[str, Any]) -> None:
        setup = Setup(Settings(seed=seed, learn_start=True, **settings))
        self.loop = setup.training_scenarios().loop
        self.network = setup.trainer.network
        self.updates = 0
        self.arm = Arm(self.loop)
        hidden = setup.settings.hidden
        self.net = hessianfree.RNNet(
            [self.network.n_input, *hidden, self.loop.plant.nx],
            layers=[Linear(), Tanh(), Tanh(), self.arm],
            conns=CONNECTIONS,
            rec_layers=RECURRENT,
        )
        theta = setup.initial_weights()
        self.set_weights(theta)
        # This compiles what is not compiled yet.
        self.net.forward(self.arm, deriv=True)
        check_start(self.net.error(inputs=self.arm), self.loop, theta)

    def connections(self, params: Array, theta: Array) -> Iterator[Connection]:
        """Yield the connections: views of the library's params and our theta (P,)."""
        views = self.network.views(theta)
        for source, layer in self.net.offsets:
            W, bias = self.net.get_weights(params, (source, layer))
            ours = views[f"W_{NAMES[source]}_{NAMES[layer]}"]
            yield Connection(source, layer, W, bias, ours, views[f"b_{NAMES[layer]}"])

    def set_weights(self, theta: Array) -> None:
        """Put our weights (P,), with a start state of zero, into the library."""
        self.net.W[:] = 0.0
        for connection in self.connections(self.net.W, theta):
            size = len(connection.b)
            connection.W[:, :size] = connection.ours.T
            if connection.has_our_bias:
                connection.bias[:size] = connection.b

    def theta(self) -> Array:
        """Return the weights (P,) with which our network does the same."""
        theta = np.zeros(self.network.size)
        start = []
        for source, layer, W, bias, ours, b in self.connections(
            self.net.W.astype(float), theta
        ):
            ours[:] = W.reshape(len(W), -1, len(b)).sum(axis=1).T
            if source == layer:
                start.append(np.linalg.solve(ours, bias))
            else:
                b += bias.reshape(-1, len(b)).sum(axis=0)
        theta[self.network.start] = np.concatenate(start)
        return theta

    def loss(self) -> float:
        """Return the loss in closed loop."""
        return self.loop.rollout(self.theta()).loss

    def update(self) -> None:
        """Make one update of the weights by the library."""
        if self.updates % UPDATES == 0:
            self.optimizer = hessianfree.optimizers.HessianFree(
                CG_iter=CG_CAP, init_damping=DAMPING
            )
        # It asks for single steps of the arm, too short to be shared among threads.
        with limited_threads(1):
            self.net.run_epochs(
                self.arm, None, self.optimizer, max_epochs=1, print_period=None
            )
        self.updates += 1
