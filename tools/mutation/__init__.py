"""Alterations of single tokens, and whether the tests notice them (tools/mutate)."""
