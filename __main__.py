"""`python -m gmner`: the command line."""

import sys

from gmner.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
