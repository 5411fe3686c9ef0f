"""The commands of `hfcontrol`, a module for each group of them; what is heavy is imported inside the functions."""
