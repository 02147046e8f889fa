"""Scores a tiny data set slowly, for a test to kill.

    python tests/slow_pass.py DATA JOURNAL

Prints `scored N` whenever the results of N cases are kept, and a hash of all results at the end.
"""

import hashlib
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import tiny

from jaxal.data.scans.prepare import load_case
from jaxal.networks.unet import unet
from jaxal.scoring import journal as journal_module
from jaxal.scoring.journal import Journal
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.tasks.segmentation import SEGMENTATION


def main(data: Path, journal: Path) -> None:
    dataset = tiny.read(data)
    model = unet(tiny.NETWORK)
    params = model.init(jax.random.key(0), jnp.zeros((1, *tiny.SHAPE, 1)))
    pass_ = Pass(SEGMENTATION, model, ["bald", "regions"], MembersConfig(dropout=3), 1, tiny.STATISTICS, jax.local_devices()[:1])

    def load(case):
        time.sleep(0.2)
        return load_case(case, dataset)

    journal_module._SECONDS = 0.0  # results are kept as they come

    def report(done, total):
        print("scored", done, flush=True)

    results = pass_(params, jax.random.key(1), dataset.cases, load, report, Journal(journal))
    print("hash", hashlib.sha256(b"".join(leaf.tobytes() for leaf in jax.tree.leaves(results))).hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
