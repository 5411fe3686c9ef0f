"""NumPy functions of a plant that give nonsense: one line that says where."""

import numpy as np
import pytest
from trainings import CART

from hfcontrol.errors import PlantError
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.reader import read_plant

LINE = len(CART.splitlines()) + 1
RESIDUAL = 'def residual(x, u, target, p, r):\n    {}\nTASKS["park"] |= {{"residual": '
RESIDUAL += 'residual, "residuals": ("worth",)}}\n'
OBSERVE = 'def observe(x, p, y):\n    {}\nOBSERVATION = ("seen",)\n'
OUTPUT = 'def output(x, p, z):\n    {}\nOUTPUT = ("shown",)\n'


@pytest.mark.parametrize("function", [RESIDUAL, OBSERVE, OUTPUT])
@pytest.mark.parametrize(
    "body, message",
    [
        ("pass", "leaves entry 0 "),
        ("return x[0]", "leaves entry 0 "),
        ("last = x[0] + 1", "leaves entry 0 "),
        ("{last}[0] = x[0] + 1j", "writes complex numbers"),
        ("{last}[:] = np.sqrt(x[:1] + 0j)", "writes complex numbers"),
    ],
)
def test_an_entry_that_is_not_written_or_not_real_is_refused(function, body, message):
    last = function[function.index(")") - 1]
    with pytest.raises(PlantError, match=rf"cart.py, line {LINE}: .*{message}"):
        read_plant(CART + function.format(body.format(last=last)), "cart.py")


def test_an_entry_that_keeps_a_number_is_written():
    for number in ("1.0", "2.0", "np.nan"):
        read_plant(CART + OBSERVE.format(f"y[0] = {number}"), "cart.py")


@pytest.mark.parametrize(
    "returned, message",
    [
        ("None", "gives nothing"),
        ("[None, None]", "gives a list that is no array of numbers"),
        ("'text'", "gives a str"),
        ("1j * x", "gives an array (2, 3) of complex128"),
        ("np.array(x, dtype=str)", "gives an array (2, 3) of <U32"),
        ("np.ma.masked_array(x, mask=True)", "gives a MaskedArray"),
        ("x[0]", "gives an array (3,)"),
        ("int('a\\nb')", "fails on 3 trials: ValueError: "),
        ("exit(3)", "fails on 3 trials: SystemExit: 3"),
    ],
)
def test_a_step_that_returns_nonsense_is_refused_in_one_line(returned, message):
    source = CART.replace("return np.stack(", f"return {returned}\n    np.stack(")
    plant = read_plant(source, "cart.py")
    with pytest.raises(PlantError) as caught:
        compile_plant(plant).step(np.zeros((2, 3)), np.zeros((1, 3)), np.zeros((0, 3)))
    text = str(caught.value)
    assert text.startswith("cart.py, line ") and message in text
    assert "\n" not in text


def test_a_step_may_return_its_own_buffer():
    """Two steps of one buffer are two arrays."""
    source = CART.replace(
        "return np.stack(", "BUFFER[:] = x + 1\n    return BUFFER\n    ("
    )
    plant = read_plant(
        source.replace("DT =", "BUFFER = np.zeros((2, 1)); DT ="), "c.py"
    )
    kernels = compile_plant(plant)
    x, u, p = np.zeros((2, 1)), np.zeros((1, 1)), np.zeros((0, 1))
    first = kernels.step(x, u, p)
    second = kernels.step(first, u, p)
    assert (first == 1).all() and (second == 2).all()
