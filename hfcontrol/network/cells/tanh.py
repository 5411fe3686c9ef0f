"""The tanh cell: h_t = tanh(W X + b), where X holds feed-forward and recurrent input."""

ACTIVATION = "tanh"
CODE = 1
PARAMETERS: dict[str, bool] = {}
