"""The linear cell: h_t = W X + b; the output layer consists of it."""

ACTIVATION = "linear"
CODE = 0
PARAMETERS: dict[str, bool] = {}
