"""A trained network as an object that acts, step by step, on whatever it is given: a simulator elsewhere, a robot, a game.

    controller = hf.Controller.load("weights/arm2-reach")
    controller.reset()
    u = controller.act(target, observation)        # once every controller.dt seconds

It needs NumPy, and h5py to be loaded; nothing is compiled. Delays and noise belong to the plant that it meets.
"""

import numpy as np

from hfcontrol.errors import UsageError
from hfcontrol.network.activations import ACTIVATIONS
from hfcontrol.network.cells import CELLS
from hfcontrol.runs.run import Run


class Controller:
    """A network with its weights (P,), the plant it was trained on and the wiring of its commands; it remembers its last step.

    `dt` is the control step [s]; `observes` and `controls` are the names of what it is given and what it gives, and `n_target` how
    many numbers tell the target (as a task shows it: the state to be at, unless the task says otherwise). `weights` (P,) are those
    of its `network`, `limit` (nu,) is that of the controls, and `start` (rows,) the memory it begins with.
    """

    def __init__(self, network, theta, plant, wiring):
        self.dt, self.observes, self.controls = (
            plant.dt,
            plant.observation,
            plant.control,
        )
        self.n_target = network.n_input - plant.ny
        self.network, self.weights, self.limit, self._wiring = (
            network,
            network.weights(theta),
            wiring.limit,
            wiring,
        )
        self._plain = not any(layer.work for layer in network.layers)
        self.start = np.zeros(network.n_activations)
        if network.start:
            self.start[network.hidden] = self.weights[network.start]
        self._layers = (
            [
                (
                    W,
                    ACTIVATIONS[CELLS[layer.cell].ACTIVATION][0]
                    if layer.cell != "linear"
                    else None,
                    layer.units,
                    [(s.columns, s.units, s.lag) for s in layer.sources],
                    np.ones(W.shape[1]),
                )
                for layer, W in zip(network.layers, network.matrices(self.weights))
            ]
            if self._plain
            else []
        )
        self.reset()

    @classmethod
    def load(cls, run=None, dt=None):
        """The controller of a run: a `Run`, its path or name, or None for the newest.

        Raises UsageError for another control step `dt` [s] than the one trained with, and CheckpointError for what is no run.
        """
        run = run if isinstance(run, Run) else Run.load(run)
        controller = cls(run.network, run.theta, run.plant, run.trainer.wiring)
        if dt is not None and not np.isclose(dt, controller.dt, rtol=1e-9):
            raise UsageError(
                f"a controller for steps of {dt:g} s: {run.path} was trained for {controller.dt:g} s; call it that "
                "often, or train with another DT in the plant file"
            )
        return controller

    def reset(self):
        """Forgets: the next step is a first one, of as many trials as it is given then."""
        self._rows = self.start

    @property
    def hidden(self):
        """The hidden units' activity (hidden,) or (hidden, N) after the last step."""
        return self._rows[self.network.hidden].copy()

    def act(self, target, observation):
        """The control (nu,), or (nu, N) for N trials at once, on seeing a target (n_target,) or (n_target, N) and an observation
        (ny,) or (ny, N); it moves the memory on by one control step.

        Raises UsageError for arrays of another shape, or of another number of trials than at the step before.
        """
        seen = self._seen(
            np.asarray(target, dtype=float), np.asarray(observation, dtype=float)
        )
        if seen.ndim == 1 and self._plain:
            self._rows = self._step(seen)
            return self._wiring.apply_limit(self._rows[self.network.outputs][:, None])[
                :, 0
            ]
        batch = seen if seen.ndim == 2 else seen[:, None]
        before = (
            self._rows
            if self._rows.ndim == 2
            else np.repeat(self._rows[:, None], batch.shape[1], axis=1)
        )
        after = self.network.step(self.weights, before, batch)
        self._rows = after if seen.ndim == 2 else after[:, 0]
        u = self._wiring.apply_limit(after[self.network.outputs])
        return u if seen.ndim == 2 else u[:, 0]

    def _seen(self, target, observation):
        """Both as the network's input, (n_input,) or (n_input, N)."""
        trials = observation.shape[1:]
        if (
            target.shape != (self.n_target, *trials)
            or observation.shape != (len(self.observes), *trials)
            or len(trials) > 1
        ):
            raise UsageError(
                f"act(target {target.shape}, observation {observation.shape}): needed are ({self.n_target},) and "
                f"({len(self.observes)},), or with N trials side by side behind both"
            )
        if self._rows is not self.start and self._rows.shape[1:] != trials:
            raise UsageError(
                f"act: {trials or 'one'} trials after {self._rows.shape[1:] or 'one'}; call reset() before another "
                "number"
            )
        return np.concatenate([target, observation])

    def _step(self, seen):
        """The rows (rows,) of one step of plain cells: those of `Network.step` without a copy that could be spared."""
        before, now = self._rows, np.zeros(len(self._rows))
        now[self.network.inputs] = seen
        for W, phi, rows, sources, X in self._layers:
            for columns, source, lag in sources:
                X[columns] = before[source] if lag else now[source]
            a = W @ X
            now[rows] = a if phi is None else phi(a)
        return now
