"""The yardstick: the best open-loop controls that can be found for every trial, by batched iLQR.

Iterative linear-quadratic regulator (Li and Todorov 2004; Tassa, Erez and Todorov 2012) with the Gauss-Newton Hessian
of the cost and the plant's own finite-difference Jacobians: backward, with V the value's expansion at t+1,

    Q_x = l_x + A'V_x     Q_u = l_u + B'V_x     Q_xx = l_xx + A'V_xx A     Q_ux = l_ux + B'V_xx A     Q_uu = l_uu + B'V_xx B
    k = -(Q_uu + mu I)^-1 Q_u      K = -(Q_uu + mu I)^-1 Q_ux

then forward with v_t + alpha k_t + K_t (x_t - x_t of before). What is optimised is the control v that arrives at the
plant, before gain and motor noise, within the limits: k solves the quadratic problem within them, and K has no row for a
control that is held at one (Tassa, Mansard and Todorov 2014). It is zero for as long as the controller's first command is
under way. iLQR is local: the best of several starts is kept, and even that need not be the global optimum.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from hfcontrol.arrays.device import to_device, to_device_of, to_host
from hfcontrol.kernels import load_module
from hfcontrol.kernels.generate import read_piece
from hfcontrol.tasks.scenario import move_scenario, select_trials

EXPLORING, ITERATIONS = (
    50,
    300,
)  # at most, before trials learn from each other, and after
TOLERANCE, NOTHING = (
    1e-9,
    1e-14,
)  # improvement below which an iteration was idle: of the loss, of the mean first loss
IDLE = 7  # iterations in a row after which a trial has settled; meanwhile its damping grows as often, by ten
FEW = 0.5  # part of the trials still on the move below which the others are left as they are
LENGTHS = 0.5 ** np.arange(10)
DAMPING_START, DAMPING_LEAST, DAMPING_MOST = 1e-6, 1e-10, 1e10
NOISE = 0.3  # of a control's typical size: the random start
TOGETHER = 4096  # the most trials at a time, for the memory that they take
LEADERS, ROUNDS = 32, 5  # trials whose feedback laws the others try, and how often
SAME = 1e-4  # relative difference of losses below which two optima are the same
SEVERAL = 16  # trials of which one leads a family
FAR, MUCH = (
    3.0,
    1.5,
)  # times as bad: how much a trial that a law does not serve counts; a trajectory left for one's own


@dataclass(frozen=True)
class Optimum:
    """The best trajectories found: loss of every trial (N,), x (T+1, nx, N) and u (T, nu, N)."""

    losses: np.ndarray
    x: np.ndarray
    u: np.ndarray


class _System:
    """The open loop from arriving controls v (T, nu, N) to trajectories and losses, with its linearisation.

    With kernels of a GPU its arrays are there, but for losses, which decide what comes next, and numbers of trials.
    """

    def __init__(self, kernels, scenario, wiring):
        self.kernels, self.scenario, self.wiring = kernels, scenario, wiring

    def of(self, trials):
        """The same for some of the trials."""
        return _System(
            self.kernels,
            select_trials(
                self.scenario, to_device_of(np.asarray(trials), self.scenario.x0)
            ),
            self.wiring,
        )

    def follow(self, v, gains=None, reference=None):
        """Trajectories (x, v, u, losses) of the controls v, with feedback gains (T, N, nu, nx) about a reference x."""
        s, w, (T, nu, N) = self.scenario, self.wiring, v.shape
        if gains is None:
            gains, reference = (
                np.zeros_like(v, shape=shape)
                for shape in ((T, N, nu, len(s.x0)), (T + 1, *s.x0.shape))
            )
        x, v, u = self.kernels.regulate(
            s.x0,
            v,
            gains,
            reference,
            s.params,
            w.limit,
            s.motor_gain,
            s.motor_noise,
            s.disturbance,
            w.taper,
        )
        losses = to_host(s.cost.losses(x, u))
        return x, v, u, np.where(np.isfinite(losses), losses, np.inf)

    def expand(self, x, v, u):
        """Jacobians and cost expansion by arriving control, as arrays (T, N, ., .), and how far it may change (T, N, nu)."""
        s = self.scenario
        A, B = self.kernels.jacobians_along(x, u, s.params, self.wiring.taper)
        slope, limit = 1.0 + s.motor_gain, self.wiring.limit[:, None]
        cost = s.cost.linearise(x, u)
        (l_x, l_u), (l_xx, l_uu, l_ux) = cost.gradient(), cost.hessian()
        B = B * slope[:, None]
        l_u, l_ux = l_u * slope, l_ux * slope[:, :, None]
        l_uu = l_uu * slope[:, :, None] * slope[:, None]
        first = self.wiring.command_delay
        for free in (B, l_u, l_ux, l_uu):
            free[:first] = 0.0
        matrices = [a.transpose(0, 3, 1, 2).copy() for a in (A, B, l_xx, l_uu, l_ux)]
        vectors = [
            a.transpose(0, 2, 1).copy() for a in (l_x, l_u, -limit - v, limit - v)
        ]
        return matrices, vectors


@cache
def _riccati():
    """The compiled backward pass."""
    return load_module("riccati", [read_piece("riccati")])


@cache
def _riccati_on_gpu(nx, nu):
    """A function with the arguments of the compiled backward pass that runs it on a GPU, for so many states and controls."""
    from hfcontrol.kernels import cuda

    kernel = cuda.load_device_module(
        "riccati",
        [read_piece("riccati"), read_piece("cuda_riccati")],
        {"nx": nx, "nu": nu},
    ).device_backward
    return lambda *arguments: cuda.launch(kernel, arguments[1].shape[1], *arguments)


def _backward(matrices, vectors, mu):
    """Feed-forward k (T, N, nu) and gains K (T, N, nu, nx) of the damped quadratic problem; mu (N,)."""
    T, N, nx, nu = matrices[1].shape
    k, K = (
        np.empty_like(vectors[0], shape=(T, N, nu)),
        np.empty_like(vectors[0], shape=(T, N, nu, nx)),
    )
    backward = (
        _riccati().backward if isinstance(k, np.ndarray) else _riccati_on_gpu(nx, nu)
    )
    backward(*matrices, *vectors, to_device_of(mu, k), k, K)
    return k, K


def _of(a, trials):
    """The entries of some trials, given by numbers or by whether they are taken, of an array wherever it is."""
    return a[..., _numbers(trials, a)].copy()


def _numbers(trials, a):
    """Trials, given by numbers or by whether they are taken, as numbers where an array is."""
    trials = np.asarray(trials)
    return to_device_of(np.flatnonzero(trials) if trials.dtype == bool else trials, a)


def _search(system, k, K, x, v, u, losses):
    """Puts in place, trial by trial, what the longest step along k (T, nu, N) gives that lowers the loss; returns the trials
    that none of LENGTHS did."""
    waiting, base, reference = np.arange(losses.size), v.copy(), x.copy()
    for length in LENGTHS:
        part = system if waiting.size == losses.size else system.of(waiting)
        new = part.follow(
            _of(base + length * k, waiting),
            K[:, to_device_of(waiting, K)],
            _of(reference, waiting),
        )
        better = new[3] < losses[waiting]
        taken, waiting = waiting[better], waiting[~better]
        _put((x, v, u, losses), taken, [_of(found, better) for found in new])
        if not waiting.size:
            break
    return waiting


def _improve(system, v, iterations=ITERATIONS, mu=None, idle=None):
    """iLQR from the controls v (T, nu, N): the trajectories (x, v, u, losses) where no trial gets better any more.

    Trials that have settled are left as they are as soon as they are the most.
    """
    x, v, u, losses = found = system.follow(v)
    mu = np.full(len(losses), DAMPING_START) if mu is None else mu
    idle = np.zeros(len(losses), dtype=int) if idle is None else idle
    nothing = NOTHING * np.mean(losses[np.isfinite(losses)])
    for left in reversed(range(iterations)):
        k, K = _backward(*system.expand(x, v, u), mu)
        before = losses.copy()
        failed = np.zeros(losses.size, dtype=bool)
        failed[_search(system, k.transpose(0, 2, 1), K, x, v, u, losses)] = True
        mu = np.clip(np.where(failed, 10 * mu, mu / 10), DAMPING_LEAST, DAMPING_MOST)
        idle = np.where(before - losses <= TOLERANCE * before + nothing, idle + 1, 0)
        active = np.flatnonzero((idle < IDLE) & (losses > nothing))
        if active.size < FEW * losses.size:
            if active.size:
                _put(
                    found,
                    active,
                    _improve(
                        system.of(active),
                        _of(v, active),
                        left,
                        mu[active],
                        idle[active],
                    ),
                )
            break
    return found


def _put(trajectories, trials, others):
    """Puts others in the place of some of the trials of (x, v, u, losses)."""
    for a, b in zip(trajectories, others):
        a[..., _numbers(trials, a)] = b


def _laws(system, leaders, found):
    """What every trial of a system makes of the feedback laws of the trajectories (x, v, u, losses) found for some trials of
    another one, the leaders, one law after the other: v = v_leader + K_leader (x - x_leader)."""
    trials = system.scenario.trials
    for leader in np.unique(np.linspace(0, found[3].size - 1, LEADERS).astype(int)):
        if np.isfinite(found[3][leader]):
            x, v, u = (a[..., leader : leader + 1].copy() for a in found[:3])
            _, K = _backward(
                *leaders.of([leader]).expand(x, v, u), np.full(1, DAMPING_START)
            )
            yield system.follow(
                np.repeat(v, trials, axis=2),
                np.repeat(K, trials, axis=1),
                np.repeat(x, trials, axis=2),
            )


def _taken(system, leaders, found, own):
    """The trajectories `own` of a system's trials, each replaced by what the best law of the leaders makes of it, if better."""
    for followed in _laws(system, leaders, found):
        trials = np.flatnonzero(followed[3] < own[3])
        _put(own, trials, [_of(a, trials) for a in followed])
    return own


def _shared(system, found):
    """Lets trials learn from each other: what a law of another one's does better is taken over and improved, as long as
    there is any. Changes the trajectories in place and returns them."""
    for _ in range(ROUNDS):
        better = _taken(system, system, found, [a.copy() for a in found])
        trials = np.flatnonzero(better[3] < found[3] * (1 - SAME))
        if not trials.size:
            break
        _put(found, trials, _improve(system.of(trials), _of(better[1], trials)))
    return found


def optimum(kernels, plant, scenario, wiring, commands=None, rng=None):
    """The best of iLQR from zero, from noise and, if given, from a controller's commands as they arrive (T, nu, N), and
    of what trials make of each other's feedback laws.

    Returns an `Optimum`; its losses are a bound that nobody attains where noise is known in advance to it alone.
    """
    scenario, wiring = _placed(kernels, scenario, wiring)
    starts = _starts(plant, scenario, rng)
    if commands is not None:
        starts.append(wiring.apply_limit(to_device_of(commands, scenario.x0)))
    whole = _System(kernels, scenario, wiring)
    parts = [
        _best(whole.of(trials), [_of(v, trials) for v in starts])
        for trials in np.array_split(
            np.arange(scenario.trials), -(-scenario.trials // TOGETHER)
        )
    ]
    x, _, u, losses = (np.concatenate(a, axis=-1) for a in zip(*parts))
    return Optimum(losses, to_host(x), to_host(u))


def _placed(kernels, scenario, wiring):
    """Scenario and wiring where the kernels are."""
    if kernels.device == "cpu":
        return scenario, wiring
    return move_scenario(scenario, to_device, kernels), wiring.move(to_device)


def _starts(plant, scenario, rng=None):
    """Controls (T, nu, N) to start iLQR from: zero and noise."""
    shape, rng = (
        (scenario.steps, plant.nu, scenario.trials),
        rng or np.random.default_rng(0),
    )
    starts = (
        np.zeros(shape),
        NOISE * np.asarray(plant.typical_control)[:, None] * rng.standard_normal(shape),
    )
    return [to_device_of(v, scenario.x0) for v in starts]


def _best(system, starts):
    """The best trajectories (x, v, u, losses) of iLQR from several starts v (T, nu, N)."""
    trials, v = starts[0].shape[2], np.concatenate(starts, axis=2)
    v[: system.wiring.command_delay] = 0.0
    with np.errstate(all="ignore"):
        found = _improve(
            system.of(np.tile(np.arange(trials), len(starts))), v, EXPLORING
        )
        by_start = found[3].reshape(len(starts), trials)
        chosen = by_start.argmin(axis=0) * trials + np.arange(trials)
        best = tuple(_of(a, chosen) for a in found)
        return _shared(system, _improve(system, _shared(system, best)[1]))


def family(kernels, plant, scenario, wiring):
    """Good trajectories of all trials that are alike, as an `Optimum`: all of them follow the feedback law of the one trial,
    of a few, whose law serves the others best, are improved from there and learn from each other. Where iLQR from zero gives
    something much better, that is taken.

    Near-by starts may have optima of quite different kinds, such as swinging up to the left or to the right. They are the
    yardstick, but no controller whose commands change continuously with the state can follow them.
    """
    scenario, wiring = _placed(kernels, scenario, wiring)
    system = _System(kernels, scenario, wiring)
    leaders = system.of(
        np.linspace(0, scenario.trials - 1, min(SEVERAL, scenario.trials)).astype(int)
    )
    found = _best(leaders, _starts(plant, leaders.scenario))
    with np.errstate(all="ignore"):
        own = _improve(
            system,
            np.zeros_like(
                scenario.x0, shape=(scenario.steps, plant.nu, scenario.trials)
            ),
            EXPLORING,
        )
        most = FAR * np.median(found[3])
        followed = min(
            _laws(system, leaders, found),
            key=lambda f: np.minimum(f[3], most).sum(),
            default=own,
        )
        alike = _improve(system, followed[1], EXPLORING)
        _gathered(system, alike, np.array(plant.typical_state)[:, None])
        _shared(system, alike)
    trials = np.flatnonzero(~(alike[3] <= MUCH * own[3]))
    _put(alike, trials, [_of(a, trials) for a in own])
    return Optimum(alike[3], to_host(alike[0]), to_host(alike[2]))


def _gathered(system, found, typical):
    """Brings trials that end elsewhere than most, by a typical size from their goals, to the others: by the law of one that
    is nearer by, where this serves about as well. Changes the trajectories in place."""
    error = to_host(found[0][-1]) - np.nan_to_num(to_host(system.scenario.goal[-1]))
    astray = ~(np.abs(error - np.median(error, axis=1, keepdims=True)) < typical).all(
        axis=0
    )
    if astray.any() and not astray.all():
        inside, outside = np.flatnonzero(~astray), np.flatnonzero(astray)
        own = [*(_of(a, outside) for a in found[:3]), MUCH * found[3][outside]]
        taken = _taken(
            system.of(outside), system.of(inside), [_of(a, inside) for a in found], own
        )
        _put(found, outside, _improve(system.of(outside), taken[1], EXPLORING))
