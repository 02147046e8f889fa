"""Networks whose logits are divided by a temperature before they score and are measured."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import optimize, special
from test_loop import CONFIG, Silent, run, task  # noqa: F401

from jaxal.errors import UserError
from jaxal.networks.temperature import Tempered, with_temperature
from jaxal.rounds.networks import make_networks
from jaxal.rounds.rescoring import score_round
from jaxal.rounds.setup import open_run

CALIBRATED = dataclasses.replace(CONFIG, rounds=1, calibrate="temperature")


def logits_of(task, params, cases):  # noqa: F811
    """Of all elements of some cases, in double precision, and their classes."""
    model, found = task.model, []
    features = jax.jit(lambda params, image: model.tail(params, model.stem(params, image[None]), None).features)
    kernel, bias = (np.asarray(part, np.float64) for part in model.head(params))
    for case in cases:
        example = task.load(case)
        of_case = np.asarray(features(params, example.image), np.float64).reshape(-1, len(kernel))
        found.append((of_case @ kernel + bias, example.label.reshape(-1)))
    logits, labels = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def likelihood(logits, labels, factor=1.0):
    """Mean of -log p of the true class."""
    return -special.log_softmax(logits * factor, -1)[np.arange(len(labels)), labels].mean()


def test_the_temperature_is_that_of_the_evaluation_set_and_all_is_measured_with_it(tmp_path, task):  # noqa: F811
    (record,) = run(tmp_path / "with", task, "entropy", CALIBRATED)
    (plain,) = run(tmp_path / "without", task, "entropy", dataclasses.replace(CONFIG, rounds=1))
    work = open_run(tmp_path / "with", "entropy", CALIBRATED, task, Silent())
    params = make_networks(work)[0].restored(0)
    known, tested = (logits_of(task, params, cases) for cases in (task.splits.evaluation, task.splits.test))
    best = optimize.minimize_scalar(lambda log: likelihood(*known, np.exp(-log)), bounds=(-2, 2), method="bounded")
    (temperature,) = record["temperatures"]
    assert temperature == pytest.approx(np.exp(best.x), rel=1e-3) and temperature != pytest.approx(1, abs=0.02)
    assert record["nll"] == pytest.approx(likelihood(*tested, 1 / temperature), rel=1e-4)
    assert plain["nll"] == pytest.approx(likelihood(*tested), rel=1e-4)
    assert record["dice"] == plain["dice"] and "temperatures" not in plain
    entropies = [mean_entropy(logits_of(task, params, [work.cases[unit]])[0] / temperature) for unit in record["queried"]]
    np.testing.assert_allclose(record["scores"], entropies, rtol=1e-4)
    again = score_round(work, ["entropy"])
    assert again.queries["entropy"].units == tuple(record["queried"]) and again.queries["entropy"].scores == tuple(
        record["scores"]
    )


def mean_entropy(logits):
    probability = np.exp(logits - logits.max(-1, keepdims=True))
    probability /= probability.sum(-1, keepdims=True)
    return -(probability * np.log(probability)).sum(-1).mean()


def test_members_are_divided_too(task):  # noqa: F811
    """The head's masks are folded into the kernel before it is divided."""
    model, key = task.model, jax.random.key(0)
    example = task.load(task.splits.pool[0])
    params = jax.jit(model.init)(key, example.image[None])
    masks = model.draw_masks(key)
    kernel, bias = with_temperature(model).head(Tempered(params, np.float32(2.0)), masks)
    plain_kernel, plain_bias = model.head(params, masks)
    np.testing.assert_allclose(kernel, np.asarray(plain_kernel) / 2)
    np.testing.assert_allclose(bias, np.asarray(plain_bias) / 2)


def test_without_labels_there_is_no_temperature(tmp_path, task):  # noqa: F811
    hidden = {case.id for case in task.splits.evaluation}

    def unlabelled(case):
        example = task.load(case)
        return example._replace(labelled=np.zeros_like(example.labelled)) if case.id in hidden else example

    with pytest.raises(UserError, match="no label in the evaluation set, so no temperature"):
        run(tmp_path, task._replace(load=unlabelled), "entropy", CALIBRATED)
