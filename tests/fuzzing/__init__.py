"""Altered inputs of hfcontrol, what each may lead to, and a watch over side effects.

`strategies` draws inputs, `targets` gives them to hfcontrol, and `watch` sees what else
happens. tests/tools/test_fuzz.py tries a few, and tools/fuzz thousands.
"""
