"""What an evaluation returns: a dict for scripts that shows well in a notebook."""

from typing import Any

from hfcontrol.display import Displayed
from hfcontrol.texts import one_line


class Evaluation(Displayed, dict[str, Any]):
    """The numbers of an evaluation.

    It is a dict with `run`, `plant`, `task`, `noisy` and `sets`, a summary for each
    split. In an environment, `episodes` and `return` replace the last two.
    """

    def __repr__(self) -> str:
        problem = one_line(f"{self['plant']} {self['task']}")
        if "return" in self:
            found = self["return"]["mean"]
            return f"Evaluation({problem}: return {found:.4g})"
        numbers = self["sets"]["held_out"]
        ratio = numbers["ratio"]
        words = [f"held-out loss {numbers['loss']:.3g}"]
        if ratio is not None:
            words.append(f"{ratio:.4f} times the optimum")
        words.append(f"success {100 * numbers['success']:.0f} %")
        return f"Evaluation({problem}: {', '.join(words)})"

    @property
    def ratio(self) -> float | None:
        """The held-out cost over the optimal one, 1 is perfect.

        None if the optimum is zero or not known, and in an environment.
        """
        if "sets" not in self:
            return None
        ratio: float | None = self["sets"]["held_out"]["ratio"]
        return ratio
