"""The parts of tools/stable_baselines that need no further package."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "stable_baselines"


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    loader = SourceFileLoader("stable_baselines_script", str(SCRIPT))
    module = module_from_spec(spec_from_loader("stable_baselines_script", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "steps, horizon, rollouts", [(51200, 50, 16), (51200, 100, 8), (10, 50, 1)]
)
def test_both_programs_make_as_many_steps(script, steps, horizon, rollouts):
    """64 trials of a horizon make a rollout."""
    options = script.make_parser().parse_args(["--steps", str(steps), "--ours"])
    assert script.rollouts_of(options, horizon) == rollouts


def test_methods_are_those_that_the_benchmark_makes(script, capsys):
    assert script.make_parser().parse_args(["--method", "sac"]).method == "sac"
    with pytest.raises(SystemExit):
        script.make_parser().parse_args(["--method", "dqn"])
    assert "ppo, sac" in capsys.readouterr().err.replace("'", "")
