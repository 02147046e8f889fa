"""Kills `jaxal ask`, `jaxal take` and `jaxal serve` at random moments, the server in the middle of uploads, and compares each project with
one that was never killed: no label that a reader was told is taken may be lost, none be there twice, no pick be another.

python tests/soak_projects.py --kills 100
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import hurry  # noqa: F401  before JAX starts
import killing_projects as story

from jaxal.cli.main import main as jaxal  # noqa: F401  what it imports is not timed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng, struck, told, wrong, number, began = random.Random(options.seed), Counter(), 0, 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, truth = story.write_scans(folder, 24)
        strategies, expected = ("aeig", "entropy"), {}
        for strategy in strategies:
            story.begin(folder / strategy, data, strategy=strategy)
            reference = story.Killed(folder / strategy, truth, folder / "compiled", rng)
            story.go_through(reference, 3, story.NO_KILLS, story.LONGEST)
            expected[strategy] = story.picks(reference.project)
        while struck.total() < options.kills:
            strategy = strategies[number % 2]
            killed = story.Killed(folder / f"project-{number}", truth, folder / "compiled", rng)
            story.begin(killed.folder, data, strategy=strategy)
            kills = {verb: rng.randint(1, 3) for verb in ("ask", "take", "serve")}
            story.go_through(killed, 3, kills, story.LONGEST)
            if story.picks(killed.project) != expected[strategy]:
                killed.wrong.append("another pick than without kills")
            struck += killed.struck
            told += len(killed.told)
            wrong += len(killed.wrong)
            print(f"project {number} ({strategy}): {dict(struck)} struck so far", *killed.wrong, sep="\n  ", flush=True)
            number += 1
    print(
        f"{struck.total()} kills ({', '.join(f'{verb} {count}' for verb, count in sorted(struck.items()))}) over {number} projects, {told} "
        f"accepted labels, {wrong} things wrong, {time.monotonic() - began:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
