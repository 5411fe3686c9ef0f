"""The linear cell: h_t = a_t; the output layer is made of it."""

ACTIVATION, CODE = "linear", 0
