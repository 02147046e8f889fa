"""Uncertainty curves of finished rounds against plain computations from the same networks' members."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_images

from jaxal.assessment import filtering, metrics
from jaxal.data.scans.prepare import load_case
from jaxal.networks.unet import unet
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.tasks.classification import CLASSIFICATION, Joined
from jaxal.tasks.curves import array_of
from jaxal.tasks.regression import REGRESSION, Spread
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import Case, Seen

MEMBERS = MembersConfig(networks=2, dropout=3)


def test_a_segmentations_curves_are_those_of_all_members(tiny_dataset):
    """Each voxel of each case, with the mean of six members computed one by one."""
    model, cases = unet(tiny.NETWORK), tiny_dataset.cases[:4]

    def load(case):  # as of a brain without its skull
        example = load_case(case, tiny_dataset)
        image = example.image.copy()
        image[:, :3] = image.min()
        return example._replace(image=image)

    example = load(cases[0])
    each = [jax.jit(model.init)(jax.random.key(seed), example.image[None]) for seed in (0, 1)]
    noise = [0.3 * jax.random.normal(jax.random.key(9 + seed), each[0]["kernel"].shape) for seed in (0, 1)]
    each = [{**params, "kernel": kernel} for params, kernel in zip(each, noise, strict=True)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    config = dataclasses.replace(tiny.STATISTICS, regions=(("ball", (1,)), ("all", (0, 1))))
    key = jax.random.key(3)
    pass_ = Pass(SEGMENTATION, model, ["filtered"], MEMBERS, 2, config)
    found = pass_(stacked, key, cases, load)["filtered"]
    forward = jax.jit(
        lambda params, image, masks: jax.nn.softmax(
            jnp.einsum(
                "...f,fc->...c", model.tail(params, model.stem(params, image), masks).features, model.head(params, masks)[0]
            )
            + model.head(params, masks)[1].reshape(1, 1, 1, 1, -1)
        )
    )
    for place, case in enumerate(cases):
        example = load(case)
        members = [
            forward(
                params,
                example.image[None],
                model.draw_masks(jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, 0), number), sample)),
            )
            for number, params in enumerate(each)
            for sample in range(3)
        ]
        mean = np.mean(np.array(members, np.float64), 0)[0].reshape(-1, 2)
        share = mean[:, 1]
        entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)) / np.log(2) * 100
        predicted, truth = mean.argmax(-1) == 1, example.label.reshape(-1) == 1
        organ = example.image.reshape(-1) > example.image.min()
        for threshold in (0, 10, 20, 40):  # 0, 25, 50 and 100
            kept = entropy <= filtering.THRESHOLDS[threshold]
            expected = [(predicted & truth & kept).sum(), (predicted & ~truth & kept).sum(), (~predicted & truth & kept).sum()]
            expected += [(predicted & truth & organ & kept).sum(), (~predicted & ~truth & organ & kept).sum(), kept.sum()]
            ours = [int(np.asarray(part)[place, 0, threshold]) for part in found]
            assert np.abs(np.subtract(ours, expected)).max() <= 1  # an entropy next to a threshold
        assert np.asarray(found.true_positive)[place, 1, 40] == truth.size  # of the union of all classes everything is right
    test = Seen(cases, {"filtered": found})
    curves = SEGMENTATION.curves.entries(test, ("background", "ball"), config)
    assert set(curves) == {"ball", "all"} and curves["ball"]["title"] == "Dice of ball"
    dice = metrics.dice(metrics.Overlap(*(np.asarray(part)[:, 0, -1] for part in found[:3])))
    assert curves["ball"]["by_threshold"]["overall"][0] == pytest.approx(dice.mean(), rel=1e-5)
    assert set(curves["ball"]["qu_brats"]["by_group"]) == {"A", "B"}
    assert curves["all"]["qu_brats"]["overall"]["dice"] == pytest.approx(1.0)
    assert curves["all"]["qu_brats"]["overall"]["score"] == pytest.approx(
        1.0, abs=0.01
    )  # sure of it, so nothing right is dropped


def cases_of(count):
    return [Case(f"case_{place}", "ab"[place % 2], None) for place in range(count)]


def test_an_images_curves_drop_whole_images(rng):
    probability = rng.dirichlet([1, 1, 1], size=30)
    label = rng.integers(0, 3, 30)
    test = Seen(cases_of(30), {"joined": Joined(label, probability, np.ones(30, bool))})
    curves = CLASSIFICATION.curves.entries(test, tiny_images.CLASSES, None)
    assert list(curves)[:4] == ["accuracy", "balanced accuracy", "AUC", "accuracy of common"]
    entropy = -(probability * np.log(probability)).sum(1) / np.log(3) * 100
    right, group = probability.argmax(1) == label, np.arange(30) % 2
    by_threshold = curves["accuracy"]["by_threshold"]
    for threshold in (100.0, 80.0):
        kept, at = entropy <= threshold, by_threshold["axis"].index(threshold)
        assert by_threshold["overall"][at] == pytest.approx(right[kept].mean())
        gap = abs(right[kept & (group == 0)].mean() - right[kept & (group == 1)].mean())
        assert by_threshold["gap"][at] == pytest.approx(gap, abs=1e-5)
        assert by_threshold["gap_low"][at] < by_threshold["gap_high"][at]
    assert by_threshold["overall"][-1] is None  # nothing is as sure as that
    kept = [entropy <= 80, *((entropy <= 80) & (group == one) for one in (0, 1))]
    overall, *of_groups = (metrics.one_vs_rest_auc(probability[here], label[here]) for here in kept)
    shared = ~np.isnan(of_groups).any(0)  # the classes that both groups still have
    assert curves["AUC"]["by_threshold"]["overall"][8] == pytest.approx(overall[shared].mean(), rel=1e-5)
    gap = abs(np.subtract(*of_groups)[shared].mean())
    assert curves["AUC"]["by_threshold"]["gap"][8] == pytest.approx(gap, rel=1e-4)
    assert curves["AUC"]["by_threshold"]["gap_low"] == [None] * 41
    of_class, at = curves["accuracy of rare"]["by_share"], 10
    kept = np.argsort(entropy, kind="stable")[: round(30 * 0.75)]
    assert of_class["axis"][at] == 0.25
    assert of_class["overall"][at] == pytest.approx(right[kept][label[kept] == 2].mean())


def test_a_numbers_curves_have_each_targets_own_uncertainty(rng):
    mean, label = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    epistemic, aleatoric = rng.uniform(size=(2, 20, 2))
    known = np.ones((20, 2), bool)
    known[3, 1] = False
    test = Seen(cases_of(20), {"spread": Spread(mean, epistemic, aleatoric, label, known)})
    curves = REGRESSION.curves.entries(test, ("ADAS13", "MMSE"), None)
    assert curves["MMSE"]["title"] == "RMSE of MMSE" and curves["MMSE"]["lower_is_better"]
    here = known.all(1)
    variance = (epistemic + aleatoric)[here, 1]
    percent = 100 * (variance - variance.min()) / np.ptp(variance)
    kept = percent <= 60
    at = curves["MMSE"]["by_threshold"]["axis"].index(60.0)
    expected = np.sqrt(((mean - label)[here, 1][kept] ** 2).mean())
    assert curves["MMSE"]["by_threshold"]["overall"][at] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(array_of(curves["MMSE"]["by_threshold"]["gap"])[-1])
