"""Fields and semi-implicit steps of time-continuous cells, unit by unit.

The equations are those of the cells' own files in hfcontrol/network/cells/, which are
their definition and the reference of their test. `code` is the `CODE` of the cell, x
the state of a unit, f and g its activities, and a, b, c its parameters, as many as the
cell has.
"""

import math

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import helper
from hfcontrol.kernels.tanh import tanh_in_place
from hfcontrol.network.tables import CODE, N_PARAMETERS, PARAMETERS

# Codes of the cells. Any other has dx/dt = f.
CTRNN = 2
LTC = 3
LTC_TANH = 4
CONDUCTANCE = 6
CFC = 7

# Lower limit of the denominator of the conductance cell.
LEAST = 1e-8

# Derivatives of a step by x, f, g, a, b and c.
Slopes = tuple[float, float, float, float, float, float]


@helper
def field_of(
    code: int, x: float, f: float, g: float, a: float, b: float, c: float
) -> float:
    """Return dx/dt of a unit."""
    if code == CTRNN:
        return a * (f - x)
    if code == LTC:
        return -(a + f) * x + f * b
    if code == LTC_TANH:
        return -(a + abs(f)) * x + f * b
    if code == CONDUCTANCE:
        return (a * (c - x) + f - g * x) / b
    return f


@helper
def fused_of(
    code: int, x: float, f: float, g: float, a: float, b: float, c: float, h: float
) -> float:
    """Return the state of a unit after a semi-implicit step of length h.

    x, f and g of the cell cfc are its three activities.
    """
    if code == CTRNN:
        return (x + h * a * f) / (1.0 + h * a)
    if code == LTC:
        return (x + h * f * b) / (1.0 + h * (a + f))
    if code == LTC_TANH:
        return (x + h * f * b) / (1.0 + h * (a + abs(f)))
    if code == CONDUCTANCE:
        return (b * x / h + a * c + f) / (b / h + a + g + LEAST)
    if code == CFC:
        return x + g * (f - x)
    return x + h * f


@helper
def field_slopes_of(
    code: int, x: float, f: float, g: float, a: float, b: float, c: float
) -> Slopes:
    """Return the derivatives of the field by x, f, g, a, b and c."""
    if code == CTRNN:
        return -a, a, 0.0, f - x, 0.0, 0.0
    if code == LTC:
        return -(a + f), b - x, 0.0, -x, f, 0.0
    if code == LTC_TANH:
        return -(a + abs(f)), b - np.sign(f) * x, 0.0, -x, f, 0.0
    if code == CONDUCTANCE:
        by_b = -(a * (c - x) + f - g * x) / (b * b)
        return -(a + g) / b, 1.0 / b, -x / b, (c - x) / b, by_b, a / b
    return 0.0, 1.0, 0.0, 0.0, 0.0, 0.0


@helper
def fused_slopes_of(
    code: int, x: float, f: float, g: float, a: float, b: float, c: float, h: float
) -> Slopes:
    """Return the derivatives of the semi-implicit step by x, f, g, a, b and c."""
    y = fused_of(code, x, f, g, a, b, c, h)
    if code == CTRNN:
        d = 1.0 + h * a
        return 1.0 / d, h * a / d, 0.0, h * (f - y) / d, 0.0, 0.0
    if code in (LTC, LTC_TANH):
        sign = 1.0 if code == LTC else np.sign(f)
        d = 1.0 + h * (a + sign * f)
        return 1.0 / d, h * (b - sign * y) / d, 0.0, -h * y / d, h * f / d, 0.0
    if code == CONDUCTANCE:
        d = b / h + a + g + LEAST
        return b / h / d, 1.0 / d, -y / d, (c - y) / d, (x - y) / h / d, a / d
    if code == CFC:
        return 1.0 - g, g, f - x, 0.0, 0.0, 0.0
    return 1.0, h, 0.0, 0.0, 0.0, 0.0


@helper
def softplus(raw: float) -> tuple[float, float]:
    """Return log(1 + exp(raw)) and its derivative."""
    value = max(raw, 0.0) + math.log1p(math.exp(-abs(raw)))
    return value, 0.5 * (1.0 + math.tanh(0.5 * raw))


@helper
def cell_values(theta: Array, layer: Array, k: int) -> tuple[Array, Array]:
    """Return the parameters (3, k) and their derivatives by the trained numbers.

    Positive parameters, rates, leaks and capacities, are the softplus of their number:
    the first, or for the conductance cell the first two.
    """
    p, slope = np.zeros((3, k)), np.ones((3, k))
    for number in range(layer[N_PARAMETERS]):
        positive = number == 0 or (number == 1 and layer[CODE] == CONDUCTANCE)
        for i in range(k):
            raw = theta[layer[PARAMETERS] + number * k + i]
            p[number, i] = raw
            if positive:
                p[number, i], slope[number, i] = softplus(raw)
    return p, slope


@helper
def activate(code: int, f: Array) -> None:
    """Apply the activation function to summed inputs f (unit, trial), in place.

    It is logistic for the cell ltc and the last third of cfc, tanh for the others.
    """
    flat = f.reshape(f.size)
    first = 0 if code == LTC else 2 * flat.size // 3 if code == CFC else flat.size
    for i in range(first, flat.size):
        flat[i] *= 0.5
    tanh_in_place(flat)
    for i in range(first, flat.size):
        flat[i] = 0.5 * (1.0 + flat[i])


@helper
def steepness(logistic: bool, f: float) -> float:
    """Return the slope of the activation function from its value f."""
    return f * (1.0 - f) if logistic else 1.0 - f * f
