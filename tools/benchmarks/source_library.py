"""The library that the source trained with, `hessianfree` (pip install hessianfree), on our arm from our initial weights.

Its network, loss and optimizer are used as the source's script uses them: at most 96 iterations of conjugate gradients,
and every 32 updates a new optimizer, with damping 100 and no warm start. Three things are better here than in the script:
the arm moves all trials at once, compiled; its Jacobians are differences of float64 numbers, not of float32; and the
layer of fixed weights between network and arm, which the script masks after each step, is left out.

The library's weights are ours, transposed, but for two things. Every connection has a bias of its own, so a unit's bias
is a sum. A recurrent layer has a vector that is added at the first step, when nothing comes back yet: in our network that
is a learned start state h0, seen through the recurrent weights W; the vector is W h0.
"""

import hessianfree
import numba
import numpy as np
from hessianfree.nonlinearities import Linear, Plant, Tanh

from benchmarks.peers import check_start
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings

CONNECTIONS, RECURRENT = (
    {0: [1, 2], 1: [2], 2: [3]},
    (1, 2),
)  # of layers: input, hidden, hidden, arm
NAMES = ("in", "1", "2", "out")  # that these layers have in our network
CG_CAP, DAMPING, UPDATES = 96, 100, 32  # as in the source's script


class Arm(Plant):
    """The plant of a closed loop, as the last layer of the library's network and as the origin of its inputs.

    A layer has as many inputs as outputs, here states: as in the source's script, a torque is the sum of every second
    input. The library's arrays are (trial, step, unit).
    """

    def __init__(self, loop):
        super().__init__(stateful=True)
        self.loop, s, nx = loop, loop.scenario, loop.plant.nx
        self.shape = [s.trials, s.steps, loop.network.n_input]
        self.targets = np.full(
            (s.trials, s.steps, nx), np.nan, dtype=np.float32
        )  # nan: not asked for
        self.targets[:, -1] = s.goal[-1].T
        self.by_itself = np.tile(np.eye(nx), (s.trials, 1, 1))
        self.reset()

    def reset(self, init=None):
        """Back to the scenario's start states, or to others (N, nx)."""
        self.state = self.loop.scenario.x0 if init is None else init.T
        self.seen = []

    def __call__(self, x):
        """What the network sees next (N, n_input): targets and states; x has moved the arm already, as the last layer."""
        self.seen.append(
            np.concatenate([self.loop.scenario.target[len(self.seen)], self.state]).T
        )
        return self.seen[-1]

    def get_vecs(self):
        """Inputs (N, T, n_input) and targets (N, T, nx) since the last reset."""
        return np.stack(self.seen, axis=1).astype(np.float32), self.targets

    def activation(self, x):
        """The states (N, nx) after one step more under the layer's inputs x (N, nx)."""
        s, nu = self.loop.scenario, self.loop.plant.nu
        self.torques = x.reshape(len(x), -1, nu).sum(axis=1, dtype=float).T
        self.path = self.loop.kernels.simulate(
            self.state,
            self.torques[None],
            s.params,
            s.disturbance[:1],
            self.loop.wiring.taper,
        )
        self.state = self.path[1]
        return self.state.T

    def d_activation(self, x, a):
        """Derivatives (N, nx, nx, 3) of this step: of the state by input and by state before, of the output by state."""
        s, plant = self.loop.scenario, self.loop.plant
        A, B = self.loop.kernels.jacobians_along(
            self.path, self.torques[None], s.params, self.loop.wiring.taper
        )
        by_input = np.tile(B[0], (1, plant.nx // plant.nu, 1))
        return np.stack(
            [by_input.transpose(2, 0, 1), A[0].transpose(2, 0, 1), self.by_itself],
            axis=-1,
        )


class SourceTraining:
    """A training by the library, on the scenario and from the initial weights of one of ours."""

    def __init__(self, seed, settings):
        settings = Settings(seed=seed, learn_start=True, **settings)
        trainer = make_trainer(settings)
        self.loop, self.network, self.updates = (
            trainer.loop(stream(settings.seed, Stream.SCENARIOS)),
            trainer.network,
            0,
        )
        self.arm = Arm(self.loop)
        self.net = hessianfree.RNNet(
            [self.network.n_input, *settings.hidden, self.loop.plant.nx],
            layers=[Linear(), Tanh(), Tanh(), self.arm],
            conns=CONNECTIONS,
            rec_layers=RECURRENT,
        )
        theta = self.network.initial(stream(settings.seed, Stream.WEIGHTS))
        self.take(theta)
        self.net.forward(self.arm, deriv=True)  # compiles what is not compiled yet
        check_start(self.net.error(inputs=self.arm), self.loop, theta)

    def pairs(self, params, theta):
        """For every connection of the library: source, layer, its matrix (source, unit) and bias in params, and views
        of ours in theta (P,)."""
        views = self.network.views(theta)
        for source, layer in self.net.offsets:
            yield (
                source,
                layer,
                *self.net.get_weights(params, (source, layer)),
                views[f"W_{NAMES[source]}_{NAMES[layer]}"],
                views[f"b_{NAMES[layer]}"],
            )

    def take(self, theta):
        """Puts our weights (P,), with a start state of zero, into the library's network."""
        self.net.W[:] = 0.0
        for source, layer, W, bias, ours, b in self.pairs(self.net.W, theta):
            W[:, : len(b)] = ours.T
            if source == 0 or layer == 3:  # one bias for every layer
                bias[: len(b)] = b

    def theta(self):
        """The weights (P,) with which our network does what the library's does."""
        theta = np.zeros(self.network.size)
        start = []
        for source, layer, W, bias, ours, b in self.pairs(
            self.net.W.astype(float), theta
        ):
            ours[:] = W.reshape(len(W), -1, len(b)).sum(axis=1).T
            if source == layer:
                start.append(np.linalg.solve(ours, bias))
            else:
                b += bias.reshape(-1, len(b)).sum(axis=0)
        theta[self.network.start] = np.concatenate(start)
        return theta

    def loss(self):
        """The loss in closed loop."""
        return self.loop.rollout(self.theta()).loss

    def update(self):
        """One update of the weights by the library."""
        if self.updates % UPDATES == 0:
            self.optimizer = hessianfree.optimizers.HessianFree(
                CG_iter=CG_CAP, init_damping=DAMPING
            )
        threads = numba.get_num_threads()
        numba.set_num_threads(
            1
        )  # it calls for single steps of the arm, too short to be shared
        self.net.run_epochs(
            self.arm, None, self.optimizer, max_epochs=1, print_period=None
        )
        numba.set_num_threads(threads)
        self.updates += 1
