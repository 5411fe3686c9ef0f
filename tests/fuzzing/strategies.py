"""Hypothesis strategies of altered inputs: plant files, tasks, models, options."""

import re
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
CANARY = "CANARY"  # replaced by the path of a file that nothing may open or run

# Texts of values that a plant file, a model or a command may hold by mistake.
JUNK = ["0", "1", "-1", "2", "99", "0.5", "1e308", "1e400", "-0.0", "nan", "inf", "1j"]
JUNK += ["1e-300", "10**30", "9999999999999999999", "True", "None", "'a'", "''", "()"]
JUNK += ["[]", "{}", "...", "x", "u", "p", "dx", "[0]*3", "(1,2)", "lambda:0"]
MARKS = ["\0", "\x1b[31m", "\n", "\\", '"', "'", "\udcff", "ü", "$", "%s", "{0}", "#"]

# The pieces of a text: words and numbers, spaces, and single marks.
PIECES = re.compile(r"[\w.]+|\s+|[^\w\s]")


@st.composite
def altered_text(draw, texts, junk=tuple(JUNK)):
    """One of the texts with one to four pieces replaced, removed or doubled."""
    pieces = PIECES.findall(draw(st.sampled_from(texts)))
    words = [i for i, piece in enumerate(pieces) if not piece.isspace()]
    for _ in range(draw(st.integers(1, 4))):
        i = draw(st.sampled_from(words))
        change = draw(st.sampled_from(["junk", "other", "remove", "double", "mark"]))
        if change == "junk":
            pieces[i] = draw(st.sampled_from(junk))
        elif change == "other":
            pieces[i] = pieces[draw(st.sampled_from(words))]
        elif change == "double":
            pieces[i] += " " + pieces[i]
        else:
            pieces[i] = draw(st.sampled_from(MARKS)) if change == "mark" else ""
    return "".join(pieces)


# Numbers and variables of the bodies of plant functions.
ATOMS = ["x[0]", "x[1]", "x[-1]", "x[i]", "x[i - 1]", "x[2 * i]", "x[99]", "u[0]"]
ATOMS += ["u[k]", "p[0]", "p[M]", "i", "k", "2", "0.5", "1e200", "M", "len(x)", "x"]
ATOMS += ["a"]
FORMS = ["({0} + {1})", "({0} * {1})", "{0} / {1}", "math.sin({0})", "{0} ** {1}"]
FORMS += ["helper({0}, {1})", "({0} if {1} > 0 else 0.0)", "-{0}", "{0} % {1}"]
FORMS += ["min({0}, {1})", "math.sqrt({0})", "x[{0}]", "int({0})", "{0} // {1}"]
TARGETS = ["dx[0]", "dx[1]", "dx[i]", "dx[k]", "a", "k", "dx[-1]", "dx[2]", "x[0]"]
HEADS = ["for i in range({0}):", "if {0} > {1}:", "for k in range(1, {0}):"]
HEADS += ["for i in (0, 1):", "while {0} < {1}:", "for k in range(i, {0}):"]


@st.composite
def expressions(draw, depth=2):
    """The text of an expression in the body of a plant's function."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(ATOMS))
    form = draw(st.sampled_from(FORMS))
    inner = expressions(depth - 1)
    return form.format(draw(inner), draw(inner))


@st.composite
def bodies(draw, indent="    ", depth=2):
    """The lines of a body: assignments, branches and loops."""
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        if depth and draw(st.integers(0, 2)) == 0:
            head = draw(st.sampled_from(HEADS))
            counts = st.sampled_from(["2", "3", "len(x)", "0", "M", "10**6", "k"])
            lines.append(indent + head.format(draw(counts), draw(counts)))
            lines.append(draw(bodies(indent + "    ", depth - 1)))
        else:
            equals = draw(st.sampled_from(["=", "=", "=", "+="]))
            target = draw(st.sampled_from(TARGETS))
            lines.append(f"{indent}{target} {equals} {draw(expressions())}")
    return "\n".join(lines)


GENERATED = """import math
STATE, CONTROL, PARAMS = ("a", "b"), ("f",), {{"m": 1.0}}
DT, INTEGRATOR, SUBSTEPS, M = 0.02, "rk4", {substeps}, {constant}
def helper(a, b):
    return a * b
def dynamics(x, u, p, dx):
    i, k, a = 0, 1, 0.0
    dx[0] = x[1]
    dx[1] = u[0]
{body}
"""


@st.composite
def generated_plants(draw):
    """A plant file with random statements in `dynamics`."""
    substeps = draw(st.sampled_from(["1", "1", "3", "10**9", "0"]))
    constant = draw(st.sampled_from(["0", "1", "2", "-1", "0.5", "(0, 1)"]))
    return GENERATED.format(substeps=substeps, constant=constant, body=draw(bodies()))


def shipped_plants():
    """The texts of the shipped plant files."""
    return [path.read_text() for path in sorted((ROOT / "plants").glob("*.py"))]


def plant_files():
    """The text of a plant file, mostly wrong."""
    return altered_text(shipped_plants()) | generated_plants()


def _complain(*arguments):
    raise RuntimeError("a function of a task, at your service")


# Values of entries of a task, as objects.
NUMBERS = [0, 1, -1, 2, 0.5, 1e308, -0.0, float("nan"), float("inf"), 10**30, True]
FUNCTIONS = [_complain, lambda *a: None, lambda *a: a[0], lambda *a: np.ones((2, 3))]
SCALARS = [*NUMBERS, None, "a", "", b"a", 1j, np.float32(1), np.int64(3), object]


def values():
    """A value that an entry of a task may be given."""
    scalars = st.sampled_from([*SCALARS, *FUNCTIONS])
    numbers = st.lists(st.sampled_from(NUMBERS), max_size=5)
    arrays = numbers.map(np.array)
    return st.one_of(
        scalars,
        numbers.map(tuple),
        numbers,
        st.lists(numbers.map(tuple), max_size=4).map(tuple),
        arrays,
        st.dictionaries(st.sampled_from(["state", "hand", "rates", "a", 3]), scalars),
    )


@st.composite
def task_entries(draw, names, generators):
    """Entries of a task: right ones, of which some are replaced by anything."""
    entries = {
        "generator": draw(st.sampled_from(generators)),
        "trials": draw(st.integers(1, 4)),
        "steps": draw(st.integers(1, 4)),
        "start": (0.0, 0.0),
        "spread": (0.1, 0.1),
        "target": (0.0, 0.0),
        "targets": (-0.1, 0.1),
        "range": ((-0.1, 0.1),),
        "radius": 0.1,
    }
    for _ in range(draw(st.integers(0, 3))):
        entries[draw(st.sampled_from(names))] = draw(values())
    return entries


# MJCF that covers joints, ranges, actuators, constraints, sites and the text element.
SWING = """<mujoco model="swing"><option timestep="0.005" integrator="RK4"/>
<custom><text name="hfcontrol" data='{"DT": 0.01, "TYPICAL": {"state": [1, 2]},
"TASKS": {"stay": {"steps": 5, "spread": [0.1, 0]}}}'/></custom>
<worldbody><body name="rod"><joint name="hinge" axis="0 1 0" range="-90 90"
limited="true" damping=".1"/><geom type="capsule" size=".02" fromto="0 0 0 .5 0 0"/>
<site name="hand" pos=".5 0 0"/></body></worldbody>
<actuator><motor name="motor" joint="hinge" ctrlrange="-1 2"/></actuator>
<keyframe><key name="home" qpos="0.3" ctrl="1"/></keyframe></mujoco>"""
GRIPPER = """<mujoco><worldbody><body name="a" pos="0 0 1"><joint name="left"
type="slide" axis="1 0 0" range="0 .04" limited="true"/><geom size=".01"/></body>
<body name="b"><joint name="right" type="slide" axis="-1 0 0" range="0 .04"
limited="true"/><geom size=".01"/></body>
<body name="goal" mocap="true"><geom size=".01" contype="0" conaffinity="0"/></body>
</worldbody><tendon><fixed name="both"><joint joint="left" coef="1"/>
<joint joint="right" coef="1"/></fixed></tendon>
<equality><joint joint1="right" joint2="left" polycoef="0 1 0 0 0"/></equality>
<actuator><general name="m" joint="left" dyntype="integrator" actrange="0 1"/>
<position tendon="both" kp="9"/></actuator>
<keyframe><key name="home" qpos="0.02 0.02" act="0.1" mpos="0 1 0"/></keyframe>
</mujoco>"""
MODEL_JUNK = ["0", "1", "-1", "2", "1e-9", "1e9", "nan", "inf", "1e308", "-90", "0.005"]
MODEL_JUNK += [
    "free",
    "ball",
    "hinge",
    "slide",
    "true",
    "false",
    "plane",
    "mesh",
    "0.1",
]
MODEL_JUNK += [
    "Euler",
    "implicit",
    "left_rate",
    "hinge_rate",
    "hand",
    "fingertip",
    "rod",
]
MODEL_JUNK += ["goal", "world", "both", "muscle", "filter", "home", "joint2", "", "0 0"]
MODEL_JUNK += ["0.1 0.2", "0.3 -0.3", "1 2 3", "0 0 1", CANARY, "a b", "\u00fc", "null"]
MODEL_JUNK += ['{"DT": 0.02}', '{"TASKS": {"stay": {"target": [1]}}}', "a/b", "$"]
ELEMENTS = [
    f'<include file="{CANARY}.xml"/>',
    '<worldbody><body><joint/><geom size=".1"/></body></worldbody>',
    '<worldbody><body><joint name="hinge_rate"/><geom size=".1"/></body></worldbody>',
    '<worldbody><body><freejoint/><geom size=".1"/></body></worldbody>',
    '<actuator><motor joint="hinge"/><motor joint="left"/></actuator>',
    '<compiler angle="radian"/>',
    '<option gravity="0 0 0"/>',
    '<option><flag equality="disable"/></option>',
    '<custom><text name="hfcontrol" data="[1]"/></custom>',
    '<keyframe><key name="home"/></keyframe>',
    "<!-- a -- b -->",
]


@st.composite
def altered_model(draw, texts):
    """A model with up to three other values of attributes, and another element."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(0, 3))):
        attribute = draw(st.sampled_from(list(re.finditer(r'="([^"]*)"', text))))
        others = st.sampled_from(re.findall(r'="([^"]*)"', text))
        value = draw(st.sampled_from(MODEL_JUNK) | others)
        text = text[: attribute.start(1)] + value + text[attribute.end(1) :]
    if draw(st.booleans()):
        element = draw(st.sampled_from(ELEMENTS))
        text = text.replace("</mujoco>", f"{element}</mujoco>")
    return text


def models():
    """The bytes of an MJCF file, often wrong."""
    shipped = [path.read_text() for path in (ROOT / "plants/mjcf").glob("*.xml")]
    shipped.sort()
    originals = [SWING, GRIPPER, *shipped]
    other = altered_model(originals)
    texts = st.one_of(other, other, other, altered_text(originals, tuple(MODEL_JUNK)))
    encodings = st.sampled_from(["utf-8", "utf-8", "latin-1"])
    return st.tuples(texts, encodings).map(
        lambda pair: pair[0].encode(pair[1], errors="replace")
    )


def _option_values(option):
    """Words for an option of click: those of its help, numbers and junk."""
    words = re.split(r"[|,\[\]]", str(option.metavar or ""))
    known = [word.strip() for word in words if word.strip().islower()]
    numbers = ["0", "1", "2", "3", "8", "0.5", "1e-3", "-1", "1e9", "nan", "inf", "1,2"]
    numbers += ["4,3", "0.1,0.2", "1..2", "-1..1", "40ms"]
    junk = [
        "",
        "x",
        "auto",
        "all",
        "none",
        "a=1",
        "mass=2",
        "--",
        "\u00fc",
        "%s",
        "1e400",
    ]
    junk += ["99999999999999999999", "../CANARY", "gym:canary_module:X-v0", "arm2"]
    pools = [st.sampled_from(numbers), st.sampled_from(junk)]
    if known:
        pools += [st.sampled_from(known)] * 3
    return st.one_of(pools)


@st.composite
def command_lines(draw, command, required=(), most=5):
    """Random options of a click command, with the words that it always gets."""
    options = [o for o in command.params if o.param_type_name == "option"]
    words = list(required)
    for _ in range(draw(st.integers(1, most)) if options else 0):
        option = draw(st.sampled_from(options))
        words.append(draw(st.sampled_from([*option.opts, *option.secondary_opts])))
        if not option.is_flag:
            words.append(draw(_option_values(option)))
    return words


@st.composite
def damages(draw, size):
    """A damage of a file of that size: what, where, and a byte."""
    kinds = ["flip", "cut", "grow", "zero", "copy", "swap", "link", "folder", "pipe"]
    kind = draw(st.sampled_from([*["flip"] * 4, *kinds]))
    places = st.integers(0, size - 1)
    return kind, draw(places), draw(places), draw(st.integers(1, 255))
