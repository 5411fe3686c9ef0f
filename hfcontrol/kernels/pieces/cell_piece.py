"""Source piece: the fields and semi-implicit steps of time-continuous cells, number by number; it follows network_piece.

The equations are those of the cells' own files, which are their definition and the oracle of their test.
"""

import math

import numpy as np
from numba import njit

CTRNN, LTC, LTC_TANH, CONDUCTANCE, CFC = 2, 3, 4, 6, 7  # the cells' CODE; any other has dx/dt = f
LEAST = 1e-8  # of the conductance cell's denominator


@njit(cache=True, error_model="numpy", nogil=True)
def field_of(code, x, f, g, a, b, c):
    """dx/dt of one unit with activities f and g and parameters a, b, c, as many as its cell has."""
    if code == CTRNN:
        return a * (f - x)
    if code == LTC:
        return -(a + f) * x + f * b
    if code == LTC_TANH:
        return -(a + abs(f)) * x + f * b
    if code == CONDUCTANCE:
        return (a * (c - x) + f - g * x) / b
    return f


@njit(cache=True, error_model="numpy", nogil=True)
def fused_of(code, x, f, g, a, b, c, h):
    """The state of one unit after a semi-implicit step h; x, f and g of cfc are its three activities."""
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


@njit(cache=True, error_model="numpy", nogil=True)
def field_slopes_of(code, x, f, g, a, b, c):
    """Derivatives of the field by x, f, g, a, b and c."""
    if code == CTRNN:
        return -a, a, 0.0, f - x, 0.0, 0.0
    if code == LTC:
        return -(a + f), b - x, 0.0, -x, f, 0.0
    if code == LTC_TANH:
        return -(a + abs(f)), b - np.sign(f) * x, 0.0, -x, f, 0.0
    if code == CONDUCTANCE:
        return -(a + g) / b, 1.0 / b, -x / b, (c - x) / b, -(a * (c - x) + f - g * x) / (b * b), a / b
    return 0.0, 1.0, 0.0, 0.0, 0.0, 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def fused_slopes_of(code, x, f, g, a, b, c, h):
    """Derivatives of the semi-implicit step y by x, f, g, a, b and c."""
    y = fused_of(code, x, f, g, a, b, c, h)
    if code == CTRNN:
        d = 1.0 + h * a
        return 1.0 / d, h * a / d, 0.0, h * (f - y) / d, 0.0, 0.0
    if code == LTC or code == LTC_TANH:
        sign = 1.0 if code == LTC else np.sign(f)
        d = 1.0 + h * (a + sign * f)
        return 1.0 / d, h * (b - sign * y) / d, 0.0, -h * y / d, h * f / d, 0.0
    if code == CONDUCTANCE:
        d = b / h + a + g + LEAST
        return b / h / d, 1.0 / d, -y / d, (c - y) / d, (x - y) / h / d, a / d
    if code == CFC:
        return 1.0 - g, g, f - x, 0.0, 0.0, 0.0
    return 1.0, h, 0.0, 0.0, 0.0, 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def softplus(raw):
    """log(1 + exp(raw)) and its derivative."""
    return max(raw, 0.0) + math.log1p(math.exp(-abs(raw))), 0.5 * (1.0 + math.tanh(0.5 * raw))


@njit(cache=True, error_model="numpy", nogil=True)
def cell_values(theta, layer, k):
    """Values (3, k) of the parameters, and their derivatives by the trained numbers; rates, leaks and capacities, the first
    or, of the conductance cell, the first two, are softplus."""
    p, slope = np.zeros((3, k)), np.ones((3, k))
    for number in range(layer[N_PARAMETERS]):
        for i in range(k):
            raw = theta[layer[PARAMETERS] + number * k + i]
            p[number, i] = raw
            if number == 0 or (number == 1 and layer[2] == CONDUCTANCE):
                p[number, i], slope[number, i] = softplus(raw)
    return p, slope


@njit(error_model="numpy", inline="always")
def activate(code, f):
    """f = phi(f), in place: logistic for the ltc cell and the last third of cfc's, tanh for the others."""
    flat = f.reshape(f.size)
    first = 0 if code == LTC else 2 * flat.size // 3 if code == CFC else flat.size
    for i in range(first, flat.size):
        flat[i] *= 0.5
    tanh_in_place(flat)
    for i in range(first, flat.size):
        flat[i] = 0.5 * (1.0 + flat[i])


@njit(error_model="numpy", inline="always")
def steepness(logistic, f):
    """phi'(z) from f = phi(z)."""
    return f * (1.0 - f) if logistic else 1.0 - f * f
