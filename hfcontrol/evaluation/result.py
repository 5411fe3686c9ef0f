"""What an evaluation returns: a dict for scripts that shows well in a notebook."""

from typing import Any

from hfcontrol.display import Displayed
from hfcontrol.texts import one_line

# What `dir` and completion show of a dict that is only read.
DICT_NAMES = {"get", "items", "keys", "values"}


class Evaluation(Displayed, dict[str, Any]):
    """The numbers of an evaluation: attributes for the usual ones, entries for all.

        hf.evaluate(run).ratio
        hf.evaluate(run).held_out["error"]["max"]

    It is a dict, as `hfcontrol evaluate --json` prints it, with `run`, `plant`, `task`,
    `noisy` (whether the optimum knows noise in advance) and `sets`. `sets` has a dict
    for "training" and one for "held_out", with these entries; those about the optimum
    are None where there is none:

    * `trials`: number of trials
    * `loss`: mean loss of the controller
    * `judged`: number of trials with an optimum
    * `optimal_loss`: mean loss of the optimum, in the judged trials
    * `ratio`: their mean loss over the optimal one
    * `ratio_quantiles`: of the ratios of the trials
    * `optimum_is_beaten`: whether the controller is better than the optimum
    * `errors`: distance from the goal at each arrival: `step`, `mean`, `max`, `unit`
    * `error`: the last of these
    * `final_speed`: `mean`, `max` and `unit`; None without rates that have a goal
    * `path_deviation`: of reaches of a hand, in parts of the way: `mean` and `max`
    * `peak_control`: largest size of each control
    * `saturated`: part of the optimal controls that are at a limit
    * `success`: part of the trials that are within the task's limits
    * `not_finite`: sentences about trials that are not finite

    In an environment, `episodes` and `return` take the place of `noisy` and `sets`.
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

    def __dir__(self) -> list[str]:
        """Return the attributes, without those that change a dict."""
        hidden = {name for name in dir(dict) if not name.startswith("_")} - DICT_NAMES
        return sorted(set(super().__dir__()) - hidden)

    @property
    def training(self) -> dict[str, Any]:
        """The numbers of the training scenarios; empty in an environment."""
        return self._numbers("training")

    @property
    def held_out(self) -> dict[str, Any]:
        """The numbers of the held-out scenarios; empty in an environment."""
        return self._numbers("held_out")

    @property
    def ratio(self) -> float | None:
        """The held-out cost over the optimal one, 1 is perfect.

        None if the optimum is zero or not known, and in an environment.
        """
        return self.held_out.get("ratio")

    @property
    def loss(self) -> float | None:
        """The mean held-out loss; None in an environment."""
        return self.held_out.get("loss")

    @property
    def success(self) -> float | None:
        """The part of the held-out trials that succeed; None in an environment."""
        return self.held_out.get("success")

    def _numbers(self, name: str) -> dict[str, Any]:
        """Return the numbers of a set of scenarios, if there are sets."""
        numbers: dict[str, Any] = self.get("sets", {}).get(name, {})
        return numbers
