"""The linear cell: h_t = a_t; the output layer is made of it."""

CODE = 0


def step(a):
    """Activity from summed input a (unit, trial)."""
    return a


def jvp(h, da):
    """Tangent of the activity: dh = da."""
    return da


def vjp(h, h_bar):
    """Cotangent of the summed input: a_bar = h_bar."""
    return h_bar
