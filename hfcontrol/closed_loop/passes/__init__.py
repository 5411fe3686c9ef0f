"""Whole-trajectory passes of the closed loop: plain NumPy (the definition) and fused compiled loops over the cores."""
