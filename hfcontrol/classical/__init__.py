"""Classical controllers, and the benchmark that compares trained ones with them.

- `problem`: what a classical law knows of plant and task
- `mechanics`: mass matrix and drift of a plant of second order, found numerically
- `joint_pd`, `operational_space`, `lqr`, `tracking`: one law each
- `laws`: their names
- `observer`: states from observations
- `controller`: a law in the closed loop
- `tuning`: the two gains of a law, by the task's own cost
- `conditions`, `timing`, `benchmark`: all controllers on the same scenarios
"""
