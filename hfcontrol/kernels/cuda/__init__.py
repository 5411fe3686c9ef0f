"""Kernels on a GPU, by Numba for CUDA; the only package that imports numba.cuda.

* device.py: device functions, and how kernels are launched
* plant.py: the device functions of a plant
* arguments.py: structures that kernels take
* maps.py, simulate.py: a plant alone; kernels.py: `CudaKernels`, which launches these
* layers.py: what threads of a block compute together for a layer of a network
* rollout.py, tangent.py, adjoint.py: the passes through a closed loop
* riccati.py: the backward pass of iLQR

Kernels come from factories: functions that return kernels, which close over the device
functions of a plant and over sizes of local arrays, which CUDA needs when it compiles.
Closures cannot be cached on disk, so each process compiles the kernels that it uses.
It compiles each once: the factories keep what they have made.

Only kernels use the module `cuda`; other device functions get threads and local arrays
as arguments. In Numba's simulator, a function of another module may see the real
`cuda` there.
"""
