"""One CTPG gradient of the robot's closed loop, batch of 64, tolerance 1e-6, beside torchdiffeq's adjoint and diffrax, side by side
in one run on the same cores (extra `peers`; a peer that is not installed is left out).

All work in float64 on the same weights, starts and tolerances, and their gradients agree; compilation is not counted.
"""

import os
import time

import numpy as np

from benchmarks.report import show, table
from hfcontrol.closed_loop.continuous import Estimator
from hfcontrol.studies.course import Problem

TRIALS, TOLERANCE, REPEATS = 64, 1e-6, 7
BASE, RADIUS = 1.0, 0.5  # of the robot [m]


def measure(seeds):
    """Median seconds of one gradient by each, over seeds of the weights, and how far each is from the exact one."""
    rows = []
    for seed in seeds:
        problem = Problem("diffdrive", None, 5.0, (32, 32), 1.0)
        theta = problem.start(seed)
        exact = _ours(problem, theta, Estimator("ctpg", 1e-12, 1e-12))[1]
        for name, prepare in (
            ("hfcontrol ctpg", _hfcontrol),
            ("hfcontrol ctpg, tolerance 1e-4", _looser),
            ("hfcontrol discrete", _discrete),
            ("torchdiffeq adjoint", _torchdiffeq),
            ("diffrax", _diffrax),
        ):
            try:
                gradient = prepare(problem, theta)
            except ImportError as error:
                print(f"{name}: left out, {error}")
                continue
            g, seconds = gradient(), []
            for _ in range(REPEATS):
                begin = time.perf_counter()
                g = gradient()
                seconds.append(time.perf_counter() - begin)
            rows.append(
                {
                    "seed": seed,
                    "name": name,
                    "seconds": float(np.median(seconds)),
                    "error": float(np.linalg.norm(g - exact) / np.linalg.norm(exact)),
                }
            )
    names = list(dict.fromkeys(r["name"] for r in rows))
    ours = np.median([r["seconds"] for r in rows if r["name"] == names[0]])
    table(
        f"one gradient, diffdrive, {TRIALS} trials, tolerance {TOLERANCE:g}",
        ("solver", "ms (median)", "times ours", "relative error"),
        [
            (
                name,
                show(
                    1e3 * np.median([r["seconds"] for r in rows if r["name"] == name])
                ),
                show(
                    np.median([r["seconds"] for r in rows if r["name"] == name]) / ours
                ),
                show(max(r["error"] for r in rows if r["name"] == name)),
            )
            for name in names
        ],
    )
    return rows


def _seen(problem, views):
    """A network's matrices and biases as the peers take them, of what it observes alone: the targets are zero."""
    return [
        np.array(v)
        for v in (
            views["W_in_1"][:, problem.network.n_input - 6 :],
            views["b_1"],
            views["W_1_2"],
            views["b_2"],
            views["W_2_out"],
            views["b_out"],
        )
    ]


def _flat(parts):
    return np.concatenate([np.asarray(p).ravel() for p in parts])


def _ours(problem, theta, estimator):
    loop = problem.loop(estimator, np.random.default_rng(0), TRIALS)

    def gradient():
        g = loop.gradient(loop.rollout(theta)).theta
        return _flat(_seen(problem, problem.network.views(g)))

    return gradient, gradient()


def _hfcontrol(problem, theta):
    return _ours(problem, theta, Estimator("ctpg", TOLERANCE, TOLERANCE))[0]


def _looser(problem, theta):
    """At a tolerance that still leaves a smaller error than the peers have at theirs."""
    return _ours(problem, theta, Estimator("ctpg", 100 * TOLERANCE, 100 * TOLERANCE))[0]


def _discrete(problem, theta):
    return _ours(problem, theta, Estimator("discrete", TOLERANCE, TOLERANCE))[0]


def _starts(problem):
    return problem.loop(Estimator(), np.random.default_rng(0), TRIALS).scenario.x0.T


def _torchdiffeq(problem, theta):
    import torch
    from torchdiffeq import odeint_adjoint

    torch.set_num_threads(int(os.environ.get("NUMBA_NUM_THREADS", os.cpu_count())))
    torch.set_default_dtype(torch.float64)
    parts = [
        torch.tensor(p, requires_grad=True)
        for p in _seen(problem, problem.network.views(theta))
    ]

    class Robot(torch.nn.Module):
        """The state and its cost (N, 6)."""

        def __init__(self):
            super().__init__()
            self.parts = torch.nn.ParameterList(parts)

        def forward(self, t, z):
            x, y, heading, left, right = z[:, :5].unbind(1)
            seen = torch.stack(
                [
                    x / 5,
                    y / 5,
                    torch.sin(heading),
                    torch.cos(heading),
                    left / 5,
                    right / 5,
                ],
                1,
            )
            W1, b1, W2, b2, W3, b3 = self.parts
            u = torch.tanh(torch.tanh(seen @ W1.T + b1) @ W2.T + b2) @ W3.T + b3
            speed = RADIUS / 2 * (left + right)
            cost = x * x + y * y + 0.1 * (left * left + right * right + (u * u).sum(1))
            return torch.stack(
                [
                    speed * torch.cos(heading),
                    speed * torch.sin(heading),
                    RADIUS / BASE * (right - left),
                    u[:, 0],
                    u[:, 1],
                    cost,
                ],
                1,
            )

    robot, x0 = (
        Robot(),
        torch.tensor(np.concatenate([_starts(problem), np.zeros((TRIALS, 1))], 1)),
    )
    times = torch.tensor([0.0, 5.0])

    def gradient():
        robot.zero_grad()
        odeint_adjoint(
            robot, x0, times, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5"
        )[-1][:, 5].mean().backward()
        return _flat(p.grad.numpy() for p in robot.parts)

    return gradient


def _diffrax(problem, theta):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    import diffrax

    parts = [jnp.array(p) for p in _seen(problem, problem.network.views(theta))]
    x0 = jnp.array(np.concatenate([_starts(problem), np.zeros((TRIALS, 1))], 1))

    def field(t, z, parts):
        x, y, heading, left, right = z[:5]
        W1, b1, W2, b2, W3, b3 = parts
        seen = jnp.array(
            [x / 5, y / 5, jnp.sin(heading), jnp.cos(heading), left / 5, right / 5]
        )
        u = W3 @ jnp.tanh(W2 @ jnp.tanh(W1 @ seen + b1) + b2) + b3
        speed = RADIUS / 2 * (left + right)
        cost = x * x + y * y + 0.1 * (left * left + right * right + u @ u)
        return jnp.array(
            [
                speed * jnp.cos(heading),
                speed * jnp.sin(heading),
                RADIUS / BASE * (right - left),
                u[0],
                u[1],
                cost,
            ]
        )

    def loss(parts):
        def one(z0):
            return diffrax.diffeqsolve(
                diffrax.ODETerm(field),
                diffrax.Tsit5(),
                0.0,
                5.0,
                None,
                z0,
                parts,
                max_steps=256,
                stepsize_controller=diffrax.PIDController(
                    rtol=TOLERANCE, atol=TOLERANCE
                ),
            ).ys[0, 5]

        return jax.vmap(one)(x0).mean()

    compiled = jax.jit(jax.grad(loss))
    return lambda: _flat(np.asarray(p) for p in jax.block_until_ready(compiled(parts)))
