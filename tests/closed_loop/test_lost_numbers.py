"""Numbers that are not finite through no growth: whose they are, and where."""

import pytest
from trainings import CART

from hfcontrol.errors import DivergedError, NumberError
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import settings_for
from hfcontrol.training.curriculum import run_curriculum

SIZES = {"trials": 4, "steps": 6, "hidden": (3,), "strategy": "plain"}
RETURN = "return np.stack("
RESIDUAL = """
def residual(x, u, target, p, r):
    r[0] = np.log(x[0] - 1.0)


TASKS["park"] |= {"residual": residual, "residuals": ("worth",)}
"""
OBSERVE = """
OBSERVATION = ("place",)
def observe(x, p, y):
    y[0] = np.log(x[0] - 1.0)
"""
PARAMS = "PARAMS = {'mass': 2.0, 'drag': 0.1}\n"
DIVIDED = CART.replace("(u[0]", "(u[0] / p[0]") + PARAMS


def train(folder, source, **options):
    path = folder / "cart.py"
    path.write_text(source)
    settings = settings_for(plant=str(path), **{**SIZES, **options})
    trainer = make_trainer(settings)
    list(trainer.run(run_curriculum(trainer, settings)))


def line_of(source, text):
    return source[: source.index(text)].count("\n") + 1


FAULTS = {
    "step_batch": (
        CART.replace(RETURN, "return np.sqrt(x[0] - 1.0) * np.stack("),
        {},
        "step_batch gives place = nan at step 0 of trial 0, from place 0, place_rate 0",
    ),
    "a parameter": (
        DIVIDED,
        {"param": ("mass=0",)},
        "(parameters: mass 0, drag 0.1)",
    ),
    "a residual": (
        CART + RESIDUAL,
        {},
        "residual gives worth = nan at step 0 of trial 0, where place 0, place_rate 0",
    ),
    "an observation": (
        CART + OBSERVE,
        {},
        "the network sees place = nan at step 0 of trial 0",
    ),
}


@pytest.mark.parametrize("optimizer", ["hf", "ppo"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore:.*encountered in")
def test_the_function_that_gives_nan_is_named(fault, optimizer, tmp_path):
    """With the entry, the step and the line; a training has nothing to go on from."""
    source, options, message = FAULTS[fault]
    with pytest.raises((DivergedError, NumberError)) as caught:
        train(tmp_path, source, optimizer=optimizer, **options)
    text = str(caught.value)
    name = {"a residual": "residual", "an observation": "observe"}.get(
        fault, "step_batch"
    )
    assert message in text and "\n" not in text
    assert text.startswith(f"cart.py, line {line_of(source, f'def {name}(')}: ")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"motor_noise": "1e300"}, "noise in push is"),
        ({"push": 1e300}, "the disturbance of place_rate is"),
    ],
)
def test_noise_out_of_all_proportion_is_named(options, message, tmp_path):
    with pytest.raises(DivergedError, match=message):
        train(tmp_path, CART, **options)


def test_a_plant_that_runs_away_is_not_blamed(tmp_path):
    """It grows in each step, beyond all numbers in the end."""
    source = CART.replace(RETURN, "return 1e60 * np.stack(")
    with pytest.raises(DivergedError, match="overflows at"):
        train(tmp_path, source, steps=10)
