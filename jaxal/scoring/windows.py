"""The best windows of each case by a measure: what strategies read that ask for parts of cases.

A window's score is the mean over its elements, of which those that have a label already count zero. All positions are searched in the pass, and of
a case only its best windows leave it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import information, regions, uncertainty
from jaxal.acquisition.regions import Extent, Search, Tiles, Windows
from jaxal.arrays import one_hot, rows_of
from jaxal.scoring.statistics import StatisticsConfig, View
from jaxal.task_kind import Statistic

Array = jax.Array
_LEAST_SHARE = 0.005  # of a window, that a structure counts as
Measure = Callable[[Any], Array]  # moments -> [..., elements], not negative


class GainStep(NamedTuple):
    """What information gain is measured with: the rate of the one gradient step, and the evaluation set."""

    rate: Array
    reference: information.Reference


def windows_of(measure: Measure, of_members: bool = False, noisy: bool = False) -> Statistic:
    """The windows of largest mean of a measure of moments.

    Args:
      measure: of moments.
      of_members: whether it reads the members' moments.
      noisy: whether windows are drawn, with chances in proportion to a power of their means; the power is what the statistic is given.
    """

    def evaluate(view: View, config: StatisticsConfig) -> Windows:
        # The moments are there before they are read; else XLA would join the members' loop with the measure, which takes a tenth longer.
        moments = jax.lax.optimization_barrier(view.members) if of_members else view.single
        values = measure(moments)
        return _best(view, config, _Places(view, config).means(values), noisy)

    return Statistic(evaluate, of_members, given=1.0 if noisy else None)


def impurity(view: View, config: StatisticsConfig) -> Windows:
    """RIPU (Xie et al. 2022, arXiv 2111.12940): how mixed a window's predicted classes are, times its mean entropy, each as a share of log C."""
    places, probability = _Places(view, config), uncertainty.mean_probability(view.single)
    classes = probability.shape[0]
    predicted = one_hot(probability.argmax(0), classes).astype(jnp.float32)
    counts = jnp.stack([places.sums(part).reshape(-1) for part in predicted])
    mixed = uncertainty.probability_entropy(counts / jnp.maximum(counts.sum(0), 1.0)[None]) / np.log(classes)
    unsure = places.means(uncertainty.entropy(view.single) / np.log(classes))
    return _best(view, config, jnp.where(unsure > -jnp.inf, mixed.reshape(unsure.shape) * unsure, -jnp.inf), noisy=False)


def expected_error_of_dice(view: View, config: StatisticsConfig) -> Windows:
    """One minus the Dice that the prediction expects of itself in a window, mean over the structures: what is unsure of each over its size there.

    A structure that has less than a two-hundredth of the window counts as though it had so much, so that windows without any do not come first.
    """
    places, probability = _Places(view, config), uncertainty.mean_probability(view.single)
    elements = places.elements().astype(jnp.float32)
    of_structures = []
    for part in probability[1:]:
        unsure = places.means(part - jnp.square(part))
        of_structures.append(unsure / jnp.maximum(places.sums(part) / elements, _LEAST_SHARE))
    return _best(view, config, functools.reduce(jnp.add, of_structures) / len(of_structures), noisy=False)


def tiles(view: View, config: StatisticsConfig) -> Tiles:
    """The case cut into windows side by side, with the mean of the last layer's input in each."""
    inside, (open_, extent) = view.inside.reshape(view.shape), _open(view)
    features = rows_of(view.features, jnp.arange(view.inside.size)).reshape(*view.shape, -1)
    return regions.tiles_of(features, inside, open_, extent, regions.sizes_in(view.shape, _search(config).size))


def entropy_by_class(view: View, config: StatisticsConfig) -> Windows:
    """Windows drawn by the entropy of each class above zero, p_c H, and by the plain entropy: leading axis `[classes]`, the plain one first.

    It is what ClaSP PE reads (arXiv 2601.13677); each is drawn with noise of its own, whose power is what the statistic is given.
    """
    places, entropy = _Places(view, config), uncertainty.entropy(view.single)
    probability = uncertainty.mean_probability(view.single)
    maps = [entropy, *(part * entropy for part in probability[1:])]
    found = [
        _best(view._replace(key=jax.random.fold_in(view.key, number)), config, places.means(values), noisy=True)
        for number, values in enumerate(maps)
    ]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *found)


def best_by(values: Array, view: View, config: StatisticsConfig) -> Windows:
    """The windows of largest mean of a measure, `[elements]`, not negative."""
    return _best(view, config, _Places(view, config).means(values), noisy=False)


class _Places:
    """Where windows may lie in a case."""

    def __init__(self, view: View, config: StatisticsConfig):
        self._view, self._search = view, _search(config)
        self._open, self._extent = _open(view)

    def means(self, values: Array) -> Array:
        """Of a measure, `[elements]` to `[*shape]`."""
        # Else XLA would compute the measure anew for every shift of the sums.
        values = jax.lax.optimization_barrier(values).reshape(self._view.shape)
        return regions.window_means(values, self._open, self._extent, self._search)

    def sums(self, values: Array) -> Array:
        """Of what is in the image, labelled or not, `[elements]` to `[*shape]`."""
        inside = jnp.where(self._view.inside, values, 0.0).reshape(self._view.shape)
        return regions.window_sums(inside, regions.sizes_in(self._view.shape, self._search.size))

    def elements(self) -> Array:
        """Of a window that lies within the image, `[]`."""
        size = jnp.array(regions.sizes_in(self._view.shape, self._search.size), jnp.int32)
        return jnp.minimum(self._extent.length, size).prod()


def _best(view: View, config: StatisticsConfig, scores: Array, noisy: bool) -> Windows:
    if noisy:
        scores = regions.power_noise(jax.random.fold_in(view.key, 1), scores, view.given)
    return regions.best_windows(scores, *_open(view), _search(config))


def _open(view: View) -> tuple[Array, Extent]:
    """The elements of the image that have no label yet, and where the image lies, `[*shape]`."""
    inside, labelled = (part.reshape(view.shape) for part in (view.inside, view.labelled))
    return inside & ~labelled, regions.extent_of(inside)


def _search(config: StatisticsConfig) -> Search:
    if config.windows is None:
        raise ValueError("There are windows only where parts of cases are asked for (`StatisticsConfig.windows`).")
    return config.windows


def certainly_one(moments: Any) -> Array:
    """The same everywhere: windows drawn by it are drawn at random."""
    return jnp.ones_like(uncertainty.mean_probability(moments)[0])


def foreground(moments: Any) -> Array:
    """Probability of any class above zero."""
    return 1.0 - uncertainty.mean_probability(moments)[0]


STATISTICS = {
    "windows_random": windows_of(certainly_one, noisy=True),
    "windows_foreground": windows_of(foreground, noisy=True),
    "windows_entropy": windows_of(uncertainty.entropy),
    "windows_power_entropy": windows_of(uncertainty.entropy, noisy=True),
    "windows_least_confidence": windows_of(uncertainty.least_confidence),
    "windows_margin": windows_of(uncertainty.margin),
    "windows_gini": windows_of(uncertainty.gini),
    "windows_best_versus_second": windows_of(uncertainty.best_versus_second),
    "windows_mc_entropy": windows_of(uncertainty.entropy, of_members=True),
    "windows_variation_ratio": windows_of(uncertainty.variation_ratio, of_members=True),
    "windows_vote_entropy": windows_of(uncertainty.vote_entropy, of_members=True),
    "windows_mean_std": windows_of(uncertainty.mean_std, of_members=True),
    "windows_variance": windows_of(uncertainty.variance, of_members=True),
    "windows_pairwise_divergence": windows_of(uncertainty.pairwise_divergence, of_members=True),
    "windows_bald": windows_of(uncertainty.bald, of_members=True),
    "windows_power_bald": windows_of(uncertainty.bald, of_members=True, noisy=True),
    "windows_impurity": Statistic(impurity),
    "windows_expected_dice": Statistic(expected_error_of_dice),
    "tiles": Statistic(tiles, needs_features=True),
    "windows_entropy_by_class": Statistic(entropy_by_class, given=1.0),
}
