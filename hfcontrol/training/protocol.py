"""What training needs of a task."""

from typing import Protocol

import numpy as np

from hfcontrol.tasks.scenario import Scenario


class DrawsScenarios(Protocol):
    """What a trainer needs to know of a task."""

    @property
    def random(self) -> bool:
        """Whether every scenario is drawn at random."""
        ...

    @property
    def noisy(self) -> bool:
        """Whether scenarios contain noise."""
        ...

    @property
    def optimum_is_zero(self) -> bool:
        """Whether the optimal loss is zero."""
        ...

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Draw a training scenario."""
        ...
