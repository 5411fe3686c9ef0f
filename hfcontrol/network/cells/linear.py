"""The linear cell: h_t = W X + b; the output layer consists of it."""

ACTIVATION = "linear"
PARAMETERS: dict[str, bool] = {}
