"""A stand-in for CuPy without a GPU: a class around NumPy arrays, as strict as CuPy.

It refuses what CuPy refuses or does silently: NumPy arrays as operands or indices
together with its own arrays, and any conversion to NumPy except by `get`. Results
without axes stay arrays. Every transfer of a number to the host is counted: `float`,
`int`, `bool`, `item` and `get`. If CuPy is installed, it must have a function of the
same name for every NumPy function that is called.
"""

import importlib.util
import types

import numpy as np

REAL = None
if importlib.util.find_spec("cupy"):
    import cupy as REAL


class ndarray:
    """An array on a simulated device."""

    waits = 0
    __hash__ = None

    def __init__(self, host):
        self.host = np.asarray(host)

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "implicit conversion of a GPU array to a NumPy array; use to_host"
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        assert REAL is None or hasattr(REAL, ufunc.__name__), (
            f"cupy has no {ufunc.__name__}"
        )
        return wrap(
            getattr(ufunc, method)(
                *map(unwrap, inputs),
                **{name: unwrap(value) for name, value in kwargs.items()},
            )
        )

    def __array_function__(self, function, kinds, args, kwargs):
        if REAL is not None:
            found = REAL
            for part in (*function.__module__.split(".")[1:], function.__name__):
                # An AttributeError names what CuPy does not have.
                found = getattr(found, part)
        return wrap(function(*unwrap(list(args)), **unwrap(kwargs)))

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
        return ndarray(self.host[unwrap(index)])

    def __setitem__(self, index, value):
        self.host[unwrap(index)] = unwrap(value)

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
            return lambda *args, **kwargs: wrap(
                method(*unwrap(list(args)), **unwrap(kwargs))
            )
        raise AttributeError(f"the stand-in for cupy's array has no {name}")


def _operator(name):
    def operate(self, other):
        return (
            NotImplemented
            if isinstance(other, (list, str))
            else wrap(getattr(self.host, name)(unwrap(other)))
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
        getattr(self.host, name)(unwrap(other))
        return self

    return operate


for _name in ("iadd", "isub", "imul", "itruediv"):
    setattr(ndarray, f"__{_name}__", _in_place(f"__{_name}__"))


def unwrap(value):
    """The arrays behind stand-ins, also in containers; NumPy arrays are refused."""
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError(
            f"a NumPy array {value.shape} together with one of the GPU; use to_device "
            "or to_device_of"
        )
    if isinstance(value, (list, tuple)):
        return (
            type(value)(map(unwrap, value))
            if not hasattr(value, "_fields")
            else type(value)(*map(unwrap, value))
        )
    return (
        {name: unwrap(v) for name, v in value.items()}
        if isinstance(value, dict)
        else value
    )


def wrap(result):
    """Stand-ins for NumPy results, also for those without axes."""
    if isinstance(result, (list, tuple)):
        return type(result)(map(wrap, result))
    return ndarray(result) if isinstance(result, (np.ndarray, np.generic)) else result


def kernel_argument(value):
    """The argument of a simulated kernel: arrays behind stand-ins, also in tuples."""
    if isinstance(value, tuple):
        entries = map(kernel_argument, value)
        return type(value)(*entries) if hasattr(value, "_fields") else tuple(entries)
    if isinstance(value, np.ndarray):
        raise TypeError(
            f"a NumPy array {value.shape} as the argument of a kernel; use to_device"
        )
    return value.host if isinstance(value, ndarray) else value


def make_modules(processors=2, free=10**9):
    """Modules `cupy` and `cupyx.scipy.linalg`, by name.

    For a GPU with that number of multiprocessors and of free bytes.
    """
    cupy = types.ModuleType("cupy")
    cupy.ndarray, cupy.is_available = ndarray, lambda: True
    cupy.zeros = lambda *args, **kwargs: ndarray(np.zeros(*args, **kwargs))
    cupy.ascontiguousarray = lambda a, dtype=None: ndarray(
        np.ascontiguousarray(getattr(a, "host", a), dtype)
    )

    def matmul(a, b, out=None):
        np.matmul(unwrap(a), unwrap(b), out=unwrap(out))
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

        return ndarray(solve(unwrap(a), unwrap(b), trans=trans, lower=lower))

    linalg.solve_triangular = solve_triangular
    scipy = types.ModuleType("cupyx.scipy")
    scipy.linalg = linalg
    return {
        "cupy": cupy,
        "cupyx": types.ModuleType("cupyx"),
        "cupyx.scipy": scipy,
        "cupyx.scipy.linalg": linalg,
    }
