"""Trainings that are disturbed on purpose, for tools/kill and tools/soak."""
