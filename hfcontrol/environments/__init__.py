"""Plants and tasks as Gymnasium environments; importing this package registers them.

- `PlantEnv`: one trial
- `PlantVectorEnv`: many trials, stepped together
"""

from hfcontrol.environments.gymnasium_env import PlantEnv, PlantVectorEnv

__all__ = ["PlantEnv", "PlantVectorEnv"]
