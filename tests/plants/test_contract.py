"""The shipped plants keep their contract and obey mechanics.

The kernels agree with independent formulas.
"""

import cmath
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import njit
from plant_steps import (
    complex_jacobian,
    complex_version,
    params_of,
    step_without_control,
)
from scipy.integrate import solve_ivp

from hfcontrol.errors import PlantError
from hfcontrol.evaluation.plant_check import check_plant
from hfcontrol.kernels import compile_plant
from hfcontrol.kernels.base import taper_slope
from hfcontrol.kernels.cache import kernel_folder
from hfcontrol.plant import contract as plant_module
from hfcontrol.plant import registry
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant, plant_names
from hfcontrol.plant.simulators import SimulatorEntry

ARMS = ("arm2", "arm2_todorov")


def draws(plant, rng, steps, trials):
    """Random states (T, nx, N), controls (T, nu, N) and disturbances (T, nx, N).

    The third of the four arrays are the plant's parameters (n_params, N).
    """
    x = rng.standard_normal((steps, plant.nx, trials))
    u = rng.standard_normal((steps, plant.nu, trials))
    return x, u, params_of(plant, trials), 0.01 * x[::-1]


@pytest.mark.parametrize("name", plant_names())
def test_shipped_plants_keep_the_contract(name):
    findings = check_plant(load_plant(name))
    assert len(findings) >= 10
    assert [f for f in findings if not f.ok or f.message] == []


# Mechanics: kinetic energy and angular momentum of rigid links, from the motion of
# their centres of mass.


def bodies(plant):
    """Inertia of the upper link about the shoulder, and the data of the lower link.

    These are its mass, the place of its centre, and its inertia about the centre.
    """
    p = plant.params
    mass = p["lower_mass"]
    if plant.name == "arm2":
        upper = p["upper_mass"] * p["upper_length"] ** 2 / 3
        return upper, mass, p["lower_length"] / 2, mass * p["lower_length"] ** 2 / 12
    centre = p["lower_centre"]
    return p["upper_inertia"], mass, centre, p["lower_inertia"] - mass * centre**2


def motion(plant, x):
    """Energy and angular momentum about the shoulder at a state (4,).

    The state may be complex.
    """
    upper, mass, centre, lower = bodies(plant)
    q1 = x[0]
    both = x[0] + x[1]
    rate = x[2]
    both_rate = x[2] + x[3]
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
def test_energy_changes_by_power_and_momentum_by_shoulder_torque(name):
    plant = load_plant(name)
    rng = np.random.default_rng(1)
    states = rng.standard_normal((20, 4))
    for x, u in zip(states, rng.standard_normal((20, 2)), strict=True):
        dx = [None] * 4
        plant.functions["dynamics"](x, u, list(plant.params.values()), dx)
        rates = complex_jacobian(lambda v: motion(plant, v), x) @ dx
        assert rates == pytest.approx([u @ x[2:], u[0]], rel=1e-10, abs=1e-10)


def test_friction_of_arm2_todorov_dissipates_its_power():
    plant = load_plant("arm2_todorov")
    x = np.array([0.3, 1.1, -0.7, 1.9])
    friction = np.array([[0.7, 0.08], [0.05, 0.8]])
    p = list(plant.params.values())
    names = list(plant.params)
    for i, row in enumerate(("shoulder", "elbow")):
        for j, column in enumerate(("shoulder", "elbow")):
            name = f"{row}_friction" if i == j else f"{row}_by_{column}_friction"
            p[names.index(name)] = friction[i, j]
    dx = [None] * 4
    plant.functions["dynamics"](x, np.zeros(2), p, dx)
    power, _ = complex_jacobian(lambda v: motion(plant, v), x) @ dx
    assert power == pytest.approx(-x[2:] @ friction @ x[2:])


@pytest.mark.parametrize("name", ARMS)
def test_drift_of_energy_and_momentum_is_of_first_order_in_the_step(name):
    plant = load_plant(name)
    start = np.array([0.4, 1.2, 1.5, -2.0])
    steps = np.array([200, 400, 800])
    ends = [step_without_control(replace(plant, dt=0.5 / n), start, n) for n in steps]
    drift = np.abs([motion(plant, x) - motion(plant, start) for x in ends])
    slopes = np.polyfit(np.log(1 / steps), np.log(drift), 1)[0]
    assert slopes == pytest.approx([1.0, 1.0], abs=0.1)


def test_arm1_equals_its_linear_map():
    plant = load_plant("arm1")
    T = 30
    N = 3
    kernels = compile_plant(plant)
    gain = plant.dt / (plant.params["mass"] * plant.params["length"] ** 2)
    F = np.array([[1.0, plant.dt], [0.0, 1.0]])
    g = np.array([plant.dt * gain, gain])
    _, u, p, disturbance = draws(plant, np.random.default_rng(2), T, N)
    x = kernels.simulate(np.ones((2, N)), u, p, disturbance, plant.taper)
    expected = np.linalg.matrix_power(F, T) @ np.ones((2, N))
    for t in range(T):
        change = np.outer(g, u[t]) + disturbance[t]
        expected += np.linalg.matrix_power(F, T - 1 - t) @ change
    np.testing.assert_allclose(x[-1], expected, rtol=1e-12)
    A, B = kernels.jacobians_along(x, u, p, plant.taper)
    expected_A = np.broadcast_to(F[:, :, None], A.shape)
    expected_B = np.broadcast_to(g[:, None, None], B.shape)
    np.testing.assert_allclose(A, expected_A, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(B, expected_B, atol=1e-10)


# Derivatives: central differences of the kernels, and the complex step on the source.


def taper(z, limit):
    """The taper of a complex state: beyond the limit, a tanh of the excess."""
    side = math.copysign(1.0, z.real)
    beyond = z * side - limit
    return z if beyond.real <= 0 else side * (limit + cmath.tanh(beyond))


def complex_step_of(plant, x, u, disturbance):
    """One step of an arm and its taper, in complex arithmetic and plain Python."""
    dx = [None] * plant.nx
    half = plant.nx // 2
    p = list(plant.params.values())
    complex_version(plant.functions["dynamics"])(x, u, p, dx)
    x_next = [a + plant.dt * b for a, b in zip(x, dx, strict=True)]
    if plant.integrator == "semi_implicit":
        rates = x_next[half:]
        x_next[:half] = [a + plant.dt * b for a, b in zip(x, rates, strict=False)]
    raw = [a + b for a, b in zip(x_next, disturbance, strict=True)]
    return np.array(
        [taper(z, limit) for z, limit in zip(raw, plant.taper, strict=True)]
    )


@pytest.mark.parametrize("name", ARMS)
def test_jacobians_equal_the_complex_step_with_and_without_taper(name):
    plant = load_plant(name)
    x, u, p, disturbance = draws(plant, np.random.default_rng(3), 2, 5)
    x[1, :, :3] *= 10  # the first trials at this time are beyond the taper
    kernels = compile_plant(plant)
    paths = []
    pairs = []
    for t in range(2):
        held = u[t : t + 1]
        still = disturbance[t : t + 1]
        path = kernels.simulate(x[t], held, p, still, plant.taper)
        paths.append(path)
        pairs.append(kernels.jacobians_along(path, held, p, plant.taper))
    after = paths[1][1]
    assert (np.abs(after) > 2 * math.pi).any() and (np.abs(after) < 2 * math.pi).any()

    for t, n in np.ndindex(2, 5):
        A, B = pairs[t]
        state = x[t, :, n]
        control = u[t, :, n]
        d = disturbance[t, :, n]

        def step_from(v, control=control, d=d):
            return complex_step_of(plant, v, control, d)

        def step_under(v, state=state, d=d):
            return complex_step_of(plant, state, v, d)

        by_x = complex_jacobian(step_from, state)
        by_u = complex_jacobian(step_under, control)
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
        expected = complex_jacobian(partial(output, n=n), x[0, :, n])
        np.testing.assert_allclose(J[0, :, :, n], expected, rtol=1e-8, atol=1e-9)


def test_taper_keeps_states_inside_its_limit_and_its_slope_is_its_derivative():
    from hfcontrol.kernels.integrators import taper_value as compiled_taper

    @njit
    def taper_value(x, limit):
        return compiled_taper(x, limit)

    x = np.linspace(-9.0, 9.0, 181)
    limit = 2 * math.pi
    h = 1e-6
    value = np.array([taper_value(v, limit) for v in x])
    inside = np.abs(x) <= limit
    np.testing.assert_array_equal(value[inside], x[inside])
    assert (np.abs(value[~inside]) < limit + 1).all() and (np.diff(value) > 0).all()
    np.testing.assert_array_equal(value, [-taper_value(-v, limit) for v in x])
    above = np.array([taper_value(v + h, limit) for v in x])
    below = np.array([taper_value(v - h, limit) for v in x])
    slope = taper_slope(value[None], np.array([limit]))[0]
    np.testing.assert_allclose(slope, (above - below) / (2 * h), atol=1e-8)


# Integrators and the language of plant files, with plants written here.

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
    plant = replace(read_plant(PENDULUM, "pendulum.py"), integrator=integrator)
    start = np.array([1.0, 0.5])
    steps = np.array([40, 80])

    def rates(t, x):
        return x[1], -math.sin(x[0])

    exact = solve_ivp(rates, (0, 2), start, rtol=1e-12, atol=1e-12).y[:, -1]
    ends = [step_without_control(replace(plant, dt=2 / n), start, n) for n in steps]
    errors = np.linalg.norm(ends - exact, axis=1)
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_substeps_equal_shorter_steps():
    plant = read_plant(PENDULUM, "pendulum.py")
    start = np.array([1.0, 0.5])
    with_substeps = step_without_control(replace(plant, dt=0.1, substeps=2), start, 3)
    with_steps = step_without_control(replace(plant, dt=0.05), start, 6)
    np.testing.assert_array_equal(with_substeps, with_steps)


LANGUAGE = '''
import math
import numpy as np
STATE, CONTROL = ("a", "b"), ("c",)
DT = 0.5
WEIGHTS, DEEP, EDGE = (0.5, -1.0, np.float64(2.0)), ((1.0, 2.0), (3.0, 4.0)), math.inf
PARAMS = {"gain": 3.0}

def taper_value(a: float, times) -> float:
    """A helper with the name of a function of hfcontrol's kernels."""
    total = 0.0
    for n in range(9):
        if n == times:
            break
        total += a / (1 + n)
    return total if total < EDGE else 0.0

def step(x, u, p, dt, x_next):
    """Uses all of the language."""
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


def test_compiled_language_of_plants_equals_plain_python():
    plant = read_plant(LANGUAGE, "language.py")
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 20))
    u = rng.standard_normal((1, 20))
    p = params_of(plant, 20)
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
TASKS = {{"go": {{
    "generator": "reach", "residual": error, "residuals": ("product", "sine")
}}}}
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


def test_batched_plant_equals_the_same_plant_compiled():
    compiled = read_plant(TWO_WAYS.format(step=COMPILED, math="math"), "twin.py")
    batched = read_plant(TWO_WAYS.format(step=BATCHED, math="np"), "twin.py")
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


def test_residual_jacobians_equal_the_derivatives_of_the_residuals():
    plant = read_plant(TWO_WAYS.format(step=COMPILED, math="math"), "twin.py")
    x, u, p, _ = draws(plant, np.random.default_rng(7), 4, 3)
    by_x, by_u = compile_plant(plant).residual_jacobian("error", x, u, x, p)
    expected = np.zeros((4, 2, 2, 3))
    expected[:, 0, 0] = u[:, 0]
    expected[:, 1, 1] = np.cos(x[:, 1])
    np.testing.assert_allclose(by_x, expected, atol=1e-8)
    expected = np.stack([x[:, 0], 0 * x[:, 0]], axis=1)
    np.testing.assert_allclose(by_u[:, :, 0], expected, atol=1e-8)


# Operation counts, names and the cache of compiled kernels.


def test_operations_are_counted_with_loops_stages_and_substeps():
    pendulum = read_plant(PENDULUM, "pendulum.py")
    three_times = "    for i in range(3):\n        x[0] + i\n    dx[0]"
    loop = PENDULUM.replace("    dx[0]", three_times)
    count = compile_plant(pendulum).step_operations
    assert count == 4 * (20 + 1 + 4)  # stages x (sine, difference, update)
    assert compile_plant(replace(pendulum, substeps=3)).step_operations == 3 * count
    assert compile_plant(read_plant(loop, "loop.py")).step_operations == count + 4 * 3


@pytest.mark.parametrize("name", plant_names())
def test_positions_are_the_states_that_are_not_rates(name):
    plant = load_plant(name)
    positions = [plant.state[i] for i in plant.positions]
    assert positions == [name for name in plant.state if not name.endswith("rate")]


def test_simulator_can_be_added(monkeypatch):
    made = SimulatorEntry(
        example="made:UP",
        matches=lambda name: name.startswith("made:"),
        load=lambda name: replace(load_plant("arm1"), name=name),
    )
    monkeypatch.setattr(registry, "SIMULATORS", (made,))
    assert load_plant("made:up").name == "made:up"
    assert load_plant("arm1").name == "arm1"
    with pytest.raises(PlantError, match=r"ending in \.py, or by .* made:UP$"):
        load_plant("nothing")


def test_every_simulator_is_named_to_who_asks_for_an_unknown_plant():
    with pytest.raises(PlantError, match="unknown plant 'nothing'") as caught:
        load_plant("nothing")
    for simulator in registry.SIMULATORS:
        assert simulator.example in str(caught.value)
        assert simulator.matches(simulator.example)
        assert simulator.suffix in (None, Path(simulator.example).suffix)


def test_edited_plant_is_compiled_again(tmp_path):
    path = tmp_path / "gain.py"
    text = (
        "STATE, CONTROL, DT = ('a',), ('b',), 1.0\nGAIN = 2.0\n"
        "def grow(a):\n    return GAIN * a\n"
        "def step(x, u, p, dt, x_next):\n    x_next[0] = grow(x[0]) + u[0]\n"
    )
    other_gain = text.replace("2.0", "5.0")
    other_formula = text.replace("GAIN * a", "GAIN * a - 1")
    answers = []
    for edited in (text, other_gain, other_formula):
        path.write_text(edited, encoding="utf-8")
        kernels = compile_plant(load_plant(path))
        after = kernels.step(np.ones((1, 1)), np.zeros((1, 1)), np.empty((0, 1)))
        answers.append(after.item())
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
def test_second_process_compiles_nothing_and_threads_change_no_bit(tmp_path):
    """Nor does the first one what other tests have compiled."""
    folder = kernel_folder()
    shutil.copytree(folder, tmp_path / folder.name)
    prints = []
    files = []
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
        files.append(
            {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.code")}
        )
    assert prints[0] == prints[1] and len(prints[0]) == 65
    assert files[0] == files[1] and len(files[0]) > 3
