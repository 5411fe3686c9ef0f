"""Versions and processor of a machine."""

from hfcontrol.runs.machine import Machine


def test_versions_that_differ_are_named_on_both_sides():
    here = Machine.here()
    assert here.find_difference(here) is None
    caller = here._replace(versions={**here.versions, "NumPy": "9.9.9"})
    line = here.find_difference(caller)
    there = here.versions["NumPy"]
    assert f"NumPy {there} there and 9.9.9 here" in line and here.host in line
