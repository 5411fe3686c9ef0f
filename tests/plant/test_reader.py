"""Every mistake in a plant file is reported in one line.

The line says where the mistake is, what is wrong, and what to write instead.
"""

import os
import re

import numba
import numpy as np
import pytest

from hfcontrol.errors import PlantError
from hfcontrol.evaluation import plant_check as check
from hfcontrol.kernels import compile_plant
from hfcontrol.kernels.plant_module import plant_source
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant, plant_names, plants_folder

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
    """The plant of GOOD after replacements (old, new), with more text at its end."""
    text = GOOD
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return read_plant(text + extra, name)


def line_of(text):
    """The number of the line of GOOD that contains the text."""
    lines = enumerate(GOOD.splitlines(), 1)
    return next(i for i, line in lines if text in line)


def message_of(*edits, **options):
    """The one line that is reported for a broken plant file."""
    with pytest.raises(PlantError) as caught:
        plant_of(*edits, **options)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("mine.py") and len(message) < 400
    return message


def test_correct_file_loads():
    plant = plant_of()
    assert plant.compiled
    assert plant.params == {"inertia": 1.5, "weight": 2.0}
    assert plant.output == plant.state


SWING = "dx[1] = (u[0] - p[WEIGHT] * math.sin(x[0])) / p[INERTIA]"


@pytest.mark.parametrize(
    "written, message",
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
def test_code_that_cannot_be_compiled_is_reported_with_its_line(written, message):
    reported = message_of((SWING, written))
    assert message in reported and f"line {line_of(SWING)}: dynamics" in reported


def test_helpers_are_checked_and_reported_with_their_own_line():
    edit = ("math.sin(x[0])", "pull(x[0])")
    helper = "\n\ndef pull(a):\n    return np.sin(a)\n"
    line = len(GOOD.splitlines()) + 4
    assert f"line {line}: pull uses np.sin" in message_of(edit, extra=helper)
    recursive = helper.replace("np.sin", "pull")
    assert "pull calls itself" in message_of(edit, extra=recursive)
    decorated = helper.replace("def", "@np.vectorize\ndef").replace(
        "np.sin", "math.sin"
    )
    assert "remove it" in message_of(edit, extra=decorated)


@pytest.mark.parametrize(
    "old, new, message",
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
        ('{"inertia": 1.5, "weight": 2.0}', '{"inertia": 1.5}', "p has indices 0 to 0"),
        (
            "def dynamics(x, u, p, dx)",
            "def dynamics(x, u, dx)",
            "write def dynamics(x, u, p, dx)",
        ),
        ("def dynamics(", "def move(", "it defines no dynamics"),
        ("dx[0] = x[1]", "pass", "leaves entry 0 (angle) unwritten"),
        ("dx[0] = x[1]", "dx[2] = x[1]", "dx has indices 0 to 1"),
        ("dx[0] = x[1]", "dx[0] = x[2]", "x has indices 0 to 1"),
    ],
)
def test_wrong_names_numbers_and_functions_are_reported(old, new, message):
    assert message in message_of((old, new))


@pytest.mark.parametrize(
    "extra, message",
    [
        (
            "LIMIT = (1.0, 2.0)",
            "LIMIT is (1.0, 2.0); it holds 2 entries; give one for all, or one for "
            "each of 1; as a range, write (1.0, 2.0) in another pair of brackets",
        ),
        ("LIMIT = -1.0", "LIMIT is -1.0; it must hold numbers above zero, pairs"),
        ("LIMIT = ((2, 1),)", "a lower and a larger upper bound, not (2, 1)"),
        ("LIMIT = ((0, 1, 2),)", "it must hold numbers above zero, pairs"),
        ('LIMIT = (("0", 1),)', "it must hold numbers above zero, pairs"),
        ("LIMIT, TRIM = ((0, 1),), 2", "TRIM is 2, outside of LIMIT"),
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
            "TASKS = {'go': {'generator': 'reach', 'residual': len, "
            "'residuals': ('a',)}}",
            "a function of this file",
        ),
    ],
)
def test_wrong_optional_names_are_reported(extra, message):
    assert message in message_of(extra=extra)


def test_unknown_plant_is_reported_with_the_known_ones(tmp_path):
    with pytest.raises(PlantError) as caught:
        load_plant("arm9")
    assert all(name in str(caught.value) for name in plant_names())
    with pytest.raises(PlantError, match=r"cannot read the plant file .*nowhere\.py"):
        load_plant(tmp_path / "nowhere.py")


def test_plant_file_may_be_a_link_but_no_pipe(tmp_path):
    """Reading a pipe would wait for ever."""
    (tmp_path / "arm.py").symlink_to(plants_folder() / "arm1.py")
    assert load_plant(tmp_path / "arm.py").name == "arm"
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    for name in ("pipe.py", "folder.py"):
        with pytest.raises(
            PlantError, match=rf"cannot read .*{name}: it is no regular"
        ):
            load_plant(tmp_path / name)


def test_compiled_plant_refuses_arrays_of_wrong_shape():
    plant = plant_of()
    message = re.escape("u has the shape (2, 3); it must be (1, 3)")
    with pytest.raises(PlantError, match=message):
        compile_plant(plant).step(np.zeros((2, 3)), np.zeros((2, 3)), np.ones((2, 3)))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_mistake_that_only_the_compiler_finds_is_reported_in_one_line():
    two_types = "a = x[0]\n    if x[0] > 9.0:\n        a = (1.0, 2.0)\n    dx[1] = a"
    plant = plant_of((SWING, two_types))
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
    "body, failing, message",
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
def test_plant_check_finds_mistakes_of_a_batched_plant(body, failing, message):
    plant = read_plant(BATCH.format(body=body), "batch.py")
    findings = {finding.name: finding for finding in check.check_plant(plant)}
    if failing:
        assert not findings[failing].ok and message in findings[failing].message
    else:
        assert all(f.ok for f in findings.values())


NO_EDITS = ()
TIP = """
OUTPUT = ('tip_x', 'tip_y')
def output(x, p, z):
    z[0] = x[0]
    z[1] = x[1]
def links(x, p):
    return np.array([x, x + 1.0])
"""


def links(points):
    """A function `links` that returns the expression `points`."""
    return f"def links(x, p):\n    return {points}"


def marks(values):
    """A function `marks` that returns the expression `values`."""
    return f"def marks(x, u, p):\n    return np.array({values})"


@pytest.mark.parametrize(
    "edits, extra, test, message",
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
            "keep what sqrt or log takes above zero",
        ),
        (
            [("dx[0] = x[1]", "dx[0] = 2 * x[1]")],
            "",
            check.check_rates,
            "angle_rate is not",
        ),
        (
            NO_EDITS,
            "TASKS = {'go': {'generator': 'reach', 'steps': 0}}",
            check.check_tasks,
            "go: steps 0: must be a whole number of at least 1",
        ),
        (
            NO_EDITS,
            "TASKS = {'go': {'generator': 'reach', 'start': (0.0,) * 3}}",
            check.check_tasks,
            "go: start (0.0, 0.0, 0.0): must be one number for each position (angle)",
        ),
        (
            NO_EDITS,
            links("np.array([[0.0, 0.0], [x[0], 1.0]])"),
            check.check_drawing,
            "lengths change",
        ),
        (
            NO_EDITS,
            links("np.array([0.0, 1.0])"),
            check.check_drawing,
            "points (k, 2), or (k, 3) in space",
        ),
        (
            NO_EDITS,
            links("np.zeros((2 + (x[0] > 0), 2))"),
            check.check_drawing,
            "must be the same at all",
        ),
        (
            NO_EDITS,
            links("np.array([[0.0, 0.0], [np.nan, 1.0], [1.0, 1.0]])"),
            check.check_drawing,
            "only a whole row of NaN",
        ),
        (
            NO_EDITS,
            links("np.array([[0.0, 0.0], [np.nan, np.nan]])"),
            check.check_drawing,
            "in the last row",
        ),
        (NO_EDITS, TIP, check.check_drawing, "not at (tip_x, tip_y)"),
        (NO_EDITS, marks("[0.0, 1.0]"), check.check_drawing, "(k, 3)"),
        (
            NO_EDITS,
            marks("[[x[0], x[1], 1.0 + x[0] ** 2]]"),
            check.check_drawing,
            "values from -1 to 1",
        ),
        (
            NO_EDITS,
            marks("[[x[0], np.inf, 0.0]]"),
            check.check_drawing,
            "finite coordinates",
        ),
        (
            NO_EDITS,
            "OUTPUT = ('height',)\ndef output(x, p, z):\n    z[0] = 1.0",
            check.check_nothing_constant,
            "height is 1 at",
        ),
    ],
)
def test_plant_check_finds_mistakes_of_a_compiled_plant(edits, extra, test, message):
    rate = ('("angle", "rate")', '("angle", "angle_rate")')
    plant = plant_of(*edits, rate, extra=extra)
    assert message in check._run_check(test, check.Sample(plant)).message


def test_index_that_is_too_large_is_reported_with_its_line():
    with pytest.raises(
        PlantError,
        match=r"line \d+: dynamics uses x\[2\], but x has indices 0 to 1; correct",
    ):
        plant_of(("math.sin(x[0])", "math.sin(x[2])"))


def test_jump_in_the_dynamics_is_reported_but_allowed():
    jump = plant_of(("math.sin(x[0])", "math.floor(1e5 * x[0])"))
    finding = check.check_smooth(check.Sample(jump))
    assert "a jump or a kink" in finding.message


def test_dry_friction_is_found_at_rest():
    """No random state is where it jumps, but every movement begins and ends there."""
    dry = plant_of(("u[0] -", "u[0] - math.copysign(0.1, x[1]) -"))
    finding = check.check_smooth(check.Sample(dry))
    assert finding.ok
    assert "/ d rate is" in finding.message
    assert re.search(r"at x = \(\S+, 0\)", finding.message)


JACOBIAN = """
def jacobian(x, u, p, A, B):
    A[0, 0], A[0, 1], B[0, 0] = 0.0, 1.0, 0.0
    A[1, 0], A[1, 1] = -p[WEIGHT] * math.cos(x[0]) / p[INERTIA], 0.0
    B[1, 0] = 1 / p[INERTIA]
"""


@pytest.mark.parametrize(
    "old, new, message",
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
def test_jacobian_is_compared_with_differences(old, new, message):
    plant = plant_of(extra=JACOBIAN.replace(old, new))
    found = check.check_jacobian(check.Sample(plant))
    assert found is None if message is None else message in found


@pytest.mark.parametrize(
    "written, message",
    [
        ("C[0, 0] = math.cos(x[0])\n    C[1, 1] = 1.0", None),
        (
            "C[0, 0] = math.cos(x[0])",
            "d seen_rate / d rate is 0 by observe_jacobian and 1 by differences",
        ),
    ],
)
def test_observe_jacobian_is_compared_with_differences(written, message):
    extra = (
        'OBSERVATION = ("seen", "seen_rate")\n\n'
        "def observe(x, p, y):\n    y[0], y[1] = math.sin(x[0]), x[1]\n\n"
        f"def observe_jacobian(x, p, C):\n    {written}\n"
    )
    found = check.check_observe_jacobian(check.Sample(plant_of(extra=extra)))
    assert found is None if message is None else message in found


@pytest.mark.parametrize(
    "extra, message",
    [
        ("def jacobian(x, u, p, A, B):\n    A[2, 0] = 1.0\n", "A has indices 0 to 1"),
        (
            "def observe_jacobian(x, p, C):\n    C[0, 0] = 1.0\n",
            "observe_jacobian without observe",
        ),
    ],
)
def test_derivatives_with_wrong_indices_or_without_function_are_refused(extra, message):
    with pytest.raises(PlantError, match=message):
        plant_of(extra=extra)


def test_derivatives_are_checked_like_other_functions():
    message = "jacobian writes into its input x; write into B only"
    with pytest.raises(PlantError, match=message):
        plant_of(extra="def jacobian(x, u, p, A, B):\n    x[0] = 0.0\n")


def test_duration_of_a_step_is_measured():
    assert 0 < check.step_seconds(plant_of()) < 1e-3


def test_a_file_whose_name_is_no_text_is_a_plant():
    """In Latin-1, and in a locale that knows no other letters than ASCII."""
    plant = read_plant(GOOD, os.fsdecode(b"na\xefve.py"))
    assert plant.name == "na\ufffdve"
    assert plant_source(plant).encode()
    assert read_plant(GOOD, os.fsdecode("na\xefve.py".encode())).name == "na\xefve"
