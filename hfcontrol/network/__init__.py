"""Networks: their architecture, cells and weights; they know no plant.

* architecture.py: layers, and their places among the activations and in theta
* network.py: `Network` with its step, tangent and adjoint
* cells: what a unit does with its input; activations.py, connections.py, stages.py
* initialisation.py: random initial weights
* constraints.py: sparse, frozen and sign-constrained weights
* input_scaling.py: normalised inputs, absorbed by the weights
"""
