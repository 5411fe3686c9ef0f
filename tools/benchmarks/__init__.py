"""The sections of `tools/bench`.

Each has `measure(seeds, smallest)`, which prints a table and returns it as rows for
JSON. With `smallest` it measures tiny cases for a moment, to see that it still works.
"""
