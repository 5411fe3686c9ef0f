"""Training: holds, the trainer and its state, curriculum and guidance."""
