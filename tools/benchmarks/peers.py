"""The same task by other programs: same arm, network, initial weights and cores.

PyTorch (optional: pip install torch) differentiates the same closed loop by
backpropagation through time, compiled where its compiler works, with Adam (the best of
a grid of learning rates, tried on the first seed) and with SciPy's L-BFGS. They are
compared with our own Adam and L-BFGS on our gradient, and with the Hessian-free step.
The library that the source trained with (optional: pip install hessianfree) has only
the source's cost, the final state. Compiling does not count for any program. "ms per
update" shows a run that was disturbed: its worst is then far from its median.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks.limit import median_seconds
from benchmarks.report import (
    SMALLEST,
    Row,
    check_start,
    show,
    spread,
    table,
    train_to,
)
from hfcontrol.arrays.threads import single_threaded_blas, thread_count
from hfcontrol.arrays.types import Array
from hfcontrol.runs.settings import Settings
from hfcontrol.studies.harness import Setup

RATES = (1e-3, 3e-3, 1e-2)  # of PyTorch's Adam
LBFGS_MEMORY = 50


class Task(NamedTuple):
    """A cost: its settings, thresholds, and what a program may spend on a seed [s].

    compiles: whether PyTorch compiles its loss, and tries numbers of threads.
    """

    cost: str
    by: str
    thresholds: tuple[float, ...]
    settings: dict[str, Any]
    seconds: float = 30
    try_seconds: float = 10  # with each learning rate
    compiles: bool = True

    def smallest(self) -> "Task":
        """Return the task on a tiny problem, for a moment."""
        return self._replace(
            settings={**self.settings, **SMALLEST},
            seconds=0.1,
            try_seconds=0.1,
            # PyTorch compiles for half a minute.
            compiles=False,
        )


TASKS = (
    Task("final state only", "loss", (1e-2, 1e-3, 5e-5, 1e-6), {"effort": 0.0}),
    Task("default (effort 1e-5)", "ratio", (1.1, 1.01, 1.001), {}),
)


class Result(NamedTuple):
    """Seconds by threshold, the lowest loss or ratio, and mean ms per update."""

    seconds: dict[str, float]
    lowest: float
    ms: float


# Trains every seed of a task.
Program = Callable[[Sequence[int], Task], list[Result]]


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return rows of program and cost: the spread of the seconds to each threshold."""
    rows = []
    for full_task in TASKS:
        task = full_task.smallest() if smallest else full_task
        programs = {
            "hfcontrol, Hessian-free": our_program("hf"),
            "hfcontrol, L-BFGS": our_program("lbfgs"),
            "hfcontrol, Adam": our_program("adam"),
            **torch_programs(),
        }
        if task.by == "loss":
            programs |= source_programs()
        of_task = []
        for name, program in programs.items():
            of_task.append(program_row(name, program(seeds, task), task, seeds))
        print_task(task, of_task)
        rows += of_task
    return rows


def program_row(
    name: str, results: Sequence[Result], task: Task, seeds: Sequence[int]
) -> Row:
    """Return the row of a program on one task."""
    by_threshold = []
    for threshold in task.thresholds:
        by_threshold.append(spread([r.seconds.get(str(threshold)) for r in results]))
    return {
        "cost": task.cost,
        "by": task.by,
        "program": name,
        "thresholds": list(task.thresholds),
        "seconds": by_threshold,
        "reached": spread([result.lowest for result in results]),
        "ms": spread([result.ms for result in results]),
        "seeds": list(seeds),
    }


def print_task(task: Task, rows: Sequence[Row]) -> None:
    """Print the rows of one task."""
    lines = []
    for row in rows:
        seconds = []
        for found in row["seconds"]:
            missing = f" ({found['missing']} not)" if found["missing"] else ""
            seconds.append(f"{show(found['median'])}, {show(found['worst'])}{missing}")
        reached, ms = row["reached"], row["ms"]
        lowest = [show(reached["median"], 5), show(reached["worst"], 5)]
        times = [show(ms["median"]), show(ms["worst"])]
        lines.append([row["program"], *seconds, *lowest, *times])
    header = (
        "program",
        *map(str, task.thresholds),
        f"{task.by} reached: median",
        "worst",
        "ms per update",
        "worst",
    )
    table(f"{task.cost}: seconds (median, worst) to a {task.by} of ...", header, lines)


def our_program(optimizer: str) -> Program:
    """Return our own training as a program of this comparison."""

    def program(seeds: Sequence[int], task: Task) -> list[Result]:
        results = []
        for seed in seeds:
            found = train_to(
                task.thresholds,
                task.by,
                optimizer=optimizer,
                seed=seed,
                max_seconds=task.seconds,
                **task.settings,
            )
            seconds = {name: spent["seconds"] for name, spent in found.reached.items()}
            ms = 1e3 * found.seconds / max(found.updates, 1)
            results.append(Result(seconds, found.value(task.by), ms))
        return results

    return program


def torch_programs() -> dict[str, Program]:
    """Return the programs that need PyTorch; none if it is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        print("\nPyTorch is not installed: its rows are left out (pip install torch)")
        return {}
    return {"PyTorch, Adam": torch_adam, "PyTorch, L-BFGS": torch_lbfgs}


def source_programs() -> dict[str, Program]:
    """Return the program that needs the source's library; none without it."""
    try:
        import hessianfree
    except ImportError:
        print(
            "\nhessianfree is not installed: its row is left out "
            "(pip install hessianfree)"
        )
        return {}
    name = f"hessianfree {hessianfree.__version__}, Hessian-free"
    return {name: source_hessian_free}


class TorchLoop:
    """The closed loop of arm2 in PyTorch, with scenario and weights of our training."""

    def __init__(
        self, seed: int, task: Task, dtype: Any, threads: int | None = None
    ) -> None:
        import torch

        if threads is None:
            threads = fastest_threads() if task.compiles else 1
        # Before compiling: compiled code holds for this number.
        torch.set_num_threads(threads)
        setup = Setup(Settings(seed=seed, **task.settings))
        training = setup.training_scenarios()
        loop = training.loop
        self.torch: Any = torch
        self.dtype = dtype
        self.network = setup.trainer.network
        self.theta = setup.initial_weights()
        self.optimal = training.optimal

        scenario = loop.scenario
        self.start = self.tensor(scenario.x0.T)
        self.target = self.tensor(scenario.goal[-1].T)
        self.steps = scenario.steps
        self.dt = loop.plant.dt
        self.effort = float(scenario.cost.weights.control[0, 0, 0])
        names = ("upper_mass", "lower_mass", "upper_length", "lower_length")
        self.p = [float(loop.plant.params[name]) for name in names]

        torch.manual_seed(seed)
        self.compiled = self.compile() if task.compiles else self.loss
        loss = self.compiled(*self.weights(self.theta))
        check_start(float(loss.detach()), loop, self.theta)

    def tensor(self, a: Array) -> Any:
        """Return a NumPy array as a tensor of the loop's dtype."""
        return self.torch.tensor(np.ascontiguousarray(a), dtype=self.dtype)

    def compile(self) -> Callable[..., Any]:
        """Return the loss, compiled if PyTorch's compiler works here."""
        try:
            compiled = self.torch.compile(self.loss)
            compiled(*self.weights(self.theta)).backward()
            return compiled
        # Its compiler fails in many ways; the plain loss works everywhere.
        except Exception as error:
            print(f"torch.compile failed ({type(error).__name__}): running uncompiled")
            return self.loss

    def weights(self, theta: Array) -> list[Any]:
        """Return the matrices of the layers as tensors that take gradients."""
        return [self.tensor(W).requires_grad_() for W in self.network.matrices(theta)]

    def arm(self, x: Any, u: Any) -> Any:
        """Make a semi-implicit step of arm2 from states (N, 4), see plants/arm2.py.

        Friction, curl field and load are left out: they are zero in this task.
        """
        torch = self.torch
        m1, m2, l1, l2 = self.p
        q2, r1, r2 = x[:, 1], x[:, 2], x[:, 3]
        k2, k3 = m2 * l1 * l2, m2 * l2**2 / 3
        k1, k4 = (m1 / 3 + m2) * l1**2 + k3, k2 / 2
        cosine, sine = torch.cos(q2), torch.sin(q2)
        m11, m12, m22 = k1 + k2 * cosine, k3 + k4 * cosine, k3
        f1 = u[:, 0] + k2 * sine * r1 * r2 + k4 * sine * r2**2
        f2 = u[:, 1] - k4 * sine * r1**2
        det = m11 * m22 - m12 * m12
        shoulder = (m22 * f1 - m12 * f2) / det
        elbow = (m11 * f2 - m12 * f1) / det
        rates = x[:, 2:] + self.dt * torch.stack([shoulder, elbow], 1)
        return torch.cat([x[:, :2] + self.dt * rates, rates], 1)

    def loss(self, W1: Any, W2: Any, W3: Any) -> Any:
        """Return the mean cost of all trials, for the default architecture."""
        torch, x = self.torch, self.start
        N = len(x)
        ones = torch.ones((N, 1), dtype=self.dtype)
        h1 = torch.zeros((N, W1.shape[0]), dtype=self.dtype)
        h2 = torch.zeros((N, W2.shape[0]), dtype=self.dtype)
        effort = 0.0
        for _ in range(self.steps):
            inputs = torch.cat([self.target, x], 1)
            h1 = torch.tanh(torch.cat([inputs, h1, ones], 1) @ W1.T)
            h2 = torch.tanh(torch.cat([h1, inputs, h2, ones], 1) @ W2.T)
            u = torch.cat([h2, ones], 1) @ W3.T
            effort = effort + (u * u).sum()
            x = self.arm(x, u)
        final = ((x - self.target) ** 2).sum()
        return 0.5 * (final + self.effort * effort) / N


@cache
def fastest_threads() -> int:
    """Return the number of threads with which PyTorch is fastest: all, or one.

    In a loop of matrices as small as these, threads wait for each other thousands of
    times. One thread was a tenth faster than two, and with one of the cores busy
    elsewhere 40 to 300 times faster, because OpenMP's threads spin while they wait.
    """
    import torch

    times: dict[int, float] = {}
    for threads in sorted({1, thread_count()}):
        loop = TorchLoop(0, TASKS[0], torch.float32, threads)
        times[threads] = gradient_seconds(loop)
    fastest = min(times, key=lambda threads: times[threads])
    tried = ", ".join(f"{n}: {show(1e3 * s)}" for n, s in times.items())
    print(f"PyTorch: ms by threads tried {tried}; chosen {fastest}")
    return fastest


def gradient_seconds(loop: TorchLoop) -> float:
    """Return the median seconds of one gradient."""
    weights = loop.weights(loop.theta)
    return median_seconds(lambda: loop.compiled(*weights).backward())


class Progress:
    """Seconds at which a program first reached each threshold of a task.

    `optimal` is the loss to which a ratio refers.
    """

    def __init__(self, task: Task, optimal: float) -> None:
        self.task = task
        self.scale = optimal if task.by == "ratio" else 1.0
        self.seconds: dict[str, float] = {}
        self.lowest = np.inf
        self.updates = 0
        self.begin = time.perf_counter()

    def note(self, loss: float) -> bool:
        """Take note of the loss of an update; return whether all is reached."""
        self.updates += 1
        self.lowest = min(self.lowest, loss / self.scale)
        for threshold in self.task.thresholds:
            if self.lowest <= threshold:
                self.seconds.setdefault(str(threshold), self.spent)
        return len(self.seconds) == len(self.task.thresholds)

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.begin

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time inside."""
        begin = time.perf_counter()
        yield
        self.begin += time.perf_counter() - begin

    def result(self) -> Result:
        """Return what was reached."""
        ms = 1e3 * self.spent / max(self.updates, 1)
        return Result(self.seconds, self.lowest, ms)


def train_adam(seed: int, task: Task, rate: float, seconds: float) -> Result:
    """Train by PyTorch's Adam with clipped gradients and a fixed learning rate.

    In float32, as its users run it.
    """
    import torch

    loop = TorchLoop(seed, task, torch.float32)
    weights = loop.weights(loop.theta)
    optimizer = torch.optim.Adam(weights, lr=rate)
    progress = Progress(task, loop.optimal)
    is_done = False
    while progress.spent < seconds and not is_done:
        optimizer.zero_grad()
        loss = loop.compiled(*weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        is_done = progress.note(float(loss.detach()))
    return progress.result()


def torch_adam(seeds: Sequence[int], task: Task) -> list[Result]:
    """Train by Adam with the learning rate that got lowest on the first seed."""
    lowest: dict[float, float] = {}
    for rate in RATES:
        lowest[rate] = train_adam(seeds[0], task, rate, task.try_seconds).lowest
    best = min(RATES, key=lambda rate: lowest[rate])
    tried = ", ".join(f"{rate:g}: {show(value)}" for rate, value in lowest.items())
    print(f"PyTorch Adam: rates tried {tried}; chosen {best:g}")
    return [train_adam(seed, task, best, task.seconds) for seed in seeds]


def torch_lbfgs(seeds: Sequence[int], task: Task) -> list[Result]:
    """Train by SciPy's L-BFGS-B on PyTorch's float64 gradient."""
    return [train_lbfgs(seed, task) for seed in seeds]


def train_lbfgs(seed: int, task: Task) -> Result:
    """Train one seed by SciPy's L-BFGS-B."""
    import torch
    from scipy.optimize import minimize

    loop = TorchLoop(seed, task, torch.float64)
    progress = Progress(task, loop.optimal)

    def loss_and_gradient(theta: Array) -> tuple[float, Array]:
        weights = loop.weights(theta)
        loss = loop.compiled(*weights)
        loss.backward()
        value = float(loss.detach())
        if progress.note(value) or progress.spent > task.seconds:
            raise StopIteration
        return value, np.concatenate([W.grad.numpy().ravel() for W in weights])

    # Only the thresholds and the clock stop it.
    options = {
        "maxiter": 10**6,
        "maxfun": 10**6,
        "maxcor": LBFGS_MEMORY,
        "ftol": 0.0,
        "gtol": 0.0,
    }
    try:
        # SciPy's threads only wait for each other on vectors as short as these.
        with single_threaded_blas():
            minimize(
                loss_and_gradient,
                loop.theta,
                jac=True,
                method="L-BFGS-B",
                options=options,
            )
    except StopIteration:
        pass
    return progress.result()


def source_hessian_free(seeds: Sequence[int], task: Task) -> list[Result]:
    """Train by the source's library as its script uses it.

    The loss is that of our closed loop; the time it takes does not count.
    """
    from benchmarks.source_library import SourceTraining

    results = []
    for seed in seeds:
        training = SourceTraining(seed, task.settings)
        progress = Progress(task, 1.0)
        is_done = False
        while progress.spent < task.seconds and not is_done:
            training.update()
            with progress.paused():
                loss = training.loss()
            is_done = progress.note(loss)
        results.append(progress.result())
    return results
