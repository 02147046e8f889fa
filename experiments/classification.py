"""Active learning on your own images: which of them to label next.

    python -m experiments.classification --data DIR --strategy random entropy aeig --seeds 3

The command itself is `jaxal/cli/classification.py`, which a wheel holds too (`python -m jaxal.cli.classification`).
"""

import sys

from jaxal.cli import command
from jaxal.cli.classification import Arguments, main

__all__ = ["Arguments", "main"]

if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
