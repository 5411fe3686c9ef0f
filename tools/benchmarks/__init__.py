"""The sections of tools/bench: each has `measure(seeds)`, which prints a table and returns it as rows for JSON."""
