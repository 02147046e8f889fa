"""Statistics whose result is a case's best windows, against plain NumPy on the network's own maps."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import tiny

from jaxal.acquisition import information
from jaxal.acquisition.regions import Search
from jaxal.data.parts import within_parts
from jaxal.data.scans.prepare import load_case
from jaxal.networks.unet import unet
from jaxal.scoring import windows
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Given, Pass
from jaxal.scoring.windows import GainStep
from jaxal.tasks.segmentation import SEGMENTATION_OF_PARTS
from jaxal.types import Label

SIZE = (3, 2, 4)
CONFIG = dataclasses.replace(tiny.STATISTICS, windows=Search(SIZE, at_most=3))
NETWORK = unet(dataclasses.replace(tiny.NETWORK, foreground_prior=0.3))


@pytest.fixture(scope="module")
def params():
    return jax.jit(NETWORK.init)(jax.random.key(0), np.zeros((1, *tiny.SHAPE, 1), np.float32))


@pytest.fixture(scope="module")
def cases(tiny_dataset):
    """The second case has labels in some places."""
    known = ((0, 0, 0), (8, 8, 3))
    whole = [case._replace(label=None) for case in tiny_dataset.cases[:3]]
    label = tiny_dataset.cases[1].label
    return [whole[0], whole[1]._replace(label=label._replace(parts=(known,))), whole[2]]


def collect(cases, params, dataset, names, given=None):
    pass_ = Pass(SEGMENTATION_OF_PARTS, NETWORK, names, MembersConfig(dropout=3), 2, CONFIG)
    found = pass_(Given(params, given or {}), jax.random.key(7), cases, lambda case: load_case(case, dataset))
    return found


def probabilities(case, params, dataset):
    """Of the network without dropout, `[classes, *shape]`, and the elements that have no label."""
    example = load_case(case, dataset)
    output = NETWORK.tail(params, NETWORK.stem(params, example.image[None]), None)
    kernel, bias = NETWORK.head(params)
    logits = np.asarray(output.features[0], np.float64) @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return np.moveaxis(exponentials / exponentials.sum(-1, keepdims=True), -1, 0), ~example.labelled


def plain_windows(scores, open_, count):
    """The best windows of a function of a window's slices, of those with something to label, that touch none chosen before."""
    places = list(np.ndindex(*(length - part + 1 for length, part in zip(open_.shape, SIZE, strict=True))))
    windows = {at: tuple(slice(first, first + part) for first, part in zip(at, SIZE, strict=True)) for at in places}
    rated = sorted(
        ((scores(window), at) for at, window in windows.items() if open_[window].any()), key=lambda row: (-row[0], row[1])
    )
    chosen = []
    for score, at in rated:
        if len(chosen) < count and all(
            any(abs(a - b) >= part for a, b, part in zip(at, other, SIZE, strict=True)) for _, other in chosen
        ):
            chosen.append((score, at))
    return chosen


def compare(found, place, expected, open_):
    assert [tuple(start) for start in found.start[place].tolist()] == [at for _, at in expected]
    np.testing.assert_allclose(found.score[place], [score for score, _ in expected], rtol=2e-4)
    costs = [open_[tuple(slice(first, first + part) for first, part in zip(at, SIZE, strict=True))].sum() for _, at in expected]
    assert found.cost[place].tolist() == costs


@pytest.mark.parametrize(
    "name", ["windows_entropy", "windows_least_confidence", "windows_margin", "windows_gini", "windows_best_versus_second"]
)
def test_windows_of_largest_mean(cases, params, tiny_dataset, name):
    found = collect(cases, params, tiny_dataset, [name])[name]
    measures = {
        "windows_entropy": lambda p: -(p * np.log(p)).sum(0),
        "windows_least_confidence": lambda p: 1 - p.max(0),
        "windows_margin": lambda p: 1 - np.abs(p[0] - p[1]),
        "windows_gini": lambda p: 1 - (p**2).sum(0),
        "windows_best_versus_second": lambda p: p.min(0) / p.max(0),
    }
    for place, case in enumerate(cases):
        probability, open_ = probabilities(case, params, tiny_dataset)
        values = np.where(open_, measures[name](probability), 0)
        compare(found, place, plain_windows(lambda window, values=values: values[window].mean(), open_, 3), open_)


def test_ripu_asks_for_what_is_mixed_and_unsure(cases, params, tiny_dataset):
    """Impurity counts all predicted classes of a window; its entropy counts where there is no label."""
    found = collect(cases, params, tiny_dataset, ["windows_impurity"])["windows_impurity"]
    for place, case in enumerate(cases):
        probability, open_ = probabilities(case, params, tiny_dataset)
        entropy = np.where(open_, -(probability * np.log(probability)).sum(0), 0) / np.log(2)

        def score(window, probability=probability, entropy=entropy):
            share = (probability.argmax(0)[window] == 1).mean()
            mixed = -sum(part * np.log2(part) for part in (share, 1 - share) if part > 0)
            return mixed * entropy[window].mean()

        compare(found, place, plain_windows(score, open_, 3), open_)


@pytest.mark.parametrize(("least", "names"), [(0.005, []), (0.5, ["windows_margin"])])  # with other names it is compiled anew
def test_the_dice_that_a_window_expects_of_itself(cases, params, tiny_dataset, monkeypatch, least, names):
    monkeypatch.setattr(windows, "_LEAST_SHARE", least)
    found = collect(cases, params, tiny_dataset, ["windows_expected_dice", *names])["windows_expected_dice"]
    for place, case in enumerate(cases):
        probability, open_ = probabilities(case, params, tiny_dataset)
        structure = probability[1]
        unsure = np.where(open_, structure - structure**2, 0)

        def score(window, structure=structure, unsure=unsure):
            return unsure[window].mean() / max(structure[window].mean(), least)

        compare(found, place, plain_windows(score, open_, 3), open_)


def test_tiles_lie_side_by_side_and_have_the_networks_mean_features(cases, params, tiny_dataset):
    found = collect(cases, params, tiny_dataset, ["tiles"])["tiles"]
    for place, case in enumerate(cases):
        example = load_case(case, tiny_dataset)
        features = NETWORK.tail(params, NETWORK.stem(params, example.image[None]), None).features[0]
        corners = list(itertools.product(*(range(0, length, part) for length, part in zip(tiny.SHAPE, SIZE, strict=True))))
        assert [tuple(start) for start in found.start[place].tolist()] == corners
        for slot, start in enumerate(corners):
            window = tuple(slice(first, first + part) for first, part in zip(start, SIZE, strict=True))
            inside = np.asarray(features[window]).reshape(-1, features.shape[-1])
            np.testing.assert_allclose(found.embedding[place, slot], inside.mean(0), rtol=1e-4, atol=1e-5)
            assert found.size[place, slot].tolist() == list(example.inside[window].shape)
            assert found.cost[place, slot] == (~example.labelled[window]).sum()


def test_each_class_has_windows_of_its_own(cases, params, tiny_dataset):
    """Of a power so large that the noise is nothing."""
    name = "windows_entropy_by_class"
    found = collect(cases[:1], params, tiny_dataset, [name], {name: 1e5})[name]
    probability, open_ = probabilities(cases[0], params, tiny_dataset)
    entropy = -(probability * np.log(probability)).sum(0)
    for row, values in enumerate((entropy, probability[1] * entropy)):
        expected = plain_windows(lambda window, values=values: values[window].mean(), open_, 3)
        assert [tuple(start) for start in found.start[0, row].tolist()] == [at for _, at in expected]
        np.testing.assert_allclose(np.exp(found.score[0, row] / 1e5), [score for score, _ in expected], rtol=1e-3)


def test_the_power_that_a_strategy_gives_is_that_of_the_noise(cases, params, tiny_dataset):
    names = ["windows_power_entropy", "windows_entropy"]
    found = {power: collect(cases, params, tiny_dataset, names, {names[0]: power}) for power in (0.0, 1e5)}
    assert (found[1e5][names[0]].start == found[1e5][names[1]].start).all()
    assert (found[0.0][names[0]].start != found[0.0][names[1]].start).any()


def test_the_gain_of_a_window_that_is_a_block_is_that_of_the_block(cases, params, tiny_dataset):
    config = dataclasses.replace(CONFIG, windows=Search((2, 2, 2), stride=2, at_most=4))
    rng = np.random.default_rng(0)
    kernel, bias = NETWORK.head(params)
    features = rng.standard_normal((kernel.shape[0], 30)).astype(np.float32)
    reference = information.make_reference(features, kernel, bias, np.ones(30, np.float32), np.array([3.0, 1.0], np.float32))
    pass_ = Pass(SEGMENTATION_OF_PARTS, NETWORK, ["windows_aeig", "regions"], MembersConfig(dropout=0), 1, config)
    given = Given(params, {"windows_aeig": GainStep(np.float32(0.01), reference)})
    found = pass_(given, jax.random.key(0), cases[:1], lambda case: load_case(case, tiny_dataset))
    regions = found["regions"]
    used = np.asarray(regions.used[0])
    candidates = jax.tree.map(lambda part: part[0][used], regions.candidates)
    gain = information.information_gain(candidates, reference, "aeig", 0.01, long_steps=True)
    best = np.sort(np.asarray(gain.mass + gain.gain))[::-1][:4]
    np.testing.assert_allclose(found["windows_aeig"].score[0], best, rtol=1e-4)
    assert (found["windows_aeig"].start[0] % 2 == 0).all()


def test_a_strategy_must_give_what_a_statistic_reads(cases, params, tiny_dataset):
    with pytest.raises(ValueError, match=r"windows_aeig.*a strategy must give"):
        collect(cases[:1], params, tiny_dataset, ["windows_aeig"])


def test_members_disagreement_by_windows(cases, params, tiny_dataset):
    """The mean of the map whose mean over the image the plain statistic is."""
    measures = ["bald", "variance", "pairwise_divergence", "vote_entropy", "mean_std", "variation_ratio"]
    names = [*measures, *(f"windows_{measure}" for measure in measures)]
    found = collect(cases[:1], params, tiny_dataset, names)
    whole = dataclasses.replace(CONFIG, windows=Search((0, 0, 0)))
    pass_ = Pass(SEGMENTATION_OF_PARTS, NETWORK, names, MembersConfig(dropout=3), 2, whole)
    of_image = pass_(params, jax.random.key(7), cases[:1], lambda case: load_case(case, tiny_dataset))
    for measure in measures:
        np.testing.assert_allclose(of_image[f"windows_{measure}"].score[0, 0], of_image[measure][0], rtol=1e-5)
        assert found[f"windows_{measure}"].score[0, 0] > found[measure][0] > 0


def test_labels_in_parts_hide_the_rest(tiny_dataset):
    example = load_case(tiny_dataset.cases[0], tiny_dataset)
    example = example._replace(targets={"contour": np.ones(tiny.SHAPE, np.uint8)})
    known = within_parts(example, Label("1", parts=(((0, 0, 0), (2, 8, 8)), ((1, 0, 0), (3, 2, 2)))))
    assert known.labelled.sum() == 2 * 64 + 2 * 4
    assert not known.label[~known.labelled].any() and known.targets["contour"].sum() == known.labelled.sum()
    assert within_parts(example, Label("1")) is example and within_parts(example, None) is example
