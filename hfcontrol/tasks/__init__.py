"""Tasks: what a plant is asked to do, as scenarios and weighted residuals."""
