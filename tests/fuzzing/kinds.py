"""The kinds of altered inputs: how many, how they are drawn, and how they are run."""

import os
import pprint
import resource
import shutil
import tempfile
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzzing import checkpoints, strategies, targets
from fuzzing.watch import Watch


@dataclass
class Kind:
    """Inputs of a kind.

    count: how many tools/fuzz tries
    draw: returns their strategy
    run: gives one to hfcontrol, in a folder; returns "fine" or "refused"
    prepare: imports and compiles what children then have
    """

    count: int
    draw: Callable[[], st.SearchStrategy]
    run: Callable[[Any, Path], str]
    prepare: Callable[[], None] = lambda: None


def limit_memory(extra: int) -> None:
    """Limit the address space of this process to what it has and `extra` bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def content_of(example: Any) -> bytes:
    """An input as it is kept."""
    if isinstance(example, bytes):
        return example
    text = example if isinstance(example, str) else pprint.pformat(example)
    return text.encode(errors="surrogatepass")


def run_examples(
    kind: Kind,
    count: int,
    name: str,
    started: Callable[[bytes], None],
    ended: Callable[[str, bytes, str], None],
) -> None:
    """Draw `count` inputs and run each in a folder of its own; faults do not end it."""
    home = Path(tempfile.mkdtemp(prefix="hfcontrol-fuzz-"))
    watch = Watch(home, (user_cache(), Path(tempfile.gettempdir()) / "matplotlib"))
    for variable in ("XDG_DATA_HOME", "XDG_STATE_HOME"):
        os.environ[variable] = str(home / "user")

    @seed(zlib.crc32(name.encode()))
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(kind.draw())
    def run(example: Any) -> None:
        folder = Path(tempfile.mkdtemp(dir=home))
        content = content_of(example)
        started(content)
        why = ""
        with watch.watching() as found:
            try:
                outcome = kind.run(example, folder)
            except BaseException:
                outcome, why = "fault", traceback.format_exc()
        if found:
            outcome, why = "fault", f"{why}\nelsewhere: {found}"
        ended(outcome, content, why)
        shutil.rmtree(folder, ignore_errors=True)

    try:
        run()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def user_cache() -> Path:
    """The folder of compiled code."""
    from hfcontrol.kernels.stored_code import kernel_folder

    return Path(kernel_folder() or tempfile.gettempdir())


def _draw_tasks() -> st.SearchStrategy:
    names = list(targets.ENTRIES)
    return strategies.task_entries(names, [*targets.GENERATOR_NAMES, "none"])


def _run_task(entries: Any, folder: Path) -> str:
    return targets.try_task(entries, targets.point_plant(folder))


def _draw_options() -> st.SearchStrategy:
    from hfcontrol.cli.export import export
    from hfcontrol.cli.plants import check, plants
    from hfcontrol.cli.runs import info, runs
    from hfcontrol.cli.simulate import simulate
    from hfcontrol.cli.train import train

    run = str(strategies.ROOT / "weights" / "arm2-reach")
    tiny = ["--trials", "3", "--steps", "4", "--hidden", "3,2", "--out", "out"]
    tiny += ["--strategy", "plain"]
    lines = [strategies.command_lines(train, ["train", *tiny])] * 6
    for command, name in ((export, "export"), (info, "info")):
        lines.append(strategies.command_lines(command, [name, run], most=3))
    few = ["simulate", run, "--trials", "2"]
    lines.append(strategies.command_lines(simulate, few, most=3))
    for command, name in ((runs, "runs"), (plants, "plants"), (check, "check")):
        lines.append(strategies.command_lines(command, [name], most=3))
    return st.one_of(lines)


def _prepare_models() -> None:
    # MuJoCo starts a process when it is imported, to ask a library for its version.
    targets.load_plant(strategies.ROOT / "plants" / "mjcf" / "cartpole.xml")


def _prepare_options() -> None:
    _prepare_models()
    targets.stop_before_updates(pytest.MonkeyPatch())
    folder = Path(tempfile.mkdtemp(prefix="hfcontrol-fuzz-"))
    targets.try_command(["train", "--trials", "3", "--out", "out"], folder)
    shutil.rmtree(folder)


def _prepare_checkpoints() -> None:
    checkpoints.shipped_tree()
    checkpoints.canary()
    # The network's and the controller's modules are imported now.
    folder = Path(tempfile.mkdtemp(prefix="hfcontrol-fuzz-"))
    checkpoints.try_checkpoint(([], 0), folder)
    shutil.rmtree(folder)


def _draw_damages() -> st.SearchStrategy:
    return strategies.damages(len(checkpoints.compiled_content()[1]))


def _prepare_cache() -> None:
    checkpoints.compiled_content()


KINDS = {
    "checkpoints": Kind(
        5000,
        checkpoints.alterations,
        checkpoints.try_checkpoint,
        _prepare_checkpoints,
    ),
    "plants": Kind(2000, strategies.plant_files, targets.try_plant_file),
    "tasks": Kind(2000, _draw_tasks, _run_task),
    "models": Kind(500, strategies.models, targets.try_model, _prepare_models),
    "options": Kind(2000, _draw_options, targets.try_command, _prepare_options),
    "cache": Kind(200, _draw_damages, checkpoints.try_cache, _prepare_cache),
}
