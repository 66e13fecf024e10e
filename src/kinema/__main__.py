"""`python -m kinema`, for torchrun."""

import sys

from kinema.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
