"""The classical laws by name."""

from collections.abc import Callable
from typing import NamedTuple

from hfcontrol.classical.joint_pd import JointPD, settling_gains
from hfcontrol.classical.lqr import Regulator, settling_weights
from hfcontrol.classical.operational_space import OperationalSpace
from hfcontrol.classical.problem import Law, Problem
from hfcontrol.classical.tracking import Tracking


class LawEntry(NamedTuple):
    """How a law is made from its gains, its title, and where tuning starts.

    `first_gains` is None for a law without gains. `make` raises UnsuitableError if
    plant or task do not allow the law.
    """

    title: str
    make: Callable[[Problem, tuple[float, float]], Law]
    first_gains: Callable[[Problem], tuple[float, float]] | None


# In the order of the table.
LAWS = {
    "pd": LawEntry("PD + gravity", JointPD, settling_gains),
    "operational_space": LawEntry(
        "operational space", OperationalSpace, settling_gains
    ),
    "lqr": LawEntry("LQR", Regulator, settling_weights),
    "ilqr": LawEntry("iLQR + feedback", Tracking, None),
}
