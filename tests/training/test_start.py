"""Diagnosis, laws and starts: against closed forms, and on plants that run away."""

import numpy as np
import pytest
from helpers import bits, loop_of
from trainings import write_cart

import hfcontrol as hf
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.optim import yardstick
from hfcontrol.plant.limits import ControlLimits
from hfcontrol.plant.registry import plants_folder
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.training import start_training
from hfcontrol.training import start as start_module
from hfcontrol.training.conditioning import PLAIN
from hfcontrol.training.diagnosis import diagnose, typical
from hfcontrol.training.laws import imitated_law, regulator_law
from hfcontrol.training.start import choose_start
from hfcontrol.training.stop import StopToken

# An unstable plant in small units: without control its state grows e^5-fold.
RUNAWAY = """
STATE, CONTROL = ("gap",), ("push",)
DT, INTEGRATOR = 0.05, "rk4"


def dynamics(x, u, p, dx):
    dx[0] = 10.0 * x[0] + {gain} * u[0]


TASKS = {{"hold": {{"generator": "around", "start": (0.0,), "spread": ({unit},),
                    "target": (0.0,), "trials": 8, "steps": {steps}, "final": {final},
                    "running": {final}, "effort": 1e-3}}}}
"""


def runaway(tmp_path, unit=1.0, steps=40):
    """A file of the plant, its state in parts `unit` of the same length."""
    path = tmp_path / f"runaway{unit:g}.py"
    text = RUNAWAY.format(gain=unit, unit=unit, final=1 / unit**2, steps=steps)
    path.write_text(text)
    return str(path)


def started(**settings):
    """The chosen start of a training, and the function that builds its trainer."""
    settings = Settings(**settings)

    def build(conditioning):
        return make_trainer(settings, conditioning=conditioning)

    return choose_start(build, settings.seed), build


def test_sizes_are_mean_and_spread():
    signals = np.array([[[1.0, 3.0], [7.0, 7.0]], [[5.0, -1.0], [7.0, 7.0]]])
    found = typical(signals, of_constants=0.5)
    np.testing.assert_allclose(found.mean, [2.0, 7.0])
    np.testing.assert_allclose(found.size, [np.sqrt(5.0), 0.5])


def test_commands_invert_the_smooth_limit():
    wiring = Wiring(
        0, 0, ControlLimits.symmetric(np.array([2.0, np.inf])), np.array([np.inf])
    )
    command = np.array([[-1.5, 0.3], [40.0, -9.0]])
    np.testing.assert_allclose(
        wiring.limits.commands_of(wiring.limits.apply(command)), command, rtol=1e-12
    )


UNEVEN = """
import numpy as np

STATE, CONTROL = ("level", "heat"), ("inflow", "power")
DT, INTEGRATOR = 0.1, "rk4"
LIMIT = ((0, 5), (0.5, None))


def dynamics(x, u, p, dx):
    dx[0] = u[0] - x[0]
    dx[1] = u[1] + 0.5 * x[0] - x[1]


def draw(rng, trials, split):
    goal = np.array([[2.0], [4.0]]) + rng.standard_normal((2, trials))
    return 2 + rng.standard_normal((2, trials)), goal


TASKS = {"hold": {"draw": draw, "trials": 16, "steps": 20, "running": 1.0,
                  "final": 0.0, "effort": 0.01}}
"""


def test_a_plant_with_uneven_limits_is_trained_close_to_its_optimum(tmp_path):
    """From defaults: both starts, the commands of the limits, and the certificate."""
    path = tmp_path / "uneven.py"
    path.write_text(UNEVEN)
    run = hf.train(str(path), strategy="auto", rollouts=12, hidden=(4,), out=tmp_path)
    numbers = hf.evaluate(run)["sets"]["held_out"]
    assert 0.999 < numbers["ratio"] < 1.1
    u = run.closed_loop().rollout(run.theta).u
    assert (u[:, 0] >= 0).all() and (u[:, 0] <= 5).all() and (u[:, 1] >= 0.5).all()
    assert run.plant.trim.tolist() == [0.0, 1.5]


@pytest.mark.parametrize("make", [regulator_law, imitated_law])
def test_laws_of_a_linear_plant_are_nearly_optimal(make):
    """Over a long horizon the regulator is constant: a linear law is optimal."""
    loop = loop_of("linear", steps=60, running=1.0, effort=0.2, trials=16)
    diagnosis = diagnose(loop)
    law = make(diagnosis, np.random.default_rng(0))
    x = loop.scenario.x0
    u = []
    for _ in range(loop.scenario.steps):
        inputs = np.concatenate([np.zeros_like(x), x])
        u.append(law.gains @ inputs + law.offset[:, None])
        x = loop.kernels.step(x, u[-1], loop.scenario.params)
    found = diagnosis.system.simulate(np.array(u))
    assert found.losses.mean() == pytest.approx(diagnosis.loss, rel=2e-3)


def test_a_plant_that_runs_away_starts_from_a_law(tmp_path):
    start, build = started(plant=runaway(tmp_path))
    assert start.conditioning.linear_path
    trainer = build(start.conditioning)
    loop = trainer.loop(np.random.default_rng(1))
    assert loop.rollout(start.theta).loss < 1.1 * start.diagnosis.loss
    plain = build(type(start.conditioning)())
    theta = plain.network.initial(np.random.default_rng(0))
    assert plain.loop(np.random.default_rng(1)).rollout(theta).loss > 1e6


def test_where_random_weights_overflow_any_law_is_a_start(tmp_path, monkeypatch):
    """Even one that is too far from the optimum to be taken otherwise."""
    monkeypatch.setattr(start_module, "GOOD", 0.0)
    start, build = started(plant=runaway(tmp_path, steps=800))
    assert start.reason.endswith("; with random weights the plant runs away")
    assert start.conditioning.linear_path
    trainer = build(start.conditioning)
    loop = trainer.loop(np.random.default_rng(1))
    assert loop.rollout(start.theta).loss < 1.1 * start.diagnosis.loss


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_start_does_not_depend_on_the_units(tmp_path, unit):
    here, build = started(plant=runaway(tmp_path))
    there, build_there = started(plant=runaway(tmp_path, unit))
    losses = [
        build(start.conditioning)
        .loop(np.random.default_rng(1))
        .rollout(start.theta)
        .loss
        for build, start in ((build, here), (build_there, there))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    np.testing.assert_allclose(
        there.conditioning.state_size, unit * here.conditioning.state_size, rtol=1e-6
    )


def test_a_law_that_is_not_near_the_optimum_is_no_start():
    """The best law of a reach varies with time."""
    start, _ = started(plant="arm2", trials=8, steps=20)
    assert not start.conditioning.linear_path
    assert "random weights" in start.reason


def test_a_final_cost_alone_says_nothing_about_sizes():
    start, _ = started(plant="arm2", trials=8, steps=20, effort=0.0)
    assert start.diagnosis is None
    assert start.conditioning.inputs is None


def test_an_untrained_scaled_network_rests_at_the_trim(tmp_path):
    path = tmp_path / "tank.py"
    text = RUNAWAY.format(gain=1.0, unit=1.0, final=1.0, steps=40)
    text = text.replace("10.0 * x[0] + 1.0 * u[0]", "u[0] - 500.0")
    path.write_text(text + "TRIM = (500.0,)\nTASKS['hold']['effort_about'] = 500.0\n")
    start, build = started(plant=str(path))
    conditioning = type(start.conditioning)().with_sizes(start.diagnosis.sizes)
    network = build(conditioning).network
    rng = np.random.default_rng(0)
    weights = network.weights(network.initial(rng))
    inputs = conditioning.inputs.mean[:, None]
    now = network.step(weights, np.zeros((network.n_activations, 1)), inputs)
    assert now[network.outputs].item() == pytest.approx(500.0)


def test_stiff_plants_get_substeps(tmp_path):
    path = tmp_path / "stiff.py"
    path.write_text(
        RUNAWAY.format(gain=1.0, unit=1.0, final=1.0, steps=40).replace(
            "10.0 * x[0]", "-200.0 * x[0]"
        )
    )
    start, build = started(plant=str(path))
    assert start.conditioning.substeps > 1
    assert build(start.conditioning).plant.substeps == start.conditioning.substeps


def trained(path, stop_after=None):
    """The weights of a training with validation, stopped and continued if wanted."""

    settings = Settings(
        plant=path,
        strategy="auto",
        rollouts=60,
        hidden=(5, 4),
        batches=3,
        hold="scenario",
    )
    start, build = None, None
    start, build = started(**{**settings.tree()})
    trainer = build(start.conditioning)
    state = trainer.init(start.theta, np.random.default_rng(3))
    token = StopToken()
    for number, event in enumerate(trainer.run(state, token)):
        state = event.state
        if number == stop_after:
            token.stop()
    if stop_after is not None:
        for event in trainer.run(state):
            state = event.state
    return state


@pytest.mark.parametrize("stop_after", [2, 5])
def test_validation_keeps_the_best_weights_and_resumes_bit_for_bit(
    tmp_path, stop_after
):
    path = runaway(tmp_path)
    whole = trained(path)
    assert whole.best_loss < np.inf
    assert bits(whole.best_theta) == bits(whole.theta)
    again = trained(path, stop_after)
    assert bits(again.theta) == bits(whole.theta)
    assert again.best_hold == whole.best_hold


def trained_weights(strategy, folder, **settings):
    """The weights of a short training of arm2 that begins by a strategy."""
    small = {"trials": 8, "hidden": (5, 4), "batches": 3, "rollouts": 5}
    settings = Settings(plant="arm2", strategy=strategy, **small, **settings)
    training = start_training(settings, folder)
    for _ in training.events():
        pass
    assert training.conditioning is PLAIN
    return training.state.theta


@pytest.mark.parametrize("more", [{}, {"effort": 0.0}])
def test_an_ordinary_problem_is_trained_as_it_is(tmp_path, more):
    """Sizes are near one, and no law is near the optimum: auto changes no bit."""
    auto, plain = (trained_weights(s, tmp_path, **more) for s in ("auto", "plain"))
    assert bits(auto) == bits(plain)


def test_plain_is_random_weights_and_a_damping_of_one(tmp_path):
    """An explicit construction gives the same bits."""
    settings = Settings(
        plant="arm2",
        strategy="plain",
        trials=8,
        hidden=(5, 4),
        batches=3,
        rollouts=5,
    )
    trainer = make_trainer(settings)
    assert trainer.optimizer.damping == 1.0
    assert not trainer.optimizer.restarts
    assert not trainer.fresh
    theta = trainer.network.initial(stream(0, Stream.WEIGHTS))
    state = trainer.init(theta, stream(0, Stream.SCENARIOS))
    for event in trainer.run(state):
        state = event.state
    assert bits(state.theta) == bits(trained_weights("plain", tmp_path))


def test_old_checkpoints_were_trained_plainly():
    tree = Settings().tree()
    assert tree.pop("strategy") == "auto"
    assert Settings.from_tree(tree).strategy == "plain"


def test_a_plant_that_numpy_steps_is_diagnosed_like_a_compiled_one(tmp_path):
    path = write_cart(tmp_path)
    training = start_training(Settings(plant=str(path), rollouts=1), tmp_path)
    assert training.prepared.diagnosis is not None


def test_a_simulator_begins_from_random_weights(tmp_path):
    """It steps trials one after another: their optima take longer than a training."""
    pytest.importorskip("mujoco", reason="needs MuJoCo: pip install -e '.[mujoco]'")
    model = plants_folder() / "mjcf" / "cartpole.xml"
    settings = Settings(plant=str(model), trials=2, steps=4, rollouts=1)
    training = start_training(settings, tmp_path)
    assert training.prepared.diagnosis is None
    assert training.conditioning is PLAIN


def test_the_evaluation_uses_the_optima_of_the_diagnosis(tmp_path, monkeypatch):
    """The optimum is the same with them, and needs no search for pilots."""
    training = start_training(
        Settings(plant=runaway(tmp_path), hidden=(4,), rollouts=1), tmp_path
    )
    trainer = training.trainer
    scenario = trainer.task.draw(stream(0, Stream.SCENARIOS))
    problem = trainer.kernels, scenario, trainer.wiring
    whole = yardstick.optimum(*problem)
    searches = []
    search = yardstick.find_pilots
    monkeypatch.setattr(
        yardstick, "find_pilots", lambda system: searches.append(1) or search(system)
    )
    again = yardstick.optimum(*problem, pilots=training.pilots)
    assert not searches
    np.testing.assert_allclose(again.losses, whole.losses, rtol=1e-9)
    other = trainer.task.draw(stream(1, Stream.SCENARIOS))
    yardstick.optimum(trainer.kernels, other, trainer.wiring, pilots=training.pilots)
    assert searches


def test_difference_steps_fit_states_that_are_tiny(tmp_path, monkeypatch):
    """The sine of a state of size 1e-6 is not linear over a step of 6e-6.

    The starts show that size, before any optimum is known.
    """
    text = RUNAWAY.format(gain=1e-6, unit=1e-6, final=1e12, steps=40)
    text = "import math\n" + text.replace(
        "10.0 * x[0]", "1e-6 * 3.0 * math.sin(2e6 * x[0])"
    )
    path = tmp_path / "tiny.py"
    path.write_text(text)
    big = text.replace("1e-6", "1.0").replace("2e6", "2.0")
    big = (
        big.replace("e+12", "").replace("1e-06", "1.0").replace("1000000000000.0", "1")
    )
    other = tmp_path / "large.py"
    other.write_text(big)
    diagnosed = []

    def counted(loop):
        diagnosed.append(loop.plant.name)
        return diagnose(loop)

    monkeypatch.setattr(start_module, "diagnose", counted)
    tiny, large = (started(plant=str(p))[0] for p in (path, other))
    assert diagnosed == ["tiny", "large"]
    assert tiny.diagnosis.loss == pytest.approx(large.diagnosis.loss, rel=1e-6)
    np.testing.assert_allclose(tiny.theta, large.theta, rtol=1e-4, atol=1e-5)


def test_the_ladder_knows_the_optimum_of_the_diagnosis(tmp_path):
    """Its judged trials are the pilots, where trials are fixed."""
    settings = Settings(plant="arm2", trials=20, hidden=(5, 4), rollouts=1)
    training = start_training(settings, tmp_path)
    known = training.ladder.state.optimal
    assert known == pytest.approx(training.prepared.diagnosis.loss)
    loop = training.ladder._judged
    assert known == pytest.approx(training.trainer.optimal(loop), rel=1e-6)
