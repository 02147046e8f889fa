"""Four workers share 24 short runs, three are killed at random and one comes late; then the ledgers are compared with one worker's.

python tests/soak_workers.py --repetitions 1

It also measures what a worker spends between two runs, looking at all of them and claiming one.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import killing
import tiny

from jaxal.report.terminal import Display
from jaxal.studies.workers import Piece, Work, shared

STRATEGIES, SEEDS, ROUNDS = ("random", "entropy", "bald", "aeig"), 6, 2


def command(data: Path, out: Path, *more: str) -> list[str]:
    given = killing.command(data, out, STRATEGIES[0], "--seeds", str(SEEDS), "--full", "False", *more)
    place = given.index("--strategy") + 1
    given[place : place + 1] = STRATEGIES
    given[given.index("--rounds") + 1] = str(ROUNDS)
    return given


def ledgers(out: Path) -> dict[str, list[dict]]:
    """All ledgers without times, by run."""
    told = {}
    for path in sorted(out.glob("*/*/seed-*/rounds.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        told[path.parent.relative_to(out).as_posix()] = [
            {name: value for name, value in line.items() if name != "seconds"} for line in lines
        ]
    return told


def once(data: Path, out: Path, cache: Path, seconds: float, rng: random.Random) -> list[str]:
    """Four workers on one folder; returns what each said."""
    workers = [killing.start(command(data, out), cache, PYTHONUNBUFFERED="1") for _ in range(3)]
    began, killed = time.monotonic(), 0
    moments = sorted(rng.uniform(0.1, 0.8) * seconds for _ in workers)
    late = None
    for place, moment in enumerate(moments):
        time.sleep(max(began + moment - time.monotonic(), 0))
        killed += workers[place].poll() is None
        workers[place].kill()
        if late is None:
            late = killing.start(command(data, out), cache, PYTHONUNBUFFERED="1")
    said, _ = late.communicate()
    print(f"{killed} workers killed after {', '.join(f'{moment:.1f}' for moment in moments)} s")
    if late.returncode:
        raise AssertionError(said)
    return [said, *(worker.communicate()[0] for worker in workers)]


def milliseconds_a_claim(out: Path, count: int) -> float:
    """What a worker spends between two runs, on a folder of so many that takes no work."""
    pieces, spent = [Piece(out / "one" / "random" / f"seed-{seed}", 1) for seed in range(count)], 0.0

    def work(given: Work) -> None:
        nonlocal spent
        begin = time.perf_counter()
        ledger = pieces[given.number].folder / "rounds.jsonl"
        ledger.parent.mkdir(parents=True)
        ledger.write_text(json.dumps({"queried": ["x"]}) + "\n")
        spent += time.perf_counter() - begin

    begin = time.perf_counter()
    shared(pieces, out, 600.0, Display(quiet=True), work)
    return 1000 * (time.perf_counter() - begin - spent) / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng, wrong = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, cache = tiny.write_dataset(folder / "balls"), folder / "compiled"
        for attempt in ("first", "alone"):  # the first fills the cache
            begin = time.monotonic()
            status, output = killing.finish(command(data, folder / attempt), cache)
            seconds = time.monotonic() - begin
            if status:
                print(output)
                return 1
        expected = ledgers(folder / "alone")
        print(f"one worker: {len(expected)} runs in {seconds:.1f} s", flush=True)
        print(
            f"looking at {len(expected)} runs and claiming one: {milliseconds_a_claim(folder / 'claimed', len(expected)):.1f} ms"
        )
        for number in range(options.repetitions):
            out = folder / f"shared-{number}"
            begin = time.monotonic()
            said = once(data, out, cache, seconds / 2, rng)
            same = ledgers(out) == expected
            begun = sum(text.count(" of 24]") for text in said)
            wrong += not same
            print(
                f"shared by four: {time.monotonic() - begin:.1f} s, {begun} runs begun, {'the same ledgers' if same else 'OTHER LEDGERS'}",
                flush=True,
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
