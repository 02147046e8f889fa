"""Learning from cases that nobody labelled."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_images
from scipy.special import digamma

from jaxal.data.draws import in_turn
from jaxal.data.scans.prepare import load_case
from jaxal.data.stream import stacked
from jaxal.errors import UserError
from jaxal.networks.resnet import resnet
from jaxal.networks.unet import unet
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training import gradient as gradients
from jaxal.training import step as training
from jaxal.training import unlabelled
from jaxal.training.augment import augment
from jaxal.training.config import TrainingConfig, settings_of
from jaxal.training.trainer import Interrupted, Pool, Saving, Trainer, whole
from jaxal.training.unlabelled import named_unlabelled
from jaxal.training.weighting import groupdro
from jaxal.types import Example

KEY = jax.random.key(1)
METHODS = ["consistency", "mean_teacher", "fixmatch,confidence=0.4"]
MODEL = unet(tiny.NETWORK)


def with_method(text, config=tiny.TRAINING, **more):
    return dataclasses.replace(config, unlabelled=named_unlabelled(text), **more)


@pytest.fixture(scope="module")
def volumes(tiny_dataset):
    return [load_case(case, tiny_dataset) for case in tiny_dataset.cases[:6]]


def softmax(logits):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def test_disagreement_is_the_formula_written_out(rng):
    own, said = rng.normal(size=(2, 3, 3, 20)).astype(np.float32)
    inside = rng.random((3, 20)) < 0.7
    p, q = softmax(own), softmax(said)
    squared = (np.square(p - q).sum(1) * inside).sum(1) / inside.sum(1)
    for text in ("consistency", "mean_teacher"):
        ours = unlabelled.disagreement(named_unlabelled(text), jnp.asarray(own), jnp.asarray(said), jnp.asarray(inside))
        np.testing.assert_allclose(ours, squared, rtol=1e-5)
    sure = q.max(1) >= 0.6
    crossed = -np.log(np.take_along_axis(p, q.argmax(1)[:, None], 1)[:, 0])
    expected = (crossed * (sure & inside)).sum(1) / inside.sum(1)
    method = named_unlabelled("fixmatch,confidence=0.6")
    ours = unlabelled.disagreement(method, jnp.asarray(own), jnp.asarray(said), jnp.asarray(inside))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert 0 < (sure & inside).sum() < inside.sum()
    never = unlabelled.disagreement(
        named_unlabelled("fixmatch,confidence=0.9999"), jnp.asarray(own), jnp.asarray(said), jnp.asarray(inside)
    )
    np.testing.assert_array_equal(never, 0.0)


def test_doubt_is_the_formula_written_out(rng):
    logits, inside = rng.normal(0, 2, size=(3, 4, 20)).astype(np.float32), rng.random((3, 20)) < 0.7
    alpha = np.exp(logits.astype(np.float64))
    total = alpha.sum(1, keepdims=True)
    of_data = (alpha / total * (digamma(total + 1) - digamma(alpha + 1))).sum(1)
    of_distribution = -(alpha / total * np.log(alpha / total)).sum(1) - of_data
    expected = ((of_distribution + 0.3 * of_data) * inside).sum(1) / inside.sum(1)
    ours = unlabelled.doubt(named_unlabelled("evidence,of_data=0.3"), jnp.asarray(logits), jnp.asarray(inside))
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_pairs_are_mixed_behind_the_stem_and_so_is_what_is_said_of_them(volumes):
    config = with_method("mixup,ratio=2,alpha=0.5")
    params = jax.jit(MODEL.init)(jax.random.key(0), volumes[0].image[None])
    batch = stacked(volumes[:4])
    keys = jax.random.split(KEY, 4), jax.random.split(jax.random.key(7), 4)
    ours = jax.jit(lambda: unlabelled.term(config, MODEL, True, params, params, keys, batch))()
    varied = jax.vmap(functools.partial(augment, config, True))(keys[0], batch)
    said = softmax(np.asarray(plain_logits(params, MODEL.stem(params, varied.image, varied.inside), None)))
    for place, other in enumerate((1, 0, 3, 2)):
        share = float(jax.random.beta(jax.random.fold_in(keys[0][place], 2), 0.5, 0.5))
        one, two = ([part[case][None] for part in (varied.image, varied.inside)] for case in (place, other))
        mixed = jax.tree.map(
            lambda first, second, share=share: first & second if first.dtype == bool else share * first + (1 - share) * second,
            MODEL.stem(params, *one),
            MODEL.stem(params, *two),
        )
        own = softmax(
            np.asarray(plain_logits(params, mixed, jax.tree.map(lambda mask: mask[None], MODEL.draw_masks(keys[1][place]))))
        )[0]
        inside = np.asarray(varied.inside[place] & varied.inside[other]).reshape(-1)
        target = share * said[place] + (1 - share) * said[other]
        expected = (np.square(own - target).sum(0) * inside).sum() / inside.sum()
        assert float(ours[place]) == pytest.approx(expected, rel=2e-4), place
    assert len(set(np.asarray(ours).tolist())) == 4


def plain_logits(params, hidden, masks):
    output = MODEL.tail(params, hidden, masks)
    kernel, bias = MODEL.head(params, masks)
    found = jnp.einsum(
        "b...f,bfc->bc..." if kernel.ndim == 3 else "b...f,fc->bc...", output.features, kernel, precision="highest"
    )
    return found.reshape(len(found), 2, -1) + bias[None, :, None]


def test_the_weight_rises_as_written_and_then_stays():
    method = named_unlabelled("mean_teacher,weight=2,ramp=0.5")
    weights = [float(unlabelled.weight_at(method, jnp.int32(step), jnp.int32(100))) for step in (0, 25, 50, 99)]
    np.testing.assert_allclose(weights, [2 * np.exp(-5), 2 * np.exp(-1.25), 2, 2], rtol=1e-5)
    at_once = named_unlabelled("fixmatch,weight=2,ramp=0")
    assert float(unlabelled.weight_at(at_once, jnp.int32(0), jnp.int32(100))) == pytest.approx(2 * np.exp(-5))
    assert float(unlabelled.weight_at(at_once, jnp.int32(1), jnp.int32(100))) == 2.0


@pytest.mark.parametrize("text", ["none", "mean_teacher,weight=0"])
def test_without_weight_the_training_is_that_of_labelled_cases_to_the_last_bit(volumes, text):
    plain, other = Trainer(SEGMENTATION, MODEL, tiny.TRAINING), Trainer(SEGMENTATION, MODEL, with_method(text))
    pool = Pool(2, whole(volumes[4:]))
    states = [one.fit(KEY, 2, whole(volumes), one.start(KEY, volumes[0]), unlabelled=pool) for one in (plain, other)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    settings = [settings_of(config, "scratch") for config in (tiny.TRAINING, with_method("none"))]
    assert settings[0] == settings[1] and "unlabelled" not in settings[0]
    assert "unlabelled" in settings_of(with_method("fixmatch"), "scratch")


@pytest.mark.parametrize(("text", "pieces"), [(METHODS[1], 2), (METHODS[2], None)])
def test_the_gradient_is_that_of_the_sum_and_the_teacher_gets_none(volumes, text, pieces):
    config = with_method(f"{text},ratio=2")
    recipe = Trainer(SEGMENTATION, MODEL, config)._recipe
    params = jax.jit(MODEL.init)(jax.random.key(0), volumes[0].image[None])
    teacher = jax.tree.map(lambda leaf: 1.1 * leaf, params) if text == "mean_teacher" else None
    batch = gradients.Batch(stacked(volumes[:2]), None, stacked(volumes[2:]))
    course = gradients.Course(gradients.Cut(pieces), jnp.int32(pieces or 1), (jnp.int32(5), jnp.int32(10)), teacher)
    ours, _ = jax.jit(lambda params: gradients.gradient_of(recipe, params, None, KEY, batch, course))(params)
    keys = [jax.random.split(jax.random.fold_in(KEY, purpose), count) for purpose, count in ((0, 2), (1, 2), (2, 4), (3, 4))]

    def logits(weights, images, masks):
        return plain_logits(weights, MODEL.stem(weights, images.image, images.inside), masks)

    def total(params):
        labelled = jax.vmap(functools.partial(augment, recipe.config, True))(keys[0], batch.examples)
        own = recipe.loss(recipe.config, logits(params, labelled, jax.vmap(MODEL.draw_masks)(keys[1])), labelled).mean()
        weak = jax.vmap(functools.partial(augment, recipe.config, True))(keys[2], batch.unlabelled)
        strong_config = dataclasses.replace(recipe.config, contrast=0.4, brightness=0.4, noise=0.3, flips=())
        strong = jax.vmap(lambda key, one: augment(strong_config, True, jax.random.fold_in(key, 1), one))(keys[2], weak)
        fixed = jax.tree.map(jax.lax.stop_gradient, params if teacher is None else teacher)
        said = logits(fixed, weak, None)
        student = logits(params, strong, jax.vmap(MODEL.draw_masks)(keys[3]))
        inside = weak.inside.reshape(4, -1)
        added = unlabelled.disagreement(config.unlabelled, student, said, inside).mean()
        return own + unlabelled.weight_at(config.unlabelled, *course.clock) * added

    expected = jax.jit(jax.grad(total))(params)
    for leaf, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(leaf), np.asarray(wanted), rtol=0, atol=2e-5 * np.abs(wanted).max() + 1e-7)
    alone, _ = jax.jit(lambda params: gradients.gradient_of(recipe, params, None, KEY, batch._replace(unlabelled=None), course))(
        params
    )
    changed = jax.tree.map(lambda one, other: np.abs(one - other).max(), ours, alone)
    assert max(jax.tree.leaves(changed)) > 1e-4


def test_the_number_of_devices_changes_no_bit(volumes, in_a_hurry):
    recipe, states = Trainer(SEGMENTATION, MODEL, with_method("mean_teacher"))._recipe, []
    params = jax.jit(MODEL.init)(jax.random.key(0), volumes[0].image[None])
    batch = gradients.Batch(stacked(volumes[:2]), None, stacked(volumes[2:4]))
    for devices in (jax.devices()[:1], jax.devices()[:2]):
        mesh = training.make_mesh(recipe, devices)
        state = jax.device_put(training.fresh_state(recipe.config, params), training.everywhere(mesh))
        for _ in range(2):
            state = training.compiled_step(recipe, mesh)(state, KEY, batch, np.int32(10), np.float32(1e-2))
        states.append(jax.tree.map(np.asarray, state))
    for alone, shared in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(shared, alone, rtol=0, atol=1e-3 * np.abs(alone).max() if in_a_hurry else 0)


def test_a_training_resumes_to_the_last_bit_and_labels_of_the_pool_are_not_read(volumes):
    trainer, seen = Trainer(SEGMENTATION, MODEL, with_method("mean_teacher,decay=0.9")), []

    def fit(state, labels=None, **more):
        others = volumes[2:] if labels is None else [case._replace(label=labels(case.label)) for case in volumes[2:]]
        return trainer.fit(KEY, 2, whole(volumes[:2]), state, unlabelled=Pool(len(others), whole(others)), **more)

    expected = fit(trainer.start(KEY, volumes[0]))
    poisoned = fit(trainer.start(KEY, volumes[0]), lambda label: 1 - label)
    jax.tree.map(np.testing.assert_array_equal, expected, poisoned)
    calls, saving = iter(range(100)), Saving(lambda state: seen.append(jax.tree.map(np.asarray, state)))
    with pytest.raises(Interrupted):
        fit(trainer.start(KEY, volumes[0]), should_stop=lambda: next(calls) == 4, saving=saving)
    jax.tree.map(np.testing.assert_array_equal, fit(seen[-1]), expected)
    alone = trainer.fit(KEY, 2, whole(volumes[:2]), trainer.start(KEY, volumes[0]))
    assert max(np.abs(one - other).max() for one, other in zip(*map(jax.tree.leaves, (expected, alone)), strict=True)) > 1e-5
    assert hasattr(alone.optimizer, "average")  # the teacher scores, with a pool and without


def test_an_empty_pool_teaches_nothing(volumes):
    trainer = Trainer(SEGMENTATION, MODEL, with_method("fixmatch"))
    plain = Trainer(SEGMENTATION, MODEL, tiny.TRAINING)
    states = [
        one.fit(KEY, 2, whole(volumes), one.start(KEY, volumes[0]), unlabelled=pool)
        for one, pool in ((trainer, Pool(0, whole([]))), (plain, None))
    ]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_all_cases_come_once_before_any_comes_again():
    row = in_turn([1, 2], 0, 21, 7)
    for turn in range(3):
        assert sorted(row[7 * turn : 7 * turn + 7]) == list(range(7))
    assert row[:7] != row[7:14]
    assert in_turn([1, 2], 5, 9, 7) == row[5:14]
    assert in_turn([1, 3], 0, 21, 7) != row


def bars(count, rng):
    """Images whose bright bar, in one of three places, tells the class, each as bright and rich in contrast as it happens to be."""
    labels = np.arange(count) % 3
    images = 0.3 * rng.normal(size=(count, 8, 8, 1))
    for place, label in enumerate(labels):
        images[place, 1 + 2 * label : 3 + 2 * label] += 1.5
    images = images * np.exp(0.5 * rng.normal(size=(count, 1, 1, 1))) + rng.normal(size=(count, 1, 1, 1))
    return [
        Example(image.astype(np.float32), np.uint8(label), np.True_, np.True_)
        for image, label in zip(images, labels, strict=True)
    ]


@pytest.mark.parametrize("text", ["fixmatch,confidence=0.9", "mean_teacher,weight=3,decay=0.97"])
def test_many_images_without_labels_make_up_for_few_with(text):
    """Six labelled images, ninety without: accuracy rises."""
    model = resnet(dataclasses.replace(tiny_images.NETWORK, classes=3))
    config = dataclasses.replace(tiny_images.TRAINING, steps=100, batch_size=6, contrast=0.0, brightness=0.0)
    rng = np.random.default_rng(11)
    labelled, others, test = bars(6, rng), bars(90, rng), bars(300, rng)
    accuracy = []
    for method in ("none", f"{text},ratio=3"):
        trainer, key = Trainer(CLASSIFICATION, model, with_method(method, config)), jax.random.key(11)
        state = trainer.fit(key, 6, whole(labelled), trainer.start(key, labelled[0]), unlabelled=Pool(90, whole(others)))
        params, images = training.trained_weights(state), jnp.asarray(np.stack([case.image for case in test]))
        kernel, bias = model.head(params)
        features = model.tail(params, model.stem(params, images), None).features.reshape(300, -1)
        best = np.asarray(features @ kernel + bias[None]).argmax(-1)
        accuracy.append((best == [int(case.label) for case in test]).mean())
    assert accuracy[1] > accuracy[0] + 0.02, accuracy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fixmach", "no way 'fixmach' to learn from unlabelled cases. There are none, consistency, mean_teacher, fixmatch"),
        ("fixmatch,ratio=0", "ratio is 0; it must be at least 1"),
        ("fixmatch,confidence=1", "confidence is 1; it must be at least 0 and below 1"),
        ("mean_teacher,decay=1", "decay is 1; it must be at least 0 and below 1"),
        ("consistency,weight=-1", "weight is -1; it must not be negative"),
        ("consistency,ramp=2", "ramp is 2; it is a share"),
        ("consistency,confidence=0.5", "no option 'confidence'"),
        ("mixup,ratio=1", "ratio is 1; two cases are mixed"),
        ("mixup,alpha=0", "alpha is 0; it must be above 0"),
        ("evidence,of_data=-1", "of_data is -1; it must not be negative"),
    ],
)
def test_what_does_not_fit_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        named_unlabelled(text)


def test_evidence_of_networks_that_tell_none_is_refused():
    with pytest.raises(UserError, match="Add --evidence 1"):
        Trainer(SEGMENTATION, MODEL, with_method("evidence"))
    Trainer(SEGMENTATION, MODEL, with_method("evidence", evidence=1.0))
    Trainer(SEGMENTATION, MODEL, with_method("evidence,weight=0"))


def test_groups_that_weigh_differently_and_unlabelled_cases_do_not_go_together():
    with pytest.raises(UserError, match="does not go together with groups whose losses weigh differently"):
        Trainer(SEGMENTATION, MODEL, TrainingConfig(weighting=groupdro(), unlabelled=named_unlabelled("fixmatch")), groups=2)
