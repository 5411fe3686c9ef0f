"""Functions that follow a training: one takes every `Event` (training/state.py)."""

import math
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from hfcontrol.errors import UsageError
from hfcontrol.training.state import Event
from hfcontrol.training.stop import StopTraining

Callback: TypeAlias = Callable[[Event], object]


def list_callbacks(on_event: Callback | Iterable[Callback] | None) -> list[Callback]:
    """Return the callbacks that `on_event` names: none, one or several.

    Raises UsageError for what cannot be called with an event.
    """
    if on_event is None:
        return []
    listed = [on_event] if callable(on_event) else on_event
    callbacks = list(listed) if isinstance(listed, (list, tuple)) else [listed]
    for callback in callbacks:
        if not callable(callback):
            raise UsageError(
                f"`on_event` {callback!r}: must be a function of an event, or a list "
                "of functions"
            )
    return callbacks  # type: ignore[return-value]


class EarlyStop:
    """A callback that ends a training when its loss hardly falls any more.

        hf.train("arm2", on_event=hf.EarlyStop(holds=5, gain=0.01))

    holds: number of holds in which the loss must fall by the part `gain`.

    Raises UsageError for numbers out of range.
    """

    def __init__(self, holds: int = 5, gain: float = 0.01) -> None:
        if holds < 1 or not 0 <= gain < 1:
            raise UsageError(
                f"`holds` {holds}, `gain` {gain}: must be at least 1, and from 0 to 1"
            )
        self.holds = holds
        self.gain = gain
        self.losses: list[float] = []

    def __call__(self, event: Event) -> None:
        """Raise StopTraining when the last holds have brought too little."""
        if event.kind == "rung":
            # The next rung starts from other weights.
            self.losses.clear()
        if event.kind != "hold":
            return
        self.losses.append(event.state.loss)
        if len(self.losses) <= self.holds:
            return
        before = min(self.losses[: -self.holds])
        if not min(self.losses[-self.holds :]) < (1 - self.gain) * before:
            raise StopTraining


class ProgressBar:
    """A callback that shows a training as a bar, in a notebook as a widget."""

    def __init__(self) -> None:
        # Here: it decides between a terminal and a notebook when it is imported.
        from tqdm.auto import tqdm

        self.bar: Any = tqdm(unit=" updates", desc="training", dynamic_ncols=True)

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.kind == "curriculum":
            self.bar.set_description(event.activity or "curriculum")
            return
        self.bar.set_description("training")
        loss = event.rollout.loss if event.kind == "update" else event.state.loss
        if math.isfinite(loss):
            holds, rollouts = event.state.holds, event.state.rollouts
            numbers = {"loss": f"{loss:.3g}", "holds": holds, "rollouts": rollouts}
            self.bar.set_postfix(numbers, refresh=False)
        # A hold that is undone takes its updates back.
        self.bar.n = event.state.updates
        self.bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()


def is_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
