import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
import tiny
import tiny_images
from scipy import ndimage

from jaxal.assessment import metrics
from jaxal.data.scans.prepare import load_case
from jaxal.data.stream import stacked
from jaxal.errors import OutOfMemory
from jaxal.networks.resnet import resnet
from jaxal.networks.unet import unet
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.image_segmentation import IMAGE_SEGMENTATION, IMAGE_SEGMENTATION_OF_PARTS
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training import gradient as gradients
from jaxal.training import step as training
from jaxal.training import trainer as trainers
from jaxal.training.augment import _rotation, augment
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import Batch
from jaxal.training.step import TrainState, relative_rate
from jaxal.training.trainer import Interrupted, Saving, Trainer, _batches, whole
from jaxal.training.weighting import Order, Weighting
from jaxal.types import Example


@pytest.fixture(scope="module")
def trainer():
    return Trainer(SEGMENTATION, unet(tiny.NETWORK), tiny.TRAINING)


@pytest.fixture(scope="module")
def examples(tiny_dataset):
    return [load_case(case, tiny_dataset) for case in tiny_dataset.cases[:4]]


def leaves(state: TrainState):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def same(tree, other):
    return all(np.array_equal(a, b) for a, b in zip(leaves(tree), leaves(other), strict=True))


def fit(trainer, examples, key=0, **options):
    key = jax.random.key(key)
    return trainer.fit(key, len(examples), whole(examples), trainer.start(key, examples[0]), **options)


def test_learns_the_ball(examples):
    model = unet(dataclasses.replace(tiny.NETWORK, levels=2))  # so that pooling, decoder and skip learn, too
    trainer = Trainer(SEGMENTATION, model, dataclasses.replace(tiny.TRAINING, steps=60))
    state = fit(trainer, examples)
    run = jax.jit(lambda params, image: model.tail(params, model.stem(params, image), None))
    for example in examples:
        output = run(state.params, example.image[None])
        kernel, bias = model.head(state.params)
        logits = (np.asarray(output.features[0]).reshape(-1, kernel.shape[0]) @ np.asarray(kernel) + np.asarray(bias)).T
        counts = metrics.overlap(
            jax.numpy.asarray(logits), example.label.reshape(-1).astype(np.int32), example.labelled.reshape(-1)
        )
        assert metrics.mean_foreground_dice(counts) > 0.8


def test_repeats_to_the_last_bit_and_depends_on_the_key(trainer, examples):
    assert same(fit(trainer, examples), fit(trainer, examples))
    assert not same(fit(trainer, examples), fit(trainer, examples, key=1))


def test_resumes_at_any_step_to_the_last_bit(trainer, examples):
    expected = fit(trainer, examples)
    for stop in (1, 7):
        saved, calls = [], iter(range(100))

        def save(state, saved=saved):
            saved.append(jax.tree.map(np.asarray, state))

        with pytest.raises(Interrupted):
            fit(trainer, examples, should_stop=lambda calls=calls, stop=stop: next(calls) + 1 >= stop, saving=Saving(save))
        assert int(saved[0].step) == stop
        state = jax.tree.map(jax.numpy.asarray, saved[0])
        assert same(trainer.fit(jax.random.key(0), len(examples), whole(examples), state), expected)


@pytest.mark.parametrize("ahead", [0, 2])  # what fails ahead is found later
def test_a_step_that_is_too_large_for_the_device_is_told_of(examples, monkeypatch, ahead):
    monkeypatch.setitem(trainers._STEPS_AHEAD, "cpu", ahead)
    trainer = Trainer(SEGMENTATION, tiny.too_large(unet(tiny.NETWORK)), tiny.TRAINING)
    told = r"^A training step on 2 cases of 8 x 8 x 8 x 1 together, on 2 devices, needs more memory than the device has \(.*7\d{13} bytes.*batch_size"
    with pytest.raises(OutOfMemory, match=told):
        fit(trainer, examples)


@pytest.fixture(params=[1, 2])
def ahead(request, monkeypatch):
    """Steps are sent ahead, as on an accelerator."""
    monkeypatch.setitem(trainers._STEPS_AHEAD, "cpu", request.param)
    return request.param


def test_steps_that_are_sent_ahead_change_no_bit_and_all_are_shown(trainer, examples, ahead, monkeypatch):
    shown = []
    sent_ahead = fit(trainer, examples, progress=lambda *seen: shown.append(seen))
    assert shown == [(step + 1, tiny.TRAINING.steps) for step in range(tiny.TRAINING.steps)]
    monkeypatch.setitem(trainers._STEPS_AHEAD, "cpu", 0)
    assert same(sent_ahead, fit(trainer, examples))


def test_no_more_steps_are_sent_than_may_be_ahead(trainer, examples, ahead, monkeypatch):
    """Steps that were sent, each time that one is shown: but for the last ones exactly as many as may be ahead."""
    sent, behind = [], []
    take_step = training.compiled_step(trainer._recipe, trainer._mesh)
    monkeypatch.setattr(trainers, "compiled_step", lambda *_: lambda *given: sent.append(1) or take_step(*given))
    fit(trainer, examples, progress=lambda done, _: behind.append(len(sent) - done))
    assert behind == [ahead] * (tiny.TRAINING.steps - ahead) + list(range(ahead))[::-1]


def test_a_stop_among_steps_ahead_saves_a_state_that_goes_on_to_the_same_bits(trainer, examples, ahead, monkeypatch):
    saved, done = [], []

    def save(state):
        saved.append(jax.tree.map(np.array, state))

    with pytest.raises(Interrupted):
        fit(
            trainer, examples, progress=lambda step, _: done.append(step), should_stop=lambda: len(done) >= 5, saving=Saving(save)
        )
    assert [int(state.step) for state in saved] == [5 + ahead]
    state = jax.tree.map(jnp.asarray, saved[0])
    went_on = trainer.fit(jax.random.key(0), len(examples), whole(examples), state)
    monkeypatch.setitem(trainers._STEPS_AHEAD, "cpu", 0)
    assert same(went_on, fit(trainer, examples))


def test_states_saved_in_passing_are_those_of_their_steps(trainer, examples, ahead):
    """Though the next steps, sent already, take their buffers."""
    saved = []
    fit(trainer, examples, saving=Saving(lambda state: saved.append(jax.tree.map(np.array, state)), 0.0))
    assert [int(state.step) for state in saved] == list(range(1, tiny.TRAINING.steps))
    for state in (saved[0], saved[6]):
        again = trainer.fit(jax.random.key(0), len(examples), whole(examples), jax.tree.map(jnp.asarray, state))
        assert same(again, fit(trainer, examples))


def test_starts_from_given_weights(trainer, examples):
    params = jax.tree.map(np.asarray, fit(trainer, examples).params)
    warm = Trainer(SEGMENTATION, unet(tiny.NETWORK), tiny.TRAINING, warm=True)
    state = warm.start(jax.random.key(5), examples[0], params)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(state.params), strict=True))
    assert int(warm.fit(jax.random.key(5), len(examples), whole(examples), state).step) == tiny.TRAINING.warm_steps


@pytest.mark.parametrize("steps", [1, 2, 10, 200])
def test_the_rate_is_optax_warm_up_and_cosine(steps):
    warmup = max(1, int(0.15 * steps))
    theirs = optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, max(steps, warmup + 1))
    for step in range(steps):
        assert float(relative_rate(step, steps, 0.15)) == pytest.approx(float(theirs(step)), abs=1e-6)


def test_steps_grow_with_the_cases(examples):
    trainer = Trainer(SEGMENTATION, unet(tiny.NETWORK), TrainingConfig(steps=3, steps_per_case=2, warm_steps=1))
    assert int(fit(trainer, examples[:2]).step) == trainer.steps(2) == 7
    assert int(fit(trainer, examples).step) == trainer.steps(4) == 11


def test_a_decay_by_epochs_is_plain_adam_at_that_rate(examples):
    """Ten steps of two of four cases each are five epochs; the reference is optax alone, with a rate of its own for each step."""
    config = dataclasses.replace(tiny.TRAINING, steps=10, batch_size=2, decay_per_epoch=0.5, clip_norm=None)
    trainer = Trainer(SEGMENTATION, unet(tiny.NETWORK), config)
    assert [trainer._decay(step, 4) for step in range(10)] == [0.5 ** (step // 2) for step in range(10)]
    key = jax.random.key(0)
    state = trainer.start(key, examples[0])
    params = jax.tree.map(np.asarray, state.params)
    trained = trainer.fit(key, 4, whole(examples), state).params
    optimizer = optax.adamw(lambda step: config.peak_rate * 0.5 ** (step // 2), weight_decay=config.weight_decay)
    gradient = jax.jit(jax.grad(lambda *given: gradients._loss(trainer._recipe, *given)[0]))
    seed = [int(word) for word in jax.random.key_data(key).reshape(-1)]

    def course_at(step):
        return gradients.Course(gradients.WHOLE, jnp.int32(1), (jnp.int32(step), jnp.int32(10)))

    @jax.jit
    def one_step(gradients, memory, params):
        updates, memory = optimizer.update(gradients, memory, params)
        return memory, optax.apply_updates(params, updates)

    with jax.numpy_dtype_promotion("standard"):
        memory = optimizer.init(params)
        order = Order(Weighting(), None, 4, seed, 2)
        for step, (batch, _) in enumerate(_batches(seed, range(10), order, whole(examples), None, 0)):
            own = jax.random.fold_in(key, step)
            keys = [jax.random.split(jax.random.fold_in(own, purpose), 2) for purpose in (0, 1)]
            memory, params = one_step(gradient(params, course_at(step), gradients.Inputs(*keys, batch, None)), memory, params)
    for leaf, expected in zip(jax.tree.leaves(trained), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(np.asarray(leaf), np.asarray(expected), atol=2e-4)


@pytest.mark.parametrize("batch_size", [2, 3, 4])
def test_the_number_of_devices_changes_no_bit(examples, batch_size, in_a_hurry):
    """One device takes the examples one after the other, two share them if they can; 3 cannot be halved."""
    config = dataclasses.replace(tiny.TRAINING, batch_size=batch_size)
    recipe = Trainer(SEGMENTATION, unet(dataclasses.replace(tiny.NETWORK, levels=2)), config)._recipe
    batch = stacked(examples[:batch_size])
    params = jax.jit(recipe.model.init)(jax.random.key(0), batch.image[:1])
    states = []
    for devices in (jax.devices()[:1], jax.devices()[:2]):
        mesh = training.make_mesh(recipe, devices)
        assert mesh.size == (1 if batch_size == 3 else len(devices))
        state = jax.device_put(training.fresh_state(config, params), training.everywhere(mesh))
        for _ in range(3):
            state = training.compiled_step(recipe, mesh)(state, jax.random.key(1), Batch(batch), np.int32(10), np.float32(1e-2))
        states.append(jax.tree.map(np.asarray, state))
    for alone, shared in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(shared, alone, rtol=0, atol=1e-3 * np.abs(alone).max() if in_a_hurry else 0)


@pytest.mark.parametrize("pieces", [None, 2, 4])
def test_pieces_yield_the_gradient_of_the_mean_loss(trainer, examples, pieces):
    """Its size, too, which Adam would forgive."""
    batch = stacked(examples[:4])
    params, key = trainer.start(jax.random.key(0), examples[0]).params, jax.random.key(1)
    keys = [jax.random.split(jax.random.fold_in(key, purpose), 4) for purpose in (0, 1)]
    clock = jnp.int32(0), jnp.int32(12)
    expected = jax.jit(jax.grad(lambda *given: gradients._loss(trainer._recipe, *given)[0]))(
        params, gradients.Course(gradients.WHOLE, jnp.int32(1), clock), gradients.Inputs(*keys, batch, None)
    )
    course = gradients.Course(gradients.Cut(pieces), jnp.int32(pieces or 1), clock)
    ours, _ = jax.jit(lambda params: gradients.gradient_of(trainer._recipe, params, None, key, Batch(batch), course))(params)
    for leaf, plain in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(leaf), np.asarray(plain), rtol=0, atol=1e-5 * np.abs(plain).max() + 1e-8)


class OfPlatform:
    """All that is asked of a device before it is used."""

    def __init__(self, platform):
        self.platform = platform


@pytest.mark.parametrize(
    ("batch_size", "devices", "used"), [(4, 4, 4), (4, 3, 2), (6, 4, 3), (2, 8, 2), (5, 4, 1), (7, 8, 7), (1, 2, 1)]
)
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_as_many_devices_train_as_divide_the_batch(batch_size, devices, used, platform):
    """On GPUs images, too; the rest of the devices has nothing to do."""
    there = [OfPlatform(platform) for _ in range(devices)]
    for kind, model in ((SEGMENTATION, unet(tiny.NETWORK)), (CLASSIFICATION, resnet(tiny_images.NETWORK))):
        if kind is SEGMENTATION or platform == "gpu":
            recipe = gradients.Recipe(model, TrainingConfig(batch_size=batch_size), kind.loss, kind.dense)
            assert training.make_mesh(recipe, there).devices.tolist() == there[:used]


@pytest.mark.parametrize("kind", [CLASSIFICATION, IMAGE_SEGMENTATION, IMAGE_SEGMENTATION_OF_PARTS])
def test_images_train_on_one_device_of_a_cpu(kind):
    recipe = Trainer(kind, resnet(tiny_images.NETWORK), TrainingConfig(batch_size=4))._recipe
    assert training.make_mesh(recipe, jax.devices()).size == 1


def test_gradients_of_images_are_in_no_loop():
    """Those of volumes are, one after the other."""
    config = TrainingConfig(batch_size=4)
    for kind, rank in ((IMAGE_SEGMENTATION, 2), (SEGMENTATION, 3)):
        batch = Example(np.zeros((4, *(8,) * rank, 1), np.float32), *np.zeros((3, 4, *(8,) * rank), np.uint8))
        batch = batch._replace(inside=batch.inside > 0, labelled=batch.labelled > 0)
        recipe = Trainer(kind, unet(dataclasses.replace(tiny.NETWORK, space_rank=rank)), config)._recipe
        params = jax.eval_shape(recipe.model.init, jax.random.key(0), batch.image[:1])
        state = jax.eval_shape(functools.partial(training.fresh_state, config), params)
        step = training.compiled_step(recipe, training.make_mesh(recipe, jax.devices()))
        program = str(jax.make_jaxpr(step)(state, jax.random.key(1), Batch(batch), np.int32(10), np.float32(1e-2)))
        assert ("while[" in program) == (kind is SEGMENTATION)


def test_draws_know_their_step_and_place_alone(examples):
    """So a resumed training sees the patches that the whole one saw."""
    config = dataclasses.replace(tiny.TRAINING, steps=4, batch_size=3)
    seen = {}

    def draw(index, rng):
        seen.setdefault(float(rng.random()), index)
        return examples[index]

    trainer = Trainer(SEGMENTATION, unet(tiny.NETWORK), config)
    key = jax.random.key(2)
    trainer.fit(key, 4, draw, trainer.start(key, examples[0]))
    assert len(seen) == 12
    first = dict(seen)
    trainer.fit(key, 4, draw, trainer.start(key, examples[0]))
    assert seen == first


def test_every_epoch_goes_through_all_cases():
    order = Order(Weighting(), None, 5, [1, 2], 3)
    drawn = [index for step in range(10) for index in order.at(step)]
    for epoch in range(6):
        assert sorted(drawn[5 * epoch : 5 * epoch + 5]) == list(range(5))
    assert drawn[:5] != drawn[5:10] or drawn[5:10] != drawn[10:15]


def test_compiles_once_whatever_the_number_of_cases_and_the_start(examples):
    config = dataclasses.replace(tiny.TRAINING, noise=0.123)  # no other test's
    before = training.compiled_step.cache_info().misses
    for count, warm in ((2, False), (3, False), (4, True)):
        trainer = Trainer(SEGMENTATION, unet(tiny.NETWORK), config, warm)
        fit(trainer, examples[:count])
    assert training.compiled_step.cache_info().misses == before + 1
    assert training.compiled_step(trainer._recipe, trainer._mesh)._cache_size() == 1


def test_labels_of_padding_do_not_act(trainer, examples):
    def hide(example, label):
        valid = example.labelled.copy()
        valid[6:] = False
        changed = example.label.copy()
        changed[6:] = label
        return Example(example.image, changed, example.inside, valid)

    assert same(
        fit(trainer, [hide(example, 0) for example in examples]), fit(trainer, [hide(example, 1) for example in examples])
    )


def test_turning_moves_image_and_label_together(examples):
    config = TrainingConfig(contrast=0.0, brightness=0.0, noise=0.0, rotation_degrees=20.0, scaling=0.1)
    example = Example(
        examples[0].label[..., None].astype(np.float32), examples[0].label, examples[0].inside, examples[0].labelled
    )
    turn = jax.jit(augment, static_argnums=(0, 1))
    turned = [turn(config, True, jax.random.key(seed), example) for seed in range(6)]
    for moved in turned:  # the image is the label itself, so both must have gone to the same place
        image, label = np.asarray(moved.image[..., 0]), np.asarray(moved.label)
        np.testing.assert_allclose(ndimage.center_of_mass(image), ndimage.center_of_mass(label), atol=0.3)
    before = ndimage.center_of_mass(example.label)
    assert max(np.abs(np.subtract(ndimage.center_of_mass(np.asarray(moved.label)), before)).max() for moved in turned) > 0.6


def test_an_image_in_the_plane_is_turned_and_not_squeezed():
    """A disc stays a disc: its second moments are those of a circle whatever the angle."""
    grid = np.indices((33, 33)) - 16.0
    disc = ((grid**2).sum(0) < 100).astype(np.float32)
    off = (np.hypot(grid[0] - 9, grid[1]) < 4).astype(np.float32)  # shows the angle
    config = TrainingConfig(contrast=0.0, brightness=0.0, noise=0.0, rotation_degrees=25.0)
    example = Example(np.stack([disc, off], -1), np.array(1, np.uint8), np.array(True), np.array(True))
    turn, angles = jax.jit(augment, static_argnums=(0, 1)), []
    for seed in range(8):
        image = np.asarray(turn(config, False, jax.random.key(seed), example).image)
        moments = [float((image[..., 0] * grid[axis] ** 2).sum()) for axis in range(2)]
        assert moments[0] == pytest.approx(moments[1], rel=0.02)
        assert image[..., 0].sum() == pytest.approx(disc.sum(), rel=0.01)
        centre = [float((image[..., 1] * grid[axis]).sum() / image[..., 1].sum()) for axis in range(2)]
        assert np.hypot(*centre) == pytest.approx(9, abs=0.3)
        angles.append(np.degrees(np.arctan2(centre[1], centre[0])))
    assert 10 < np.std(angles) < 45


def test_augmentation_changes_intensities_only_by_default(examples):
    augmented = jax.jit(augment, static_argnums=(0, 1))(tiny.TRAINING, True, jax.random.key(0), examples[0])
    np.testing.assert_array_equal(np.asarray(augmented.label), examples[0].label)
    assert not np.allclose(np.asarray(augmented.image), examples[0].image)
    assert np.corrcoef(np.asarray(augmented.image).reshape(-1), examples[0].image.reshape(-1))[0, 1] > 0.95


def test_label_maps_are_flipped_with_their_image_and_classes_are_not(examples):
    config = dataclasses.replace(tiny.TRAINING, flips=(0, 2), contrast=0.0, brightness=0.0, noise=0.0)
    example = examples[0]._replace(image=examples[0].label[..., None].astype(np.float32))
    example = example._replace(labelled=example.label == 1)
    assert (example.label != example.label[::-1]).any() and (example.label != example.label[:, :, ::-1]).any()
    flip, seen = jax.jit(augment, static_argnums=(0, 1)), set()
    for seed in range(12):
        flipped = flip(config, True, jax.random.key(seed), example)
        np.testing.assert_array_equal(flipped.label, np.asarray(flipped.image)[..., 0])
        np.testing.assert_array_equal(flipped.labelled, np.asarray(flipped.label) == 1)
        seen.add(np.asarray(flipped.label).tobytes())
    assert len(seen) == 4  # each axis by itself


def test_rotations_are_those_of_the_matrix_exponential(float64):
    """In closed form, since the exponential brings an LU factorisation into every step."""
    for angles in (
        np.zeros(3),
        np.array([1e-9, 0, 0]),
        np.array([0.3, -0.2, 0.5]),
        np.array([2.0, 1.0, -2.0]),
        np.array([np.pi, 0, 0]),
    ):
        x, y, z = angles
        expected = scipy.linalg.expm(np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]))
        np.testing.assert_allclose(np.asarray(_rotation(jnp.asarray(angles))), expected, atol=1e-12)
    assert "lu" not in str(jax.make_jaxpr(_rotation)(jnp.ones(3)))
