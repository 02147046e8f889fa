"""Every program that the library compiles, with arguments that it is lowered for."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import tiny
import tiny_images

from jaxal import arrays
from jaxal.acquisition import (
    appearance,
    clusters,
    coverage,
    discriminator,
    first_sets,
    information,
    mutual_information,
    selection,
    sequential,
    uncertainty,
)
from jaxal.acquisition.regions import Search
from jaxal.acquisition.uncertainty import CLASS_MOMENTS
from jaxal.api import measures
from jaxal.data.simulated import brain
from jaxal.leaderboard import learners
from jaxal.networks import checked
from jaxal.networks.dcan import DCANConfig, dcan
from jaxal.networks.resnet import ResNetConfig, resnet
from jaxal.networks.scaled import with_scale
from jaxal.networks.unet import UNetConfig, unet
from jaxal.networks.windows import windowed
from jaxal.scoring import given, members
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Given, Pass
from jaxal.scoring.windows import GainStep
from jaxal.strategies import diverse, informative
from jaxal.task_kind import TaskKind
from jaxal.tasks import classification
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.regions import WINDOWS_OF_GAIN
from jaxal.tasks.regression import REGRESSION
from jaxal.tasks.segmentation import SEGMENTATION, SEGMENTATION_OF_PARTS
from jaxal.training import self_supervised
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import Batch, Recipe
from jaxal.training.step import compiled_step, fresh_state, make_mesh
from jaxal.training.weighting import Cohort, groupdro
from jaxal.types import Example

SPACE, SIDE = (8, 8, 8), 32
GLANDS = DCANConfig(architecture="small", entry="narrow", width=4, groups=2, features=4)
SCORES = ResNetConfig(4, "small", width=4, entry="narrow", norm="instance", space_rank=3, activation="prelu")


class Program(NamedTuple):
    """A compiled function and the arguments that it is lowered for."""

    function: Callable
    arguments: tuple
    options: dict = {}  # noqa: RUF012


def of(function: Callable, *arguments, **options) -> Program:
    return Program(function, arguments, options)


def reals(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.float32)


def flags(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, bool)


WINDOWS = Search((3, 4, 2), at_most=3)
OF_ANY_NETWORK = ("entropy", "bald", "embedding")
KEY = jax.eval_shape(lambda: jax.random.key(0))
KEYS = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 4))
CANDIDATES = information.Candidates(reals(70, 5), reals(70, 3, 5))
ITEMS = information.Items(reals(70, 4), reals(70, 3))
REFERENCE = information.Reference(reals(5, 40), reals(3, 40), reals(3, 40), reals(40), reals(40), reals(3))


def batch_of(count: int, space: tuple[int, ...], kind: TaskKind, channels: int = 1) -> Example:
    if kind is REGRESSION:
        return Example(reals(count, *space, channels), reals(count, 2), flags(count, 2), flags(count, 2))
    mapped = (count, *space) if kind.dense else (count,)
    return Example(reals(count, *space, channels), jax.ShapeDtypeStruct(mapped, np.uint8), flags(*mapped), flags(*mapped))


def small(**options) -> UNetConfig:
    return UNetConfig(width=4, levels=2, **options)


# Programs by the function that compiles them


def passes() -> Iterator[Program]:
    def of_pass(kind, model, config, space, channels, plain=None, whole=False) -> Program:
        """With all statistics where that is said: they take longer to lower than a network, and are the same for all networks."""
        names = [name for name in kind.statistics if name != "auxiliary" and (whole or name in OF_ANY_NETWORK)]
        pass_ = Pass(kind, model, names, config, 1, tiny.STATISTICS)
        params = jax.eval_shape((plain or model).init, KEY, reals(1, *SPACE[: len(space)], channels))
        if config.networks > 1:
            params = jax.tree.map(lambda leaf: reals(config.networks, *leaf.shape), params)
        batch = batch_of(pass_._at_once, space, kind, channels)
        return of(pass_._run, pass_._with_values(params), KEY, batch, jax.ShapeDtypeStruct((pass_._at_once,), np.uint32))

    def of_windows() -> Program:
        kind, model, config = SEGMENTATION_OF_PARTS, unet(small()), dataclasses.replace(tiny.STATISTICS, windows=WINDOWS)
        names = [name for name in kind.statistics if name.startswith("windows")]
        pass_ = Pass(kind, model, names, samples, 1, config)
        elements = information.Reference(reals(5, 40), reals(2, 40), reals(2, 40), reals(40), reals(40), reals(2))
        gains = {name: GainStep(reals(), elements) for name in WINDOWS_OF_GAIN}
        given = pass_._with_values(Given(jax.eval_shape(model.init, KEY, reals(1, *SPACE, 1)), gains))
        batch = batch_of(pass_._at_once, SPACE, kind)
        return of(pass_._run, given, KEY, batch, jax.ShapeDtypeStruct((pass_._at_once,), np.uint32))

    samples, every = MembersConfig(dropout=3), MembersConfig(networks=2, flips=(0,), dropout=2)
    yield of_pass(SEGMENTATION, unet(small()), every, SPACE, 1, whole=True)
    yield of_pass(SEGMENTATION, unet(small(dropout="decoder", dtype="bfloat16")), every, SPACE, 1)
    plain = unet(small())
    yield of_pass(SEGMENTATION, windowed(plain, SPACE), samples, (12, 8, 8), 1, plain)
    yield of_windows()
    yield of_pass(SEGMENTATION, dcan(GLANDS, padded=True), samples, (SIDE, SIDE), 3)
    yield of_pass(CLASSIFICATION, resnet(ResNetConfig(width=8, groups=4)), samples, (SIDE, SIDE), 3)
    masked = resnet(tiny_images.NETWORK)._replace(masked_tail=True)
    yield of_pass(CLASSIFICATION, masked, every, (SIDE, SIDE), 3, whole=True)
    yield of_pass(REGRESSION, with_scale(resnet(SCORES), (20.0, 26.0), (9.0, 3.0)), samples, SPACE, 1, whole=True)


def trainings() -> Iterator[Program]:
    varied = TrainingConfig(flips=(0,), rotation_degrees=10.0, scaling=0.1)
    nets = [
        (SEGMENTATION, unet(small()), varied, SPACE, 1),
        (SEGMENTATION, unet(small(dropout="decoder", dtype="bfloat16")), TrainingConfig(decay_per_epoch=0.9), SPACE, 1),
        (
            SEGMENTATION,
            unet(small()),
            TrainingConfig(batch_size=1, weighting=groupdro()),
            SPACE,
            1,
        ),  # its gradient comes in one piece, as all do on a GPU
        (SEGMENTATION, dcan(dataclasses.replace(GLANDS, dtype="bfloat16")), varied, (SIDE, SIDE), 3),
        (CLASSIFICATION, resnet(ResNetConfig(width=8, groups=4)), dataclasses.replace(varied, dice=False), (SIDE, SIDE), 3),
        (REGRESSION, resnet(SCORES), TrainingConfig(dice=False), SPACE, 1),
    ]
    for kind, model, config, space, channels in nets:
        recipe = Recipe(model, config, kind.loss, kind.dense)
        params = jax.eval_shape(model.init, KEY, reals(1, *space, channels))
        state = jax.eval_shape(lambda params, own=recipe: fresh_state(own.config, params, 2 if own.dro else None), params)
        whole = jax.ShapeDtypeStruct((config.batch_size,), np.int32), reals(config.batch_size), reals(2)
        cohort = Cohort(*whole) if recipe.weighs else None
        batch = batch_of(config.batch_size, space, kind, channels)
        step = compiled_step(recipe, make_mesh(recipe, jax.local_devices()))
        yield of(step, state, KEY, Batch(batch, cohort), np.int32(10), np.float32(1e-3))


def fresh() -> Iterator[Program]:
    params = jax.eval_shape(unet(small()).init, KEY, reals(1, *SPACE, 1))
    yield of(fresh_state, TrainingConfig(), params)


def drawn_weights() -> Iterator[Program]:
    yield of(jax.jit(unet(small()).init), KEY, reals(1, *SPACE, 1))
    yield of(jax.jit(resnet(ResNetConfig()).init), KEY, reals(1, SIDE, SIDE, 3))


def predictions() -> Iterator[Program]:
    plain = unet(small())
    params = jax.eval_shape(plain.init, KEY, reals(1, *SPACE, 1))
    for model, space in ((plain, SPACE), (windowed(plain, SPACE), (12, 8, 8))):
        yield of(members._predict, model, CLASS_MOMENTS, True, params, reals(*space, 1), flags(*space))
    images = resnet(tiny_images.NETWORK)
    params = jax.eval_shape(images.init, KEY, reals(1, SIDE, SIDE, 1))
    yield of(members._predict, images, CLASS_MOMENTS, False, params, reals(SIDE, SIDE, 1), None)


def networks_of_others() -> Iterator[Program]:
    model = resnet(tiny_images.NETWORK)
    params = jax.eval_shape(model.init, KEY, reals(1, SIDE, SIDE, 1))
    yield of(jax.jit(functools.partial(checked._outputs, model)), params, reals(2, SIDE, SIDE, 1))
    stem = jax.jit(lambda params, images, key: model.tail(params, model.stem(params, images), model.draw_masks(key)).features)
    yield of(stem, params, reals(2, SIDE, SIDE, 1), KEY)


def small_networks() -> Iterator[Program]:
    module = learners.Dense((6,), drops=True)
    params = jax.eval_shape(module.init, KEY, reals(2, 2))
    before = learners.Learned(params, jax.eval_shape(learners._OPTIMIZER.init, params))
    classes, count = jax.ShapeDtypeStruct((40,), np.int32), jax.ShapeDtypeStruct((), np.int32)
    taught = learners.Taught(reals(40, 2), classes, count, reals(40, 2), classes)
    yield of(learners._trained, module, before, taught, KEY, epochs=3, patience=0)


def gains() -> Iterator[Program]:
    for long_steps in (False, True):
        for step in ("sgd", "sign"):
            options = {"variant": "aeig", "rate": 0.1, "step": step, "renormalise": False, "long_steps": long_steps}
            for candidates in (CANDIDATES, ITEMS):
                yield of(informative._compiled_gain, candidates, REFERENCE, **options)


def linear_gains() -> Iterator[Program]:
    for candidates in (CANDIDATES, ITEMS):
        yield of(informative._compiled_linear_gain, candidates, REFERENCE, variant="eig", rate=0.1, renormalise=False)


def long_steps() -> Iterator[Program]:
    for rate in (0.1, "normalised"):
        for candidates in (CANDIDATES, ITEMS):
            yield of(information.steps_may_be_long, candidates, REFERENCE, rate=rate, step="sgd")


def lessons() -> Iterator[Program]:
    for objective, model, space, channels, dense in [
        ("contrastive", unet(small()), SPACE, 1, True),
        ("orientation", resnet(tiny_images.NETWORK), (SIDE, SIDE), 1, False),
    ]:
        lesson = self_supervised.Lesson(model, TrainingConfig(), objective, 10, dense)
        images = self_supervised.Images(reals(4, *space, channels), flags(4, *space) if dense else None)
        head, params = self_supervised._Projection(4), jax.eval_shape(model.init, KEY, images.image)
        embedding = jax.eval_shape(functools.partial(self_supervised._embedding, model), params, images)
        projection = jax.eval_shape(lambda head=head, embedding=embedding: head.lazy_init(jax.random.key(0), embedding)["params"])
        state = {"network": params, "projection": projection}
        memory = jax.eval_shape(self_supervised._optimizer(10).init, state)
        yield of(self_supervised._take_step, lesson, head, state, memory, KEY, images)


def appearances() -> Iterator[Program]:
    yield of(jax.jit(appearance.appearance), reals(*SPACE, 2), flags(*SPACE))
    yield of(jax.jit(appearance.appearance), reals(SIDE, SIDE, 3), flags(SIDE, SIDE))


def statistics_of_given_images() -> Iterator[Program]:
    known = [(name, one) for name, one in CLASSIFICATION.statistics.items() if not one.needs_features and one.given is None]
    chosen = tuple((name, one) for name, one in known if not one.needs_logits and not one.of_inputs and name != "auxiliary")
    yield of(given._evaluate_images, CLASS_MOMENTS, chosen, None, reals(4, 6, 3, 1), KEYS)


def statistics_of_given() -> Iterator[Program]:
    known = [(name, one) for name, one in SEGMENTATION.statistics.items() if not one.needs_features and one.given is None]
    chosen = tuple((name, statistic) for name, statistic in known if name != "auxiliary")
    total = jax.eval_shape(CLASS_MOMENTS.of_members, reals(2, 3, 512))
    yield of(given._evaluate, CLASS_MOMENTS, chosen, tiny.STATISTICS, SPACE, total, reals(2, 3, 64), flags(512), KEY)


TOTAL = jax.eval_shape(uncertainty.moments_of, reals(2, 3, 7))
POINTS, THERE = reals(30, 6), flags(30)
PLACES, CLASSES_OF_POINTS = (jax.ShapeDtypeStruct(shape, np.int32) for shape in ((5,), (30,)))
EXPORTED: dict[str, Callable[[], Iterator[Program]]] = {
    "acquisition/clusters.py _lloyd": lambda: iter([of(clusters._lloyd, KEY, POINTS, reals(30), flags(4), np.int32(9))]),
    "acquisition/coverage.py _distance_to_others": lambda: iter(
        [of(coverage._distance_to_others, POINTS, CLASSES_OF_POINTS, PLACES)]
    ),
    "acquisition/coverage.py _gains": lambda: iter(
        of(coverage._gains, POINTS, PLACES, reals(30), reals(30), reals(), reals(30), kernel=kernel)
        for kernel in get_args(coverage.Kernel)
    ),
    "acquisition/coverage.py _gains_held": lambda: iter([of(coverage._gains_held, reals(30, 30), PLACES, reals(30), reals(30))]),
    "acquisition/coverage.py _left_with": lambda: iter([of(coverage._left_with, reals(30), reals(30))]),
    "acquisition/coverage.py _unlike": lambda: iter(
        [of(coverage._unlike, POINTS, PLACES, reals(), reals(30), kernel="gaussian")]
    ),
    "acquisition/coverage.py _around_mean": lambda: iter([of(coverage._around_mean, POINTS, np.int32(29))]),
    "acquisition/coverage.py _uncovered_by": lambda: iter(
        [of(coverage._uncovered_by, POINTS, np.int32(29), reals(4, 6), reals(), kernel="gaussian")]
    ),
    "acquisition/coverage.py _unit": lambda: iter([of(coverage._unit, POINTS)]),
    "acquisition/discriminator.py _trained": lambda: iter([of(discriminator._trained, KEY, POINTS, reals(30), reals(30))]),
    "acquisition/first_sets.py _descended": lambda: iter([of(first_sets._descended, POINTS, reals(30), reals(4, 6), steps=3)]),
    "rounds/first_set.py _appearances": appearances,
    "rounds/first_set.py features_of": drawn_weights,
    "acquisition/information.py steps_may_be_long": long_steps,
    "acquisition/selection.py k_center": lambda: iter([of(selection.k_center, POINTS, reals(4, 6), THERE, budget=3)]),
    "acquisition/selection.py draws_by_distance": lambda: iter(
        [of(selection.draws_by_distance, KEY, POINTS, reals(4, 6), THERE, budget=3)]
    ),
    "acquisition/selection.py k_means_plus_plus": lambda: iter([of(selection.k_means_plus_plus, KEY, POINTS, THERE, budget=3)]),
    "acquisition/selection.py k_means_plus_plus_of_gradients": lambda: iter(
        [of(selection.k_means_plus_plus_of_gradients, KEY, POINTS, reals(30, 3), THERE, budget=3)]
    ),
    "acquisition/mutual_information.py most_mutual_information": lambda: iter(
        [of(mutual_information.most_mutual_information, reals(30, 4), THERE, budget=3, eta=jnp.float32(1.0))]
    ),
    "acquisition/selection.py _member_entropy": lambda: iter([of(selection._member_entropy, reals(30, 5, 3))]),
    "acquisition/selection.py _joint_entropy": lambda: iter(
        [of(selection._joint_entropy, reals(9, 5), reals(9), reals(30, 5, 3))]
    ),
    "acquisition/selection.py _pick": lambda: iter([of(selection._pick, reals(30), reals(), reals(30), THERE)]),
    "acquisition/selection.py _extended": lambda: iter(
        of(selection._extended, KEY, reals(9, 5), reals(9), reals(5, 3), samples=samples) for samples in (None, 9, 20)
    ),
    "acquisition/sequential.py contextual_distances": lambda: iter(
        [of(sequential.contextual_distances, reals(30, 3, 3), reals(3, 3))]
    ),
    "acquisition/sequential.py farthest_contexts": lambda: iter(
        [of(sequential.farthest_contexts, reals(30, 3, 3), reals(30), budget=3)]
    ),
    "api/measures.py _measured": lambda: iter([of(measures._measured, uncertainty.bald, True, reals(4, 6, 3))]),
    "arrays.py _chances": lambda: iter([of(arrays._chances, KEY, jax.ShapeDtypeStruct((8,), np.uint32))]),
    "arrays.py _gumbels": lambda: iter([of(arrays._gumbels, KEY, jax.ShapeDtypeStruct((8,), np.uint32))]),
    "cli/segmentation.py _seconds_a_case": drawn_weights,
    "data/simulated/brain.py warp": lambda: iter(
        [of(brain.warp, (8, 9, 8), reals(2, 9, 9, 9), reals(2, 3, 9, 9, 9), reals(3), np.float32(2))]
    ),
    "leaderboard/learners.py _trained": small_networks,
    "networks/checked.py _draws": networks_of_others,
    "networks/checked.py checked": networks_of_others,
    "scoring/given.py _evaluate": statistics_of_given,
    "scoring/given.py _evaluate_images": statistics_of_given_images,
    "scoring/given.py _first": lambda: iter([of(given._first, CLASS_MOMENTS, reals(3, 7))]),
    "scoring/given.py _next": lambda: iter([of(given._next, CLASS_MOMENTS, TOTAL, reals(3, 7))]),
    "scoring/given.py _kept": lambda: iter(
        [of(given._kept, CLASS_MOMENTS, True, tiny.STATISTICS, (4, 4, 4), reals(3, 64), flags(64))]
    ),
    "scoring/members.py _predict": predictions,
    "scoring/pool_pass.py _compiled": passes,
    "strategies/diverse.py _compiled_nearest": lambda: iter([of(diverse._compiled_nearest, POINTS, reals(4, 6))]),
    "strategies/informative.py _compiled_epig": lambda: iter(
        [of(informative._compiled_epig, reals(8, 5, 3), reals(4, 5, 3), *weights) for weights in ((), (reals(4),))]
    ),
    "strategies/informative.py _compiled_gain": gains,
    "strategies/informative.py _compiled_linear_gain": linear_gains,
    "tasks/classification.py _sums_of_images": lambda: iter(
        [of(classification._sums_of_images, reals(3, 30), jax.ShapeDtypeStruct((30,), np.int32), flags(30))]
    ),
    "training/self_supervised.py _take_step": lessons,
    "training/self_supervised.py learn_alone": drawn_weights,
    "training/step.py compiled_step": trainings,
    "training/step.py fresh_state": fresh,
    "training/trainer.py start": drawn_weights,
}
