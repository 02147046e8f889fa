"""Calibration against elements in double precision, against other libraries, and by hand."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.metrics import brier_score_loss, log_loss

from jaxal.assessment import calibration, histograms
from jaxal.assessment.histograms import equal_mass, equal_width

VALUES = json.loads((Path(__file__).parents[1] / "fixtures" / "calibration.json").read_text())
COMPILED = jax.jit(calibration.calibration_sums)


def sums_of(probabilities, labels, labelled=None):
    """`probabilities [elements, classes]`; filled up with elements without a label, so that few shapes are compiled."""
    labels = np.asarray(labels)
    filled = 500 - len(labels)
    labelled = np.pad(np.ones(labels.shape, bool) if labelled is None else labelled, (0, filled))
    logits = np.pad(np.log(np.float32(probabilities)), ((0, filled), (0, 0))).T
    return COMPILED(logits, np.pad(labels, (0, filled)).astype(np.int32), labelled)


def drawn(rng, elements=20000, classes=2, scale=4.0, background=6.0, sureness=1.3):
    """Logits that are `sureness` times as large as they should be, `[elements, classes]`, and labels."""
    logits = rng.normal(size=(elements, classes)) * scale
    logits[:, 0] += background
    labels = (special.softmax(logits, 1).cumsum(1) > rng.random((elements, 1))).argmax(1)
    return (sureness * logits).astype(np.float32), labels


@pytest.fixture(scope="module", params=[(2, 6.0), (5, 3.0)], ids=["two classes", "five"])
def pixels(request):
    """Logits, labels, which are labelled, their probability and class in double precision, and the sums."""
    rng = np.random.default_rng(1)
    logits, labels = drawn(rng, 20000, *[request.param[0], 4.0, request.param[1]])
    labelled = rng.random(len(labels)) < 0.8
    sums = COMPILED(jnp.asarray(logits.T), jnp.asarray(labels, jnp.int32), jnp.asarray(labelled))
    return special.softmax(logits[labelled].astype(np.float64), 1), labels[labelled], sums


def plain_error(confidence, right, bins=10):
    """Calibration error in bins of equal width, element by element."""
    error = 0.0
    for low in np.arange(bins) / bins:
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        error += abs((right[inside] - confidence[inside]).sum()) / len(right)
    return error


def sorted_error(confidence, right, bins=10):
    """In bins of equal mass of sorted elements; an element on an edge is shared."""
    order = np.argsort(confidence, kind="stable")
    excess = np.concatenate([[0.0], np.cumsum((confidence - right)[order])])
    edges = np.linspace(0, len(right), bins + 1)
    return np.abs(np.diff(np.interp(edges, np.arange(len(right) + 1), excess))).sum() / len(right)


def test_values_worked_by_hand():
    sums = sums_of([[0.85, 0.15], [0.85, 0.15], [0.35, 0.65], [0.45, 0.55]], [0, 1, 1, 1])
    expected_nll = -(np.log(0.85) + np.log(0.15) + np.log(0.65) + np.log(0.55)) / 4
    assert calibration.negative_log_likelihood(sums) == pytest.approx(expected_nll, rel=1e-6)
    # Bins: {0.85, 0.85} half right, {0.65} right, {0.55} right.
    assert calibration.expected_calibration_error(sums) == pytest.approx((2 * 0.35 + 0.35 + 0.45) / 4, rel=1e-5)
    # Of the foreground: {0.15, 0.15} one true, {0.65} true, {0.55} true; the background mirrors it.
    np.testing.assert_allclose(calibration.calibration_error_by_class(sums), (2 * 0.35 + 0.35 + 0.45) / 4, rtol=1e-5)
    assert calibration.brier_score(sums) == pytest.approx((0.15**2 + 0.85**2 + 0.35**2 + 0.45**2) / 4, rel=1e-5)


def test_likelihood_is_of_the_true_class_not_the_predicted():
    confident_and_wrong = calibration.negative_log_likelihood(sums_of([[0.99, 0.01]], [1]))
    assert confident_and_wrong == pytest.approx(-np.log(0.01), rel=1e-5)


def test_a_rare_class_counts_as_much_as_the_background():
    """Among the most probable classes the background's many hits lie in the bin of the foreground's wrong ones and make up for them."""
    sums = sums_of([[0.999, 0.001]] * 98 + [[0.02, 0.98]] * 2, [0] * 98 + [0, 1])
    assert calibration.expected_calibration_error(sums) == pytest.approx((2 * 0.98 - 1 - 98 * 0.001) / 100, rel=1e-4)
    assert calibration.calibration_error_by_class(sums)[1] == pytest.approx((98 * 0.001 + 2 * 0.98 - 1) / 100, rel=1e-4)
    of_three = sums_of([[0.9, 0.05, 0.05]] * 10, [0] * 10)
    np.testing.assert_allclose(calibration.calibration_error_by_class(of_three), [0.1, 0.05, 0.05], rtol=1e-5)
    assert calibration.classwise_calibration_error(of_three) == pytest.approx(0.2 / 3, rel=1e-5)


def test_measures_are_those_of_single_elements(pixels):
    p, y, sums = pixels
    truth = np.eye(p.shape[1])[y]
    assert calibration.expected_calibration_error(sums) == pytest.approx(plain_error(p.max(1), p.argmax(1) == y), abs=1e-6)
    by_class = [plain_error(p[:, class_], y == class_) for class_ in range(p.shape[1])]
    np.testing.assert_allclose(calibration.calibration_error_by_class(sums), by_class, atol=1e-6)
    assert calibration.classwise_calibration_error(sums) == pytest.approx(np.mean(by_class), abs=1e-6)
    assert calibration.negative_log_likelihood(sums) == pytest.approx(log_loss(y, p), rel=1e-5)
    np.testing.assert_allclose(calibration.brier_by_class(sums), ((p - truth) ** 2).mean(0), rtol=1e-5)
    entries = calibration.entries(sums)
    inside = (p.max(1) > 0.9).sum()
    assert [sum(entries["reliability"]["count"]), entries["reliability"]["count"][-1]] == [len(y), inside]
    assert sum(entries["reliability"]["confidence"]) == pytest.approx(p.max(1).sum(), rel=1e-6)
    assert sum(entries["reliability"]["correct"]) == (p.argmax(1) == y).sum()
    assert json.loads(json.dumps(entries)) == entries


def test_bins_of_equal_mass_are_those_of_sorted_elements(pixels):
    """As exactly as the docstring says, in any number of bins."""
    p, y, sums = pixels
    confidence, right = p.max(1), p.argmax(1) == y
    for bins in (5, 10, 30):
        binning = functools.partial(equal_mass, bins=bins)
        error = calibration.expected_calibration_error(sums, binning)
        assert error == pytest.approx(sorted_error(confidence, right, bins), abs=5e-4)
        by_class = [sorted_error(p[:, class_], y == class_, bins) for class_ in range(p.shape[1])]
        np.testing.assert_allclose(calibration.calibration_error_by_class(sums, binning), by_class, atol=5e-4)


def test_bins_of_equal_mass_differ_by_no_more_than_cut_cells_hold(rng):
    """Elements of one cell that are as unlike as can be: those less sure are all right, the others all wrong."""
    probability = np.repeat([0.51, 0.52], [30, 70])
    right = np.repeat([True, False], [30, 70])
    assert len(set(histograms.cell_of(jnp.asarray(probability, jnp.float32)).tolist())) == 1
    sums = sums_of(np.stack([probability, 1 - probability], 1), np.where(right, 0, 1))
    halves = functools.partial(equal_mass, bins=2)
    error, of_sorted = calibration.expected_calibration_error(sums, halves), sorted_error(probability, right, 2)
    assert 0.05 < abs(error - of_sorted) <= 2.0


def test_equal_probabilities_have_no_order():
    """Half of what is certain is wrong; an order of the elements would make bins that are all right and all wrong of it."""
    for labels in ([0] * 20 + [1] * 20, [1] * 20 + [0] * 20):
        sums = sums_of([[0.75, 0.25]] * 40, labels)
        assert calibration.expected_calibration_error(sums, equal_mass) == pytest.approx(0.25, rel=1e-5)
        assert calibration.expected_calibration_error(sums) == pytest.approx(0.25, rel=1e-5)


def test_bins_are_closed_on_the_right():
    sums = sums_of([[0.5, 0.5], [0.55, 0.45], [0.98, 0.02], [1.0, 1e-30]], [0, 0, 0, 0])
    assert calibration.entries(sums)["reliability"]["count"] == [0, 0, 0, 0, 1, 1, 0, 0, 0, 2]


def test_cells_are_what_lies_between_the_edges(rng):
    exponents = np.concatenate([rng.uniform(-22, -1, 3000), -np.arange(1, 22)])
    rare = (2.0**exponents).astype(np.float32)
    probability = np.concatenate([rare, 1 - rare, rng.random(3000).astype(np.float32), np.float32([0.0, 1.0])])
    cells = np.asarray(histograms.cell_of(jnp.asarray(probability)))
    distance = np.abs(probability[:, None] - histograms.EDGES).min(1)
    sure = distance > 1e-7 * np.minimum(1, probability + 0.01)
    np.testing.assert_array_equal(cells[sure], np.searchsorted(histograms.EDGES, probability[sure]))
    assert (cells.min(), cells.max()) == (0, histograms.CELLS - 1)
    by_cell = np.bincount(cells, minlength=histograms.CELLS)
    assert equal_width(by_cell, by_cell).tolist() == np.histogram(-probability, -np.linspace(1, 0, 11))[0][::-1].tolist()


@pytest.mark.parametrize("places", [1, 7, 40])
def test_both_forms_of_sums_by_place_are_the_plain_one(rng, places):
    place, values = rng.integers(-1, places, 5000), rng.normal(size=5000)
    known = place >= 0
    arrays = jnp.asarray(place, jnp.int32), jnp.asarray(values, jnp.float32)
    for form in (histograms._scattered, histograms._compared):
        counts, sums = form(places, *arrays)
        assert counts.tolist() == np.bincount(place[known], minlength=places).tolist()
        np.testing.assert_allclose(sums, np.bincount(place[known], values[known], places), atol=1e-4)


def test_a_million_equal_numbers_keep_their_digits():
    """One sum in float32 is off by 9 in 1000."""
    count, value = 1_000_000, np.float32(7e-5)
    counts, sums = histograms._scattered(2, jnp.ones(count, jnp.int32), jnp.full(count, value))
    assert counts.tolist() == [0, count]
    assert sums[1] == pytest.approx(count * float(value), rel=1e-3)


def test_sums_of_cases_add_up(rng):
    p = rng.dirichlet(np.ones(3), 40)
    labels = rng.integers(0, 3, 40)
    first = np.arange(40) < 15
    whole, *parts = (sums_of(p, labels, part) for part in (np.ones(40, bool), first, ~first))
    stacked = jax.tree.map(lambda *of_cases: np.stack(of_cases), *parts)
    together, apart = calibration.entries(whole), calibration.entries(stacked)
    assert together.keys() == apart.keys()
    for name in together.keys() - {"reliability"}:
        assert apart[name] == pytest.approx(together[name], abs=1e-6)
    assert calibration.binned_brier_parts(stacked, 2) == pytest.approx(calibration.binned_brier_parts(whole, 2), abs=1e-6)


def test_what_is_not_labelled_counts_nothing(rng):
    p, labels = rng.dirichlet(np.ones(3), 40), rng.integers(0, 3, 40)
    labelled = rng.random(40) < 0.5
    other = np.where(labelled, labels, (labels + 1) % 3)
    for sums in zip(sums_of(p, labels, labelled), sums_of(p, other, labelled), strict=True):
        np.testing.assert_array_equal(*sums)
    assert not any(np.any(part) for part in sums_of(p, labels, np.zeros(40, bool)))


def test_certain_and_right_is_perfect():
    sums = sums_of([[1.0, 1e-30], [1e-30, 1.0]], [0, 1])
    entries = calibration.entries(sums)
    assert [entries[name] for name in ("nll", "ece", "ece_equal_mass", "ece_classwise", "brier")] == pytest.approx(
        [0.0] * 5, abs=1e-20
    )


def plain_brier_parts(p, y):
    """By the formulas of the docstring, element by element."""
    classes = p.shape[1]
    truth, cell = np.eye(classes)[y], p.argmax(1)
    true_in = np.array([truth[cell == k].mean(0) if (cell == k).any() else np.zeros(classes) for k in range(classes)])
    share, overall = np.bincount(cell, minlength=classes) / len(y), truth.mean(0)
    score = np.mean(1 - 2 * p[np.arange(len(y)), y] + (p**2).sum(1))
    reliability = ((true_in[cell] - p) ** 2).sum(1).mean()
    resolution = (share[:, None] * (true_in - overall) ** 2).sum()
    within = -2 * np.mean(p[np.arange(len(y)), y] - (true_in[cell] * p).sum(1))
    return np.array([score, reliability, resolution, 1 - (overall**2).sum(), within]) / classes


def plain_binned_parts(p, y):
    """Murphy's parts, with the rest of Stephenson et al. (2008), bin by bin."""
    bin_ = np.clip(np.ceil(p * 10).astype(int) - 1, 0, 9)
    reliability = resolution = within = 0.0
    for filled in np.unique(bin_):
        mean, true, share = p[bin_ == filled], y[bin_ == filled], (bin_ == filled).mean()
        reliability += share * (mean.mean() - true.mean()) ** 2
        resolution += share * (true.mean() - y.mean()) ** 2
        within += share * (mean.var() - 2 * np.mean((mean - mean.mean()) * (true - true.mean())))
    return np.array([np.mean((p - y) ** 2), reliability, resolution, y.mean() * (1 - y.mean()), within])


def test_parts_of_the_brier_score_are_those_of_single_elements(pixels):
    p, y, sums = pixels
    parts = calibration.brier_parts(sums)
    np.testing.assert_allclose(parts, plain_brier_parts(p, y), atol=2e-6)
    assert parts.score == pytest.approx(parts.uncertainty - parts.resolution + parts.reliability + parts.within, abs=1e-6)
    assert parts.score == pytest.approx(calibration.brier_score(sums))
    for class_ in range(p.shape[1]):
        parts = calibration.binned_brier_parts(sums, class_)
        np.testing.assert_allclose(parts, plain_binned_parts(p[:, class_], y == class_), atol=2e-6)
        assert parts.score == pytest.approx(parts.uncertainty - parts.resolution + parts.reliability + parts.within, abs=1e-9)
        assert parts.score == pytest.approx(calibration.brier_by_class(sums)[class_])


def test_nothing_is_left_within_cells_of_equal_forecasts(rng):
    cell = rng.integers(0, 3, 400)
    forecasts = np.array([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.1, 0.15, 0.75]])
    parts = calibration.brier_parts(sums_of(forecasts[cell], rng.integers(0, 3, 400)))
    assert parts.within == pytest.approx(0.0, abs=1e-6)
    assert parts.reliability > 0.01 and parts.resolution > 0


def test_brier_is_scikit_learns(pixels):
    """Which divides by nothing: the sum over classes of many classes, of two classes the foreground's alone."""
    p, y, sums = pixels
    if p.shape[1] == 2:
        assert calibration.brier_score(sums) == pytest.approx(brier_score_loss(y, p[:, 1]), rel=1e-5)
        assert calibration.brier_score(sums) == pytest.approx(calibration.binned_brier_parts(sums).score)
    else:
        of_all = brier_score_loss(y, p, labels=list(range(p.shape[1])), scale_by_half=False)
        assert calibration.brier_score(sums) * p.shape[1] == pytest.approx(of_all, rel=1e-5)


@pytest.mark.parametrize("case", VALUES["cases"], ids=lambda case: case["name"])
def test_errors_are_those_of_other_libraries(case):
    """torchmetrics' bins are closed on the left, which matters where a probability is an edge; those of uncertainty-calibration on the right.
    Its equal masses are whole elements, ours are equal, so fixtures hold multiples of ten. Both take absolute errors (l1) here."""
    p, y = special.softmax(np.array(case["logits"]), 1), np.array(case["labels"])
    sums = sums_of(p, y)
    error = calibration.expected_calibration_error(sums)
    assert error == pytest.approx(case["torchmetrics"]["top"], abs=1e-5)
    assert error == pytest.approx(case["uncertainty-calibration"]["top"], abs=1e-5)
    by_class = calibration.calibration_error_by_class(sums)
    np.testing.assert_allclose(by_class, case["torchmetrics"]["by class"], atol=1e-5)
    assert calibration.classwise_calibration_error(sums) == pytest.approx(case["uncertainty-calibration"]["marginal"], abs=1e-5)
    assert sorted_error(p.max(1), p.argmax(1) == y) == pytest.approx(case["uncertainty-calibration"]["top, equal mass"], abs=1e-5)
    marginal = np.mean([sorted_error(p[:, class_], y == class_) for class_ in range(p.shape[1])])
    assert marginal == pytest.approx(case["uncertainty-calibration"]["marginal, equal mass"], abs=1e-5)


def test_overconfidence_has_a_sign_and_a_place():
    """Of 100 elements 20 are 0.65 sure and half of them right, 80 are 0.95 sure and 78 right."""
    count, confidence, correct = np.zeros(10), np.zeros(10), np.zeros(10)
    count[[6, 9]], confidence[[6, 9]], correct[[6, 9]] = (20, 80), (13, 76), (10, 78)
    found = calibration.overconfidence(count, confidence, correct)
    assert (found.error, found.mean) == pytest.approx((0.05, 0.01))  # 0.03 too sure, 0.02 not sure enough
    assert (found.low, found.high) == (0.6, 0.7)
    assert found.worst == pytest.approx((20, 0.65, 0.5)) and found.others == pytest.approx((80, 0.95, 0.975))
    alone = calibration.overconfidence(count[6:7], confidence[6:7], correct[6:7])
    assert alone.mean == pytest.approx(0.15) and alone.others.elements == 0 and np.isnan(alone.others.correct)
    perfect = calibration.overconfidence(count, confidence, confidence)
    assert perfect.error == 0 and perfect.worst.elements == 80
    with pytest.raises(ValueError, match="No element"):
        calibration.overconfidence(count[:3], confidence[:3], correct[:3])


def test_each_group_has_its_own_measures_and_one_group_none(rng):
    logits, label = rng.normal(size=(2, 3, 60)).astype(np.float32), rng.integers(3, size=(2, 60))
    sums = [COMPILED(*case, np.ones(60, bool)) for case in zip(logits, label, strict=True)]
    found = calibration.entries_by_group({"A": sums[0], "B": sums[1]})
    for group, of_group in zip("AB", sums, strict=True):
        own = calibration.entries(of_group)
        assert found["calibration_by_group"][group] == {name: own[name] for name in ("nll", "ece", "brier")}
        assert found["reliability_by_group"][group] == own["reliability"]
    assert calibration.entries_by_group({"": sums[0]}) == {}
