"""Networks: architecture, cells, the flat weight vector, constraints and input scaling."""
