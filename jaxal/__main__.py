"""`python -m jaxal` is the command `jaxal`."""

import sys

from jaxal.cli.main import console

if __name__ == "__main__":
    sys.exit(console())
