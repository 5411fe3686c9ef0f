"""The tanh cell: h_t = tanh(W X + b), of feed-forward and recurrent input X."""

ACTIVATION = "tanh"
PARAMETERS: dict[str, bool] = {}
