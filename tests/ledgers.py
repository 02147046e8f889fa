"""Ledgers of studies that nobody ran, for the report: of two groups or many, with pictures or without."""

import numpy as np

from jaxal.rounds.ledger import FULL, Ledger, read_runs
from jaxal.rounds.pictures import _write_picture
from jaxal.tasks.pictures import draw_case
from jaxal.types import Example

GROUPS = ("A", "B")
MANY_GROUPS = tuple(
    f"{sex}, {age} years" for age in ("18 to 39", "40 to 59", "60 to 74", "75 and more") for sex in ("women", "men")
)


def record(round_, labelled, level, rng, queried, groups=GROUPS):
    """A ledger's line of 12 test cases or six a group; each group is worse than the one before."""
    gap = 0.1 if len(groups) == 2 else 0.03
    test = {
        f"t{index:02d}": {
            "group": groups[index % len(groups)],
            "dice": round(float(np.clip(level - gap * (index % len(groups)) + 0.02 * rng.standard_normal(), 0, 1)), 6),
        }
        for index in range(6 * len(groups))
    }
    by_group = {group: float(np.mean([case["dice"] for case in test.values() if case["group"] == group])) for group in groups}
    overall = float(np.mean([case["dice"] for case in test.values()]))
    disparity = sum(abs(value - overall) for value in by_group.values())
    weights = {group: 0.8 if index % 2 == 0 else 1.2 for index, group in enumerate(groups)}
    queried_groups = {unit: groups[index % len(groups)] for index, unit in enumerate(queried)}
    counts = {"A": 1, "B": 1} if len(groups) == 2 else {group: 1 + index % 3 for index, group in enumerate(groups)}
    return {
        "round": round_, "labelled": labelled, "queried": queried, "scores": [0.5 - 0.1 * index for index in range(len(queried))],
        "queried_by_group": counts, "queried_groups": queried_groups, "group_weights": weights,
        "dice": {"overall": overall, "by_group": by_group, "undefined": 0}, "disparity": disparity, "essp": overall / (1 + disparity),
        "nll": 1 - level + 0.001 * rng.random(), "ece": 0.02, "test": test,
        "reliability": {"count": [0, 5, 10], "confidence": [0, 3, 9], "correct": [0, 3, 8]},
        "seconds": {"train": 3.0, "score": 0.5, "select": 0.01, "evaluate": 0.2}, "config": "abcd1234", "versions": {"jax": "0.10"},
        "device": "cpu",
    }  # fmt: skip


def write_study(
    folder,
    strategies=("random", "entropy", "weighted_entropy"),
    seeds=2,
    rounds=3,
    settings=("strong-imbalanced",),
    groups=GROUPS,
    full=0.9,
    pictures=True,
    lead=0.02,
):
    """Writes ledgers below a folder: each strategy is better than the one before by `lead`, each round than the last by 0.05."""
    rng = np.random.default_rng(0)
    for setting in settings:
        for strength, strategy in enumerate(strategies):
            for seed in range(seeds):
                run = folder / setting / strategy / f"seed-{seed}"
                for round_ in range(rounds):
                    queried = [f"case_{seed}{round_}{index}" for index in range(2)]
                    line = record(round_, 8 + 4 * round_, 0.7 + 0.05 * round_ + lead * strength, rng, queried, groups)
                    Ledger(run / "rounds.jsonl").append(line)
                    if pictures:
                        write_pictures(run / "pictures" / f"round-{round_:03d}", queried, rng)
        for seed in (0, 1) if seeds < 3 else range(seeds):
            ledger = Ledger(folder / setting / "full" / f"seed-{seed}" / "rounds.jsonl")
            ledger.append(record(0, 40, full, rng, [], groups))
    return folder


def write_pictures(folder, ids, rng):
    label = np.zeros((24, 28, 20), np.uint8)
    label[8:14, 10:18, 6:12] = 1
    for id_ in ids:
        image = rng.normal(size=(*label.shape, 1)).astype(np.float32) + label[..., None]
        example = Example(image, label, np.ones(label.shape, bool), np.ones(label.shape, bool))
        chance = np.clip(0.8 * np.roll(label, 1, 0) + 0.05, 0, 1)
        _write_picture(folder / f"{id_}.webp", draw_case(example, np.stack([1 - chance, chance])))


THIN = {
    "entropy": (0.3, 0.08, 0.92, 1.4, None),
    "random": (0.5, 0.06, 0.92, 1.3, None),
    "weighted_scaled_entropy": (0.8, 0.03, 0.91, 1.1, 1.5),
}
SPREAD = (-0.02, 0.0, 0.01, 0.01)  # of seeds around a mean


def write_rankings(folder, strategies, rounds=2, seeds=4, part="test", floor=0.02, setting="thin-imbalanced"):
    """`strategies` by name: chance that B comes first, gap and Dice of A after the last round, B's drawn size, and B's weight."""
    rng = np.random.default_rng(0)
    for name, (chance, gap, level, size, weight) in {**strategies, FULL: (0.5, floor, 0.94, 1.05, None)}.items():
        for seed in range(seeds):
            for number in range(1 if name == FULL else rounds):
                last = number == rounds - 1 or name == FULL
                line = record(number, 8 + 4 * number, 0.8, rng, ["x", "y", "z"])
                b_gap = (gap if last else 0.1) + 0.2 * SPREAD[seed]
                line["dice"]["by_group"] = {"A": level, "B": level - b_gap}
                line["dice"]["overall"], line["disparity"] = level - b_gap / 2, b_gap
                line["queried_by_group"] = {"A": 1, "B": 2}
                line["group_weights"] = {"A": 1.0, "B": weight} if weight else {}
                ahead = chance + SPREAD[seed] + (0.05 if number else -0.05 if rounds > 1 else 0)
                known = {
                    "cases": {"A": 6, "B": 6},
                    "outranks": {"A": 1 - ahead, "B": ahead},
                    "correlation": 0.5 - ahead,
                    "correlation_by_group": {"A": None, "B": 0.1},
                    "volume_ratio": {"A": 1.0 + SPREAD[seed], "B": size + SPREAD[seed]},
                }
                line["ranking"] = {"pool": {"outranks": {"A": 0.4, "B": 0.6}}, part: known}
                if not line["group_weights"]:
                    del line["group_weights"]
                Ledger(folder / setting / name / f"seed-{seed}" / "rounds.jsonl").append(line)
    return read_runs(folder)
