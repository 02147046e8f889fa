"""The same work done by jaxal and by what people use today, in turns on the same machine.

    python -m benchmarks.against_peers --python PEERS/bin/python --out benchmarks/results/against-peers-cpu.json
    python -m benchmarks.against_peers --quick --python PEERS/bin/python

The peers run in a process of their own and may have a virtual environment of their own (`--python`), made so:

    python -m venv PEERS && PEERS/bin/pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    PEERS/bin/pip install scikit-activeml==1.0.1 "structlog<23" torchmetrics tqdm pandas && PEERS/bin/pip install --no-deps baal==2.1.0

Network, weights, files, number of samples and threads are the same for all; a row says by how much the peer takes longer, as the
median and quartiles of ratios of single turns. A peer that is not installed is left out, and a line says so.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measure import keep_compiled, median, plot_ratios, ratio, use_all_cores, write
from benchmarks.pool import (
    CLASSES,
    FULL,
    IMAGE_BATCH,
    QUICK,
    Bench,
    Sizes,
    key,
    make_bench,
    make_image_bench,
    named_weights,
    write_loose,
)
from jaxal.acquisition import gradients, information, selection
from jaxal.arrays import flat, logits_of
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.scoring.statistics import StatisticsConfig

BATCH = 2  # of the peers; ours takes one case on each device
TASKS = ("segmentation", "classification", "selection")


class Peer:
    """The other process: a Python and the script that it runs."""

    def __init__(self, python: str, script: Path = Path(__file__).parent / "peers_torch.py"):
        command = [python, str(script)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, call: str, **arguments: Any) -> tuple[float, Any]:
        """Seconds that a call took over there, and its result."""
        try:
            self._process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The peers' process ended; does its Python have what the benchmark's head says?")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["seconds"], answer["result"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


class Contest:
    """Runs pairs of turns and keeps the rows."""

    def __init__(self, peer: Peer, pairs: int, console: Console):
        self.peer, self.pairs, self.console = peer, pairs, console
        self.rows: list[dict] = []

    def run(
        self, peer: str, what: str, ours: Callable[[], Any], call: str, agreement: Callable | None = None, **arguments
    ) -> None:
        """Takes turns; `agreement` makes one number of both results, to show that both did the same."""
        try:
            _, peer_result = self.peer(call, **arguments)  # both once before the clock runs
        except RuntimeError as error:
            if "ModuleNotFoundError" not in str(error) and "ImportError" not in str(error):
                raise
            self.console.print(f"{peer} is left out: {error}")
            return
        our_result = jax.block_until_ready(ours())
        our_seconds, peer_seconds = [], []
        for _ in range(self.pairs):
            start = time.perf_counter()
            jax.block_until_ready(ours())
            our_seconds.append(time.perf_counter() - start)
            peer_seconds.append(self.peer(call, **arguments)[0])
        row = {
            "task": _task_of(call),
            "peer": peer,
            "what": what,
            "peer_over_ours": ratio(peer_seconds, our_seconds),
            "ours_seconds": median(our_seconds),
            "peer_seconds": median(peer_seconds),
            "pairs": self.pairs,
            "sizes": {name: value for name, value in arguments.items() if name != "path"},
        }
        if agreement:
            row["largest_difference"] = float(agreement(our_result, peer_result))
        self.rows.append(row)
        self.console.print(f"  {peer}, {what}: {row['peer_over_ours']['median']:.2f}")


def _task_of(call: str) -> str:
    if call.startswith("images"):
        return "classification"
    return "selection" if any(part in call for part in ("aeig", "badge", "center")) else "segmentation"


def segmentation(contest: Contest, bench: Bench, folder: Path, sizes: Sizes, few: int) -> None:
    """BALD over files on disk, dropout at the head."""
    np.savez(folder / "weights.npz", **named_weights(bench.params))
    contest.peer(
        "setup",
        folder=str(write_loose(bench, folder / "loose")),
        weights=str(folder / "weights.npz"),
        width=sizes.width,
        classes=2,
        batch_size=BATCH,
    )
    contest.peer("logits", path=str(folder / "logits.npy"))
    image = bench.load(bench.dataset.cases[0]).image[None]
    model, params = bench.model, bench.params
    ours = logits_of(flat(model.tail(params, model.stem(params, image), None)), *model.head(params))[0]
    difference = np.abs(np.load(folder / "logits.npy").reshape(2, -1) - np.asarray(ours)).max()
    contest.console.print(f"Largest difference between the two networks' logits: {difference:.1e}")
    if not difference < 1e-2:
        raise RuntimeError("The two networks differ; their times cannot be compared.")
    passes = {
        name: Pass(bench.kind, model, [name], MembersConfig(dropout=sizes.members), 1, StatisticsConfig())
        for name in ("entropy", "bald")
    }

    def over(name: str, count: int):
        return lambda: passes[name](params, key(), bench.dataset.cases[:count], bench.load)[name]

    def mean_difference(our_scores, their_scores):  # the samples differ, so cases agree on average only
        return abs(np.mean(our_scores) - np.mean(their_scores)) / np.mean(our_scores)

    contest.run("PyTorch", "entropy: forward of the pool", over("entropy", sizes.cases), "forward", cases=sizes.cases)
    contest.run(
        "PyTorch by hand", "bald, features once", over("bald", sizes.cases), "bald_by_hand", mean_difference, cases=sizes.cases,
        members=sizes.members,
    )  # fmt: skip
    if jax.default_backend() == "gpu":
        contest.run(
            "PyTorch by hand, compiled", "bald, features once", over("bald", sizes.cases), "bald_by_hand", mean_difference,
            cases=sizes.cases, members=sizes.members, compiled=True,
        )  # fmt: skip
    contest.run("BaaL 2.1.0", "bald", over("bald", few), "bald_by_baal", mean_difference, cases=few, members=sizes.members)


def classification(contest: Contest, folder: Path, images: int, few: int, members: int) -> None:
    """Entropy and BALD over images on disk, ResNet-18 with dropout before its last layer, at 64 x 64 pixels and 5 classes."""
    pool = make_image_bench(folder / "images", images)
    np.savez(folder / "image-weights.npz", **named_weights(pool.params))
    contest.peer("images_setup", weights=str(folder / "image-weights.npz"), batch_size=IMAGE_BATCH, classes=CLASSES, **pool.about)

    def over(name: str, count: int):
        pass_ = Pass(pool.kind, pool.model, [name], MembersConfig(dropout=members), IMAGE_BATCH, StatisticsConfig())
        return lambda: pass_(pool.params, key(), pool.dataset.cases[:count], pool.load)[name]

    def difference(our_scores, their_scores):
        return np.abs(np.asarray(our_scores) - np.asarray(their_scores)).max()

    def mean_difference(our_scores, their_scores):  # the samples differ, so images agree on average only
        return abs(np.mean(our_scores) - np.mean(their_scores)) / np.mean(our_scores)

    contest.run("PyTorch", "entropy of images", over("entropy", images), "images_entropy", difference, images=images)
    contest.run(
        "PyTorch by hand", "bald of images, features once", over("bald", images), "images_bald_by_hand", mean_difference, images=images,
        members=members,
    )  # fmt: skip
    contest.run(
        "BaaL 2.1.0", "bald of images", over("bald", few), "images_bald_by_baal", mean_difference, images=few, members=members
    )


def information_gain(contest: Contest, folder: Path, candidates: int, looped: int) -> None:
    """AEIG from given features: 5 classes, 1000 evaluation images, 512 features, as in diabetic retinopathy."""
    rng = np.random.default_rng(0)
    classes, evaluation, width, rate = 5, 1000, 512, 5e-4
    arrays = {
        "pool": np.abs(rng.normal(size=(candidates, width))), "evaluation": np.abs(rng.normal(size=(evaluation, width))),
        "kernel": rng.normal(size=(width, classes)) / np.sqrt(width), "bias": rng.normal(size=classes),
        "frequency": np.array([6150, 588, 1283, 221, 166]) / 8408,
    }  # fmt: skip
    arrays = {name: values.astype(np.float32) for name, values in arrays.items()}
    np.savez(folder / "aeig.npz", **arrays)
    contest.peer("aeig_setup", path=str(folder / "aeig.npz"), rate=rate)

    @jax.jit
    def scores(pool, evaluation, kernel, bias, frequency):
        reference = information.make_reference(evaluation.T, kernel, bias, jnp.ones(len(evaluation)), frequency)
        probability = jax.nn.softmax(jnp.matmul(pool, kernel, precision="highest") + bias[None], -1)
        gain = information.information_gain(information.Items(pool, probability), reference, "aeig", rate, long_steps=False)
        return gain.mass + gain.gain

    def ours(count: int):
        return functools.partial(scores, **{**arrays, "pool": arrays["pool"][:count]})

    def difference(our_scores, their_scores):
        return np.abs(np.asarray(our_scores) - np.asarray(their_scores)).max() / np.abs(np.asarray(our_scores)).max()

    contest.run("the paper's loop in PyTorch", "aeig from features", ours(looped), "aeig_by_loop", difference, candidates=looped)
    contest.run("batched PyTorch", "aeig from features", ours(candidates), "aeig_batched", difference, candidates=candidates)


def selections(contest: Contest, folder: Path, items: int, points: int, budget: int) -> None:
    """BADGE's draws and k-center's picks from given features."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(items, 768)).astype(np.float32)
    probability = rng.dirichlet(np.full(100, 0.1), items).astype(np.float32)
    error = np.asarray(gradients.hallucinated_error(jnp.asarray(probability.T))).T
    np.savez(folder / "badge.npz", features=features, error=error)
    contest.peer("badge_setup", path=str(folder / "badge.npz"))
    arguments = jnp.asarray(features), jnp.asarray(error), jnp.ones(items, bool)
    contest.run(
        "BADGE's reference, factorised, in PyTorch", f"badge, n={items}",
        lambda: selection.k_means_plus_plus_of_gradients(key(), *arguments, budget), "badge_factorised", budget=budget,
    )  # fmt: skip
    vectors = rng.normal(size=(points, 64)).astype(np.float32)
    labels = np.full(points, np.nan)
    labels[:20] = 0
    np.savez(folder / "points.npz", points=vectors, labels=labels)

    def ours():
        chosen = selection.k_center(jnp.asarray(vectors[20:]), jnp.asarray(vectors[:20]), jnp.ones(points - 20, bool), budget)[0]
        return chosen + 20

    contest.run(
        "scikit-activeml 1.0.1", f"k-center, n={points}", ours, "k_center_by_skactiveml",
        lambda our_picks, their_picks: np.count_nonzero(np.asarray(our_picks) != np.asarray(their_picks)),
        path=str(folder / "points.npz"), budget=budget,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute; no figures to quote")
    parser.add_argument("--python", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="what to compare")
    parser.add_argument("--pairs", type=int, help="turns of each pair")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    use_all_cores()
    sizes = QUICK if options.quick else FULL
    pairs = options.pairs or (2 if options.quick else 10)
    console = Console(width=130)
    console.print(f"{sizes}, {pairs} pairs")
    peer = Peer(options.python)
    contest = Contest(peer, pairs, console)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keep_compiled(folder / "compiled")
        about = contest.peer("about")[1]
        if "segmentation" in options.tasks:
            segmentation(contest, make_bench(folder / "pool", sizes), folder, sizes, few=4 if options.quick else 8)
        if "classification" in options.tasks:
            classification(contest, folder, *((64, 32) if options.quick else (2000, 128)), sizes.members)
        if "selection" in options.tasks:
            candidates, looped, items, points = (500, 100, 2000, 500) if options.quick else (4500, 4500, 20000, 5000)
            information_gain(contest, folder, candidates, looped)
            selections(contest, folder, items, points, budget=10)
        peer.close()
    table = Table("peer", "what", "ours ms", "peer ms", "peer over ours", "quartiles")
    for row in contest.rows:
        ratios = row["peer_over_ours"]
        table.add_row(
            row["peer"], row["what"], f"{1e3 * row['ours_seconds']:.1f}", f"{1e3 * row['peer_seconds']:.1f}", f"{ratios['median']:.2f}",
            f"{ratios['low']:.2f} to {ratios['high']:.2f}",
        )  # fmt: skip
    console.print(table)
    if options.out:
        write(options.out, contest.rows, {**sizes._asdict(), "pairs": pairs, "quick": options.quick, "peers": about})
        shown = {f"{row['peer']}: {row['what']}": row["peer_over_ours"] for row in contest.rows}
        plot_ratios(options.out.with_suffix(".png"), "The peer's time over ours", shown)


if __name__ == "__main__":
    main()
