"""Kills many tiny runs at random moments and compares each with a run that was never killed.

python tests/soak_kill.py --kills 30
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import killing
import tiny


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng, struck, run, wrong = random.Random(options.seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, cache = tiny.write_dataset(folder / "balls"), folder / "compiled"
        expected, seconds = {}, {}
        variants = [("aeig", ()), ("bald", ("--training", "warm"))]
        for strategy, more in variants:
            for attempt in ("first", "reference"):  # the first fills the cache, the second shows how long a run takes
                begin = time.monotonic()
                status, output = killing.finish(killing.command(data, folder / f"{attempt}-{strategy}", strategy, *more), cache)
                if status:
                    print(output)
                    return 1
                seconds[strategy] = time.monotonic() - begin
            expected[strategy] = killing.rounds(folder / f"reference-{strategy}", strategy)
        while struck < options.kills:
            strategy, more = variants[run % len(variants)]
            kills = min(rng.randint(1, 5), options.kills - struck)
            out = folder / f"run-{run}"
            struck += killing.kill_until_done(data, out, cache, strategy, kills, seconds[strategy], rng, *more)
            same = killing.rounds(out, strategy) == expected[strategy]
            wrong += not same
            print(
                f"run {run} ({strategy}): {struck} of {options.kills} kills so far, {'same' if same else 'DIFFERENT'}", flush=True
            )
            run += 1
    print(f"{struck} kills over {run} runs, {wrong} runs differ from the undisturbed one")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
