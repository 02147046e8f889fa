"""How long scoring a pool takes, by strategy, from files on disk to the query, over what the network's forward alone takes.

    python -m benchmarks.throughput --out benchmarks/results/throughput-cpu.json
    python -m benchmarks.throughput --task classification --out benchmarks/results/throughput-images-cpu.json
    python -m benchmarks.throughput --quick

Contestants take turns over the same files, and beside each of them run once more the forward alone and `entropy`, to which it is
compared: the machine's speed drifts by more than what is to be measured. `forward` reads, runs the network once and keeps a mean of the logits; each
strategy reads, passes, scores and selects. What strategies of information gain need of the evaluation set is collected before
and reported in a row of its own. Images are 64 x 64 pixels of five classes, the network a ResNet-18. `bald, decoder` draws dropout in the decoder; beside it stand the stem and its tails alone.
"""

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table

from benchmarks.measure import interleaved, keep_compiled, median, plot_ratios, ratio, use_all_cores, write
from benchmarks.pool import (
    FULL,
    IMAGE_BATCH,
    IMAGE_SIDE,
    QUICK,
    Bench,
    ImageBench,
    Sizes,
    convolution_flops,
    key,
    make_bench,
    make_image_bench,
    matmul_ceiling,
    on_all_devices,
    resnet18_flops,
)
from jaxal.arrays import flat, logits_of
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.strategies.contract import Context, Needs, decide
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, STRATEGIES
from jaxal.types import Seen, Unit

CONFIG = StatisticsConfig()
BATCH = 1  # cases on each device at once
TURN = 8  # cases that a contestant scores in a turn
IMAGES, IMAGE_TURN = 2000, 256


class Contest:
    """The contestants of one batch size and number of samples, over one pool."""

    def __init__(self, bench: Bench | ImageBench, batch_size: int, members: int, cases: int):
        self.bench, self.batch_size = bench, batch_size
        self.members = MembersConfig(dropout=members)
        self.cases, self._turn = cases, 0
        self.few = bench.dataset.cases[: min(8, cases)]  # stand in for the labelled and the evaluation set
        self.program_bytes: dict[str, int] = {}

    @property
    def pool(self):
        """The cases of this turn; every turn takes the next ones of the files on disk."""
        files = self.bench.dataset.cases
        start = self._turn * self.cases % len(files)
        return files[start : start + self.cases]

    def next_turn(self) -> None:
        self._turn += 1

    def make_pass(self, names) -> Pass | None:
        return Pass(self.bench.kind, self.bench.model, names, self.members, self.batch_size, CONFIG) if names else None

    def over(self, pass_: Pass | None, cases):
        return pass_(self.bench.params, key(), cases, self.bench.load) if pass_ else {}

    def forward(self) -> Callable:
        model = self.bench.model

        def mean_logits(params, images):
            return logits_of(flat(model.tail(params, model.stem(params, images), None)), *model.head(params)).mean((1, 2))

        over = on_all_devices(mean_logits, self.bench, self.batch_size)
        return lambda: over(self.pool)

    def strategy(self, name: str) -> Callable:
        chosen = self.bench.kind.strategies[name]()
        labelled = Seen(self.few, self.over(self.make_pass(chosen.needs.labelled), self.few))
        evaluation = Seen(self.few, self.over(self.make_pass(chosen.needs.evaluation), self.few))
        pass_ = self.make_pass(chosen.needs.pool)
        self._note_bytes(name, pass_)
        return functools.partial(self._score, [chosen], pass_, labelled, evaluation)

    def everything(self, names) -> Callable:
        """All strategies in one pass."""
        chosen = [self.bench.kind.strategies[name]() for name in names]
        needs = Needs(*(tuple(sorted(set().union(*part))) for part in zip(*(strategy.needs for strategy in chosen), strict=True)))
        labelled, evaluation = (Seen(self.few, self.over(self.make_pass(part), self.few)) for part in needs[1:])
        pass_ = self.make_pass(needs.pool)
        self._note_bytes("all", pass_)
        return functools.partial(self._score, chosen, pass_, labelled, evaluation)

    def _score(self, chosen, pass_, labelled, evaluation):
        statistics = self.over(pass_, self.pool)
        context, head = Context(key(), [Unit(case) for case in self.pool]), self.bench.model.head(self.bench.params)
        return [decide(strategy, context, head, statistics, labelled, evaluation, 4).query.scores for strategy in chosen]

    def _note_bytes(self, name: str, pass_: Pass | None) -> None:
        if pass_:
            self.program_bytes[name] = pass_.program_bytes(self.bench.params, key(), self.bench.load(self.pool[0]))


def measure(
    bench: Bench | ImageBench, sizes: Sizes, batch_size: int, members: int, cases: int, repeats: int, names: list[str]
) -> list[dict]:
    """Rows of all strategies at one batch size and number of samples."""
    contest = Contest(bench, batch_size, members, cases)
    forward, entropy = contest.forward(), contest.strategy("entropy")
    contestants = {name: contest.strategy(name) for name in names} | {"all": contest.everything(names)}
    evaluation = contest.make_pass(("evaluation_sample",))
    contestants["evaluation set of aeig"] = lambda: contest.over(evaluation, contest.pool)
    # Forward and entropy run again beside each contestant: the machine's speed drifts by more than what is to be measured.
    beside = {
        (name, what): call
        for name, contestant in contestants.items()
        for what, call in (("forward", forward), ("entropy", entropy), ("own", contestant))
    }
    seconds = interleaved(beside, repeats, contest.next_turn)
    rows = [
        {
            "task": bench.kind.name,
            "strategy": name,
            "batch_size": batch_size,
            "members": members,
            "seconds_per_case": median(seconds[name, "own"]) / cases,
            "over_forward": ratio(seconds[name, "own"], seconds[name, "forward"]),
            "over_entropy": ratio(seconds[name, "own"], seconds[name, "entropy"]),
            "program_bytes": contest.program_bytes.get(name),
        }
        for name in contestants
    ]
    dearest = max(rows[:-2], key=lambda row: row["over_forward"]["median"])["strategy"]
    pair = {"dearest": contestants[dearest], "all": contestants["all"]}
    if sizes.cases > cases:  # selection costs the same for few cases as for many
        whole = Contest(bench, batch_size, members, sizes.cases)
        pair = {"dearest": whole.strategy(dearest), "all": whole.everything(names)}
    pair = interleaved(pair, max(2, repeats // 2))
    rows[-2]["over_dearest"] = {"strategy": dearest, **ratio(pair["all"], pair["dearest"])}
    every = [seconds[name, "forward"] for name in contestants]
    return [{"task": bench.kind.name, "strategy": "forward", "batch_size": batch_size, "members": 0,
             "seconds_per_case": median([value for part in every for value in part]) / cases, "over_forward": None, "over_entropy": None,
             "program_bytes": None}, *rows]  # fmt: skip


def measure_decoder(folder: Path, sizes: Sizes, cases: int, repeats: int, batch_size: int) -> dict:
    """BALD with dropout in the decoder, over its stem and its tails run alone."""
    bench = make_bench(folder, sizes, dropout="decoder")
    contest = Contest(bench, batch_size, sizes.members, cases)
    model = bench.model

    def stem_and_tails(params, images):
        hidden = model.stem(params, images)
        keys = jax.random.split(key(), sizes.members)
        space = tuple(range(1, images.ndim))

        def add_member(total, key):
            return total + model.tail(params, hidden, model.draw_masks(key)).features.mean(space), None

        certain = model.tail(params, hidden, None).features.mean(space)  # the pass looks at the prediction without dropout, too
        return jax.lax.scan(add_member, certain, keys)[0]

    over = on_all_devices(stem_and_tails, bench, batch_size)

    def alone():
        return over(contest.pool)

    seconds = interleaved({"alone": alone, "bald": contest.strategy("bald"), "forward": contest.forward()}, repeats)
    return {
        "task": "segmentation",
        "strategy": "bald, decoder dropout",
        "batch_size": batch_size,
        "members": sizes.members,
        "seconds_per_case": median(seconds["bald"]) / cases,
        "over_forward": ratio(seconds["bald"], seconds["forward"]),
        "over_entropy": None,
        "over_stem_and_tails": ratio(seconds["bald"], seconds["alone"]),
        "program_bytes": contest.program_bytes["bald"],
    }


def show(rows: list[dict], console: Console) -> None:
    table = Table("strategy", "batch", "T", "ms/case", "over forward", "over entropy", "MB", "")
    for row in rows:
        extra = ""
        for name, text in (("over_dearest", "over the dearest"), ("over_stem_and_tails", "over stem and tails")):
            if name in row:
                extra = f"{row[name]['median']:.2f} {text}"
        cells = [
            f"{row[key]['median']:.2f} ±{_spread(row[key]):.2f}" if row[key] else "–" for key in ("over_forward", "over_entropy")
        ]
        megabytes = f"{row['program_bytes'] / 1e6:.0f}" if row["program_bytes"] else "–"
        table.add_row(
            row["strategy"],
            str(row["batch_size"]),
            str(row["members"]),
            f"{1e3 * row['seconds_per_case']:.1f}",
            *cells,
            megabytes,
            extra,
        )
    console.print(table)


def _spread(ratios: dict) -> float:
    return (ratios["high"] - ratios["low"]) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute; no figures to quote")
    parser.add_argument("--task", choices=("segmentation", "classification"), default="segmentation")
    parser.add_argument("--repeats", type=int, help="turns of each contestant")
    parser.add_argument(
        "--strategies",
        nargs="+",
        choices=list({**STRATEGIES, **CLASSIFICATION_STRATEGIES}),
        help="these alone, at one batch size, for more turns in less time",
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    use_all_cores()
    images = options.task == "classification"
    sizes = QUICK if options.quick else FULL
    if images:
        sizes = sizes._replace(cases=64 if options.quick else IMAGES, shape=(IMAGE_SIDE, IMAGE_SIDE), width=64)
    table = CLASSIFICATION_STRATEGIES if images else STRATEGIES
    repeats = options.repeats or (2 if options.quick else 10)
    names = ["bald", "aeig"] if options.quick else [name for name in table if name != "random"]
    names = options.strategies or names
    console = Console(width=130)
    console.print(f"{sizes}, {repeats} turns")
    ceiling = matmul_ceiling()
    with tempfile.TemporaryDirectory() as folder:
        keep_compiled(Path(folder) / "compiled")
        bench = make_image_bench(Path(folder) / "images", sizes.cases) if images else make_bench(Path(folder) / "pool", sizes)
        batch, turn = (IMAGE_BATCH, IMAGE_TURN) if images else (BATCH, TURN)
        rows = measure(bench, sizes, batch, sizes.members, min(turn, sizes.cases), repeats, names)
        forward = (resnet18_flops(IMAGE_SIDE) if images else convolution_flops(sizes)) / rows[0]["seconds_per_case"]
        if not (options.quick or options.strategies or images):
            few = ["entropy", "bald", "aeig"]
            for batch_size, members in ((2, sizes.members), (4, sizes.members), (BATCH, 5), (BATCH, 50)):
                rows += measure(bench, sizes, batch_size, members, TURN, repeats, few)
        if not (options.quick or options.strategies or images):
            rows.append(measure_decoder(Path(folder) / "pool", sizes, 4, max(repeats // 2, 3), BATCH))
    show(rows, console)
    console.print(
        f"The forward pass reaches {forward / 1e9:.0f} GFLOP/s, {forward / ceiling:.0%} of a large matrix product's {ceiling / 1e9:.0f}."
    )
    if options.out:
        circumstances = {
            **sizes._asdict(),
            "repeats": repeats,
            "forward_flops": forward,
            "matmul_flops": ceiling,
            "quick": options.quick,
        }
        write(options.out, rows, circumstances)
        shown = {
            row["strategy"]: row["over_forward"] for row in rows if (row["batch_size"], row["members"]) == (batch, sizes.members)
        }
        shown.pop("bald, decoder dropout", None)
        plot_ratios(options.out.with_suffix(".png"), "Time to score a pool over the network's forward alone", shown)


if __name__ == "__main__":
    main()
