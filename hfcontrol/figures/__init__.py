"""Figures and movies of a run; the only package that imports matplotlib."""
