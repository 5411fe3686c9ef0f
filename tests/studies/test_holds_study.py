"""The study of holds: its trainings, summary, figure, and messages on wrong input."""

import json
import math
import operator
import os
import signal
import time
from contextlib import nullcontext
from itertools import product

import numpy as np
import pytest
from helpers import loop_of, weights_of
from matplotlib.figure import Figure
from trainings import call, complaint

from hfcontrol import studies
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.runs.settings import settings_for
from hfcontrol.studies import holds, plots
from hfcontrol.studies.harness import Setup, run_jobs
from hfcontrol.studies.plots import draw
from hfcontrol.training.holds import HoldState

pytestmark = pytest.mark.slow

SMALL = {"plant": "arm2", "task": "reach", "trials": 6, "steps": 10, "hidden": (4,)}
COSTS = {
    "final": {"running": 0.0, "effort": 0.0},
    "effort": {"running": 0.05, "effort": 1e-3},
}


COMMAND = ("compare", "holds", "--batches", "2", "--seeds", "1", "--jobs", "1")


@pytest.fixture
def small(monkeypatch):
    """The study with few trials, a short horizon and a small network."""
    monkeypatch.setattr(holds, "SHARED", SMALL)
    monkeypatch.setattr(holds, "COSTS", COSTS)


def last(results):
    """The last result of a study, as JSON holds it."""
    *_, result = results
    return json.loads(json.dumps(result, allow_nan=False))


def job_of(variant, **changes):
    """A job of the study on the final state, that ends at its rollouts."""
    job = holds.Job("final", variant, batches=3, seed=2, target=0.0, rollouts=25)
    return job._replace(**changes)


def test_every_cost_hold_and_number_of_updates_is_trained(small, tmp_path):
    costs = "final,effort"
    result = last(
        studies.study("holds", seeds=1, batches="1,4", rollouts=12, costs=costs, jobs=1)
    )
    planned = list(product(COSTS, holds.HOLDS, (1, 4)))
    for rows in (result["courses"], result["summary"]):
        assert [tuple(row[name] for name in holds.GROUP) for row in rows] == planned
    assert result["targets"]["final"] == holds.TARGET_LOSS
    assert result["targets"]["effort"] == 1.001 * result["optimal"]["effort"] > 0
    for course, row in zip(result["courses"], result["summary"], strict=True):
        *losses, lowest = course["loss"]
        assert losses == sorted(set(losses), reverse=True) and losses[-1] == lowest
        assert all(np.all(np.diff(course[price]) >= 0) for price in holds.PRICES)
        assert row["lowest"] == [lowest]
        assert row["reached"] == (lowest <= result["targets"][course["cost"]])
    draw(result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10000


@pytest.mark.parametrize("variant", holds.HOLDS)
def test_a_course_is_the_lowest_loss_of_the_training(small, variant):
    settings = settings_for(
        **SMALL, **COSTS["final"], hold=variant, batches=3, seed=2, rollouts=25
    )
    setup = Setup(settings)
    for event in setup.trainer.run(setup.initial_state()):
        if event.state.updates >= settings.rollouts:
            break
    course = holds.train(job_of(variant))
    assert course["loss"][-1] == min(point.loss for point in event.state.curve)
    assert course["rollouts"][-1] == event.state.rollouts
    assert course["updates"][-1] == event.state.updates


def test_a_training_ends_at_its_target_and_at_as_many_updates(small):
    free = holds.train(job_of("model", rollouts=200))
    target = free["loss"][3]
    reached = holds.train(job_of("model", rollouts=200, target=target))
    assert reached["loss"] == [*free["loss"][:4], target]
    few = holds.train(job_of("model", batches=32, rollouts=4))
    assert 4 <= few["updates"][-1] <= 4 + 1 and few["rollouts"][-1] <= 4


def test_a_reset_makes_a_new_optimizer_for_every_hold(small):
    for variant, is_reset in (("damping 100, reset", True), ("damping 100", False)):
        job = job_of(variant, rollouts=60)
        setup = holds.setup_of(job)
        ends = [
            event.state
            for event, _ in holds.events_of(setup, is_reset)
            if event.kind == "hold"
        ]
        assert len(ends) > 2
        for state in ends:
            made = state.optimizer.updates
            assert made <= 3 if is_reset else made == state.updates
            # three reductions by one half at most
            assert state.optimizer.damping >= 100 / 2**3 or not is_reset


def test_a_hold_of_inputs_ends_outside_its_radius():
    loop = loop_of()
    start = loop.rollout(weights_of(loop))
    downhill = start.theta - 0.01 * loop.linearise(start).gradient
    for factor, is_over in ((1.01, False), (0.99, True)):
        hold = holds.InputsWithinRadius(loop, start, HoldState("inputs"), 0, 1.0)
        now = hold.rollout(downhill)
        assert now.linear_model.replays_inputs
        hold.radius = factor * hold.deviation(now)
        assert hold.is_over(start.loss, now) is is_over


def test_the_claim_is_looked_for_in_six_settings_of_inputs(small):
    assert len(holds.CLAIM) == 6
    result = last(
        studies.study(
            "holds",
            seeds=1,
            batches="2",
            rollouts=6,
            costs="final",
            look_for_claim=True,
            jobs=1,
        )
    )
    assert [course["variant"] for course in result["courses"]] == list(holds.CLAIM)
    assert {variant.hold for variant in holds.CLAIM.values()} == {"inputs"}


def test_holds_can_be_chosen(small):
    sizes = {"seeds": 1, "batches": "2", "rollouts": 3, "costs": "final", "jobs": 1}
    result = last(studies.study("holds", holds="post,inputs", **sizes))
    assert [course["variant"] for course in result["courses"]] == ["post", "inputs"]


def test_medians_count_seeds_without_the_target_as_infinite():
    def course(loss, rollouts):
        shared = {"cost": "final", "variant": "model", "batches": 1, "target": 0.5}
        spent = {"rollouts": [1, rollouts], "updates": [0, 2], "seconds": [0.0, 1.0]}
        return {**shared, "loss": [1.0, loss], **spent}

    courses = [course(0.5, 10), course(0.4, 30), course(0.9, 20)]
    (row,) = holds.summarise(courses)
    assert (row["reached"], row["of"], row["rollouts"]) == (2, 3, 30)
    assert row["lowest"] == [0.5, 0.4, 0.9]
    (row,) = holds.summarise([*courses[:1], courses[2], courses[2]])
    assert row["reached"] == 1 and row["rollouts"] is row["seconds"] is None


def test_lowest_losses_are_steps():
    course = {"rollouts": [1, 3, 7], "loss": [9.0, 5.0, 2.0]}
    found = holds.lowest_losses(course, "rollouts", np.array([1, 2, 3, 6, 7, 99]))
    assert found.tolist() == [9, 9, 5, 5, 2, 2]


def test_lines_of_the_figure_end_at_the_target(tmp_path, monkeypatch):
    """Two of three seeds reach it: the median does, at the second one's rollouts."""

    def course(variant, losses, rollouts):
        shared = {"cost": "effort", "batches": 4, "target": 1.5}
        spent = {"rollouts": rollouts, "seconds": rollouts}
        return {**shared, "variant": variant, "loss": losses, **spent}

    courses = [
        course("model", [9.0, 1.5, 1.5], [1, 5, 5]),
        course("model", [9.0, 1.4, 1.4], [1, 20, 20]),
        course("model", [9.0, 8.0, 8.0], [1, 2, 600]),
        course("inputs", [9.0, 3.0], [1, 600]),
    ]
    figure = Figure()
    monkeypatch.setattr(plots, "figure_file", lambda *_: nullcontext(figure))
    result = {
        "study": "holds",
        "batches": [4],
        "targets": {"effort": 1.5},
        "optimal": {"effort": 1.0},
        "courses": courses,
    }
    draw(result, tmp_path / "figure.png")
    assert [ax.get_xlabel() for ax in figure.axes] == ["rollouts", "CPU time [s]"]
    for ax in figure.axes:
        model, inputs = ax.lines
        assert (model.get_label(), inputs.get_label()) == ("model", "inputs")
        # Points of the curve are 8 % apart.
        assert 20 <= model.get_xdata()[-1] < 21.7
        assert model.get_ydata()[-1] == 1.5 - 1.0 and model.get_ydata()[0] == 8.0
        assert inputs.get_xdata()[-1] == pytest.approx(600)
        assert inputs.get_ydata()[-1] == 3.0 - 1.0


@pytest.mark.parametrize(
    "sizes, words",
    [
        ({"batches": "0,4"}, "`batches` 0,4: must be whole numbers above zero"),
        ({"batches": "many"}, "`batches` many: must be whole numbers above zero"),
        ({"costs": "final,time"}, "`costs` final,time: must be some of final, running"),
        ({"holds": "post", "look_for_claim": True}, "`holds` post: .* leave it out"),
        ({"holds": "none"}, "`holds` none: must be some of scenario, model, inputs"),
    ],
)
def test_other_texts_are_refused(sizes, words):
    with pytest.raises(UsageError, match=words):
        next(studies.study("holds", **sizes))


@pytest.mark.parametrize("size", ["seeds", "rollouts", "jobs"])
def test_sizes_of_zero_are_refused(size):
    with pytest.raises(UsageError, match=f"`{size}` 0: must be a finite number above"):
        studies.study("holds", **{size: 0})


def test_the_command_names_its_files_and_its_options(small, tmp_path, capsys):
    words = ["--rollouts", "3", "--costs", "final", "--look-for-claim", "--out"]
    status, _, _ = call(capsys, *COMMAND, *words, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    stem = "compare-holds-final-claim"
    assert status == 0 and names == [f"{stem}.json", f"{stem}.png"]
    for option, value in (("--batches", "0"), ("--costs", "none"), ("--jobs", "0")):
        message = complaint(capsys, "compare", "holds", option, value, status=2)
        assert message.startswith(f"hfcontrol: {option} {value}: must be ")


def test_an_interrupted_study_keeps_what_has_finished(
    small, tmp_path, capsys, monkeypatch
):
    train = holds.train

    def interrupted(job):
        if job.variant == "inputs":
            raise KeyboardInterrupt
        return train(job)

    monkeypatch.setattr(holds, "train", interrupted)
    words = ["--rollouts", "3", "--costs", "effort", "--out"]
    status, out, _ = call(capsys, *COMMAND, *words, tmp_path)
    assert status == 0 and "stopped: these files hold what had finished" in out
    result = json.loads((tmp_path / "compare-holds-effort.json").read_text())
    trained = [course["variant"] for course in result["courses"]]
    assert trained == ["scenario", "model"]
    assert (tmp_path / "compare-holds-effort.png").exists()


# Parallel processes.


def make_slowly(path):
    """Make a folder, and take some time."""
    os.mkdir(path)
    time.sleep(0.05)


def test_jobs_run_in_parallel_processes():
    jobs = [4.0, 9.0, 16.0]
    assert sorted(run_jobs(math.sqrt, jobs, 2)) == [(4, 2), (9, 3), (16, 4)]
    assert list(run_jobs(operator.neg, jobs, 1)) == [(job, -job) for job in jobs]


def test_a_closed_generator_starts_no_further_job(tmp_path):
    """Each job is a folder to make; the last ones are never made."""
    jobs = [str(tmp_path / f"{k}") for k in range(200)]
    results = run_jobs(make_slowly, jobs, 2)
    job, _ = next(results)
    results.close()
    made = {str(path) for path in tmp_path.iterdir()}
    assert job in made and len(made) < 100


def test_an_interrupt_lets_the_jobs_in_progress_finish():
    jobs = [0.02] * 3 + [0.5] * 200
    finished = []
    with pytest.raises(KeyboardInterrupt):
        for job, _ in run_jobs(time.sleep, jobs, 2):
            finished.append(job)
            if len(finished) == 1:
                os.kill(os.getpid(), signal.SIGINT)
    assert 1 <= len(finished) < 100


def test_a_process_that_dies_is_reported():
    with pytest.raises(TrainingError, match=r"a process ended .* fewer `jobs`"):
        list(run_jobs(os._exit, [1, 1], 2))
