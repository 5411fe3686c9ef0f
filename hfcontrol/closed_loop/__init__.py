"""Plant and network as one dynamical system: rollouts and their derivatives.

| module         | holds                                                           |
|----------------|-----------------------------------------------------------------|
| `wiring`       | `Wiring`: delays, control limits and taper                      |
| `linear_model` | `LinearModel`: what a hold keeps fixed                          |
| `counts`       | `Counts`: numbers of rollouts and steps                         |
| `passes/`      | loops over all time steps                                       |
| `protocol`     | `Loop` and `Linearised`: discrete and continuous loops alike    |
| `loop`         | `ClosedLoop`: the system in discrete time                       |
| `continuous/`  | `ContinuousLoop`: the same on an adaptively solved trajectory   |
"""
