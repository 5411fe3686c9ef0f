"""Every mistake in a plant file is answered by one line: where it is, what is wrong, what to write instead."""

import re

import numba
import numpy as np
import pytest

from hfcontrol.errors import PlantError
from hfcontrol.evaluation import plant_check as check
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant, plant_names

GOOD = """
import math
import numpy as np

STATE = ("angle", "rate")
CONTROL = ("torque",)
PARAMS = {"inertia": 1.5, "weight": 2.0}
INERTIA, WEIGHT = range(2)
DT, INTEGRATOR = 0.01, "semi_implicit"
TABLE = [1.0, 2.0]


def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = (u[0] - p[WEIGHT] * math.sin(x[0])) / p[INERTIA]
"""


def plant_of(*edits, extra="", name="mine.py"):
    """The plant of GOOD after replacements (old, new) and with more text at its end."""
    text = GOOD
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return read_plant(text + extra, name)


def line_of(text):
    """The number of the line of GOOD that holds the text."""
    return next(i for i, line in enumerate(GOOD.splitlines(), 1) if text in line)


def message_of(*edits, **options):
    """The one line that a broken plant file is answered with."""
    with pytest.raises(PlantError) as caught:
        plant_of(*edits, **options)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("mine.py") and len(message) < 400
    return message


def test_the_unbroken_file_loads():
    plant = plant_of()
    assert (
        plant.compiled
        and plant.params == {"inertia": 1.5, "weight": 2.0}
        and plant.output == plant.state
    )


SWING = "dx[1] = (u[0] - p[WEIGHT] * math.sin(x[0])) / p[INERTIA]"


@pytest.mark.parametrize(
    "written, told",
    [
        ("dx[1] = np.sin(x[0])", "np.sin; write math.sin"),
        ("dx[1] = np.clip(x[0], 0, 1)", "np.clip; use indices"),
        ("dx[1] = math.fsum((x[0], 1.0))", "math.fsum; allowed names of math"),
        ("a = [x[0], x[1]]; dx[1] = a[0]", "a list; use a tuple"),
        ("dx[1] = sum(v for v in x)", "sum, which this file does not define"),
        ("dx[1] = max([v for v in x])", "a list comprehension; use a for loop"),
        ("dx[0:2] = x[0:2]", "a slice; index one entry"),
        ("import cmath; dx[1] = 0.0", "an import; import math at the top"),
        ("dx[1] = x @ x", "the matrix product @; write the sums out"),
        ("dx[1] = (lambda a: a)(x[0])", "a lambda; define a function at the top level"),
        ("dx[1] = x[0] if x[0] in (1.0, 2.0) else 0.0", "compare with <"),
        ("dx[1] = x.sum()", "x.sum; use indices"),
        ("x[0] = 0.0; dx[1] = 0.0", "writes into its input x; write into dx only"),
        ("dx[1] = TABLE[0]", "reads TABLE, a list; make it a number or a tuple"),
        ("dx[1] = np", "uses the module np"),
        (
            "dx[1] = DAMPING * x[1]",
            "uses DAMPING, which is not defined; define DAMPING at the top level",
        ),
        ("raise ValueError('no')", "raise; let the value become math.nan"),
        ("dx[1] = max(x[0], default=0.0)", "named arguments; pass them by position"),
        ("dx[1] = f'{x[0]}'", "a text; use only numbers"),
    ],
)
def test_what_cannot_be_compiled_is_told_with_its_line(written, told):
    message = message_of((SWING, written))
    assert told in message and f"line {line_of(SWING)}: dynamics" in message


def test_helpers_are_judged_too_and_at_their_own_line():
    helper = "\n\ndef pull(a):\n    return np.sin(a)\n"
    message = message_of(("math.sin(x[0])", "pull(x[0])"), extra=helper)
    assert f"line {len(GOOD.splitlines()) + 4}: pull uses np.sin" in message
    assert "pull calls itself" in message_of(
        ("math.sin(x[0])", "pull(x[0])"), extra=helper.replace("np.sin", "pull")
    )
    assert "remove it" in message_of(
        ("math.sin(x[0])", "pull(x[0])"),
        extra=helper.replace("def", "@np.vectorize\ndef").replace("np.sin", "math.sin"),
    )


@pytest.mark.parametrize(
    "old, new, told",
    [
        (
            "def dynamics(x, u, p, dx):",
            "def dynamics(x, u, p, dx:",
            f"line {line_of('def dynamics')}: ",
        ),
        ("DT, INTEGRATOR", "DT, INTEGRATOR = 1 / 0, 1 #", "ZeroDivisionError"),
        ("STATE =", "STATES =", "STATE is missing"),
        ('STATE = ("angle", "rate")', 'STATE = "angle"', "must be a tuple of names"),
        ('("angle", "rate")', '("angle", "angle")', "a name twice"),
        ('("angle", "rate")', '("angle", "rate", "more")', "odd number of names"),
        ("0.01", "0.0", "DT is 0.0"),
        (
            '"semi_implicit"',
            '"leapfrog"',
            "INTEGRATOR is 'leapfrog'; with dynamics it must be euler, rk4",
        ),
        (
            '{"inertia": 1.5, "weight": 2.0}',
            '{"inertia": None}',
            "PARAMS holds 'inertia': None",
        ),
        ('{"inertia": 1.5, "weight": 2.0}', '{"inertia": 1.5}', "dynamics fails"),
        (
            "def dynamics(x, u, p, dx)",
            "def dynamics(x, u, dx)",
            "write def dynamics(x, u, p, dx)",
        ),
        ("def dynamics(", "def move(", "it defines no dynamics"),
        ("dx[0] = x[1]", "pass", "leaves entry 0 (angle) unwritten"),
        ("dx[0] = x[1]", "dx[2] = x[1]", "dynamics fails at x = (0.3, 0.3)"),
        ("dx[0] = x[1]", "dx[0] = x[2]", "dynamics fails at x = (0.3, 0.3)"),
    ],
)
def test_broken_numbers_and_functions(old, new, told):
    assert told in message_of((old, new))


@pytest.mark.parametrize(
    "extra, told",
    [
        (
            "LIMIT = (1.0, 2.0)",
            "LIMIT holds 2 numbers; give one for all, or one for each of 1",
        ),
        ("LIMIT = -1.0", "numbers above zero"),
        ('TYPICAL = {"states": 1.0}', "TYPICAL is"),
        ('TYPICAL = {"state": (1.0,)}', "TYPICAL['state'] holds 1 numbers"),
        ("TAPER = (1.0, 2.0, 3.0)", "TAPER holds 3 numbers"),
        ("SUBSTEPS = 0", "SUBSTEPS is 0"),
        ('UNITS = {"state": ("rad",)}', "UNITS['state']"),
        ('OUTPUT = ("hand_x",)', "OUTPUT and the function output belong together"),
        (
            "def observe(x, p, y):\n    y[0] = x[0]",
            "OBSERVATION and the function observe belong together",
        ),
        (
            "def step(x, u, p, dt, x_next):\n    x_next[0] = x[0]",
            "it defines dynamics and step",
        ),
        ('TASKS = {"go": {}}', "TASKS['go'] must be a dictionary with a \"generator\""),
        (
            'TASKS = {"go": {"generator": "reach", "residual": dynamics}}',
            "must give both",
        ),
        (
            "TASKS = {'go': {'generator': 'reach', 'residual': len, 'residuals': ('a',)}}",
            "a function of this file",
        ),
    ],
)
def test_broken_extras(extra, told):
    assert told in message_of(extra=extra)


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(PlantError) as caught:
        load_plant("arm9")
    assert all(name in str(caught.value) for name in plant_names())
    with pytest.raises(PlantError, match="cannot read the plant file .*nowhere.py"):
        load_plant(tmp_path / "nowhere.py")


def test_arrays_of_a_wrong_shape_are_refused_before_they_reach_compiled_code():
    plant = plant_of()
    with pytest.raises(
        PlantError, match=re.escape("u has the shape (2, 3); it must be (1, 3)")
    ):
        compile_plant(plant).step(np.zeros((2, 3)), np.zeros((2, 3)), np.ones((2, 3)))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_what_only_the_compiler_sees_is_told_in_one_line():
    plant = plant_of(
        (SWING, "a = x[0]\n    if x[0] > 9.0:\n        a = (1.0, 2.0)\n    dx[1] = a")
    )
    with pytest.raises(PlantError, match="cannot be compiled") as caught:
        compile_plant(plant).step(np.zeros((2, 3)), np.zeros((1, 3)), np.ones((2, 3)))
    assert "\n" not in str(caught.value)


BATCH = """
import numpy as np
STATE, CONTROL, DT = ("a", "b"), ("c",), 0.1
def step_batch(x, u, p, dt):
    return {body}
"""


@pytest.mark.parametrize(
    "body, failing, told",
    [
        ("x[:1]", "repeatable", "step_batch gives an array"),
        ("np.roll(x, 1, axis=1) + u", "trials independent", "in a batch"),
        (
            "x + np.random.default_rng().standard_normal(x.shape) + u",
            "repeatable",
            "differ",
        ),
        ("np.where(x > 0, np.nan, x) + u", "finite", "is nan at x ="),
        ("1.2 * x", "nothing constant", "control c moves nothing"),
        ("np.where(x > 0.1, 2.0, 1e-3) * (x + u)", None, None),
        ("x / np.zeros(3)", "repeatable", "step_batch fails on"),
    ],
)
def test_contract_tests_find_what_a_batched_plant_does_wrong(body, failing, told):
    findings = {
        f.name: f
        for f in check.check_plant(read_plant(BATCH.format(body=body), "batch.py"))
    }
    if failing:
        assert not findings[failing].ok and told in findings[failing].message
    else:
        assert all(f.ok for f in findings.values())


@pytest.mark.parametrize(
    "edits, extra, test, told",
    [
        (
            [("dx[0] = x[1]", "if x[0] > -0.5:\n        dx[0] = x[1]")],
            "",
            check.check_entries_written,
            "leaves entry 0 (angle) unwritten at",
        ),
        (
            [("math.sin(x[0])", "math.sqrt(1.0 + 0.0 * x[0]) / math.sqrt(x[0])")],
            "",
            check.check_entries_written,
            "dynamics fails at x",
        ),
        (
            [("dx[0] = x[1]", "dx[0] = 2 * x[1]")],
            "",
            check.check_rates,
            "angle_rate is not",
        ),
        (
            [],
            "TASKS = {'go': {'generator': 'reach', 'steps': 0}}",
            check.check_tasks,
            "steps is 0",
        ),
        (
            [],
            "TASKS = {'go': {'generator': 'reach', 'start': (0.0,) * 3}}",
            check.check_tasks,
            "start holds 3",
        ),
        (
            [],
            "TASKS = {'go': {'draw': lambda rng, trials, split: (rng.random(3), 0)}}",
            check.check_tasks,
            "start states (3,)",
        ),
        (
            [],
            "def links(x, p):\n    return np.array([[0.0, 0.0], [x[0], 1.0]])",
            check.check_drawing,
            "lengths change",
        ),
        (
            [],
            "def links(x, p):\n    return np.array([0.0, 1.0])",
            check.check_drawing,
            "points (k, 2), or (k, 3) in space",
        ),
        (
            [],
            "def links(x, p):\n    return np.zeros((2 + (x[0] > 0), 2))",
            check.check_drawing,
            "must be the same at all",
        ),
        (
            [],
            "def links(x, p):\n    return np.array([[0.0, 0.0], [np.nan, 1.0], [1.0, 1.0]])",
            check.check_drawing,
            "only a whole row of NaN",
        ),
        (
            [],
            "def links(x, p):\n    return np.array([[0.0, 0.0], [np.nan, np.nan]])",
            check.check_drawing,
            "in the last row",
        ),
        (
            [],
            "OUTPUT = ('tip_x', 'tip_y')\ndef output(x, p, z):\n    z[0] = x[0]\n    z[1] = x[1]\n"
            "def links(x, p):\n    return np.array([x, x + 1.0])",
            check.check_drawing,
            "not at (tip_x, tip_y)",
        ),
        (
            [],
            "def marks(x, u, p):\n    return np.array([0.0, 1.0])",
            check.check_drawing,
            "(k, 3)",
        ),
        (
            [],
            "def marks(x, u, p):\n    return np.array([[x[0], x[1], 1.0 + x[0] ** 2]])",
            check.check_drawing,
            "values from -1 to 1",
        ),
        (
            [],
            "def marks(x, u, p):\n    return np.array([[x[0], np.inf, 0.0]])",
            check.check_drawing,
            "finite coordinates",
        ),
        (
            [],
            "OUTPUT = ('height',)\ndef output(x, p, z):\n    z[0] = 1.0",
            check.check_nothing_constant,
            "height is 1 at",
        ),
    ],
)
def test_contract_tests_find_what_a_compiled_plant_does_wrong(edits, extra, test, told):
    plant = plant_of(
        *edits, ('("angle", "rate")', '("angle", "angle_rate")'), extra=extra
    )
    assert told in test(check.Sample(plant))


def test_an_index_beyond_the_end_is_told_with_its_line():
    with pytest.raises(
        PlantError,
        match=r"dynamics fails at .*: line \d+, tuple index out of range "
        r"\(indices start at 0; sizes: 2 of x, 1 of u, ",
    ):
        plant_of(("math.sin(x[0])", "math.sin(x[2])"))


def test_a_jump_in_the_dynamics_is_told_but_allowed():
    jump = plant_of(("math.sin(x[0])", "math.floor(1e5 * x[0])"))
    finding = check.check_smooth(check.Sample(jump))
    assert "a jump or a kink" in finding.message


def test_dry_friction_is_found_at_rest():
    """No random state lies where it jumps, but every movement begins and ends there."""
    dry = plant_of(("u[0] -", "u[0] - math.copysign(0.1, x[1]) -"))
    finding = check.check_smooth(check.Sample(dry))
    assert (
        finding.ok
        and "/ d rate is" in finding.message
        and re.search(r"at x = \(\S+, 0\)", finding.message)
    )


JACOBIAN = """
def jacobian(x, u, p, A, B):
    A[0, 0], A[0, 1], B[0, 0] = 0.0, 1.0, 0.0
    A[1, 0], A[1, 1], B[1, 0] = -p[WEIGHT] * math.cos(x[0]) / p[INERTIA], 0.0, 1 / p[INERTIA]
"""


@pytest.mark.parametrize(
    "old, new, told",
    [
        ("", "", None),
        ("math.cos", "math.sin", "d rate' / d angle is "),
        (
            "1 / p[INERTIA]\n",
            "p[INERTIA]\n",
            "d rate' / d torque is 1.5 by jacobian and 0.666667 by differences",
        ),
        (
            "A[0, 1], B[0, 0] = 0.0, 1.0, 0.0",
            "A[0, 1], B[0, 0] = 0.0, 0.0, 0.0",
            "d angle' / d rate is 0 by jacobian and 1 by differences",
        ),
    ],
)
def test_analytic_derivatives_are_compared(old, new, told):
    found = check.check_jacobian(
        check.Sample(plant_of(extra=JACOBIAN.replace(old, new)))
    )
    assert found is None if told is None else told in found


@pytest.mark.parametrize(
    "written, told",
    [
        ("C[0, 0] = math.cos(x[0])\n    C[1, 1] = 1.0", None),
        (
            "C[0, 0] = math.cos(x[0])",
            "d seen_rate / d rate is 0 by observe_jacobian and 1 by differences",
        ),
    ],
)
def test_analytic_derivatives_of_what_is_seen_are_compared(written, told):
    extra = (
        'OBSERVATION = ("seen", "seen_rate")\n\ndef observe(x, p, y):\n    y[0], y[1] = math.sin(x[0]), x[1]\n\n'
        f"def observe_jacobian(x, p, C):\n    {written}\n"
    )
    found = check.check_observe_jacobian(check.Sample(plant_of(extra=extra)))
    assert found is None if told is None else told in found


@pytest.mark.parametrize(
    "extra, told",
    [
        ("def jacobian(x, u, p, A, B):\n    A[2, 0] = 1.0\n", "jacobian fails at x"),
        (
            "def observe_jacobian(x, p, C):\n    C[0, 0] = 1.0\n",
            "observe_jacobian without observe",
        ),
    ],
)
def test_analytic_derivatives_that_would_write_anywhere(extra, told):
    with pytest.raises(PlantError, match=told):
        plant_of(extra=extra)


def test_analytic_derivatives_have_to_compile_too():
    with pytest.raises(
        PlantError, match="jacobian writes into its input x; write into B only"
    ):
        plant_of(extra="def jacobian(x, u, p, A, B):\n    x[0] = 0.0\n")


def test_a_step_takes_some_time():
    assert 0 < check.step_seconds(plant_of()) < 1e-3
