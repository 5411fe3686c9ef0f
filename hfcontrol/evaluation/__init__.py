"""Evaluation: controllers against the yardstick, and plants against their contract."""
