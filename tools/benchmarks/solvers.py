"""One CTPG gradient of the robot's closed loop, by hfcontrol and by its peers.

The batch is 64, the tolerance 1e-6. Peers are torchdiffeq's adjoint and diffrax, in one
run on the same cores (extra `peers`; a peer that is not installed is left out). All
work in float64 on the same weights, starts and tolerances, and their gradients agree.
Compiling does not count.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import Row, show, table
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous import Estimator
from hfcontrol.studies.course import Problem

SECONDS = 5.0  # horizon
OBSERVATIONS = 6

# The robot, as in plants/diffdrive.py.
BASE = 1.0  # [m]
RADIUS = 0.5  # [m]
FAR = 5.0  # [m] or [rad/s], unit of what the network observes
EFFORT = 0.1

# Relative and absolute tolerance of the gradient that counts as exact.
EXACT = 1e-12

Gradient = Callable[[], Array]


class Size(NamedTuple):
    """Trials, calls whose median is taken, and tolerance of the solvers."""

    trials: int = 64
    repeats: int = 7
    tolerance: float = 1e-6


SMALLEST_SIZE = Size(trials=2, repeats=1, tolerance=1e-3)


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return rows of seed and solver: median seconds of a gradient, and its error."""
    size = SMALLEST_SIZE if smallest else Size()
    rows = []
    for seed in seeds:
        rows += measure_seed(seed, size)

    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["name"], []).append(row)
    medians = {}
    for name, same in by_name.items():
        medians[name] = float(np.median([row["seconds"] for row in same]))
    ours = medians[rows[0]["name"]]
    lines = []
    for name, seconds in medians.items():
        worst = max(row["error"] for row in by_name[name])
        lines.append([name, show(1e3 * seconds), show(seconds / ours), show(worst)])
    title = (
        f"one gradient, diffdrive, {size.trials} trials, tolerance {size.tolerance:g}"
    )
    table(title, ("solver", "ms (median)", "times ours", "relative error"), lines)
    return rows


def measure_seed(seed: int, size: Size) -> list[Row]:
    """Return a row per solver, for the initial weights of one seed."""
    problem = Problem("diffdrive", None, SECONDS, (32, 32), 1.0)
    theta = problem.paper_weights(seed)
    exact = our_gradient("ctpg", EXACT)(problem, theta, size)()
    solvers = {
        "hfcontrol ctpg": our_gradient("ctpg", size.tolerance),
        # Still more exact than the peers at the tighter tolerance.
        "hfcontrol ctpg, tolerance 1e-4": our_gradient("ctpg", 100 * size.tolerance),
        "hfcontrol discrete": our_gradient("discrete", size.tolerance),
        "torchdiffeq adjoint": torchdiffeq_gradient,
        "diffrax": diffrax_gradient,
    }
    rows: list[Row] = []
    for name, prepare in solvers.items():
        try:
            gradient = prepare(problem, theta, size)
        except ImportError as error:
            print(f"{name}: left out, {error}")
            continue
        seconds, found = time_gradient(gradient, size.repeats)
        error_norm = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        row = {
            "seed": seed,
            "name": name,
            "seconds": seconds,
            "error": float(error_norm),
        }
        rows.append(row)
    return rows


def time_gradient(gradient: Gradient, repeats: int) -> tuple[float, Array]:
    """Return the median seconds of a call, and its result; the first may compile."""
    found = gradient()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        found = gradient()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds)), found


def peer_parts(problem: Problem, views: dict[str, Array]) -> list[Array]:
    """Return matrices and biases as the peers take them, without the target's columns.

    The targets of this task are zero.
    """
    names = ("W_in_1", "b_1", "W_1_2", "b_2", "W_2_out", "b_out")
    parts: list[Array] = [np.array(views[name]) for name in names]
    parts[0] = parts[0][:, problem.network.n_input - OBSERVATIONS :]
    return parts


def flatten(parts: Iterable[Any]) -> Array:
    """Return arrays as one vector."""
    return np.concatenate([np.asarray(part).ravel() for part in parts])


def our_gradient(
    name: str, tolerance: float
) -> Callable[[Problem, Array, Size], Gradient]:
    """Return the function that prepares our gradient by an estimator."""

    def prepare(problem: Problem, theta: Array, size: Size) -> Gradient:
        estimator = Estimator(name, tolerance, tolerance)
        loop = problem.loop(estimator, np.random.default_rng(0), size.trials)

        def gradient() -> Array:
            g = loop.gradient(loop.rollout(theta)).theta
            return flatten(peer_parts(problem, problem.network.views(g)))

        return gradient

    return prepare


def start_states(problem: Problem, trials: int) -> Array:
    """Return the starts (N, 6) of the peers: states, and a cost of zero."""
    loop = problem.loop(Estimator(), np.random.default_rng(0), trials)
    return np.concatenate([loop.scenario.x0.T, np.zeros((trials, 1))], 1)


def torchdiffeq_gradient(problem: Problem, theta: Array, size: Size) -> Gradient:
    """Prepare the gradient by torchdiffeq's adjoint; ImportError without it."""
    import torch
    from torchdiffeq import odeint_adjoint

    torch.set_num_threads(int(os.environ.get("NUMBA_NUM_THREADS", os.cpu_count() or 1)))
    torch.set_default_dtype(torch.float64)
    arrays = peer_parts(problem, problem.network.views(theta))
    parts = [torch.tensor(part, requires_grad=True) for part in arrays]

    class Robot(torch.nn.Module):
        """The derivative of the state and its cost (N, 6)."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ParameterList(parts)

        def forward(self, t: Any, z: Any) -> Any:
            x, y, heading, left, right = z[:, :5].unbind(1)
            sine, cosine = torch.sin(heading), torch.cos(heading)
            observed = [x / FAR, y / FAR, sine, cosine, left / FAR, right / FAR]
            W1, b1, W2, b2, W3, b3 = self.parts
            h1 = torch.tanh(torch.stack(observed, 1) @ W1.T + b1)
            h2 = torch.tanh(h1 @ W2.T + b2)
            u = h2 @ W3.T + b3
            effort = left * left + right * right + (u * u).sum(1)
            rates = robot_rates(cosine, sine, left, right)
            cost = x * x + y * y + EFFORT * effort
            return torch.stack([*rates, u[:, 0], u[:, 1], cost], 1)

    robot = Robot()
    x0 = torch.tensor(start_states(problem, size.trials))
    times = torch.tensor([0.0, SECONDS])
    tolerance = size.tolerance

    def gradient() -> Array:
        robot.zero_grad()
        path = odeint_adjoint(
            robot, x0, times, rtol=tolerance, atol=tolerance, method="dopri5"
        )
        path[-1][:, 5].mean().backward()
        return flatten(part.grad.numpy() for part in robot.parts)

    return gradient


def robot_rates(cosine: Any, sine: Any, left: Any, right: Any) -> tuple[Any, Any, Any]:
    """Return the rates of x, y and heading for wheel speeds [rad/s]."""
    speed = RADIUS / 2 * (left + right)
    return speed * cosine, speed * sine, RADIUS / BASE * (right - left)


def diffrax_gradient(problem: Problem, theta: Array, size: Size) -> Gradient:
    """Prepare the gradient by diffrax; ImportError without it."""
    import jax
    import jax.numpy as jnp

    # Before diffrax makes its first array.
    jax.config.update("jax_enable_x64", True)
    import diffrax

    arrays = peer_parts(problem, problem.network.views(theta))
    parts = [jnp.array(part) for part in arrays]
    x0 = jnp.array(start_states(problem, size.trials))
    controller = diffrax.PIDController(rtol=size.tolerance, atol=size.tolerance)

    def field(t: Any, z: Any, parts: Any) -> Any:
        x, y, heading, left, right = z[:5]
        sine, cosine = jnp.sin(heading), jnp.cos(heading)
        W1, b1, W2, b2, W3, b3 = parts
        observed = jnp.array([x / FAR, y / FAR, sine, cosine, left / FAR, right / FAR])
        h1 = jnp.tanh(W1 @ observed + b1)
        u = W3 @ jnp.tanh(W2 @ h1 + b2) + b3
        effort = left * left + right * right + u @ u
        rates = robot_rates(cosine, sine, left, right)
        cost = x * x + y * y + EFFORT * effort
        return jnp.array([*rates, u[0], u[1], cost])

    def loss(parts: Any) -> Any:
        def cost_of(z0: Any) -> Any:
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(field),
                diffrax.Tsit5(),
                0.0,
                SECONDS,
                None,
                z0,
                parts,
                # Reverse mode needs a bound; these solutions take fewer.
                max_steps=256,
                stepsize_controller=controller,
            )
            return solution.ys[0, 5]

        return jax.vmap(cost_of)(x0).mean()

    compiled = jax.jit(jax.grad(loss))
    return lambda: flatten(jax.block_until_ready(compiled(parts)))
