"""Source pieces of compiled kernels, glued into generated modules."""
