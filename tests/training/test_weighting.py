"""Methods of training against plain transcriptions of the published code, and against gradients of the mean that they are meant to be."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_images

from jaxal.data.scans.prepare import load_case
from jaxal.data.stream import stacked
from jaxal.errors import UserError
from jaxal.networks.resnet import resnet
from jaxal.networks.unet import unet
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training import gradient as gradients
from jaxal.training import step as training
from jaxal.training.config import TrainingConfig
from jaxal.training.trainer import Interrupted, Saving, Trainer, whole
from jaxal.training.weighting import (
    Cohort,
    GroupDRO,
    Membership,
    Order,
    Weighting,
    equal_parts,
    equal_weights,
    example_weights,
    first_shares,
    group_losses,
    groupdro,
    membership_of,
    named_method,
    next_shares,
)
from jaxal.types import Example

SIZES = np.array([9.0, 3.0, 0.0, 1.0], np.float32)  # nobody of the third group has a label


def transcribed(dro, batches, sizes):
    """What the code of Sagawa et al. does, group by group in double precision; groups without a case have no share."""
    exists = sizes > 0
    share, average, seen = np.where(exists, 1 / len(sizes), 0.0), np.zeros(len(sizes)), np.zeros(len(sizes), bool)
    for losses, group in batches:
        loss = np.array([losses[group == g].mean() if (group == g).any() else 0.0 for g in range(len(sizes))])
        here = np.array([(group == g).any() for g in range(len(sizes))])
        for g in range(len(sizes)):  # update_exp_avg_loss
            if here[g]:
                average[g] = loss[g] if not seen[g] else (1 - dro.memory) * average[g] + dro.memory * loss[g]
        seen |= here
        margin = np.array([dro.adjustment / np.sqrt(n) if n else 0.0 for n in sizes])
        if dro.worst is None:  # compute_robust_loss
            adjusted = loss + margin
            if dro.normalise:
                adjusted = adjusted / adjusted.sum()
            share = np.where(exists, share * np.exp(dro.step_size * adjusted), 0.0)
            share = share / share.sum()
        else:  # compute_robust_loss_btl
            adjusted, left, share = average + margin, 1.0, np.zeros(len(sizes))
            for g in sorted(np.flatnonzero(exists), key=lambda g: -adjusted[g]):
                share[g] = min(sizes[g] / sizes.sum() / dro.worst, left)
                left -= share[g]
    return share


@pytest.mark.parametrize(
    "dro",
    [
        GroupDRO(),
        GroupDRO(step_size=1.0),
        GroupDRO(step_size=0.5, adjustment=3.0),
        GroupDRO(step_size=0.5, normalise=True),
        GroupDRO(worst=0.2),
        GroupDRO(worst=0.5, memory=0.4, adjustment=1.0),
        GroupDRO(worst=1.0),
    ],
)
def test_shares_are_those_of_the_published_code(rng, dro):
    batches = [(rng.exponential(size=6), rng.choice([0, 1, 3], size=6)) for _ in range(12)]
    shares = first_shares(4)
    for losses, group in batches:
        cohort = Cohort(jnp.asarray(group, jnp.int32), jnp.ones(6), jnp.asarray(SIZES))
        loss, weight = group_losses(jnp.asarray(losses, jnp.float32), cohort)
        shares = next_shares(dro, shares, loss, weight, cohort.sizes)
        example = example_weights(shares.share, weight, cohort)
        mean = sum(float(shares.share[g]) * losses[group == g].mean() for g in np.unique(group))
        assert float((example * losses).mean()) == pytest.approx(mean, rel=1e-5)
    np.testing.assert_allclose(shares.share, transcribed(dro, batches, SIZES), rtol=1e-4, atol=1e-6)
    assert float(shares.share.sum()) == pytest.approx(1.0, abs=1e-6) and float(shares.share[2]) == 0.0


def test_the_worst_group_gains_share():
    shares = first_shares(2)
    for _ in range(5):
        shares = next_shares(GroupDRO(step_size=1.0), shares, jnp.array([0.1, 0.9]), jnp.ones(2), jnp.array([9.0, 3.0]))
    np.testing.assert_allclose(shares.share, [1 / (1 + np.exp(4)), 1 / (1 + np.exp(-4))], rtol=1e-5)


MEMBERS = Membership(
    np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 0], np.int32),
    np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2], np.int32),
    3,
)


def test_equal_parts_are_equal_class_by_class():
    for seed in range(5):
        chosen = equal_parts(MEMBERS, np.random.default_rng(seed))
        pairs = list(zip(MEMBERS.class_[chosen].tolist(), MEMBERS.group[chosen].tolist(), strict=True))
        assert sorted(pairs) == [(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (1, 1), (2, 0)]  # class 2 is in one group alone
        assert len(set(chosen)) == len(chosen)
    drawn = [tuple(equal_parts(MEMBERS, np.random.default_rng(seed))) for seed in range(20)]
    assert len(set(drawn)) > 3


def test_equal_weights_make_groups_weigh_alike():
    weights = equal_weights(MEMBERS)
    for class_, groups in ((0, (0, 1)), (1, (0, 1)), (2, (0,))):
        of_class = MEMBERS.class_ == class_
        sums = [weights[of_class & (MEMBERS.group == group)].sum() for group in groups]
        np.testing.assert_allclose(sums, of_class.sum() / len(groups), rtol=1e-6)
    assert weights.tolist()[:5] == pytest.approx([0.75] * 4 + [1.5])


def test_groups_take_turns_and_each_goes_through_all_of_its_cases():
    order = Order(groupdro(), MEMBERS, 10, [1, 2], 3)
    drawn = [place for step in range(40) for place in order.at(step)]
    assert [int(MEMBERS.group[place]) for place in drawn] == [0, 1] * 60
    for group, size in ((0, 7), (1, 3)):
        own = drawn[group::2]
        for epoch in range(len(own) // size):
            assert sorted(own[epoch * size : (epoch + 1) * size]) == np.flatnonzero(MEMBERS.group == group).tolist()
    sampled = Order(named_method("balanced"), MEMBERS, 10, [1, 2], 7)
    assert sampled.count == 7 and len(set(sampled.at(0))) == 7 and sorted(sampled.at(0)) == sorted(sampled.at(5))
    assert Order(named_method("balanced,by=weights"), MEMBERS, 10, [1, 2], 5).at(3) == Order(Weighting(), None, 10, [1, 2], 5).at(
        3
    )


def test_names_become_numbers():
    members = membership_of(["b", "a", "b"], ["x", "", "x"], ["a", "b", "c"])
    assert (members.group.tolist(), members.class_.tolist(), members.sizes.tolist()) == ([1, 0, 1], [1, 0, 1], [1, 2, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dro", "There is no method 'dro'. There are erm, balanced, groupdro."),
        ("groupdro,step_size=-1", "step_size is -1; it must not be negative."),
        ("groupdro,worst=2", "worst is 2; it must be above 0 and at most 1."),
        ("groupdro,speed=1", "there is no option 'speed'. It has step_size, adjustment, normalise, worst, memory."),
        ("balanced,by=hand", "by is 'hand'; it takes sampling or weights."),
        ("erm,by=weights", "It has none."),
    ],
)
def test_wrong_methods_are_refused(text, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        named_method(text)


# Steps


@pytest.fixture(scope="module")
def volumes(tiny_dataset):
    return [load_case(case, tiny_dataset) for case in tiny_dataset.cases[:4]]


def images(count=4):
    rng = np.random.default_rng(3)
    return [
        Example(rng.normal(size=(8, 8, 1)).astype(np.float32), np.uint8(place % 3), np.bool_(True), np.bool_(True))
        for place in range(count)
    ]


def plain_step_gradient(recipe, params, key, batch, cohort, shares):
    """The gradient of Σ q_g l_g with q from the same batch's losses, all examples at once."""
    keys = [jax.random.split(jax.random.fold_in(key, purpose), len(batch.image)) for purpose in (0, 1)]
    inputs = gradients.Inputs(*keys, batch, None)
    course = gradients.Course(gradients.WHOLE, jnp.int32(1), (jnp.int32(0), jnp.int32(9)))
    losses = np.asarray(jax.jit(lambda params: gradients._losses(recipe, params, course, inputs)[0])(params))
    share = transcribed(recipe.dro, [(losses, np.asarray(cohort.group))], np.asarray(cohort.sizes))

    def total(params):
        losses, _ = gradients._losses(recipe, params, course, inputs)
        return sum(share[g] * losses[np.flatnonzero(cohort.group == g)].mean() for g in np.unique(cohort.group))

    return jax.jit(jax.grad(total))(params), share


@pytest.mark.parametrize(("of", "pieces"), [("volumes", None), ("volumes", 4), ("images", None)])
def test_a_robust_step_has_the_gradient_of_the_groups_shares(volumes, of, pieces):
    kind, model = (SEGMENTATION, unet(tiny.NETWORK)) if of == "volumes" else (CLASSIFICATION, resnet(tiny_images.NETWORK))
    model = model if of == "volumes" else resnet(dataclasses.replace(tiny_images.NETWORK, classes=3))
    config = TrainingConfig(batch_size=4, dice=of == "volumes", weighting=groupdro(step_size=2.0, adjustment=1.0))
    recipe, batch = Trainer(kind, model, config, groups=4)._recipe, stacked(volumes if of == "volumes" else images())
    params, key = jax.jit(model.init)(jax.random.key(0), batch.image[:1]), jax.random.key(1)
    cohort = Cohort(np.array([0, 0, 1, 0], np.int32), np.ones(4, np.float32), SIZES)
    course = gradients.Course(gradients.Cut(pieces), jnp.int32(pieces or 1), (jnp.int32(0), jnp.int32(9)))
    ours, shares = jax.jit(
        lambda params: gradients.gradient_of(recipe, params, first_shares(4), key, gradients.Batch(batch, cohort), course)
    )(params)
    expected, share = plain_step_gradient(recipe, params, key, batch, cohort, first_shares(4))
    np.testing.assert_allclose(shares.share, share, rtol=1e-5)
    for leaf, plain in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(leaf), np.asarray(plain), rtol=0, atol=2e-5 * np.abs(plain).max() + 1e-8)


@pytest.mark.parametrize("method", ["groupdro,step_size=0.5", "balanced,by=weights"])
def test_the_number_of_devices_changes_no_bit_of_a_weighted_step(volumes, method, in_a_hurry):
    config = dataclasses.replace(tiny.TRAINING, batch_size=4, weighting=named_method(method))
    recipe = Trainer(SEGMENTATION, unet(tiny.NETWORK), config, groups=4)._recipe
    batch, params = stacked(volumes), jax.jit(recipe.model.init)(jax.random.key(0), volumes[0].image[None])
    cohort = Cohort(np.array([0, 0, 1, 0], np.int32), np.array([0.75, 0.75, 1.5, 1.0], np.float32), SIZES)
    states = []
    for devices in (jax.devices()[:1], jax.devices()[:2]):
        mesh = training.make_mesh(recipe, devices)
        start = training.fresh_state(config, params, 4 if recipe.dro else None)
        state = jax.device_put(start, training.everywhere(mesh))
        for _ in range(2):
            state = training.compiled_step(recipe, mesh)(
                state, jax.random.key(1), gradients.Batch(batch, cohort), np.int32(10), np.float32(1e-2)
            )
        states.append(jax.tree.map(np.asarray, state))
    for alone, shared in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(shared, alone, rtol=0, atol=1e-3 * np.abs(alone).max() if in_a_hurry else 0)


def test_a_robust_training_resumes_to_the_last_bit_and_its_shares_are_learnt(volumes):
    config = dataclasses.replace(tiny.TRAINING, weighting=groupdro(step_size=1.0))
    trainer, key = Trainer(SEGMENTATION, unet(tiny.NETWORK), config, groups=2), jax.random.key(0)
    members = Membership(np.array([0, 1, 0, 0], np.int32), np.zeros(4, np.int32), 2)
    expected = trainer.fit(key, members, whole(volumes), trainer.start(key, volumes[0]))
    assert abs(float(expected.shares.share[0]) - 0.5) > 1e-3
    saved, calls = [], iter(range(100))
    with pytest.raises(Interrupted):
        trainer.fit(
            key,
            members,
            whole(volumes),
            trainer.start(key, volumes[0]),
            should_stop=lambda: next(calls) == 5,
            saving=Saving(lambda state: saved.append(jax.tree.map(np.asarray, state))),
        )
    again = trainer.fit(key, members, whole(volumes), saved[-1])
    for leaf, other in zip(jax.tree.leaves(again), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(leaf), np.asarray(other))


@pytest.mark.parametrize(("method", "is_shared"), [("balanced", True), ("balanced,by=weights", False), ("groupdro", False)])
def test_a_method_that_only_chooses_cases_has_the_program_of_erm(method, is_shared):
    plain, own = (
        Trainer(SEGMENTATION, unet(tiny.NETWORK), TrainingConfig(weighting=named_method(name)), groups=2)._recipe
        for name in ("erm", method)
    )
    assert (plain == own) == is_shared
