"""What learns points: against scikit-learn's machine, and against a training written out plainly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.svm import SVC

from jaxal.arrays import logits_of_images
from jaxal.leaderboard.learners import Dense, Network, SupportVectors
from jaxal.leaderboard.points import Division, Points, breast_cancer, divided, three_clusters

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def biopsies():
    return divided(breast_cancer, Division(0.4, 0.1, 20, to_unit=False), 0)


def test_a_machine_is_linear_in_the_space_of_its_kernel(biopsies):
    learner, labelled = SupportVectors(biopsies), biopsies.pool.of(biopsies.start)
    learned = learner.learn(labelled, None, KEY)
    machine = SVC(gamma="auto").fit(labelled.inputs, labelled.classes)
    logits = logits_of_images(learner.model, learned.params, jnp.asarray(learner.inputs(biopsies.pool.inputs)), None)[..., 0]
    np.testing.assert_allclose(logits[:, 1], machine.decision_function(biopsies.pool.inputs), atol=1e-4)
    np.testing.assert_allclose(logits[:, 0], -logits[:, 1], atol=1e-6)
    coordinates = learner.inputs(biopsies.pool.inputs[:9]).astype(np.float64)
    some = biopsies.pool.inputs[:9].astype(np.float64)
    expected = np.exp(-((some[:, None] - some[None]) ** 2).sum(-1) / some.shape[1])
    np.testing.assert_allclose(coordinates @ coordinates.T, expected, atol=1e-4)


def plainly_trained(parts, labelled, before, key, epochs, patience, room=90):
    """The training of a network as loops over epochs and batches; returns what was learned and how many epochs it took."""
    module, optimizer = Dense((6,)), optax.nadam(1e-3)
    params, memory = before
    count = len(labelled.classes)

    @jax.jit
    def loss_of(params, points):
        logits = module.apply(params, points.inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, points.classes.astype(np.int32)).mean()

    @jax.jit
    def step(params, memory, points):
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = optimizer.update(jax.grad(loss_of)(params, points), memory, params)
            return optax.apply_updates(params, updates), memory

    least, waited = np.inf, 0
    for epoch, key_of_epoch in enumerate(jax.random.split(key, epochs)):
        if waited > patience:
            return (params, memory), epoch
        order = np.argsort(np.asarray(jax.random.uniform(key_of_epoch, (room,)))[:count], kind="stable")
        for number in range(max(count // 32, 1)):
            params, memory = step(params, memory, labelled.of(order[32 * number : 32 * (number + 1)]))
        loss = float(loss_of(params, parts.evaluation))
        waited = 0 if loss < least else waited + 1
        least = min(loss, least)
    return (params, memory), epochs


@pytest.mark.parametrize(("count", "patience"), [(5, 0), (40, 0), (70, 2)])
def test_a_network_trains_as_loops_would(count, patience):
    """Room for more points changes nothing, what does not fill a batch of 32 takes no part in an epoch, and without patience one ends soon."""
    parts = divided(three_clusters, Division(0.2, 0.2, 2, to_unit=True), 0)
    labelled = parts.pool.of(np.arange(count))
    wrong = parts._replace(evaluation=Points(labelled.inputs, 1 - labelled.classes))  # its loss rises with the training
    learner = Network(wrong, (6,), 90, False, patience)
    first = learner.learn(labelled, None, KEY)
    again = learner.learn(labelled, first, jax.random.fold_in(KEY, 7))

    params = Dense((6,)).init(jax.random.fold_in(KEY, 0), jnp.asarray(labelled.inputs[:2]))
    start = params, optax.nadam(1e-3).init(params)
    expected, epochs = plainly_trained(wrong, labelled, start, jax.random.fold_in(KEY, 1), 50, 50)
    assert epochs == 50
    second = jax.random.fold_in(jax.random.fold_in(KEY, 7), 1)
    later, epochs = plainly_trained(wrong, labelled, expected, second, 100, patience)
    assert 0 < epochs < 100
    for ours, plain in zip(jax.tree.leaves([tuple(first), tuple(again)]), jax.tree.leaves([expected, later]), strict=True):
        np.testing.assert_allclose(ours, plain, atol=2e-5)
