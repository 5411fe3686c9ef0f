"""The tanh cell: h_t = tanh(a_t), where a_t sums feed-forward and recurrent input."""

ACTIVATION, CODE = "tanh", 1
