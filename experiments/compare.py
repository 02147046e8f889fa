"""Compares the runs of a study by their ledgers alone, whether they are finished or not, and wherever they were made.

    python -m experiments.compare docs/results/brain_caudate-small

The command itself is `jaxal/cli/compare.py`, which a wheel holds too (`python -m jaxal.cli.compare`).
"""

import sys

from jaxal.cli import command
from jaxal.cli.compare import Arguments, main

__all__ = ["Arguments", "main"]

if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
