from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_images

from jaxal.networks.resnet import resnet
from jaxal.networks.unet import unet
from jaxal.training import self_supervised
from jaxal.training.self_supervised import Images, Lesson, learn_alone, steps_for
from jaxal.types import Case, Example

KEY = jax.random.key(0)
SHAPE = (12, 10, 1)


def examples(count, rng):
    """Smooth patterns, each its own."""
    images = np.kron(rng.normal(size=(count, 3, 2, 1)), np.ones((1, 4, 5, 1))).astype(np.float32)
    return {
        Case(f"{place:02d}", "", Path()): Example(image, np.uint8(0), np.True_, np.True_) for place, image in enumerate(images)
    }


def learned(found, objective="contrastive", epochs=30, together=6, seen=None):
    cases, model = list(found), resnet(tiny_images.NETWORK)
    lesson = Lesson(model, tiny.TRAINING, objective, steps_for(len(cases), together, epochs), False)
    report = seen.append if seen is not None else (lambda step: None)
    params, losses = learn_alone(lesson, KEY, cases, found.__getitem__, together, lambda done, total: report((done, total)))
    return model, params, losses


def test_contrast_is_the_cross_entropy_of_finding_the_twin(rng):
    projected = rng.normal(size=(8, 5))
    unit = projected / np.linalg.norm(projected, axis=-1, keepdims=True)
    losses = []
    for place in range(8):
        similar = np.exp(unit @ unit[place] / 0.1)
        losses.append(-np.log(similar[(place + 4) % 8] / (similar.sum() - similar[place])))
    expected = np.reshape(losses, (2, 4)).mean(0)
    np.testing.assert_allclose(self_supervised.contrast(jnp.asarray(projected, jnp.float32)), expected, rtol=1e-4)


def test_it_learns_and_repeats_to_the_last_bit(rng):
    found, seen = examples(10, rng), []
    _, params, losses = learned(found, seen=seen)
    assert seen[0] == (1, 60) and seen[-1] == (60, 60)
    _, _, first = learned(found, epochs=1)
    assert losses.mean() < 0.93 * first.mean()
    _, again, once_more = learned(found)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    np.testing.assert_array_equal(losses, once_more)


def test_cases_that_look_alike_are_the_hardest_to_tell_apart(rng):
    found = examples(10, rng)
    cases = list(found)
    found[cases[7]] = found[cases[2]]
    _, _, losses = learned(found, together=10, epochs=150)
    assert set(np.argsort(-losses)[:2]) == {2, 7}


def test_orientations_are_learned(rng):
    """Brighter towards one corner, images show how they lie; from noise nothing is to be learned."""
    found = examples(12, rng)
    noise = {case: example._replace(image=rng.normal(size=SHAPE).astype(np.float32)) for case, example in found.items()}
    slope = 3 * np.add.outer(np.linspace(-1, 1, SHAPE[0]), 0.5 * np.linspace(-1, 1, SHAPE[1]))[..., None].astype(np.float32)
    shown = {case: example._replace(image=0.1 * noise[case].image + slope) for case, example in found.items()}
    of_slopes, of_noise = (learned(one, "orientation", epochs=40)[2].mean() for one in (shown, noise))
    assert of_slopes < 0.6 * np.log(4) < 0.9 * of_noise


def test_every_epoch_goes_through_all_cases(rng):
    found = examples(7, rng)
    lesson = Lesson(resnet(tiny_images.NETWORK), tiny.TRAINING, "contrastive", steps_for(7, 3, 3), False)
    assert lesson.steps == 9
    batches = self_supervised._batches(lesson, KEY, list(found), found.__getitem__, 3)
    places = np.concatenate([batch[0] for batch in batches])
    for epoch in range(3):
        assert sorted(places[7 * epoch : 7 * (epoch + 1)]) == list(range(7))


def test_padding_moves_with_its_volume_and_stays_unseen(rng):
    inside = np.zeros((2, *tiny.SHAPE), bool)
    inside[:, :5] = True
    images = Images(jnp.asarray(np.where(inside, 5.0, 0.0)[..., None], jnp.float32), jnp.asarray(inside))
    for seed in range(6):
        varied = self_supervised._varied(tiny.TRAINING, jax.random.key(seed), images, flips=True)
        assert int(varied.inside.sum()) == inside.sum()
        bright = np.asarray(varied.image[..., 0]) > 1.5  # what is left of the box, all of it inside
        assert bright.any() and (np.asarray(varied.inside) | ~bright).mean() > 0.99
        assert (bright.reshape(2, -1).mean(1) < 0.9).all()


def test_volumes_learn_too(tiny_dataset, rng):
    from jaxal.data.scans.prepare import load_case

    cases = list(tiny_dataset.cases[:4])
    lesson = Lesson(unet(tiny.NETWORK), tiny.TRAINING, "contrastive", 2, True)
    _, losses = learn_alone(lesson, KEY, cases, lambda case: load_case(case, tiny_dataset), 8, lambda done, total: None)
    assert losses.shape == (4,) and np.isfinite(losses).all()


@pytest.mark.parametrize("size", [1, 2, 9])
def test_a_box_has_at_least_half_of_each_side(size):
    for seed in range(8):
        kept = np.asarray(self_supervised._box(jax.random.key(seed), (size, 6)))
        assert kept.any(1).sum() >= size / 2 and kept.any(0).sum() >= 3
        np.testing.assert_array_equal(kept, np.logical_and.outer(kept.any(1), kept.any(0)))
