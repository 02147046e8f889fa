"""How segmentations are assessed: pooled F1 and Dice, by group and class, against counts by hand."""

import by_hand
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition.selection import Query
from jaxal.assessment import calibration, metrics
from jaxal.errors import UserError
from jaxal.rounds.ledger import Ledger, read_runs
from jaxal.strategies.contract import Decision
from jaxal.tasks.image_segmentation import IMAGE_SEGMENTATION
from jaxal.tasks.measures import CASES, shares_of
from jaxal.tasks.overlap import DICE, POOLED_F1, PooledCurve, pooled_curve_of
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.tasks.table import kind_of
from jaxal.types import Case, Seen

CLASSES = ("background", "benign", "malignant")
CASES_OF_TEST = [Case(f"i{place}", group, None, None) for place, group in enumerate("ABAB")]
_SUMS = jax.jit(calibration.calibration_sums)


@pytest.fixture(scope="module")
def seen():
    """Four images of 200 pixels, the last of which neither has nor is given foreground."""
    rng = np.random.default_rng(0)
    truth = rng.choice(3, size=(4, 200), p=(0.6, 0.3, 0.1))
    logits = rng.normal(size=(4, 3, 200)).astype(np.float32) + 1.5 * np.eye(3)[truth].transpose(0, 2, 1)
    truth[3], logits[3, 0] = 0, 20
    known = np.ones(200, bool)
    counts, sums = ([form(jnp.asarray(image, jnp.float32), jnp.asarray(label), known) for image, label in zip(logits, truth, strict=True)]
                    for form in (metrics.overlap, _SUMS))  # fmt: skip
    stacked = [jax.tree.map(lambda *parts: np.stack(parts), *of_images) for of_images in (counts, sums)]
    return Seen(CASES_OF_TEST, {"overlap": stacked[0], "calibration": stacked[1]}), truth, logits.argmax(1)


def line(kind, seen, round_=0):
    decision = Decision(np.zeros(2), Query((seen.cases[0].id,), (0.7,), 0.05), {}, {})
    labelled = Seen(seen.cases[:2], {"overlap": metrics.Overlap(*(part[:2] for part in seen.statistics["overlap"]))})
    seconds = dict.fromkeys(("train", "score", "select", "evaluate"), 1.0)
    return by_hand.record(kind, seen.cases, CLASSES, labelled, seen, decision, round_, seconds=seconds)


def f1_by_hand(truth, guess):
    both = ((truth > 0) & (guess > 0)).sum()
    return 2 * both / ((truth > 0).sum() + (guess > 0).sum())


def test_pooled_f1_is_that_of_all_pixels_at_once(seen):
    test, truth, guess = seen
    found = line(IMAGE_SEGMENTATION, test)["f1"]
    assert found["overall"] == pytest.approx(f1_by_hand(truth, guess))
    assert found["by_group"] == pytest.approx(
        {"A": f1_by_hand(truth[::2], guess[::2]), "B": f1_by_hand(truth[1::2], guess[1::2])}
    )
    of_class = {name: f1_by_hand(truth == place, guess == place) for place, name in enumerate(CLASSES) if place}
    assert found["by_class"] == pytest.approx(of_class) and found["undefined"] == 1
    assert line(SEGMENTATION, test)["pooled_f1"] == found["overall"]


def test_both_assessments_say_the_same_beside_their_main_measure(seen):
    pooled, plain = (line(kind, seen[0]) for kind in (IMAGE_SEGMENTATION, SEGMENTATION))
    assert pooled["mean_dice"] == plain["dice"]["overall"]
    same = ("test", "nll", "ece", "reliability", "labelled_dice", "labelled_elements_by_class", "calibration_by_group")
    assert {name: pooled[name] for name in same} == {name: plain[name] for name in same}
    assert pooled["disparity"] == pytest.approx(abs(pooled["f1"]["by_group"]["A"] - pooled["f1"]["by_group"]["B"]))


def test_the_ledger_counts_labelled_elements_by_class_and_calibration_by_group(seen):
    test, truth, _ = seen
    entry = line(SEGMENTATION, test)
    counts = np.bincount(truth[:2].reshape(-1), minlength=3)
    assert entry["labelled_elements_by_class"] == dict(zip(CLASSES, counts.tolist(), strict=True))
    own = calibration.entries(jax.tree.map(lambda part: part[::2], test.statistics["calibration"]))
    assert entry["calibration_by_group"]["A"]["brier"] == own["brier"]
    assert entry["reliability_by_group"]["A"] == own["reliability"]
    assert sum(entry["reliability_by_group"]["B"]["count"]) == 400


def test_without_foreground_there_is_no_f1(seen):
    nothing = Seen(seen[0].cases[3:], jax.tree.map(lambda part: part[3:], seen[0].statistics))
    with pytest.raises(
        UserError, match="None of the 1 test cases holds any foreground, and none was predicted, so there is no F1"
    ):
        line(IMAGE_SEGMENTATION, nothing)


def test_a_ledger_of_plane_images_is_read_as_such(seen, tmp_path):
    for round_ in range(2):
        Ledger(tmp_path / "images" / "random" / "seed-0" / "rounds.jsonl").append(line(IMAGE_SEGMENTATION, seen[0], round_))
    (run,) = read_runs(tmp_path)
    assert kind_of(run.rounds) is IMAGE_SEGMENTATION
    curve = pooled_curve_of(run.rounds)
    assert curve.levels().tolist() == [run.rounds[0]["f1"]["overall"]] * 2
    assert {*curve.measures()} <= {*POOLED_F1.measures, "f1_A", "f1_B"} and {*POOLED_F1.in_short} - {
        "labels",
        "labelled_share",
    } <= {*curve.measures()}
    broken = {name: value for name, value in run.rounds[0].items() if name != "f1"}
    (tmp_path / "broken").mkdir()
    Ledger(tmp_path / "broken" / "rounds.jsonl").path.write_text("")
    with pytest.raises(UserError, match="lacks the entry 'f1'"):
        ledger = Ledger(tmp_path / "broken" / "rounds.jsonl")
        ledger.append(broken)
        ledger.read()


def test_measures_of_a_pooled_curve_by_hand():
    curve = PooledCurve(np.array([10.0, 20.0]), None, np.array([0.6, 0.8]), {"A": 0.9, "B": 0.6}, {"nll": 0.2})
    assert curve.measures() == pytest.approx({
        "f1": 0.8, "f1_A": 0.9, "f1_B": 0.6, "worst_group": 0.6, "disparity": 0.3, "essp": 0.8 / 1.3, "area": 0.7, "nll": 0.2
    })  # fmt: skip


def test_curves_run_over_what_the_budget_counts():
    entry = {"labelled": 4, "pool": 8, "labelled_elements": 30, "pool_elements": 120, "round": 3}
    test = {"a": {"group": "", "dice": 0.5}}
    rounds = [{**entry, "test": test, "nll": 0.1, "ece": 0.2}]
    shares = shares_of("voxels")
    assert (DICE.curve_of(rounds, CASES).labelled.tolist(), DICE.curve_of(rounds, CASES).pool) == ([4], 12)
    assert (DICE.curve_of(rounds, shares).labelled.tolist(), DICE.curve_of(rounds, shares).pool) == ([25.0], None)
    assert DICE.curve_of(rounds, CASES).measures().keys() == {"dice", "area", "nll", "ece"}  # an older ledger says no more
    assert (shares.after(25.0, 25.04), shares.after(25.0, 30.0)) == (
        "with 25.0\u00a0% of all voxels labelled", "with 25.0 to 30.0\u00a0% of all voxels labelled"
    )  # fmt: skip
    assert (CASES.after(1, 1), CASES.after(8, 12)) == ("after 1 labelled case", "after 8 to 12 labelled cases")
