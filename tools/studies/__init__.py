"""Variants of the shipped optimizer that `tools/study` measures, and how it does."""
