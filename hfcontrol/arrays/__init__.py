"""Where arrays live, and what works on any of them.

* device.py: NumPy or CuPy, and moving arrays between them
* types.py: the type of arrays in signatures
* threads.py: jobs shared over cores; threads of matrix products
* linear_algebra.py: factorisations on either device
* random.py: streams of random numbers from one seed
* files.py: files that are written completely or not at all
"""
