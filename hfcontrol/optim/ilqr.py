"""Batched iLQR: good open-loop controls for every trial of a scenario.

The iterative linear-quadratic regulator (Li and Todorov 2004; Tassa, Erez and Todorov
2012), with the Gauss-Newton Hessian of the cost and the plant's own finite-difference
Jacobians. The backward pass, with V the expansion of the value at step t+1:

    Q_x  = l_x + A'V_x          Q_xx = l_xx + A'V_xx A
    Q_u  = l_u + B'V_x          Q_ux = l_ux + B'V_xx A
                                Q_uu = l_uu + B'V_xx B
    k = -(Q_uu + mu D)^-1 Q_u   K = -(Q_uu + mu D)^-1 Q_ux

The damping mu is in parts of D, the largest diagonal entries of Q_uu so far, so that it
means the same in all units of the controls.

The forward pass applies v_t + alpha k_t + K_t (x_t - previous x_t). What is optimised
is the control v that arrives at the plant, before gain and motor noise. It stays within
the limits: k solves the quadratic problem within them, and K has no row for a control
at its limit (Tassa, Mansard and Todorov 2014). It is zero until the controller's first
command can arrive. iLQR is local, and so is the optimum that it finds.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.communicator import current_communicator
from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.shares import Shares
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.base import Kernels, LinearLaw, Perturbations
from hfcontrol.tasks.scenario import Scenario, select_trials, shorten_scenario

# Most iterations.
ITERATIONS = 300

# A trial has converged if the model promises to lower its loss by less than this part,
# and the damping is at most that of the start: more would shorten the step.
PROMISE = 1e-11

# An iteration is idle if it lowers the loss by less than this part of the loss, plus
# this part of the least initial loss.
TOLERANCE = 1e-9
NEGLIGIBLE = 1e-14

# A trial has converged, too, after as many idle iterations in a row. Its damping has
# grown tenfold in each of them, so that a shorter step was tried as well.
IDLE = 7

# Converged trials are dropped from the batch when less than this part is left.
FEW = 0.8

# Most entries of the matrices in an `Expansion`: more trials follow one another. With
# its copies in another order, an expansion takes about three times this memory.
MOST_ENTRIES = 20_000_000

# Step lengths alpha of the line search, and damping mu.
LENGTHS = 0.5 ** np.arange(10)

# Numbers of lengths that are simulated together, where NumPy steps all trials at once.
ONE_BY_ONE = (1,) * len(LENGTHS)
TOGETHER = (1, 2, 7)
DAMPING_START = 1e-6
DAMPING_LEAST = 1e-10
DAMPING_MOST = 1e10
DAMPING_FACTOR = 10


class Trajectories(NamedTuple):
    """Trajectories of N trials: x (T+1, nx, N), v and u (T, nu, N), losses (N,).

    v arrives at the plant, u is v after gain and motor noise. Losses are NumPy arrays
    on any device, infinite where they are not finite.
    """

    x: Array
    v: Array
    u: Array
    losses: Array

    def copy(self) -> "Trajectories":
        """Return a copy of all arrays."""
        return Trajectories(*(a.copy() for a in self))

    def select(self, trials: Array) -> "Trajectories":
        """Return those of some trials, given by indices or by a mask."""
        return Trajectories(*(select_entries(a, trials) for a in self))

    def put(self, trials: Array, others: "Trajectories") -> None:
        """Overwrite those of some trials, given by indices or by a mask, in place."""
        for a, b in zip(self, others, strict=True):
            a[..., _indices(trials, a)] = b


def join_trials(parts: Sequence[Trajectories]) -> Trajectories:
    """Return the trajectories of all trials, one part after another."""
    joined = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
    return Trajectories(*joined)


class Expansion(NamedTuple):
    """Jacobians and cost expansion by arriving control, for the backward pass.

    A (T, N, nx, nx), B (T, N, nx, nu), l_uu, l_ux accordingly; l_xx (T+1, N, nx, nx),
    l_x (T+1, N, nx), l_u (T, N, nu), and how far v may move down and up, `low` and
    `high` (T, N, nu).
    """

    A: Array
    B: Array
    l_xx: Array
    l_uu: Array
    l_ux: Array
    l_x: Array
    l_u: Array
    low: Array
    high: Array


def select_entries(a: Array, trials: Array) -> Array:
    """Return the entries of some trials, given by indices or by a mask."""
    return a[..., _indices(trials, a)].copy()


def _indices(trials: Array, a: Array) -> Array:
    """Return trials, given by indices or by a mask, as indices on the device of a."""
    trials = np.asarray(trials)
    if trials.dtype == bool:
        trials = np.flatnonzero(trials)
    return to_device_of(trials, a)


class OpenLoop:
    """The plant without its controller: from arriving controls to trajectories.

    With kernels of a GPU its arrays are there. Losses, which decide what comes next,
    and indices of trials stay with the CPU. Processes that share a training simulate
    and differentiate their own trials each, which takes most of the time.
    """

    def __init__(self, kernels: Kernels, scenario: Scenario, wiring: Wiring) -> None:
        self.kernels = kernels
        self.scenario = scenario
        self.wiring = wiring
        self.shares = Shares(scenario.trials, current_communicator())

    def subset(self, trials: Any) -> "OpenLoop":
        """Return the same for the trials of some indices, which may repeat."""
        indices = to_device_of(np.asarray(trials), self.scenario.x0)
        scenario = select_trials(self.scenario, indices)
        return OpenLoop(self.kernels, scenario, self.wiring)

    def shorten(self, steps: int) -> "OpenLoop":
        """Return the same over the first steps of the horizon."""
        scenario = shorten_scenario(self.scenario, steps)
        return OpenLoop(self.kernels, scenario, self.wiring)

    @property
    def block(self) -> int:
        """Number of trials whose expansion together takes `MOST_ENTRIES`."""
        T, nu, _ = self.scenario.motor_gain.shape
        size = len(self.scenario.x0) + nu
        return max(1, MOST_ENTRIES // (T * size**2))

    def blocks(self) -> list[Array]:
        """Return the indices of the trials, in blocks that are expanded together."""
        trials = self.scenario.trials
        return np.array_split(np.arange(trials), -(-trials // self.block))

    def simulate(
        self, v: Array, gains: Array | None = None, reference: Array | None = None
    ) -> Trajectories:
        """Return the trajectories of the controls v (T, nu, N).

        Gains (T, N, nu, nx) give feedback about a reference x (T+1, nx, N).
        """
        s = self.scenario
        w = self.wiring
        if gains is None or reference is None:
            T, nu, N = v.shape
            gains = np.zeros_like(v, shape=(T, N, nu, len(s.x0)))
            reference = np.zeros_like(v, shape=(T + 1, *s.x0.shape))
        take = self.shares.take
        gains = np.moveaxis(take(np.moveaxis(gains, 1, -1)), -1, 1)
        law = LinearLaw(take(v), gains, take(reference), w.limits.bounds)
        chance = map(take, (s.motor_gain, s.motor_noise, s.disturbance))
        found = self.kernels.regulate(
            take(s.x0), law, take(s.params), Perturbations(*chance), w.taper
        )
        x, v, u = self.shares.join_all(*found)
        losses = to_host(s.cost.losses(x, u))
        return Trajectories(x, v, u, np.where(np.isfinite(losses), losses, np.inf))

    def expand(self, x: Array, v: Array, u: Array) -> Expansion:
        """Return the expansion about trajectories."""
        s = self.scenario
        take = self.shares.take
        found = self.kernels.jacobians_along(
            take(x), take(u), take(s.params), self.wiring.taper
        )
        A, B = self.shares.join_all(*found)
        cost = s.cost.linearise(x, u)
        l_x, l_u = cost.gradient()
        l_xx, l_uu, l_ux = cost.hessian()

        # from the control to the arriving control, by u = (1 + gain) v + noise
        slope = 1.0 + s.motor_gain
        B = B * slope[:, None]
        l_u = l_u * slope
        l_ux = l_ux * slope[:, :, None]
        l_uu = l_uu * slope[:, :, None] * slope[:, None]

        # nothing can be chosen before the first command arrives
        delay = self.wiring.command_delay
        for of_control in (B, l_u, l_ux, l_uu):
            of_control[:delay] = 0.0

        low, high = self.wiring.limits.bounds[:, :, None]
        matrices = (A, B, l_xx, l_uu, l_ux)
        vectors = (l_x, l_u, low - v, high - v)
        return Expansion(
            *(a.transpose(0, 3, 1, 2).copy() for a in matrices),
            *(a.transpose(0, 2, 1).copy() for a in vectors),
        )


class Backward(NamedTuple):
    """What a backward pass finds.

    Feed-forward k (T, N, nu), gains K (T, N, nu, nx), and `promise` (N,): by how much
    the whole step lowers the loss of the quadratic model.
    """

    k: Array
    K: Array
    promise: Array


def riccati_on_gpu(nx: int, nu: int) -> Callable[..., None]:
    """Return the backward pass on a GPU, with the arguments of the compiled one."""
    from hfcontrol.kernels.cuda import device
    from hfcontrol.kernels.cuda.riccati import make_backward

    kernel = make_backward(nx, nu)

    def backward(expansion: Expansion, damping: Array, *found: Array) -> None:
        device.launch(kernel, len(damping), expansion, damping, *found)

    return backward


def backward_pass(expansion: Expansion, damping: Array) -> tuple[Array, Array]:
    """Return feed-forward k (T, N, nu) and gains K (T, N, nu, nx).

    They solve the quadratic problem with a damping mu for each trial (N,).
    """
    found = solve_backward(expansion, damping)
    return found.k, found.K


def find_laws(system: OpenLoop, x: Array, v: Array, u: Array) -> tuple[Array, Array]:
    """Return feed-forward k (T, N, nu) and gains K (T, N, nu, nx) about trajectories.

    Trials are expanded in blocks, for the memory that they take.
    """
    laws = []
    for block in system.blocks():
        part = (select_entries(a, block) for a in (x, v, u))
        expansion = system.subset(block).expand(*part)
        laws.append(backward_pass(expansion, np.full(len(block), DAMPING_START)))
    k, K = (np.concatenate(parts, axis=1) for parts in zip(*laws, strict=True))
    return k, K


def solve_backward(expansion: Expansion, damping: Array) -> Backward:
    """Return what `backward_pass` returns, and what it promises."""
    # Imported here, because Numba takes a second.
    from hfcontrol.kernels import riccati

    T, N, nx, nu = expansion.B.shape
    k = np.empty_like(expansion.l_x, shape=(T, N, nu))
    K = np.empty_like(expansion.l_x, shape=(T, N, nu, nx))
    promise = np.empty_like(expansion.l_x, shape=N)
    on_cpu = isinstance(k, np.ndarray)
    if on_cpu:
        # On one core, because its part of the time is small.
        work = riccati.make_work(nx, nu)
        riccati.backward(0, N, expansion, damping, work, k, K, promise)
    else:
        backward = riccati_on_gpu(nx, nu)
        backward(expansion, to_device_of(damping, k), k, K, promise)
    return Backward(k, K, to_host(promise))


def search(
    system: OpenLoop, k: Array, K: Array, found: Trajectories, waiting: Array
) -> Array:
    """Take the longest step along k (T, nu, N) that lowers a trial's loss, in place.

    K (T, N, nu, nx) are the gains about the trajectories found before, `waiting` the
    indices of the trials to move. Returns those of them whose loss no step lowers.
    """
    base = found.v.copy()
    reference = found.x.copy()
    counts = TOGETHER if system.kernels.plant.steps_together else ONE_BY_ONE
    for lengths in np.split(LENGTHS, np.cumsum(counts[:-1])):
        if not waiting.size:
            break
        # only the trials that still wait are simulated, once for each length
        columns = np.tile(waiting, len(lengths))
        part = system
        if len(lengths) > 1 or waiting.size < found.losses.size:
            part = system.subset(columns)
        length = to_device_of(np.repeat(lengths, waiting.size), k)
        new = part.simulate(
            select_entries(base, columns) + length * select_entries(k, columns),
            K[:, to_device_of(columns, K)],
            select_entries(reference, columns),
        )
        waiting = _take_longest(found, new, waiting)
    return waiting


def _take_longest(found: Trajectories, new: Trajectories, waiting: Array) -> Array:
    """Take the first new trajectory of each waiting trial that is better, in place.

    `new` are those of all waiting trials, several times one after another. Returns the
    trials that wait on.
    """
    better = new.losses.reshape(-1, waiting.size) < found.losses[waiting]
    is_moved = better.any(axis=0)
    moved = np.flatnonzero(is_moved)
    first = better.argmax(axis=0)[moved]
    found.put(waiting[moved], new.select(first * waiting.size + moved))
    return waiting[~is_moved]


def improve(
    system: OpenLoop,
    v: Array,
    iterations: int = ITERATIONS,
    promise: float = PROMISE,
) -> Trajectories:
    """Return the trajectories to which iLQR converges from the controls v (T, nu, N).

    A trial has converged if the model promises to lower its loss by less than the part
    `promise`. Trials run in blocks, for the memory that they take.
    """
    trials = v.shape[2]
    if trials <= system.block:
        return _improve_block(system, v, iterations, promise)
    parts = []
    for block in system.blocks():
        part = _improve_block(
            system.subset(block), select_entries(v, block), iterations, promise
        )
        parts.append(part)
    return join_trials(parts)


def _improve_block(
    system: OpenLoop,
    v: Array,
    iterations: int,
    least: float,
    damping: Array | None = None,
    idle: Array | None = None,
) -> Trajectories:
    """Return the trajectories of `improve`, of all trials in one batch.

    `least` is the part of a loss below which a promise counts as none; `damping` (N,)
    and `idle` (N,), the number of idle iterations, are those to continue from. Once
    some trials have converged, iLQR continues with the others alone.
    """
    found = system.simulate(v)
    losses = found.losses
    if damping is None:
        damping = np.full(len(losses), DAMPING_START)
    if idle is None:
        idle = np.zeros(len(losses), dtype=int)
    # the least loss, not the mean: other trials may have diverged
    negligible = NEGLIGIBLE * np.min(losses[np.isfinite(losses)], initial=np.inf)

    for left in reversed(range(iterations)):
        expansion = system.expand(found.x, found.v, found.u)
        k, K, promise = solve_backward(expansion, damping)
        # not finite: nothing is known about a trial that diverged
        is_exact = np.isfinite(losses) & (damping <= DAMPING_START)
        is_done = is_exact & (promise <= least * losses)
        before = losses.copy()
        failed = np.zeros(losses.size, dtype=bool)
        waiting = np.flatnonzero(~is_done)
        failed[search(system, k.transpose(0, 2, 1), K, found, waiting)] = True

        # more damping shortens the step of a trial that found none
        raised = DAMPING_FACTOR * damping
        damping = np.where(failed, raised, damping / DAMPING_FACTOR)
        damping = np.clip(damping, DAMPING_LEAST, DAMPING_MOST)
        gain = before - losses
        idle = np.where(gain <= TOLERANCE * before + negligible, idle + 1, 0)

        goes_on = (idle < IDLE) & (losses > negligible) & ~is_done
        active = np.flatnonzero(goes_on)
        if active.size < FEW * losses.size:
            if active.size:
                rest = _improve_block(
                    system.subset(active),
                    select_entries(found.v, active),
                    left,
                    least,
                    damping[active],
                    idle[active],
                )
                found.put(active, rest)
            break
    return found
