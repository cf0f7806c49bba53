"""`python -m podbuild`, where the program itself is not on PATH."""

import sys

from podbuild.cli import main

if __name__ == "__main__":
    sys.exit(main())
