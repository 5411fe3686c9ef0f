"""The compiled rollout at its smallest size, compared with the plain one."""

import numpy as np
import pytest
from helpers import loop_of, weights_of


@pytest.mark.parametrize("delays", [(0, 0), (2, 1)])
def test_compiled_rollout_equals_the_plain_one(delays):
    rollouts = []
    for fused in (False, True):
        loop = loop_of(
            hidden=(2,), delays=delays, fused=fused, disturbed=True, trials=3, steps=4
        )
        rollouts.append(loop.rollout(weights_of(loop)))
    for name in ("x", "u", "y"):
        plain, compiled = (getattr(rollout, name) for rollout in rollouts)
        np.testing.assert_allclose(compiled, plain, rtol=1e-11, atol=1e-13)
