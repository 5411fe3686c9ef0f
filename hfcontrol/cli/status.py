"""Exit statuses of the command line."""

FAILURE = 1
USAGE = 2  # wrong input
INTERRUPTED = 130  # stopped by Ctrl-C: 128 + SIGINT
