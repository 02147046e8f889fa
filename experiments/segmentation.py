"""Active learning on your own scans: which of them to label next, for whom.

    python -m experiments.segmentation --data DIR --strategy random weighted_entropy aeig --group-column sex --seeds 3

The command itself is `jaxal/cli/segmentation.py`, which a wheel holds too (`python -m jaxal.cli.segmentation`).
"""

import sys

from jaxal.cli import command
from jaxal.cli.segmentation import Arguments, main

__all__ = ["Arguments", "main"]

if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
