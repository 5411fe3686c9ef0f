"""A trained network as an object that acts step by step, outside of its closed loop.

    controller = hf.Controller.load("weights/arm2-reach")
    controller.reset()
    u = controller.act(target, observation)        # once every controller.dt seconds

Cells with a time may be called irregularly: `act(..., elapsed=seconds)`.

It can control any plant: another simulator, a robot, a game. It needs NumPy, and h5py
to load a run; nothing is compiled. Delays and noise belong to the plant.

One NaN would spoil the memory, and so all later steps. So a sample that is not finite
raises NumberError and changes nothing, or, with `hold_last`, the last command and the
memory are held.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hfcontrol.arrays.types import Array
from hfcontrol.errors import NumberError, UsageError
from hfcontrol.network.activations import activation_of
from hfcontrol.network.architecture import Layer
from hfcontrol.network.cells import CELLS
from hfcontrol.network.network import Network
from hfcontrol.runs.interface import Interface
from hfcontrol.runs.run import Run


class PlainLayer(NamedTuple):
    """A layer without stages, prepared for steps of one trial.

    `sources` are (columns, units, lag), `inputs` (columns,) is overwritten in each step
    except for its last entry, the 1 of the bias. `activation` None is the identity.
    """

    W: Array
    activation: Callable[[Array], Array] | None
    units: slice
    sources: list[tuple[slice, slice, int]]
    inputs: Array


class Controller:
    """A network with its weights and its activations after the last step.

    `dt` is the control step [s]. `observes` and `controls` are the names of the
    observation and the control, and `n_target` is the size of the target, as the task
    shows it: the state to reach, unless the task says otherwise. `weights` (P,) belong
    to `network`, `limits` to the controls, and `start` are the activations before
    the first step. With `hold_last`, samples that are not finite are skipped. Raises
    NumberError if a weight is not finite.
    """

    def __init__(
        self,
        network: Network,
        theta: Array,
        interface: Interface,
        hold_last: bool = False,
    ) -> None:
        self.dt = interface.dt
        self.observes = interface.observation
        self.controls = interface.control
        self.n_target = interface.n_target
        self.network = network
        self.weights = network.weights(theta)
        _check_weights(network, self.weights)
        self.hold_last = hold_last
        self.limits = interface.limits

        self.start = np.zeros(network.n_activations)
        if network.start:
            self.start[network.hidden] = self.weights[network.start]

        self._is_plain = not any(layer.work for layer in network.layers)
        self._layers: list[PlainLayer] = []
        if self._is_plain:
            matrices = network.matrices(self.weights)
            pairs = zip(network.layers, matrices, strict=True)
            self._layers = [_plain_layer(layer, W) for layer, W in pairs]
        self.reset()

    @classmethod
    def load(
        cls,
        run: Run | str | Path | None = None,
        dt: float | None = None,
        hold_last: bool = False,
        plant: str | Path | None = None,
    ) -> "Controller":
        """Return the controller of a run: a `Run`, its path or name, or the newest.

        `hold_last`: hold the last command where a sample is not finite.

        The plant is not needed. Checkpoints of older versions need it: a shipped one,
        or the `plant` that you name and trust. Raises UsageError if `dt` [s] is not the
        control step of the training, and CheckpointError if there is no such run.
        """
        run = Run.load(run, plant=plant)
        controller = cls(run.network, run.theta, run.interface, hold_last)
        if dt is None:
            return controller
        try:
            seconds = float(dt)
        except (TypeError, ValueError):
            raise UsageError(f"`dt` {dt!r}: must be a number of seconds") from None
        if not np.isclose(seconds, controller.dt, rtol=1e-9):
            raise UsageError(
                f"`dt` {seconds:g} s: {run.path} was trained for steps of "
                f"{controller.dt:g} s; call it that often, or train with another DT "
                "in the plant file"
            )
        return controller

    def __repr__(self) -> str:
        inputs = f"target ({self.n_target}), observation ({', '.join(self.observes)})"
        controls = ", ".join(self.controls)
        return f"Controller({inputs} -> {controls}, every {self.dt:g} s)"

    def reset(self) -> None:
        """Forget all steps: the next one is the first, of any number of trials."""
        # `act` compares by identity: this very array means that no step was made.
        self._activations = self.start

    @property
    def hidden(self) -> Array:
        """The hidden state (hidden,) or (hidden, N) after the last step."""
        return self._activations[self.network.hidden].copy()

    def act(
        self,
        target: npt.ArrayLike,
        observation: npt.ArrayLike,
        elapsed: float | None = None,
    ) -> Array:
        """Return the control (nu,) of the next step, or (nu, N) for N trials.

        `target` is (n_target,) or (n_target, N), `observation` (ny,) or (ny, N).
        `elapsed` is the length of this step [s] where it is not `dt`: the time for
        which the inputs act on the memory.

        Raises UsageError for other shapes, if the number of trials changed since the
        last step, or for `elapsed` with cells that know no time, and NumberError for
        numbers that are not finite. With `hold_last`, trials with such numbers keep
        their state and get the last command; before the first step, that is the command
        0 within its limits.
        """
        try:
            arrays = np.asarray(target, float), np.asarray(observation, float)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"act: target and observation must be arrays of numbers: {error}"
            ) from None
        inputs = self._join_inputs(*arrays)
        length = 1.0 if elapsed is None else self._control_steps(elapsed)
        outputs = self.network.outputs
        is_single = inputs.ndim == 1
        # A robot calls this at every control step: one trial takes the short way.
        if is_single and self._is_plain:
            with np.errstate(over="ignore", invalid="ignore"):
                now = self._step_plain(inputs)
                # Quicker than to look at each. Inputs are among the activations: tanh
                # would hide infinite ones.
                is_finite = math.isfinite(np.add.reduce(now))
            if is_finite:
                self._activations = now
                return self.limits.apply(now[outputs][:, None])[:, 0]

        batch = inputs[:, None] if is_single else inputs
        before = self._activations
        if before.ndim == 1:
            before = np.repeat(before[:, None], batch.shape[1], axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            after = self.network.step(self.weights, before, batch, length)
        finite_trials = np.isfinite(after).all(axis=0)
        if not finite_trials.all():
            if not self.hold_last:
                trial = int(np.argmin(finite_trials))
                raise NumberError(self._describe_fault(batch, trial, is_single))
            after = np.where(finite_trials, after, before)
        self._activations = after[:, 0] if is_single else after
        u = self.limits.apply(after[outputs])
        return u[:, 0] if is_single else u

    def _control_steps(self, elapsed: float) -> float:
        """Return the length of a step of `elapsed` seconds in control steps."""
        if not self.network.has_time:
            cell = self.network.architecture.cell
            raise UsageError(
                f"act: elapsed with `cell` {cell}: a step of it lasts for one control "
                f"step, {self.dt:g} s; leave elapsed out, or train a cell in "
                "continuous time such as ctrnn"
            )
        try:
            seconds = float(elapsed)
        except (TypeError, ValueError):
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise UsageError(
                f"act: elapsed {elapsed!r}: must be a number of seconds above 0, such "
                f"as the control step {self.dt:g}"
            )
        return seconds / self.dt

    def _describe_fault(self, batch: Array, trial: int, is_single: bool) -> str:
        """Return in words what is not finite in a trial of the inputs (n_input, N)."""
        where = "" if is_single else f" of trial {trial}"
        advice = (
            "; the state is as before: skip the sample, or load the controller with "
            "hold_last=True to hold the last command"
        )
        names = [f"target {k + 1}" for k in range(self.n_target)]
        for name, value in zip([*names, *self.observes], batch[:, trial], strict=True):
            if not np.isfinite(value):
                free = "; for a state without a goal give 0, as in training"
                hint = free if name.startswith("target ") and np.isnan(value) else ""
                return f"act: {name}{where} is {value}{hint}{advice}"
        return f"act: the inputs{where} are too large for the network{advice}"

    def _join_inputs(self, target: Array, observation: Array) -> Array:
        """Return target and observation as the network's input (n_input,) or with N."""
        trials = observation.shape[1:]
        n_observation = len(self.observes)
        is_valid = (
            target.shape == (self.n_target, *trials)
            and observation.shape == (n_observation, *trials)
            and len(trials) <= 1
        )
        if not is_valid:
            raise UsageError(
                f"act(target {target.shape}, observation {observation.shape}): needed "
                f"are ({self.n_target},) and ({n_observation},), or for N trials "
                f"({self.n_target}, N) and ({n_observation}, N)"
            )

        is_first = self._activations is self.start
        if not is_first and self._activations.shape[1:] != trials:
            before = self._activations.shape[1:]
            raise UsageError(
                f"act: {_count_trials(trials)} after {_count_trials(before)}; call "
                "reset() before another number of trials"
            )
        return np.concatenate([target, observation])

    def _step_plain(self, inputs: Array) -> Array:
        """Return the activations after a step of one trial, without needless copies.

        The result is that of `Network.step` for cells without stages.
        """
        before = self._activations
        now = np.zeros(len(before))
        now[self.network.inputs] = inputs
        for W, activation, units, sources, X in self._layers:
            for columns, source, lag in sources:
                X[columns] = before[source] if lag else now[source]
            a = W @ X
            now[units] = a if activation is None else activation(a)
        return now


def _check_weights(network: Network, weights: Array) -> None:
    """Raise NumberError if a weight (P,) is not finite."""
    if np.isfinite(weights).all():
        return
    views = network.views(~np.isfinite(weights))
    names = ", ".join(name for name, is_bad in views.items() if is_bad.any())
    raise NumberError(
        f"the weights {names} are not finite, so this is no controller; use an earlier "
        "checkpoint of the run"
    )


def _plain_layer(layer: Layer, W: Array) -> PlainLayer:
    """Return a layer with its matrix, prepared for `Controller._step_plain`."""
    activation: Any = None
    if layer.cell != "linear":
        activation, _ = activation_of(CELLS[layer.cell].ACTIVATION)
    sources = [(s.columns, s.units, s.lag) for s in layer.sources]
    return PlainLayer(W, activation, layer.units, sources, np.ones(W.shape[1]))


def _count_trials(shape: tuple[int, ...]) -> str:
    """Return the number of trials behind an array's first index, in words."""
    return f"{shape[0]} trials" if shape else "a single trial"
