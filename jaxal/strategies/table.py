"""The strategies' names, for each kind of task."""

from collections.abc import Callable, Mapping

from jaxal.strategies import regions, values
from jaxal.strategies.at_random import foreground_random, power_bald, power_entropy, random
from jaxal.strategies.contract import Strategy
from jaxal.strategies.diverse import badge, badge_of_images, coreset
from jaxal.strategies.fair import (
    stratified_random,
    weighted_entropy,
    weighted_entropy_unmasked,
    weighted_scaled_entropy,
    worst_group,
)
from jaxal.strategies.informative import aeig, cfig, egl, eig, gradient_norm, mass, uig
from jaxal.strategies.joint import batchbald
from jaxal.strategies.targeted import flqmi
from jaxal.strategies.uncertain import (
    bald,
    entropy,
    least_confidence,
    margin,
    masked_entropy,
    mc_entropy,
    mean_std,
    scaled_entropy,
    variation_ratio,
)

Make = Callable[..., Strategy]
Table = Mapping[str, Make]


def _named(*makes: Make) -> dict[str, Make]:
    return {make.__name__: make for make in makes}


_OF_BOTH = _named(
    *(least_confidence, margin, entropy, mc_entropy, variation_ratio, mean_std, bald),
    *(eig, aeig, uig, cfig, mass, egl, gradient_norm),
    *(coreset, power_entropy, power_bald),
)

STRATEGIES: Table = {  # of segmentation
    **_named(random, stratified_random, foreground_random, masked_entropy, scaled_entropy),
    **_named(weighted_entropy, weighted_entropy_unmasked, weighted_scaled_entropy, worst_group),
    **_OF_BOTH,
    "badge": badge,
    "flqmi": flqmi,
}

CLASSIFICATION_STRATEGIES: Table = {
    "random": random,
    **_OF_BOTH,
    "badge": badge_of_images,
    "batchbald": batchbald,
}

REGRESSION_STRATEGIES: Table = _named(
    *(random, stratified_random, values.total_variance, values.epistemic_variance, values.bald, values.epig, coreset)
)

STRATEGIES_OF_PARTS: Table = _named(
    *(regions.random, regions.foreground_random, regions.least_confidence, regions.margin, regions.entropy, regions.mc_entropy),
    *(regions.variation_ratio, regions.mean_std, regions.bald, regions.power_entropy, regions.power_bald),
    *(regions.eig, regions.aeig, regions.uig, regions.cfig, regions.ripu, regions.class_balanced, regions.clasp_pe),
)
