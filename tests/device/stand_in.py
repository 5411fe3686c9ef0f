"""A stand-in for CuPy on a machine without a GPU: NumPy's arrays behind a class that is as strict as CuPy's, or stricter.

It refuses what CuPy would refuse or do in silence: an array of NumPy's beside one of its own, as an operand or an index, and
turning into one of NumPy's but by `get`. Results without axes stay arrays, and every wait for a number is counted: `float`, `int`,
`bool`, `item` and `get`. Where the real CuPy is installed, NumPy's functions must have one of the same name in it.
"""

import importlib.util
import types

import numpy as np

REAL = None
if importlib.util.find_spec("cupy"):
    import cupy as REAL


class ndarray:
    """An array on the device that is not there."""

    waits = 0
    __hash__ = None

    def __init__(self, host):
        self.host = np.asarray(host)

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "an array of the GPU is turned into one of NumPy's unseen; use to_host"
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        assert REAL is None or hasattr(REAL, ufunc.__name__), (
            f"cupy has no {ufunc.__name__}"
        )
        return wrapped(
            getattr(ufunc, method)(
                *map(bare, inputs),
                **{name: bare(value) for name, value in kwargs.items()},
            )
        )

    def __array_function__(self, function, kinds, args, kwargs):
        if REAL is not None:
            found = REAL
            for part in (*function.__module__.split(".")[1:], function.__name__):
                found = getattr(
                    found, part
                )  # an AttributeError names what cupy does not have
        return wrapped(function(*bare(list(args)), **bare(kwargs)))

    def get(self):
        ndarray.waits += 1
        return self.host.copy()

    def item(self):
        ndarray.waits += 1
        return self.host.item()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        return bool(self.item())

    def __len__(self):
        return len(self.host)

    def __iter__(self):
        return (ndarray(row) for row in self.host)

    def __getitem__(self, index):
        return ndarray(self.host[bare(index)])

    def __setitem__(self, index, value):
        self.host[bare(index)] = bare(value)

    def __getattr__(self, name):
        if name in ("shape", "ndim", "size", "dtype", "itemsize", "strides", "nbytes"):
            return getattr(self.host, name)
        if name == "T":
            return ndarray(self.host.T)
        if name in (
            "sum",
            "mean",
            "max",
            "min",
            "any",
            "all",
            "reshape",
            "ravel",
            "transpose",
            "astype",
            "copy",
            "fill",
            "diagonal",
            "argmin",
            "dot",
            "swapaxes",
        ):
            method = getattr(self.host, name)
            return lambda *args, **kwargs: wrapped(
                method(*bare(list(args)), **bare(kwargs))
            )
        raise AttributeError(f"the stand-in for cupy's array has no {name}")


def _operator(name):
    def operate(self, other):
        return (
            NotImplemented
            if isinstance(other, (list, str))
            else wrapped(getattr(self.host, name)(bare(other)))
        )

    return operate


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "pow",
    "floordiv",
    "mod",
    "matmul",
    "and",
    "or",
):
    for _form in (_name, f"r{_name}"):
        setattr(ndarray, f"__{_form}__", _operator(f"__{_form}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in ("neg", "abs", "invert"):
    setattr(
        ndarray,
        f"__{_name}__",
        lambda self, name=f"__{_name}__": ndarray(getattr(self.host, name)()),
    )


def _in_place(name):
    def operate(self, other):
        getattr(self.host, name)(bare(other))
        return self

    return operate


for _name in ("iadd", "isub", "imul", "itruediv"):
    setattr(ndarray, f"__{_name}__", _in_place(f"__{_name}__"))


def bare(value):
    """What NumPy computes with: the array behind each stand-in; an array of NumPy's that is no single number is refused."""
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError(
            f"an array of NumPy's {value.shape} beside one of the GPU; use to_device or beside"
        )
    if isinstance(value, (list, tuple)):
        return (
            type(value)(map(bare, value))
            if not hasattr(value, "_fields")
            else type(value)(*map(bare, value))
        )
    return (
        {name: bare(v) for name, v in value.items()}
        if isinstance(value, dict)
        else value
    )


def wrapped(result):
    """A result of NumPy's as CuPy has it: arrays, also those without axes."""
    if isinstance(result, (list, tuple)):
        return type(result)(map(wrapped, result))
    return ndarray(result) if isinstance(result, (np.ndarray, np.generic)) else result


def launched(value):
    """What a simulated kernel is given: the arrays behind the stand-ins, also in tuples."""
    if isinstance(value, tuple):
        return tuple(map(launched, value))
    if isinstance(value, np.ndarray):
        raise TypeError(
            f"an array of NumPy's {value.shape} is given to a kernel; use to_device"
        )
    return value.host if isinstance(value, ndarray) else value


def module(processors=2, free=10**9):
    """The modules `cupy` and `cupyx.scipy.linalg`, of a GPU with so many multiprocessors and bytes free."""
    cupy = types.ModuleType("cupy")
    cupy.ndarray, cupy.is_available = ndarray, lambda: True
    cupy.zeros = lambda *args, **kwargs: ndarray(np.zeros(*args, **kwargs))
    cupy.ascontiguousarray = lambda a, dtype=None: ndarray(
        np.ascontiguousarray(getattr(a, "host", a), dtype)
    )

    def matmul(a, b, out=None):
        np.matmul(bare(a), bare(b), out=bare(out))
        return out

    cupy.matmul = matmul
    properties = {"name": b"a simulated GPU", "multiProcessorCount": processors}
    runtime = types.SimpleNamespace(
        memGetInfo=lambda: (free, free), getDeviceProperties=lambda number: properties
    )
    cupy.cuda = types.SimpleNamespace(runtime=runtime)
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: 0)
    linalg = types.ModuleType("cupyx.scipy.linalg")

    def solve_triangular(a, b, trans=0, lower=False):
        from scipy.linalg import solve_triangular as solve

        return ndarray(solve(bare(a), bare(b), trans=trans, lower=lower))

    linalg.solve_triangular = solve_triangular
    scipy = types.ModuleType("cupyx.scipy")
    scipy.linalg = linalg
    return {
        "cupy": cupy,
        "cupyx": types.ModuleType("cupyx"),
        "cupyx.scipy": scipy,
        "cupyx.scipy.linalg": linalg,
    }
