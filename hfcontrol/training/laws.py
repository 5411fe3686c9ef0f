"""Linear laws from the network's inputs to its commands, and where they come from.

A law c = G i + c_0 of the inputs i = [target; observation] is fitted by regularised
least squares to commands in many states. The commands are those of

* the regulator about the goal (optim/regulator.py), in states around the goal;
* the laws about the optima, c = c*_t + K_t (x - x*_t), in states around the optima.

The first is best for plants that stay near an equilibrium, the second where the goal is
far away or leaves states open. A law is no more than a start: the network is trained
from it.
"""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.base import LinearLaw
from hfcontrol.network.network import Network
from hfcontrol.network.scaling import Scaling
from hfcontrol.optim.regulator import regulate_goal
from hfcontrol.training.diagnosis import CONSTANT, Diagnosis

# Copies of every state that a law is fitted in; all but the first are disturbed, by
# the typical spread of the states.
COPIES = 4

# Regularisation of the least squares, in units of the variance of the inputs.
RIDGE = 1e-6


class Law(NamedTuple):
    """Commands G i + c_0 of inputs i: gains (nu, n_input), offset (nu,)."""

    gains: Array
    offset: Array


def regulator_law(diagnosis: Diagnosis, rng: np.random.Generator) -> Law:
    """Return the law of the regulator about the goal, with the gains of step 0."""
    system = diagnosis.system
    law = regulate_goal(system, diagnosis.rest.goal)
    steps = system.scenario.steps
    constant = LinearLaw(
        np.repeat(law.v[:1], steps, axis=0),
        np.repeat(law.gains[:1], steps, axis=0),
        law.reference,
        law.bounds,
    )
    return _fit_law(diagnosis, constant, rng)


def imitated_law(diagnosis: Diagnosis, rng: np.random.Generator) -> Law:
    """Return the law that imitates the laws about the optima."""
    optima = diagnosis.optima
    law = LinearLaw(
        optima.v, diagnosis.gains, optima.x, diagnosis.system.wiring.limits.bounds
    )
    return _fit_law(diagnosis, law, rng)


def _fit_law(diagnosis: Diagnosis, law: LinearLaw, rng: np.random.Generator) -> Law:
    """Return the linear law nearest to `law` in states around its reference.

    Trials whose numbers are not finite do not count. Raises LinAlgError if there are
    none.
    """
    system = diagnosis.system
    scenario, wiring = system.scenario, system.wiring
    steps = scenario.steps
    spread = diagnosis.sizes.states.size[:, None]
    seen_later, acts_later = wiring.feedback_delay, wiring.command_delay

    # at time t the network sees x of t - d_y, and commands the control of t + d_u
    times = np.arange(steps - acts_later)
    seen = np.maximum(times - seen_later, 0)
    targets = scenario.target[times]
    inputs, commands = [], []
    for copy in range(COPIES):
        change = np.zeros_like(law.reference)
        if copy:
            change = spread * rng.standard_normal(law.reference.shape)
        observed = system.kernels.observe(
            (law.reference + change)[seen], scenario.params
        )
        acting = times + acts_later
        # the same change when the command arrives: what it will be is not known
        correction = np.einsum("tnij,tjn->tin", law.gains[acting], change[seen])
        v = law.v[acting] + correction
        commands.append(wiring.limits.commands_of(v))
        inputs.append(np.concatenate([targets, observed], axis=1))
    X = np.concatenate([_flatten(part) for part in inputs])
    Y = np.concatenate([_flatten(part) for part in commands])
    finite = np.isfinite(X).all(axis=1) & np.isfinite(Y).all(axis=1)
    return _ridge(X[finite], Y[finite])


def _flatten(signals: Array) -> Array:
    """Return signals (T, n, N) as samples (T N, n)."""
    return np.moveaxis(signals, 1, 2).reshape(-1, signals.shape[1])


def _ridge(X: Array, Y: Array) -> Law:
    """Return the law that minimises |G X + c_0 - Y|^2 + ridge |G|^2.

    Samples X (M, n) and Y (M, nu) count in units of their spread.
    """
    if not len(X):
        raise np.linalg.LinAlgError("no finite sample")
    mean, spread = X.mean(axis=0), X.std(axis=0)
    # a constant input, but for rounding, gets no weight
    varies = spread > CONSTANT * np.abs(mean)
    inverse = np.where(varies, 1 / np.where(varies, spread, 1.0), 0.0)
    Z = (X - mean) * inverse
    center = Y.mean(axis=0)
    normal = Z.T @ Z + RIDGE * len(Z) * np.eye(Z.shape[1])
    gains = np.linalg.solve(normal, Z.T @ (Y - center)).T * inverse
    return Law(gains, center - gains @ mean)


def start_with_law(network: Network, law: Law, theta: Array) -> Array:
    """Return theta (P,) of a network that commands what a law says.

    The law is in the linear path. The hidden units act on nothing; the weights into
    them are those of an initial theta (P,).
    """
    scaling = network.weight_map
    assert isinstance(scaling, Scaling)
    weights = network.weights(theta)
    last = network.layers[-1]
    W = network.matrices(weights)[-1]
    W[:] = 0.0
    for source in last.sources:
        if source.units == network.inputs:
            W[:, source.columns] = law.gains
    W[:, -1] = law.offset
    return scaling.start(scaling.unscale(weights))
