"""Passes: loops over all time steps of rollout, tangent and adjoint.

| module      | holds                                                          |
|-------------|----------------------------------------------------------------|
| `protocol`  | `Passes`: what all passes can do                               |
| `plain`     | `PlainPasses`: NumPy, the definition of the others             |
| `cpu`       | `FusedPasses`: compiled loops, blocks of trials over all cores |
| `cuda`      | `CudaPasses`: one GPU kernel per pass                          |
| `cuda_layout` | how these divide their work and memory                       |
| `sequences` | `Sequences`: the network alone, along recorded inputs          |
"""
