"""The variants that `tools/study` measures beside the shipped optimizer, and how it measures them."""
