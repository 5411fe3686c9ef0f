"""Compiled functions of a plant file stay inside their arrays, proved when it loads.

The oracle of the last tests is plain Python on arrays that check each index.
"""

import math
import re

import numpy as np
import pytest

from hfcontrol.errors import PlantError
from hfcontrol.evaluation import plant_check as check
from hfcontrol.plant import reader
from hfcontrol.plant.probe import CheckedArray
from hfcontrol.plant.proof import MOST_PASSES
from hfcontrol.plant.reader import read_plant

# Two states, one control, three parameters, one observation, two outputs, one residual.
FILE = """
import math
STATE, CONTROL = ("angle", "angle_rate"), ("torque",)
OBSERVATION, OUTPUT = ("seen",), ("tip_x", "tip_y")
PARAMS = {{"mass": 1.0, "length": 0.5, "friction": 0.05}}
DT, INTEGRATOR = 0.02, "rk4"
TABLE, PLACES, N = (0, 1, 2), ((0.0, 1.0), (2.0, 3.0)), 2

{helper}

def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = u[0]
{dynamics}

def observe(x, p, y):
    y[0] = x[0]
{observe}

def output(x, p, z):
    z[0] = z[1] = x[0]
{output}

def residual(x, u, target, p, r):
    r[0] = x[0]
{residual}

def jacobian(x, u, p, A, B):
    A[0, 1] = B[1, 0] = 1.0
{jacobian}

TASKS = {{"go": {{"generator": "angles", "start": (0.0,), "targets": (-2.0, 2.0),
          "trials": 8, "steps": 20, "residual": residual, "residuals": ("r",)}}}}
"""
FUNCTIONS = ("helper", "dynamics", "observe", "output", "residual", "jacobian")


def load(function="dynamics", body="", helper=""):
    """The plant of FILE with more lines at the end of one of its functions."""
    parts = dict.fromkeys(FUNCTIONS, "")
    parts |= {
        "helper": helper,
        function: "\n".join(f"    {s}" for s in body.split("\n")),
    }
    return read_plant(FILE.format(**parts), "mine.py")


def refusal(*arguments, **options):
    """The one line about a plant that is refused."""
    with pytest.raises(PlantError) as caught:
        load(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    assert re.match(r"mine\.py, line \d+: \w+", message)
    return message


FAR = "x[0] > 9.0"  # a branch that no probe takes


@pytest.mark.parametrize(
    "function, body, named",
    [
        # A constant index, read and written, in a branch that is hardly ever taken.
        ("dynamics", f"if {FAR}:\n    dx[99] = 1e300", "dx[99]"),
        ("dynamics", f"if {FAR}:\n    dx[1] += x[2]", "x[2]"),
        ("dynamics", f"if {FAR}:\n    dx[1] += p[3]", "p[3]"),
        ("dynamics", f"if {FAR}:\n    pass\nelse:\n    dx[1] += u[1]", "u[1]"),
        ("dynamics", f"if {FAR}:\n    return\ndx[2] = 0.0", "dx[2]"),
        ("dynamics", f"dx[1] = x[2] if {FAR} else 0.0", "x[2]"),
        ("dynamics", f"dx[1] = {FAR} and x[5]", "x[5]"),
        ("dynamics", f"dx[1] = not ({FAR} or x[0] < 9.0) or x[7]", "x[7]"),
        ("dynamics", "if N == 3:\n    dx[2] = 0.0", "dx[2]"),
        ("dynamics", "if False:\n    dx[2] = 0.0", "dx[2]"),
        # Negative and augmented.
        ("dynamics", f"if {FAR}:\n    dx[-100000000] = 1e300", "dx[-100000000]"),
        ("dynamics", f"if {FAR}:\n    dx[-3] = 1.0", "dx[-3]"),
        ("dynamics", f"if {FAR}:\n    dx[2] += 1.0", "dx[2]"),
        ("dynamics", f"if {FAR}:\n    dx[0], dx[2] = 1.0, 2.0", "dx[2]"),
        ("dynamics", f"if {FAR}:\n    dx[0] = dx[4] = 1.0", "dx[4]"),
        # Loops: too long, with an offset, a stride, nested, falling, over a tuple.
        ("dynamics", "for i in range(3):\n    dx[i] = 0.0", "dx[i]"),
        ("dynamics", "for i in range(N):\n    dx[i] = x[i + 1]", "x[i + 1]"),
        ("dynamics", "for i in range(N):\n    dx[i] = x[i - 1]", "x[i - 1]"),
        ("dynamics", "for i in range(N):\n    dx[0] = x[2 * i]", "x[2 * i]"),
        ("dynamics", "for i in range(4, -1, -1):\n    dx[0] = x[i]", "x[i]"),
        (
            "dynamics",
            "for i in range(2):\n    for j in range(i + 1):\n        dx[0] = x[i + j]",
            "x[i + j]",
        ),
        ("dynamics", "for i in TABLE:\n    dx[0] = x[i]", "x[i]"),
        ("dynamics", "for i in (0, 1, 50):\n    dx[0] = x[i]", "x[i]"),
        ("dynamics", "for dx[5] in range(2):\n    pass", "dx[5]"),
        # A variable that the loop changes.
        ("dynamics", "k = 0\nfor i in range(2):\n    k += 2\n    dx[0] = x[k]", "x[k]"),
        ("dynamics", "for i in range(2):\n    i = i + 1\n    dx[0] = x[i]", "x[i]"),
        ("dynamics", "for i in range(2):\n    pass\ndx[0] = x[i]", "x[i]"),
        # Conditions that do not hold the index back.
        (
            "dynamics",
            "for i in range(3):\n    if i > 0:\n        dx[0] = x[i]",
            "x[i]",
        ),
        (
            "dynamics",
            "for i in range(3):\n    if not i > 1 or x[0] > 0:\n        dx[0] = x[i]",
            "x[i]",
        ),
        (
            "dynamics",
            "for i in range(9):\n    if 0 < i < 9:\n        dx[0] = x[i - 1]",
            "x[i - 1]",
        ),
        # Data-dependent indices, floats, tables of indices.
        ("dynamics", "dx[0] = x[int(x[0])]", "x[int(x[0])]"),
        ("dynamics", "dx[int(u[0])] = 0.0", "dx[int(u[0])]"),
        ("dynamics", "dx[0] = x[math.floor(x[0])]", "x[math.floor(x[0])]"),
        ("dynamics", "dx[0] = x[min(1, int(x[0]))]", "x[min(1, int(x[0]))]"),
        ("dynamics", "dx[0] = x[x[0] > 0]", "x[x[0] > 0]"),
        ("dynamics", "dx[0] = x[1.0]", "x[1.0]"),
        ("dynamics", "dx[0] = x[True]", "x[True]"),
        ("dynamics", "dx[0] = x[TABLE[2]]", "x[TABLE[2]]"),
        ("dynamics", "dx[0] = x[2 ** 0 + 1]", "x[2 ** 0 + 1]"),
        ("dynamics", "dx[0] = x[4611686018427387904 * 4]", "not known"),
        ("dynamics", "k = 0\nif x[0] > 0:\n    k = 5\ndx[0] = x[k]", "x[k]"),
        # Tuples.
        ("dynamics", "dx[0] = TABLE[3]", "TABLE[3]"),
        ("dynamics", "for i in range(3):\n    dx[0] = PLACES[i][0]", "PLACES[i]"),
        ("dynamics", "dx[0] = PLACES[1][2]", "PLACES[1][2]"),
        ("dynamics", "a = (x[0], x[1])\ndx[0] = a[2]", "a[2]"),
        ("dynamics", "dx[0] = x[0][0]", "x[0][0]"),
        # Second names of arrays.
        ("dynamics", f"y = x\nif {FAR}:\n    y[50] = 3.0", "uses x without an index"),
        ("dynamics", "a, b = x, dx", "uses x without an index"),
        ("dynamics", "for a in (x, dx):\n    a[9] = 1.0", "uses x without an index"),
        ("dynamics", "a = dx if x[0] > 0 else x", "uses dx without an index"),
        ("dynamics", "dx += 1.0", "uses dx without an index"),
        ("dynamics", "a, b, c = x", "takes x apart into (a, b, c)"),
        ("dynamics", "a, b = c = x", "uses x without an index"),
        ("residual", "a, b = x", "takes x apart into (a, b)"),
        ("jacobian", "a, b = A", "takes A apart into (a, b)"),
        ("dynamics", "dx[0] = max(x)", "uses x without an index"),
        # Names that are bound elsewhere, in an expression or by a default.
        ("dynamics", "k = (j := 2)\ndx[j] = 1.0", "uses :="),
        ("dynamics", "dx[(j := 2)] = 1.0", "uses :="),
        ("dynamics", "k = 1\nif k and (k := 2):\n    dx[k] = 1.0", "uses :="),
        ("dynamics", "dx[0] = sum(x[k] for k in range(3))", "calls sum"),
        (
            "dynamics",
            "def f(a):\n    return a[2]\ndx[0] = f(x)",
            "a function inside a function",
        ),
        ("dynamics", "len = 2\ndx[len] = 1.0", "dx[len]"),
        ("dynamics", "N = 5\ndx[N] = 1.0", "dx[N]"),
        ("dynamics", "match 2:\n    case k:\n        dx[k] = 1.0", "uses Match"),
        # Parts of arrays, and other kinds of indices.
        ("dynamics", "dx[1:] = x[:1]", "uses a slice"),
        ("dynamics", "dx[-5:-1] = 0.0", "uses a slice"),
        ("dynamics", "*a, b = x", "uses *"),
        ("dynamics", "[dx[0], dx[2]] = x[0], x[1]", "uses a list"),
        ("dynamics", "dx[...] = 1.0", "uses Ellipsis"),
        ("dynamics", "dx[None] = 1.0", "uses None"),
        ("dynamics", "dx[x[0] > 0] = 1.0", "dx[x[0] > 0]"),
        ("dynamics", "dx[1 << 1] = 1.0", "1 << 1"),
        ("dynamics", "dx[(1 if x[0] > 0 else 2)] = 1.0", "dx["),
        # Integers of more than 64 bits, which compiled code would cut.
        ("dynamics", "dx[2**64] = 1.0", "dx[2 ** 64]"),
        (
            "dynamics",
            "for i in range(2):\n    dx[(i + 2**64) - 2**64] = 1.0",
            "not known",
        ),
        # Each other function.
        ("observe", f"if {FAR}:\n    y[1] = 0.0", "y[1]"),
        ("observe", "for i in range(2):\n    y[i] = x[i]", "y[i]"),
        ("output", f"if {FAR}:\n    z[2] = x[0]", "z[2]"),
        ("output", f"if {FAR}:\n    z[0] = p[9]", "p[9]"),
        ("residual", f"if {FAR}:\n    r[1] = 0.0", "r[1]"),
        ("residual", f"if {FAR}:\n    r[0] = target[2]", "target[2]"),
        # With actuators, x and target of a residual are longer than the file says.
        ("residual", "for i in range(len(x)):\n    r[i] = x[i]", "len(x)"),
        ("residual", "for value in target:\n    r[0] = value", "target"),
        ("jacobian", f"if {FAR}:\n    A[2, 0] = 1.0", "A[2, 0]"),
        ("jacobian", f"if {FAR}:\n    A[0, 2] = 1.0", "A[0, 2]"),
        ("jacobian", f"if {FAR}:\n    B[0][1] = 1.0", "B[0][1]"),
        ("jacobian", "row = A[0]", "uses A[0] without an index"),
        ("jacobian", f"if {FAR}:\n    A[0] = 1.0", "A[0]"),
        ("jacobian", "A[0, 0, 0] = 1.0", "with 3 indices"),
    ],
)
def test_index_outside_its_array_is_refused(function, body, named):
    message = refusal(function, body)
    assert f": {function} " in message and named in message


@pytest.mark.parametrize(
    "body, helper, named",
    [
        ("put(dx)", "def put(a):\n    a[2] = 1.0", "put uses a[2]"),
        ("dx[0] = get(x, 2)", "def get(a, i):\n    return a[i]", "get uses a[i]"),
        (
            "for i in range(3):\n    dx[0] = get(x, i)",
            "def get(a, i):\n    return a[i] if i < 5 else 0.0",
            "get uses a[i]",
        ),
        (
            "dx[0] = outer(x)",
            "def inner(a, i):\n    return a[2 * i]\n"
            "def outer(a):\n    return inner(a, 0) + inner(a, 1)",
            "inner uses a[2 * i]",
        ),
        (
            "dx[0] = x[last(1)]",
            "def last(i):\n    if i > 5:\n        return 0\n    return i + 1",
            "x[last(1)]",
        ),
        ("dx[0] = same(x)[0]", "def same(a):\n    return a", "uses a without an index"),
        (
            "dx[0] = get(x)",
            "def get(a, i=5):\n    return a[i]",
            "get uses a[i], but a has indices 0 to 1; correct",
        ),
        ("dx[0] = get(x, dx)", "def get(*a):\n    return 0.0", "does not fit get(*a)"),
        ("dx[0] = get(x, 1)", "def get(a):\n    return a[0]", "does not fit get(a)"),
        # The input of one function is the output of the other.
        ("put(x)", "def put(a):\n    a[0] = 1.0", "an entry of the input x"),
        ("put(dx, x)", "def put(a, b):\n    b[0] = a[0]", "an entry of the input x"),
        ("f = put\nf(x)", "def put(a):\n    return 0.0", "calls f"),
        ("f = put", "def put(a):\n    return 0.0", "uses the function put as a value"),
        ("put = 1\nput(x)", "def put(a):\n    return 0.0", "put"),
    ],
)
def test_helper_that_leaves_its_array_is_refused(body, helper, named):
    assert named in refusal(body=body, helper=helper)


@pytest.mark.parametrize(
    "body",
    [
        "for i in range(N):\n    left = x[i - 1] if i > 0 else 0.0",
        "for i in range(N):\n    right = x[i + 1] if i < N - 1 else 0.0",
        "for i in range(N):\n    if i == 0:\n        continue\n    dx[0] = x[i - 1]",
        "for i in range(N):\n    dx[0] = x[(i + 1) % 2]",
        "for i in range(9):\n    dx[0] = x[min(i, 1)] + x[i // 5] + x[abs(i - 8) // 8]",
        "for i in range(9):\n    if i >= 1 and i <= 2:\n        dx[0] = x[i - 1]",
        "for i in range(9):\n    if not (i < 3 or i > 4):\n        dx[0] = x[i - 3]",
        "for i in range(9):\n    if 2 < i <= 4:\n        dx[0] = x[i - 3]",
        "for i in range(9):\n    if i - 1 == N:\n        dx[0] = x[i - 2]",
        "for i in range(9):\n    if i > 0:\n        pass\n    else:\n        x[i]",
        "for i in range(N):\n    dx[0] += i and x[i - 1]",
        "for i in range(N):\n    for j in range(i):\n        dx[0] += x[i] * x[j]",
        "for i in range(1, -1, -1):\n    dx[i] = x[i]",
        "for i in range(0):\n    dx[i + 7] = 0.0",
        "for i, j in ((0, 1), (1, 0)):\n    dx[i] = x[j]",
        "for v in x:\n    dx[0] += v",
        "for i in range(len(x)):\n    dx[i] = PLACES[i][0] + PLACES[i][-1]",
        "dx[-1] = x[-2]",
        "a, b = x\ndx[0], dx[1] = b, -a",
        "a = (x[0], 1.0)\ndx[0] = a[1] + a[0]",
        "k = 1\nif x[0] > 0:\n    k = 0\ndx[k] = x[k]",
        "for k in TABLE:\n    dx[0] += p[k]",
        "def_ = 3.0\ndx[0] = float(int(def_)) * math.pi",
    ],
)
def test_index_that_a_rule_proves_is_accepted(body):
    load(body=body)


def test_helpers_with_arrays_are_accepted():
    helper = (
        "def wall(x, p, k=1):\n    return x[k] * p[2]\n"
        "def put(a, i, dx):\n    dx[i] = a\n"
        "def both(i):\n    return i, i + 1"
    )
    body = (
        "dx[0] = wall(x, p) + wall(x, p, 0)\n"
        "for i in range(2):\n    put(wall(x, p), i, dx)\n"
        "a, b = both(0)\ndx[a] = x[b]"
    )
    load(body=body, helper=helper)
    row = "def put(row):\n    for j in range(2):\n        row[j] = 0.0"
    load("jacobian", "put(A[0])\nA[1][0] = 1.0", helper=row)


@pytest.mark.parametrize(
    "body, message",
    [
        ("while x[0] > 0:\n    pass", "uses while, which may go on for ever"),
        ("for i in range(int(x[0])):\n    pass", "which is not known before it runs"),
        ("for i in range(0, 5, 0):\n    pass", "which is not known before it runs"),
        ("n = range(3)", "uses range outside a for loop"),
        ("for i in range(10**9):\n    dx[0] = 0.0", "not known before it runs"),
        ("for i in range(1000000000):\n    dx[0] = 0.0", "passes of loops and calls"),
        (
            "for i in range(999):\n    for j in range(999):\n        dx[0] = 0.0",
            "999000 passes",
        ),
    ],
)
def test_loop_without_a_known_end_is_refused(body, message):
    if "998001" in message:
        # Each pass of the outer loop counts too.
        message = "999000 passes"
    assert message in refusal(body=body)


def test_passes_are_counted_over_substeps_and_calls():
    loop = "    for i in range(90):\n        dx[0] = x[1]"
    text = FILE.format(**dict.fromkeys(FUNCTIONS, "") | {"dynamics": loop})
    read_plant(text + "\nSUBSTEPS = 1000", "mine.py")
    with pytest.raises(PlantError, match=f"90 passes.* {MOST_PASSES} in a control"):
        read_plant(text + "\nSUBSTEPS = 2000", "mine.py")
    doubling = "\n".join(
        f"def f{i}(a):\n    return f{i - 1}(a) + f{i - 1}(a + 1.0)"
        for i in range(1, 40)
    )
    helper = f"def f0(a):\n    return a\n{doubling}"
    assert "passes of loops and calls" in refusal(
        body="dx[0] = f39(x[0])", helper=helper
    )


def test_deep_expressions_are_reported_in_one_line():
    with pytest.raises(PlantError) as caught:
        load(body="dx[0] = " + "-" * 3000 + "x[0]")
    assert "\n" not in str(caught.value)


def test_residual_that_is_another_function_of_the_file_is_refused():
    text = FILE.format(**dict.fromkeys(FUNCTIONS, ""))
    text = text.replace('"residual": residual', '"residual": dynamics')
    with pytest.raises(PlantError, match="is the function dynamics; write one of its"):
        read_plant(text, "mine.py")


def test_function_that_is_no_definition_at_the_top_is_refused():
    text = FILE.format(**dict.fromkeys(FUNCTIONS, ""))
    hidden = text.replace("def dynamics", "def motion") + "\ndynamics = motion"
    with pytest.raises(PlantError, match="dynamics is not defined by a def at the top"):
        read_plant(hidden, "mine.py")


OPERATIONS = ("+", "-", "*", "//", "%")


def random_index(rng, depth=2):
    """A random expression of i, j and integers."""
    if depth == 0 or rng.random() < 0.2:
        return str(rng.choice(["i", "j", "1", "2", "-1", "N", "TABLE[i]"]))
    a, b = (random_index(rng, depth - 1) for _ in range(2))
    if rng.random() < 0.2:
        return f"{rng.choice(['min', 'max'])}({a}, {b})"
    return f"({a} {rng.choice(OPERATIONS)} {b})"


def random_body(rng):
    """Two random loops around reads of x, some of them behind random conditions."""
    i, j = (f"range({', '.join(str(v) for v in rng.integers(-3, 4, 3))})" for _ in "ij")
    test = f"{random_index(rng, 1)} {rng.choice(['<', '<=', '>', '>=', '==', '!='])} "
    test += random_index(rng, 1)
    if rng.random() < 0.5:
        joined = rng.choice(["and", "or"])
        test = (
            f"{rng.choice(['', 'not '])}({test} {joined} j {rng.choice(['<', '>'])} 0)"
        )
    read = f"dx[0] = x[{random_index(rng)}]"
    otherwise = f"dx[0] = x[{random_index(rng)}]" if rng.random() < 0.5 else "continue"
    last = random_index(rng)
    return (
        f"for i in {i}:\n    for j in {j}:\n        if {test}:\n            {read}\n"
        f"        else:\n            {otherwise}\n        dx[1] = x[{last}]"
    )


def test_what_is_proved_never_leaves_its_array():
    """Random loops and conditions, compared with Python on checked arrays."""
    rng = np.random.default_rng(0)
    accepted = outside = 0
    for _ in range(700):
        body = random_body(rng)
        try:
            dynamics = load(body=body).functions["dynamics"]
        except PlantError:
            continue
        accepted += 1
        x, u = CheckedArray("x", (0.1, 0.2)), CheckedArray("u", (0.3,))
        p, dx = CheckedArray("p", (1.0, 2.0, 3.0)), CheckedArray("dx", (0.0, 0.0))
        try:
            dynamics(x, u, p, dx)
        except IndexError:
            outside += 1
        except ZeroDivisionError:
            continue
    assert accepted > 20
    assert outside == 0


def test_checked_array_refuses_what_compiled_code_would_not_see():
    array = CheckedArray("x", (1.0, 2.0))
    assert array[1] == array[-1] == 2.0 and len(array) == 2
    assert math.fsum(array) == 3.0
    for index in (2, -3, 1.0, True, slice(0, 1)):
        with pytest.raises(IndexError, match=r"x\["):
            array[index]
        with pytest.raises(IndexError, match=r"x\["):
            array[index] = 0.0


def test_check_calls_functions_on_checked_arrays(monkeypatch):
    """Where the proof is switched off, `check` still finds an index, far away."""
    monkeypatch.setattr(reader, "prove_plant", lambda *arguments: None)
    for function, array in (("dynamics", "dx"), ("observe", "y"), ("residual", "r")):
        plant = load(function, f"if x[0] > 20.0:\n    {array}[9] = 0.0")
        message = check.check_indices(check.Sample(plant))
        assert re.search(rf"{function} fails at x = .*line \d+, {array}\[9\]", message)
    assert check.check_indices(check.Sample(load())) is None


BATCH = """
import numpy as np
STATE, CONTROL, DT = ("a", "b"), ("c",), 0.1
OBSERVATION, OUTPUT = ("seen",), ("tip_x", "tip_y")

def step_batch(x, u, p, dt):
    {step}
    return x + dt * u

def observe(x, p, y):
    y[0] = x[0]
    {observe}

def output(x, p, z):
    z[:] = x
    {output}

def residual(x, u, target, p, r):
    r[0] = x[0]
    {residual}

TASKS = {{"go": {{"generator": "angles", "start": (0.0,), "targets": (-2.0, 2.0),
          "trials": 8, "steps": 20, "residual": residual, "residuals": ("r",)}}}}
"""


@pytest.mark.parametrize(
    "function, code",
    [
        ("step_batch", "x[2]"),
        ("step_batch", "x[0, 99]"),
        ("observe", "y[1] = 0.0"),
        ("output", "z[2] = 0.0"),
        ("residual", "r[0] = target[5]"),
    ],
)
def test_check_finds_indices_of_a_batched_plant(function, code):
    """They raise in NumPy, also in a branch that is hardly ever taken."""
    names = ("step", "observe", "output", "residual")
    key = function.removesuffix("_batch")
    parts = dict.fromkeys(names, "pass") | {key: f"if x.max() > 20.0: {code}"}
    plant = read_plant(BATCH.format(**parts), "batch.py")
    (finding,) = (f for f in check.check_plant(plant) if f.name == "indices")
    assert not finding.ok and "\n" not in finding.message
    assert f"{function} fails" in finding.message
    assert "out of bounds" in finding.message
