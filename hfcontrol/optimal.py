"""The yardstick: the best open-loop controls that can be found for every trial, by batched iLQR.

Iterative linear-quadratic regulator (Li and Todorov 2004; Tassa, Erez and Todorov 2012) with the Gauss-Newton Hessian
of the cost and the plant's own finite-difference Jacobians: backward, with V the value's expansion at t+1,

    Q_x = l_x + A'V_x     Q_u = l_u + B'V_x     Q_xx = l_xx + A'V_xx A     Q_ux = l_ux + B'V_xx A     Q_uu = l_uu + B'V_xx B
    k = -(Q_uu + mu I)^-1 Q_u      K = -(Q_uu + mu I)^-1 Q_ux

then forward with v_t + alpha k_t + K_t (x_t - x_t of before). What is optimised is the command v that arrives at the
plant, so that limits, gains and motor noise are the controller's; it is zero for as long as the controller's first
command is under way. iLQR is local: the best of several starts is kept, and even that need not be the global optimum.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from hfcontrol.kernels import load_module
from hfcontrol.scenario import picked

ITERATIONS = 300  # at most
TOLERANCE, NOTHING = 1e-9, 1e-14  # improvement below which a trial has settled: of its loss, of the mean first loss
FEW = 0.5  # part of the trials still on the move below which the others are left as they are
LENGTHS = 0.5 ** np.arange(10)
DAMPING_START, DAMPING_LEAST, DAMPING_MOST = 1e-6, 1e-10, 1e10
NOISE = 0.3  # of a control's typical size: the random start


@dataclass(frozen=True)
class Optimum:
    """The best trajectories found: loss of every trial (N,), x (T+1, nx, N) and u (T, nu, N)."""

    losses: np.ndarray
    x: np.ndarray
    u: np.ndarray


class _System:
    """The open loop from arriving commands v (T, nu, N) to trajectories and losses, with its linearisation."""

    def __init__(self, kernels, scenario, wiring):
        self.kernels, self.scenario, self.wiring = kernels, scenario, wiring

    def of(self, trials):
        """The same for some of the trials."""
        return _System(self.kernels, picked(self.scenario, trials), self.wiring)

    def follow(self, v, gains=None, reference=None):
        """Trajectories (x, v, u, losses) of the commands v, with feedback gains (T, N, nu, nx) about a reference x."""
        s, w, (T, nu, N) = self.scenario, self.wiring, v.shape
        if gains is None:
            gains, reference = np.zeros((T, N, nu, len(s.x0))), np.zeros((T + 1, *s.x0.shape))
        x, v, u = self.kernels.regulate(s.x0, v, gains, reference, s.params, w.limit, s.motor_gain, s.motor_noise,
                                        s.disturbance, w.taper)
        losses = s.cost.losses(x, u)
        return x, v, u, np.where(np.isfinite(losses), losses, np.inf)

    def expand(self, x, v, u):
        """Jacobians and cost expansion by arriving command, as arrays (T, N, ., .) ready for batched algebra."""
        s = self.scenario
        A, B = self.kernels.jacobians(x[:-1], u, s.params, s.disturbance, self.wiring.taper)
        slope = self.wiring.slope(v) * (1.0 + s.motor_gain)
        cost = s.cost.linearise(x, u)
        (l_x, l_u), (l_xx, l_uu, l_ux) = cost.gradient(), cost.hessian()
        B = B * slope[:, None]
        l_u, l_ux = l_u * slope, l_ux * slope[:, :, None]
        l_uu = l_uu * slope[:, :, None] * slope[:, None]
        first = self.wiring.command_delay
        for free in (B, l_u, l_ux, l_uu):
            free[:first] = 0.0
        matrices = [np.ascontiguousarray(a.transpose(0, 3, 1, 2)) for a in (A, B, l_xx, l_uu, l_ux)]
        vectors = [np.ascontiguousarray(a.transpose(0, 2, 1)) for a in (l_x, l_u)]
        return matrices, vectors


@cache
def _riccati():
    """The compiled backward pass."""
    source = files("hfcontrol.sweeps").joinpath("riccati_piece.py").read_text(encoding="utf-8")
    return load_module("riccati", [source])


def _backward(matrices, vectors, mu):
    """Feed-forward k (T, N, nu) and gains K (T, N, nu, nx) of the damped quadratic problem; mu (N,)."""
    T, N, nx, nu = matrices[1].shape
    k, K = np.empty((T, N, nu)), np.empty((T, N, nu, nx))
    _riccati().backward(*matrices, *vectors, mu, k, K)
    return k, K


def _search(system, k, K, x, v, u, losses):
    """Puts in place, trial by trial, what the longest step along k (T, nu, N) gives that lowers the loss; returns the trials
    that none of LENGTHS did."""
    waiting, base, reference = np.arange(losses.size), v.copy(), x.copy()
    for length in LENGTHS:
        part = system if waiting.size == losses.size else system.of(waiting)
        new = part.follow((base + length * k)[..., waiting], K[:, waiting], reference[..., waiting])
        better = new[3] < losses[waiting]
        taken, waiting = waiting[better], waiting[~better]
        for old, found in zip((x, v, u, losses), new):
            old[..., taken] = found[..., better]
        if not waiting.size:
            break
    return waiting


def _improve(system, v, iterations=ITERATIONS, mu=None):
    """iLQR from the commands v (T, nu, N): the trajectories (losses, x, u) where no trial gets better any more.

    Trials that have settled are left as they are as soon as they are the most.
    """
    x, v, u, losses = system.follow(v)
    mu = np.full(len(losses), DAMPING_START) if mu is None else mu
    nothing = NOTHING * np.mean(losses[np.isfinite(losses)])
    for left in reversed(range(iterations)):
        k, K = _backward(*system.expand(x, v, u), mu)
        before = losses.copy()
        failed = np.zeros(losses.size, dtype=bool)
        failed[_search(system, k.transpose(0, 2, 1), K, x, v, u, losses)] = True
        mu = np.clip(np.where(failed, 10 * mu, mu / 10), DAMPING_LEAST, DAMPING_MOST)
        settled = before - losses <= TOLERANCE * before + nothing
        active = np.flatnonzero(~settled | failed & (mu <= 1.0) & (losses > nothing))
        if active.size < FEW * losses.size:
            if active.size:
                losses[active], x[..., active], u[..., active] = _improve(system.of(active), v[..., active], left, mu[active])
            break
    return losses, x, u


def optimum(kernels, plant, scenario, wiring, commands=None, rng=None):
    """The best of iLQR from zero, from noise and, if given, from a controller's arriving commands (T, nu, N).

    Returns an `Optimum`; its losses are a bound that nobody attains where noise is known in advance to it alone.
    """
    rng = rng or np.random.default_rng(0)
    shape = (scenario.steps, plant.nu, scenario.trials)
    starts = [np.zeros(shape), NOISE * np.asarray(plant.typical_control)[:, None] * rng.standard_normal(shape)]
    if commands is not None:
        starts.append(commands)
    v = np.concatenate(starts, axis=2)
    v[:wiring.command_delay] = 0.0
    with np.errstate(all="ignore"):
        losses, x, u = _improve(_System(kernels, picked(scenario, np.tile(np.arange(scenario.trials), len(starts))), wiring), v)
    by_start = losses.reshape(len(starts), scenario.trials)
    chosen = by_start.argmin(axis=0) * scenario.trials + np.arange(scenario.trials)
    return Optimum(losses[chosen], x[:, :, chosen], u[:, :, chosen])
