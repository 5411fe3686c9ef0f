"""The same task by others, side by side in one run: same arm, same network and initial weights, same cores.

PyTorch (optional: pip install torch) differentiates the same closed loop by backpropagation through time, compiled where
its compiler works, with Adam (the best of a grid of rates, tried on the first seed) and with SciPy's L-BFGS; beside it our
own Adam and L-BFGS on our gradient, and the Hessian-free step. The library that the source trained with (optional: pip
install hessianfree) has only the source's cost, the final state. Compiling is not counted for anybody. "ms per update"
tells a run that was disturbed: its worst is then far from its median.
"""

import time
from contextlib import contextmanager
from functools import cache

import numba
import numpy as np

from benchmarks.limit import seconds as seconds_of
from benchmarks.report import show, spread, table, training
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.threads import single_threaded_blas
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings

FINAL, FULL = (1e-2, 1e-3, 5e-5, 1e-6), (1.1, 1.01, 1.001)
RATES = (1e-3, 3e-3, 1e-2)
MOST_SECONDS, TRY_SECONDS = 30, 10


def measure(seeds):
    """Rows of program and cost with the spread over seeds of the seconds to each loss or ratio."""
    rows = []
    for cost, by, thresholds, settings in (
        ("final state only", "loss", FINAL, {"effort": 0.0}),
        ("default (effort 1e-5)", "ratio", FULL, {}),
    ):
        programs = {
            "hfcontrol, Hessian-free": ours("hf"),
            "hfcontrol, L-BFGS": ours("lbfgs"),
            "hfcontrol, Adam": ours("adam"),
            **torch_programs(),
            **(source_programs() if by == "loss" else {}),
        }
        for name, program in programs.items():
            results = program(seeds, thresholds, by, settings)
            rows.append(
                {
                    "cost": cost,
                    "by": by,
                    "program": name,
                    "thresholds": list(thresholds),
                    "seconds": [
                        spread([r["marks"].get(str(t)) for r in results])
                        for t in thresholds
                    ],
                    "reached": spread([r["reached"] for r in results]),
                    "ms": spread([r["ms"] for r in results]),
                    "seeds": list(seeds),
                }
            )
        table(
            f"{cost}: seconds (median, worst) to a {by} of ...",
            (
                "program",
                *map(str, thresholds),
                f"{by} reached: median",
                "worst",
                "ms per update",
                "worst",
            ),
            [
                (
                    r["program"],
                    *(
                        f"{show(s['median'])}, {show(s['worst'])}"
                        + (f" ({s['missing']} not)" if s["missing"] else "")
                        for s in r["seconds"]
                    ),
                    show(r["reached"]["median"], 5),
                    show(r["reached"]["worst"], 5),
                    show(r["ms"]["median"]),
                    show(r["ms"]["worst"]),
                )
                for r in rows
                if r["cost"] == cost
            ],
        )
    return rows


def ours(optimizer):
    """Our own training as a program of this comparison."""

    def program(seeds, thresholds, by, settings):
        results = []
        for seed in seeds:
            r = training(
                thresholds,
                by,
                optimizer=optimizer,
                seed=seed,
                max_seconds=MOST_SECONDS,
                **settings,
            )
            marks = {t: m["seconds"] for t, m in r["marks"].items()}
            results.append(
                {
                    "marks": marks,
                    "reached": r[by],
                    "ms": 1e3 * r["seconds"] / r["updates"],
                }
            )
        return results

    return program


def check_start(loss, loop, theta):
    """Raises RuntimeError where a program does not start from the loss of our closed loop with weights theta (P,)."""
    expected = loop.rollout(theta).loss
    if not np.isclose(loss, expected, rtol=1e-3):
        raise RuntimeError(
            f"this program starts from a loss of {loss}, hfcontrol from {expected}: they must do the same "
            "task with the same weights; compare its arm and network with plants/arm2.py and network.py"
        )


def torch_programs():
    """The programs that need PyTorch; none, with a message, where it is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        print("\nPyTorch is not installed: its rows are left out (pip install torch)")
        return {}
    return {"PyTorch, Adam": torch_adam, "PyTorch, L-BFGS": torch_lbfgs}


def source_programs():
    """The program that needs the source's library; none, with a message, where it is not installed."""
    try:
        import hessianfree
    except ImportError:
        print(
            "\nhessianfree is not installed: its row is left out (pip install hessianfree)"
        )
        return {}
    return {f"hessianfree {hessianfree.__version__}, Hessian-free": source_hessian_free}


class TorchLoop:
    """The closed loop of arm2 in PyTorch, from the scenario and weights of one of our trainings."""

    def __init__(self, seed, settings, dtype, threads=None):
        import torch

        torch.set_num_threads(
            threads or fastest_threads()
        )  # before compiling: what is compiled holds for this number
        settings = Settings(seed=seed, **settings)
        trainer = make_trainer(settings)
        loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
        self.torch, self.dtype, self.network = torch, dtype, trainer.network
        self.theta = trainer.network.initial(stream(settings.seed, Stream.WEIGHTS))
        self.optimal = trainer.optimal(loop)
        s = loop.scenario
        self.start, self.target = (self.tensor(a.T) for a in (s.x0, s.goal[-1]))
        self.steps, self.dt = s.steps, loop.plant.dt
        self.effort = float(s.cost.weights.control[0, 0, 0])
        self.p = [
            float(loop.plant.params[name])
            for name in ("upper_mass", "lower_mass", "upper_length", "lower_length")
        ]
        torch.manual_seed(seed)
        self.compiled = self.compile()
        check_start(
            float(self.compiled(*self.weights(self.theta)).detach()), loop, self.theta
        )

    def tensor(self, a):
        """A NumPy array as a tensor of the loop's type."""
        return self.torch.tensor(np.ascontiguousarray(a), dtype=self.dtype)

    def compile(self):
        """The loss compiled where PyTorch's compiler works here, as it is elsewhere."""
        try:
            compiled = self.torch.compile(self.loss)
            compiled(*self.weights(self.theta)).backward()
            return compiled
        except Exception as error:  # whatever its compiler stumbles over, the plain loss is the fallback
            print(f"torch.compile failed ({type(error).__name__}): running uncompiled")
            return self.loss

    def weights(self, theta):
        """The matrices of the layers as tensors that take gradients."""
        return [self.tensor(W).requires_grad_() for W in self.network.matrices(theta)]

    def arm(self, x, u):
        """One semi-implicit step of arm2 (plants/arm2.py) without friction, curl field and load, states (N, 4)."""
        torch, (m1, m2, l1, l2) = self.torch, self.p
        q2, r1, r2 = x[:, 1], x[:, 2], x[:, 3]
        k2, k3 = m2 * l1 * l2, m2 * l2**2 / 3
        k1, k4 = (m1 / 3 + m2) * l1**2 + k3, k2 / 2
        cosine, sine = torch.cos(q2), torch.sin(q2)
        m11, m12, m22 = k1 + k2 * cosine, k3 + k4 * cosine, k3
        f1 = u[:, 0] + k2 * sine * r1 * r2 + k4 * sine * r2**2
        f2 = u[:, 1] - k4 * sine * r1**2
        det = m11 * m22 - m12 * m12
        acceleration = torch.stack(
            [(m22 * f1 - m12 * f2) / det, (m11 * f2 - m12 * f1) / det], 1
        )
        rates = x[:, 2:] + self.dt * acceleration
        return torch.cat([x[:, :2] + self.dt * rates, rates], 1)

    def loss(self, W1, W2, W3):
        """Mean cost of all trials, for the default architecture."""
        torch, x = self.torch, self.start
        ones = torch.ones((len(x), 1), dtype=self.dtype)
        h1 = torch.zeros((len(x), W1.shape[0]), dtype=self.dtype)
        h2, effort = torch.zeros((len(x), W2.shape[0]), dtype=self.dtype), 0.0
        for _ in range(self.steps):
            seen = torch.cat([self.target, x], 1)
            h1 = torch.tanh(torch.cat([seen, h1, ones], 1) @ W1.T)
            h2 = torch.tanh(torch.cat([h1, seen, h2, ones], 1) @ W2.T)
            u = torch.cat([h2, ones], 1) @ W3.T
            effort = effort + (u * u).sum()
            x = self.arm(x, u)
        return 0.5 * (((x - self.target) ** 2).sum() + self.effort * effort) / len(x)


@cache
def fastest_threads():
    """The number of threads with which PyTorch is fastest: all that hfcontrol uses, or one.

    In a loop of matrices as small as these, threads wait for each other thousands of times: one thread was a tenth faster
    than two, and with one of the cores busy elsewhere 40 to 300 times faster, because OpenMP's threads spin as they wait.
    """
    import torch

    times = {}
    for threads in sorted({1, numba.get_num_threads()}):
        loop = TorchLoop(0, {"effort": 0.0}, torch.float32, threads)
        weights = loop.weights(loop.theta)
        times[threads] = seconds_of(
            lambda loop=loop, weights=weights: loop.compiled(*weights).backward()
        )
    fastest = min(times, key=times.get)
    print(
        f"PyTorch: ms by threads tried {', '.join(f'{n}: {show(1e3 * s)}' for n, s in times.items())}; taken {fastest}"
    )
    return fastest


class Marks:
    """Seconds at which each threshold was first reached."""

    def __init__(self, thresholds, scale):
        self.thresholds, self.scale, self.marks, self.reached, self.noted = (
            thresholds,
            scale,
            {},
            np.inf,
            0,
        )
        self.begin = time.perf_counter()

    def note(self, loss):
        """Takes note of the loss of one update; whether all thresholds are reached."""
        self.noted += 1
        self.reached = min(self.reached, loss / self.scale)
        for threshold in self.thresholds:
            if self.reached <= threshold:
                self.marks.setdefault(str(threshold), self.spent)
        return len(self.marks) == len(self.thresholds)

    @property
    def spent(self):
        """Seconds since the beginning."""
        return time.perf_counter() - self.begin

    @contextmanager
    def not_counted(self):
        """Time inside does not count."""
        begin = time.perf_counter()
        yield
        self.begin += time.perf_counter() - begin

    def result(self):
        """The marks, the lowest that was reached, and the mean time of an update [ms]."""
        return {
            "marks": self.marks,
            "reached": self.reached,
            "ms": 1e3 * self.spent / self.noted,
        }


def adam(seed, thresholds, by, settings, rate, seconds):
    """Adam with clipped gradients and a fixed rate in PyTorch; float32, as its users run it."""
    import torch

    loop = TorchLoop(seed, settings, torch.float32)
    weights = loop.weights(loop.theta)
    optimizer = torch.optim.Adam(weights, lr=rate)
    marks = Marks(thresholds, loop.optimal if by == "ratio" else 1.0)
    while marks.spent < seconds:
        optimizer.zero_grad()
        loss = loop.compiled(*weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if marks.note(float(loss.detach())):
            break
    return marks.result()


def torch_adam(seeds, thresholds, by, settings):
    """Adam with the rate that got lowest on the first seed."""
    tried = {
        rate: adam(seeds[0], thresholds, by, settings, rate, TRY_SECONDS)["reached"]
        for rate in RATES
    }
    rate = min(tried, key=tried.get)
    print(
        f"PyTorch Adam: rates tried {', '.join(f'{r:g}: {show(v)}' for r, v in tried.items())}; taken {rate:g}"
    )
    return [adam(seed, thresholds, by, settings, rate, MOST_SECONDS) for seed in seeds]


def torch_lbfgs(seeds, thresholds, by, settings):
    """SciPy's L-BFGS-B with memory 50 on PyTorch's float64 gradient."""
    import torch
    from scipy.optimize import minimize

    results = []
    for seed in seeds:
        loop = TorchLoop(seed, settings, torch.float64)
        marks = Marks(thresholds, loop.optimal if by == "ratio" else 1.0)

        def loss_and_gradient(theta, loop=loop, marks=marks):
            weights = loop.weights(theta)
            loss = loop.compiled(*weights)
            loss.backward()
            if marks.note(float(loss.detach())) or marks.spent > MOST_SECONDS:
                raise StopIteration
            return float(loss.detach()), np.concatenate(
                [W.grad.numpy().ravel() for W in weights]
            )

        try:
            with single_threaded_blas():  # on vectors as short as these, SciPy's threads only get in each other's way
                minimize(
                    loss_and_gradient,
                    loop.theta,
                    jac=True,
                    method="L-BFGS-B",
                    options={
                        "maxiter": 10**6,
                        "maxfun": 10**6,
                        "maxcor": 50,
                        "ftol": 0.0,
                        "gtol": 0.0,
                    },
                )
        except StopIteration:
            pass
        results.append(marks.result())
    return results


def source_hessian_free(seeds, thresholds, by, settings):
    """The source's library as its script uses it; the loss is that of our closed loop, whose time does not count."""
    from benchmarks.source_library import SourceTraining

    results = []
    for seed in seeds:
        training = SourceTraining(seed, settings)
        marks, done = Marks(thresholds, 1.0), False
        while marks.spent < MOST_SECONDS and not done:
            training.update()
            with marks.not_counted():
                loss = training.loss()
            done = marks.note(loss)
        results.append(marks.result())
    return results
