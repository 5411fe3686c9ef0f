"""One training in several processes: the same bits, one writer, clear refusals."""

import threading
from dataclasses import replace

import pytest
from sharing import run_shared
from trainings import CART

from hfcontrol.arrays.communicator import current_communicator
from hfcontrol.errors import UsageError
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs import sharing
from hfcontrol.runs.machine import Machine
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.sharing import check_processes
from hfcontrol.runs.training import continue_training, start_training

# More than two blocks of trials, the last one of them short.
TRIALS = 70

BASE = {
    "trials": TRIALS,
    "steps": 8,
    "hidden": (5, 4),
    "batches": 4,
    "rollouts": 10,
    "strategy": "plain",
}
NOISE = {
    "feedback_delay": "20ms",
    "command_delay": "10ms",
    "motor_noise": "5%",
    "sensory_noise": 0.01,
}
CASES = {
    "cg, few trials in curvature and preconditioner": {
        "effort": 1e-4,
        "curvature_trials": 40,
        "structural": 0.1,
    },
    "rows": {"effort": 0.0, "solver": "residual"},
    "random trials, as their optima advise": {
        "task": "anywhere",
        "strategy": "auto",
        "running": 0.05,
        "effort": 1e-3,
        "trials": None,
    },
    "delays and noise": {**NOISE, "store_every": 3},
    "model": {"hold": "model", "running": 0.05, "effort": 1e-3},
    "adam": {"optimizer": "adam"},
    "ppo": {"optimizer": "ppo", "rollouts": 3, "batches": None},
}


def train(settings, out):
    """Train to the end; the weights and the folder."""
    training = start_training(settings, out)
    for event in training.events():
        state = event.state
    return state.optimizer.theta, state.loss, training.folder.path


@pytest.mark.parametrize("name", CASES)
def test_any_number_of_processes_has_the_same_bits(name, tmp_path):
    settings = Settings(plant="arm2", **{**BASE, **CASES[name]})
    alone, loss, _ = train(settings, tmp_path)
    shared = run_shared(3, lambda: train(settings, tmp_path))
    for theta, its_loss, path in shared:
        assert theta.tobytes() == alone.tobytes()
        assert its_loss == loss
        assert Run.load(path).state.optimizer.theta.tobytes() == alone.tobytes()
    # one folder for each training, whatever the number of processes
    assert len(list(tmp_path.iterdir())) == 2


def test_a_training_resumes_with_another_number_of_processes(tmp_path):
    settings = Settings(plant="arm2", **BASE)
    whole, *_ = train(settings, tmp_path)

    def begin():
        return train(settings.changed(rollouts=4), tmp_path)[2]

    def resume(path):
        training = continue_training(Run.load(path), {"rollouts": BASE["rollouts"]})
        for event in training.events():
            state = event.state
        return state.optimizer.theta

    [path, *_] = run_shared(3, begin)
    assert resume(path).tobytes() == whole.tobytes()
    [path, *_] = run_shared(2, begin)
    for theta in run_shared(3, lambda: resume(path)):
        assert theta.tobytes() == whole.tobytes()


def test_a_plant_in_numpy_is_simulated_in_shares(tmp_path):
    """Each of two processes steps half of the trials, to the same bits."""
    file = tmp_path / "cart.py"
    counting = "    me = threading.current_thread()\n    me.rows = getattr("
    counting += "me, 'rows', 0) + x.shape[1]\n"
    head = "def step_batch(x, u, p, dt):\n"
    file.write_text("import threading\n" + CART.replace(head, head + counting))
    settings = Settings(plant=str(file), **{**BASE, "trials": 64, "hold": "model"})
    me = threading.current_thread()

    def count(out):
        # Trainings in one process share the thread.
        threading.current_thread().rows = 0
        return train(settings, out)[0], threading.current_thread().rows

    alone, rows = count(tmp_path / "alone")
    assert me.rows == rows > 64 * BASE["steps"] * 20
    for theta, its_rows in run_shared(2, lambda: count(tmp_path / "shared")):
        assert theta.tobytes() == alone.tobytes()
        assert its_rows < 0.51 * rows


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"trials": 64}, "3 processes for 64 trials, which are 2 blocks of 32"),
        ({"estimator": "ctpg", "trials": 70}, "`estimator`: it trains in one process"),
    ],
)
def test_what_cannot_be_shared_is_refused(changes, message, tmp_path):
    settings = Settings(plant="arm2", **{**BASE, **changes})
    with pytest.raises(UsageError, match=message):
        run_shared(3, lambda: train(settings, tmp_path))
    assert not list(tmp_path.iterdir())


def test_processes_that_differ_are_refused(tmp_path, monkeypatch):
    """Each process says what it has; the message names both."""
    settings = Settings(plant="arm2")
    plant = load_plant("arm2")
    other = replace(plant, source=plant.source + "# edited\n")

    def check():
        rank = current_communicator().rank
        check_processes(settings, other if rank == 2 else plant)

    with pytest.raises(UsageError, match=r"process 2 reads another plant arm2 \(hash"):
        run_shared(3, check)

    def machine():
        rank = current_communicator().rank
        return Machine("host", "zen", {"NumPy": "2.1" if rank else "2.0"})

    monkeypatch.setattr(sharing.Machine, "here", machine)
    with pytest.raises(UsageError, match=r"process 1 has NumPy 2\.1, and process 0"):
        run_shared(2, lambda: check_processes(settings, plant))
