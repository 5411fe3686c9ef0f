"""The shipped plants against their contract and against mechanics, and the kernels against independent formulas."""

import cmath
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
from plant_steps import complex_jacobian, complex_version, params_of, stepped
from scipy.integrate import solve_ivp

from hfcontrol.evaluation.plant_check import check_plant
from hfcontrol.kernels import compile_plant, load_module, plant_pieces
from hfcontrol.kernels.base import taper_slope
from hfcontrol.plant import contract as plant_module
from hfcontrol.plant import registry
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant, plant_names

ARMS = ("arm2", "arm2_todorov")


def draws(plant, rng, steps, trials):
    """Random states (T, nx, N), controls (T, nu, N), parameters (np, N) and disturbances (T, nx, N)."""
    x = rng.standard_normal((steps, plant.nx, trials))
    return (
        x,
        rng.standard_normal((steps, plant.nu, trials)),
        params_of(plant, trials),
        0.01 * x[::-1],
    )


@pytest.mark.parametrize("name", plant_names())
def test_shipped_plants_keep_the_contract(name):
    findings = check_plant(load_plant(name))
    assert len(findings) >= 10
    assert [f for f in findings if not f.ok or f.message] == []


# Mechanics: kinetic energy and angular momentum of rigid links, from the motion of their centres of mass.


def bodies(plant):
    """Inertia of the upper link about the shoulder, and the lower link's mass, centre, and inertia about its centre."""
    p = plant.params
    if plant.name == "arm2":
        mass, centre = p["lower_mass"], p["lower_length"] / 2
        return (
            p["upper_mass"] * p["upper_length"] ** 2 / 3,
            mass,
            centre,
            mass * p["lower_length"] ** 2 / 12,
        )
    mass, centre = p["lower_mass"], p["lower_centre"]
    return p["upper_inertia"], mass, centre, p["lower_inertia"] - mass * centre**2


def motion(plant, x):
    """Energy and angular momentum about the shoulder at a state (4,), which may be complex."""
    upper, mass, centre, lower = bodies(plant)
    q1, both, rate, both_rate = x[0], x[0] + x[1], x[2], x[2] + x[3]
    l1 = plant.params["upper_length"]
    position = np.array(
        [
            l1 * np.cos(q1) + centre * np.cos(both),
            l1 * np.sin(q1) + centre * np.sin(both),
        ]
    )
    velocity = np.array(
        [
            -l1 * np.sin(q1) * rate - centre * np.sin(both) * both_rate,
            l1 * np.cos(q1) * rate + centre * np.cos(both) * both_rate,
        ]
    )
    energy = 0.5 * (upper * rate**2 + mass * (velocity**2).sum() + lower * both_rate**2)
    spin = mass * (position[0] * velocity[1] - position[1] * velocity[0])
    return np.array([energy, upper * rate + spin + lower * both_rate])


@pytest.mark.parametrize("name", ARMS)
def test_energy_grows_by_the_power_and_momentum_by_the_shoulder_torque(
    name, rng=np.random.default_rng(1)
):
    plant = load_plant(name)
    for x, u in zip(rng.standard_normal((20, 4)), rng.standard_normal((20, 2))):
        dx = [None] * 4
        plant.functions["dynamics"](x, u, list(plant.params.values()), dx)
        rates = complex_jacobian(lambda v: motion(plant, v), x) @ dx
        assert rates == pytest.approx([u @ x[2:], u[0]], rel=1e-10, abs=1e-10)


def test_friction_of_arm2_todorov_takes_its_power():
    plant = load_plant("arm2_todorov")
    x, friction = np.array([0.3, 1.1, -0.7, 1.9]), np.array([[0.7, 0.08], [0.05, 0.8]])
    p = list(plant.params.values())
    dx, names = [None] * 4, list(plant.params)
    for i, row in enumerate(("shoulder", "elbow")):
        for j, column in enumerate(("shoulder", "elbow")):
            name = f"{row}_friction" if i == j else f"{row}_by_{column}_friction"
            p[names.index(name)] = friction[i, j]
    plant.functions["dynamics"](x, np.zeros(2), p, dx)
    power, _ = complex_jacobian(lambda v: motion(plant, v), x) @ dx
    assert power == pytest.approx(-x[2:] @ friction @ x[2:])


@pytest.mark.parametrize("name", ARMS)
def test_drift_of_energy_and_momentum_vanishes_with_the_step(name):
    plant, start = load_plant(name), np.array([0.4, 1.2, 1.5, -2.0])
    steps = np.array([200, 400, 800])
    ends = [stepped(replace(plant, dt=0.5 / n), start, n) for n in steps]
    drift = np.abs([motion(plant, x) - motion(plant, start) for x in ends])
    slopes = np.polyfit(np.log(1 / steps), np.log(drift), 1)[0]
    assert slopes == pytest.approx([1.0, 1.0], abs=0.1)


def test_arm1_is_its_linear_map():
    plant, T, N = load_plant("arm1"), 30, 3
    kernels, rng = compile_plant(plant), np.random.default_rng(2)
    gain = plant.dt / (plant.params["mass"] * plant.params["length"] ** 2)
    F, g = np.array([[1.0, plant.dt], [0.0, 1.0]]), np.array([plant.dt * gain, gain])
    _, u, p, disturbance = draws(plant, rng, T, N)
    x = kernels.simulate(np.ones((2, N)), u, p, disturbance, plant.taper)
    expected = np.linalg.matrix_power(F, T) @ np.ones((2, N))
    for t in range(T):
        expected += np.linalg.matrix_power(F, T - 1 - t) @ (
            np.outer(g, u[t]) + disturbance[t]
        )
    np.testing.assert_allclose(x[-1], expected, rtol=1e-12)
    A, B = kernels.jacobians_along(x, u, p, plant.taper)
    np.testing.assert_allclose(
        A, np.broadcast_to(F[:, :, None], A.shape), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        B, np.broadcast_to(g[:, None, None], B.shape), atol=1e-10
    )


# Derivatives: central differences of the kernels against the complex step on the plain Python source.


def complex_step_of(plant, x, u, disturbance):
    """Taper and one step of an arm, in complex arithmetic and in Python."""
    dx, half = [None] * plant.nx, plant.nx // 2
    complex_version(plant.functions["dynamics"])(x, u, list(plant.params.values()), dx)
    x_next = [a + plant.dt * b for a, b in zip(x, dx)]
    if plant.integrator == "semi_implicit":
        x_next[:half] = [a + plant.dt * b for a, b in zip(x, x_next[half:])]
    raw = [a + b for a, b in zip(x_next, disturbance)]
    beyond = [
        z * math.copysign(1.0, z.real) - limit for z, limit in zip(raw, plant.taper)
    ]
    return np.array(
        [
            z if b.real <= 0 else math.copysign(1.0, z.real) * (limit + cmath.tanh(b))
            for z, b, limit in zip(raw, beyond, plant.taper)
        ]
    )


@pytest.mark.parametrize("name", ARMS)
def test_jacobians_equal_the_complex_step_with_and_without_taper(name):
    plant = load_plant(name)
    x, u, p, disturbance = draws(plant, np.random.default_rng(3), 2, 5)
    x[1, :, :3] *= 10  # the second half of the trials of this time is beyond the taper
    kernels = compile_plant(plant)
    paths = [
        kernels.simulate(x[t], u[t : t + 1], p, disturbance[t : t + 1], plant.taper)
        for t in range(2)
    ]
    pairs = [
        kernels.jacobians_along(path, u[t : t + 1], p, plant.taper)
        for t, path in enumerate(paths)
    ]
    after = paths[1][1]
    assert (np.abs(after) > 2 * math.pi).any() and (np.abs(after) < 2 * math.pi).any()
    for t, n in np.ndindex(2, 5):
        d, (A, B) = disturbance[t, :, n], pairs[t]
        by_x = complex_jacobian(
            lambda v: complex_step_of(plant, v, u[t, :, n], d), x[t, :, n]
        )
        by_u = complex_jacobian(
            lambda v: complex_step_of(plant, x[t, :, n], v, d), u[t, :, n]
        )
        np.testing.assert_allclose(
            A[0, :, :, n], by_x, rtol=1e-7, atol=1e-7 * np.abs(by_x).max()
        )
        np.testing.assert_allclose(
            B[0, :, :, n], by_u, rtol=1e-7, atol=1e-7 * np.abs(by_u).max()
        )


@pytest.mark.parametrize("name", plant_names())
def test_output_jacobian_equals_the_complex_step(name):
    plant = load_plant(name)
    if "output" not in plant.functions or not plant.compiled:
        pytest.skip("the output is the state")
    x, _, p, _ = draws(plant, np.random.default_rng(4), 1, 3)
    J = compile_plant(plant).output_jacobian(x, p)

    def output(v, n):
        z = [None] * plant.nz
        complex_version(plant.functions["output"])(v, p[:, n], z)
        return np.array(z)

    for n in range(3):
        expected = complex_jacobian(lambda v: output(v, n), x[0, :, n])
        np.testing.assert_allclose(J[0, :, :, n], expected, rtol=1e-8, atol=1e-9)


def test_taper_leaves_the_inside_alone_and_its_slope_is_its_derivative():
    module = load_module("arm1", plant_pieces(load_plant("arm1")))
    x, limit, h = np.linspace(-9.0, 9.0, 181), 2 * math.pi, 1e-6
    value = np.array([module.taper_value(v, limit) for v in x])
    inside = np.abs(x) <= limit
    np.testing.assert_array_equal(value[inside], x[inside])
    assert (np.abs(value[~inside]) < limit + 1).all() and (np.diff(value) > 0).all()
    np.testing.assert_array_equal(value, [-module.taper_value(-v, limit) for v in x])
    difference = [
        (module.taper_value(v + h, limit) - module.taper_value(v - h, limit)) / (2 * h)
        for v in x
    ]
    np.testing.assert_allclose(
        taper_slope(value[None], np.array([limit]))[0], difference, atol=1e-8
    )


# Integrators and the language of plant files, on plants written here.

PENDULUM = """
import math
STATE, CONTROL = ("angle", "rate"), ("torque",)
DT, INTEGRATOR = 0.1, "rk4"
def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = u[0] - math.sin(x[0])
"""


@pytest.mark.parametrize(
    "integrator, order", [("euler", 1), ("semi_implicit", 1), ("rk4", 4)]
)
def test_integrators_converge_with_their_order(integrator, order):
    plant, start, steps = (
        read_plant(PENDULUM, "pendulum.py"),
        np.array([1.0, 0.5]),
        np.array([40, 80]),
    )
    exact = solve_ivp(
        lambda t, x: (x[1], -math.sin(x[0])), (0, 2), start, rtol=1e-12, atol=1e-12
    ).y[:, -1]
    ends = [
        stepped(replace(plant, integrator=integrator, dt=2 / n), start, n)
        for n in steps
    ]
    errors = np.linalg.norm(ends - exact, axis=1)
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_substeps_are_steps():
    plant = read_plant(PENDULUM, "pendulum.py")
    once = stepped(replace(plant, dt=0.1, substeps=2), np.array([1.0, 0.5]), 3)
    np.testing.assert_array_equal(
        once, stepped(replace(plant, dt=0.05), np.array([1.0, 0.5]), 6)
    )


LANGUAGE = '''
import math
import numpy as np
STATE, CONTROL = ("a", "b"), ("c",)
DT = 0.5
WEIGHTS, DEEP, EDGE = (0.5, -1.0, np.float64(2.0)), ((1.0, 2.0), (3.0, 4.0)), math.inf
PARAMS = {"gain": 3.0}

def taper_value(a: float, times) -> float:
    """A helper that has the name of one of hfcontrol's own."""
    total, n = 0.0, 0
    while n < times:
        total += a / (1 + n)
        n += 1
    return total if total < EDGE else 0.0

def step(x, u, p, dt, x_next):
    """Uses what the language has."""
    a, b = x
    first = second = 0.0
    for i in range(len(WEIGHTS)):
        if i == 1 and not a > 5:
            continue
        first += WEIGHTS[i] * math.cos(a) ** i
    for pair in DEEP:
        low, high = pair
        second -= low * high % 3
    x_next[0] = max(first, -b) + taper_value(b, 3) * p[0]
    x_next[1] = dt * second + abs(u[0]) // 0.25
'''


def test_the_language_of_plants_means_what_it_means_in_python():
    plant, rng = read_plant(LANGUAGE, "language.py"), np.random.default_rng(5)
    x, u, p = (
        rng.standard_normal((2, 20)),
        rng.standard_normal((1, 20)),
        params_of(plant, 20),
    )
    expected = np.empty_like(x)
    for n in range(20):
        plant.functions["step"](x[:, n], u[:, n], p[:, n], plant.dt, expected[:, n])
    np.testing.assert_allclose(compile_plant(plant).step(x, u, p), expected, rtol=1e-14)


TWO_WAYS = """
import math
import numpy as np
STATE, CONTROL, DT, PARAMS = ("a", "b"), ("c",), 0.1, {{"k": 2.0}}
OBSERVATION = ("seen",)
TAPER, TYPICAL = (0.5, None), {{"state": 0.1}}
{step}
def observe(x, p, y):
    y[0] = p[0] * x[0] * x[1]
def error(x, u, target, p, r):
    r[0] = x[0] * u[0] - target[0]
    r[1] = {math}.sin(x[1])
TASKS = {{"go": {{"generator": "reach", "residual": error, "residuals": ("product", "sine")}}}}
"""
COMPILED = """
def step(x, u, p, dt, x_next):
    x_next[0] = x[0] + dt * x[1]
    x_next[1] = x[1] + dt * (u[0] - p[0] * math.sin(x[0]))
"""
BATCHED = """
def step_batch(x, u, p, dt):
    return np.array([x[0] + dt * x[1], x[1] + dt * (u[0] - p[0] * np.sin(x[0]))])
"""


def test_a_batched_plant_equals_its_compiled_twin():
    compiled, batched = (
        read_plant(TWO_WAYS.format(step=s, math=m), "twin.py")
        for s, m in ((COMPILED, "math"), (BATCHED, "np"))
    )
    assert compiled.compiled and not batched.compiled
    x, u, p, disturbance = draws(compiled, np.random.default_rng(6), 4, 3)
    target = x[:, :1]
    results = []
    for kernels in (compile_plant(compiled), compile_plant(batched)):
        path = kernels.simulate(x[0], u, p, disturbance, compiled.taper)
        results.append(
            [
                path,
                kernels.step(x[0], u[0], p),
                *kernels.jacobians_along(path, u, p, compiled.taper),
                kernels.observe(x, p),
                kernels.observe_jacobian(x, p),
                kernels.output(x, p),
                kernels.output_jacobian(x, p),
                kernels.residual("error", x, u, target, p),
                *kernels.residual_jacobian("error", x, u, target, p),
            ]
        )
    assert (np.abs(results[0][0][1:, 0]) > 0.5).any()
    for a, b in zip(*results, strict=True):
        assert a.flags.c_contiguous and b.flags.c_contiguous
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


def test_residual_jacobians_are_the_derivatives_of_the_residuals():
    plant = read_plant(TWO_WAYS.format(step=COMPILED, math="math"), "twin.py")
    x, u, p, _ = draws(plant, np.random.default_rng(7), 4, 3)
    by_x, by_u = compile_plant(plant).residual_jacobian("error", x, u, x, p)
    expected = np.zeros((4, 2, 2, 3))
    expected[:, 0, 0], expected[:, 1, 1] = u[:, 0], np.cos(x[:, 1])
    np.testing.assert_allclose(by_x, expected, atol=1e-8)
    np.testing.assert_allclose(
        by_u[:, :, 0], np.stack([x[:, 0], 0 * x[:, 0]], axis=1), atol=1e-8
    )


# Names, counts and the cache.


def test_operations_are_counted_with_loops_stages_and_substeps():
    pendulum = read_plant(PENDULUM, "pendulum.py")
    loop = PENDULUM.replace(
        "    dx[0]", "    for i in range(3):\n        x[0] + i\n    dx[0]"
    )
    count = compile_plant(pendulum).step_operations
    assert count == 4 * (20 + 1 + 4)  # stages x (sine, difference, update)
    assert compile_plant(replace(pendulum, substeps=3)).step_operations == 3 * count
    assert compile_plant(read_plant(loop, "loop.py")).step_operations == count + 4 * 3


@pytest.mark.parametrize("name", plant_names())
def test_positions_are_the_states_that_are_not_rates(name):
    plant = load_plant(name)
    assert [plant.state[i] for i in plant.positions] == [
        name for name in plant.state if not name.endswith("rate")
    ]


def test_a_kind_of_name_can_be_added(monkeypatch):
    made = (
        lambda name: name.startswith("made:"),
        lambda name: replace(load_plant("arm1"), name=name),
    )
    monkeypatch.setattr(registry, "SIMULATORS", (made,))
    assert load_plant("made:up").name == "made:up" and load_plant("arm1").name == "arm1"


def test_an_edited_plant_is_never_stale(tmp_path):
    path = tmp_path / "gain.py"
    text = (
        "STATE, CONTROL, DT = ('a',), ('b',), 1.0\nGAIN = 2.0\ndef grow(a):\n    return GAIN * a\n"
        "def step(x, u, p, dt, x_next):\n    x_next[0] = grow(x[0]) + u[0]\n"
    )
    answers = []
    for edited in (
        text,
        text.replace("2.0", "5.0"),
        text.replace("GAIN * a", "GAIN * a - 1"),
    ):
        path.write_text(edited, encoding="utf-8")
        answers.append(
            compile_plant(load_plant(path))
            .step(np.ones((1, 1)), np.zeros((1, 1)), np.empty((0, 1)))
            .item()
        )
    assert answers == [2.0, 5.0, 1.0]


FINGERPRINT = """
import hashlib, numpy as np
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.registry import load_plant
plant, rng = load_plant("arm2"), np.random.default_rng(0)
u, d = rng.standard_normal((5, 2, 70)), rng.standard_normal((5, 4, 70))
p = np.repeat(np.array(list(plant.params.values()))[:, None], 70, axis=1)
x = compile_plant(plant).simulate(d[0], u, p, d, plant.taper)
results = x, *compile_plant(plant).jacobians_along(x, u, p, plant.taper)
print(hashlib.sha256(b"".join(a.tobytes() for a in results)).hexdigest())
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_a_second_process_compiles_nothing_and_threads_change_no_bit(tmp_path):
    prints, files = [], []
    for threads in ("2", "1"):
        environment = {
            **os.environ,
            "HFCONTROL_CACHE": str(tmp_path),
            "NUMBA_NUM_THREADS": threads,
            "PYTHONPATH": str(Path(plant_module.__file__).parents[2]),
        }
        environment.pop("NUMBA_CACHE_DIR", None)
        result = subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        prints.append(result.stdout)
        files.append({path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.n*")})
    assert prints[0] == prints[1] and len(prints[0]) == 65
    assert files[0] == files[1] and len(files[0]) > 5
