"""`python -m hfcontrol`: the command line."""

import sys

from hfcontrol.cli import main

if __name__ == "__main__":
    # Messages and checkpoints name the program, not this file.
    sys.argv[0] = "hfcontrol"
    main()
