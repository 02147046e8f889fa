"""What a network makes of a case does not depend on how much it is padded."""

import dataclasses
import functools
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxal.acquisition.uncertainty import CLASS_MOMENTS
from jaxal.arrays import flat, logits_of
from jaxal.data.cases import Splits
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.nifti import Volume, write_volume
from jaxal.networks.layers import Norm
from jaxal.networks.unet import UNetConfig, unet
from jaxal.report.terminal import Display
from jaxal.scoring.members import MembersConfig, Stream, predict, stream_members
from jaxal.studies.presets import PRESETS
from jaxal.studies.scans import Chosen, make_source, make_task
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import WHOLE, Course, Inputs, _loss
from jaxal.training.trainer import Trainer
from jaxal.types import Example

CASE, ROOM = (7, 6, 9), (16, 12, 24)  # no axis of the case is a multiple of four, so coarse elements lie half inside


def padded(rank=3, at_the_end=False):
    """Two cases in as little room as three levels need and in more: images, what is inside, and where; padding is anything."""
    rng = np.random.default_rng(3)
    cases = rng.normal(size=(2, *CASE[:rank], 1))
    for room in (tuple(-(-length // 4) * 4 for length in CASE), ROOM):
        image, inside = rng.normal(size=(2, *room[:rank], 1)), np.zeros((2, *room[:rank]), bool)
        axes = zip(CASE[:rank], room[:rank], strict=True)
        place = (slice(None), *(slice(size - length, size) if at_the_end else slice(length) for length, size in axes))
        image[place], inside[place] = cases, True
        yield jnp.asarray(image, jnp.float32), jnp.asarray(inside), place


def normal(values, inside, scale, bias, groups):
    """The norm by its definition, item by item; zero outside."""
    result, channels = jnp.zeros(values.shape), values.shape[-1]
    for item, there in enumerate(inside):
        for some in np.split(np.arange(channels), channels if groups is None else groups):
            part = values[item][there][:, some]
            part = (part - part.mean()) / jnp.sqrt(part.var() + 1e-5) * scale[some][None] + bias[some][None]
            result = result.at[item, *(axis[:, None] for axis in np.nonzero(there)), some[None]].set(part)
    return result


@pytest.mark.parametrize(("groups", "mean"), [(None, 0.0), (2, 1000.0), (None, 1000.0)])
def test_norms_count_what_is_inside(rng, float64, groups, mean):
    values, inside = rng.normal(mean, 1, size=(2, 3, 4, 5, 4)), rng.random((2, 3, 4, 5)) < 0.4
    inside[0, 0, 0, 0] = False
    values[~inside] = rng.normal(-50, 100, size=values[~inside].shape)
    values, towards = jnp.asarray(values, jnp.float32), jnp.asarray(rng.normal(size=values.shape))
    scale, bias = jnp.asarray(rng.normal(size=(2, 4)), jnp.float32)

    def ours(values, scale, bias):
        normed = Norm(groups).apply({"params": {"scale": scale, "bias": bias}}, values, jnp.asarray(inside)[..., None])
        return jnp.where(inside[..., None], normed, 0).astype(jnp.float64)

    def theirs(values, scale, bias):
        return normal(values.astype(jnp.float64), inside, scale.astype(jnp.float64), bias.astype(jnp.float64), groups)

    def with_gradient(norm):
        def total(*args):
            return (norm(*args) * towards).sum()

        return jax.jit(lambda *args: (norm(*args), *jax.grad(total, (0, 1, 2))(*args)))(values, scale, bias)

    for our_part, their_part in zip(with_gradient(ours), with_gradient(theirs), strict=True):
        np.testing.assert_allclose(np.asarray(our_part), np.asarray(their_part), atol=3e-5)


@functools.partial(jax.jit, static_argnums=0)
def run(model, params, image, inside):
    masks = model.draw_masks(jax.random.key(7))
    output = model.tail(params, model.stem(params, image, inside), masks)
    logits = logits_of(flat(output), *model.head(params, masks))
    return jax.nn.softmax(logits, 1).reshape(2, -1, *image.shape[1:-1]), output.embedding


@functools.partial(jax.jit, static_argnums=0)
def fresh(model, image):
    return model.init(jax.random.key(0), image)


@pytest.mark.parametrize(
    ("rank", "dropout", "norm"), [(3, "head", "instance"), (2, "decoder", "group"), (2, "bottleneck", "instance")]
)
def test_a_prediction_does_not_depend_on_the_padding(rank, dropout, norm):
    model = unet(UNetConfig(width=4, space_rank=rank, dropout=dropout, norm=norm, groups=2), padded=True)
    params = fresh(model, next(padded(rank))[0])
    for at_the_end in (False, True):
        seen = [(run(model, params, image, inside), place) for image, inside, place in padded(rank, at_the_end)]
        (alone, embedding), (more, embedding_of_more) = (
            (probabilities[:, :, *place[1:]], embedding) for (probabilities, embedding), place in seen
        )
        np.testing.assert_allclose(more, alone, atol=2e-6)
        np.testing.assert_allclose(embedding_of_more, embedding, atol=2e-6)


def test_without_padding_it_is_the_same_network():
    image = next(padded())[0]
    plain, masked = (unet(UNetConfig(width=4), padded) for padded in (False, True))
    params = fresh(plain, image)
    inside = jnp.ones(image.shape[:-1], bool)
    for ours, theirs in zip(run(masked, params, image, inside), run(plain, params, image, inside), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_members_do_not_depend_on_the_padding():
    """Flipped views have their padding at the other end."""
    model = unet(UNetConfig(width=4, levels=2, space_rank=2), padded=True)
    params = fresh(model, next(padded(2))[0])

    @jax.jit
    def mean(image, inside):
        stream, hidden = (
            Stream(model, MembersConfig(flips=(0, 1), dropout=2), CLASS_MOMENTS, True),
            model.stem(params, image, inside),
        )
        around = jnp.full((2, 2, image[0].size), 0.5)
        moments, _ = stream_members(stream, params, image, hidden, jax.random.key(1), around, inside)
        return CLASS_MOMENTS.prediction(moments).reshape(2, 2, *image.shape[1:-1])

    alone, more = (mean(image, inside)[:, :, *place[1:]] for image, inside, place in padded(2))
    np.testing.assert_allclose(more, alone, atol=2e-6)


def test_a_training_step_does_not_depend_on_the_padding():
    trainer = Trainer(
        SEGMENTATION, unet(UNetConfig(width=4, space_rank=2), padded=True), TrainingConfig(contrast=0, brightness=0, noise=0)
    )
    params = fresh(trainer.model, next(padded(2))[0])
    gradient = jax.jit(jax.grad(lambda *given: _loss(trainer._recipe, *given)[0]))
    keys, course = jax.random.split(jax.random.key(1), 2), Course(WHOLE, jnp.int32(1), (jnp.int32(0), jnp.int32(1)))
    alone, more = (
        gradient(
            params, course, Inputs(keys, keys, Example(image, (image[..., 0] > 0.5).astype(jnp.uint8), inside, inside), None)
        )
        for image, inside, _ in padded(2)
    )
    for ours, theirs in zip(jax.tree.leaves(more), jax.tree.leaves(alone), strict=True):
        assert np.isfinite(theirs).all()
        np.testing.assert_allclose(ours, theirs, atol=2e-6 + 1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("patch_voxels", [2**17, 8**3])
def test_a_larger_case_in_the_folder_moves_no_other_prediction(tmp_path, patch_voxels):
    """Whole cases, and windows; the network is that of a study on the folder."""
    folder, larger = tiny.write_dataset(tmp_path / "small", 4, (8, 9, 10)), tiny.write_dataset(tmp_path / "large", 5, (15, 12, 9))
    preset, predictions = dataclasses.replace(PRESETS["smoke"], network=UNetConfig(width=4, levels=2)), []
    for _ in range(2):
        config = FolderConfig(levels=2, patch_voxels=patch_voxels)
        ready = make_ready(folder, tmp_path / "prepared", config)
        patch = None if ready.plan.whole else (8, 8, 8)
        task = make_task(ready, preset, Chosen(Splits((), (), ()), ()), "warm", {}, patch)
        examples = [task.load(case) for case in ready.dataset.cases[:4]]
        params = fresh(task.model, np.zeros((1, *(patch or ready.dataset.shape), 1), np.float32))
        predictions.append([predict(task.kind, task.model, params, example).probability[:, :8, :9, :10] for example in examples])
        for kind, ending in (("images", "_0000"), ("labels", "")):
            shutil.copy(larger / f"{kind}Tr" / f"case_004{ending}.nii.gz", folder / f"{kind}Tr")
        (folder / "participants.tsv").write_text((larger / "participants.tsv").read_text())
    alone, beside = predictions
    assert np.ptp(alone) > 0.1
    np.testing.assert_allclose(beside, alone, atol=2e-6)


def test_new_scans_may_be_padded_where_the_old_ones_were_not(tmp_path):
    """The study's cases all have one shape, so its own network looks at no padding."""
    ready = make_ready(tiny.write_dataset(tmp_path / "old", 4), tmp_path / "prepared", FolderConfig(levels=2))
    preset = dataclasses.replace(PRESETS["smoke"], network=UNetConfig(width=4, levels=2))
    arguments = SimpleNamespace(prepared=tmp_path / "prepared", initial="balanced")
    source = make_source("data", arguments, preset, ready, {})
    scans, predictions = tmp_path / "new", []
    scans.mkdir()
    for id_, shape in (("small", (8, 8, 8)), ("large", (14, 12, 8))):
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        write_volume(scans / f"{id_}_0000.nii.gz", Volume(values, np.eye(4)))
        new = source.read_new(scans, Display(quiet=True))
        params = fresh(new.model, np.zeros((1, 8, 8, 8, 1), np.float32))
        small = next(case for case in new.cases if case.id == "small")
        predictions.append(predict(SEGMENTATION, new.model, params, new.load(small)).probability[:, :8, :8, :8])
    np.testing.assert_allclose(predictions[1], predictions[0], atol=2e-6)
