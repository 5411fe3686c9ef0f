"""Which tests run in one process when pytest-xdist runs them in two.

Tests of a file share its plants, trainings and compiled code, so that they stay
together. Files in which every test starts a process of its own are divided.
"""

from xdist.scheduler import LoadScopeScheduling

# Files whose tests run in the process of another file, because they compile the same
# kernels or draw the same runs.
TOGETHER = {
    "tests/closed_loop/test_memory.py": "tests/closed_loop/test_loop.py",
    "tests/figures/test_plots.py": "tests/figures/test_movies.py",
    "tests/kernels/test_solver.py": "tests/closed_loop/test_continuous.py",
}

DIVIDED = ("tests/test_simulated.py", "tests/tools/test_tools.py")

# What starts first, so that no process is alone at the end with a long one. The first
# two compile different code: one the loops over time, the other one the plants.
FIRST = (
    "tests/closed_loop/test_loop.py",
    "tests/plants/test_contract.py",
    "tests/runs/test_run.py",
    "tests/closed_loop/test_continuous.py",
    "tests/test_simulated.py",
    "tests/kernels/test_ptx.py",
    "tests/tools/test_tools.py",
    "tests/classical/test_benchmark.py",
    "tests/training/test_curriculum.py",
    "tests/jobs/test_seeds.py",
    "tests/test_docs.py",
    "tests/plant/test_gym.py",
    "tests/plant/test_mujoco.py",
)


def group_of(nodeid):
    """The name of the tests that run in one process with this one."""
    path = nodeid.split("::")[0]
    return nodeid if path in DIVIDED else TOGETHER.get(path, path)


def rank_of(nodeid):
    """The place of a test's group in the order in which they start."""
    path = group_of(nodeid).split("::")[0]
    return FIRST.index(path) if path in FIRST else len(FIRST)


class Scheduling(LoadScopeScheduling):
    """Gives each process one group of tests after another, in the order of the tests.

    The mark `xdist_group` would do the same, but has no effect with pytest 9.2.
    """

    def __init__(self, config, log):
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid):
        return group_of(nodeid)
