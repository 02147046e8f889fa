"""The strategies' names, for each kind of task."""

from collections.abc import Callable, Mapping

from jaxal.strategies import (
    adversarial,
    at_random,
    by_class,
    clustered,
    covering,
    diverse,
    evidential,
    fair,
    first,
    fisher,
    informative,
    joint,
    predicted,
    regions,
    targeted,
    uncertain,
    values,
)
from jaxal.strategies.contract import Strategy

Make = Callable[..., Strategy]
Table = Mapping[str, Make]


def _named(*makes: Make) -> dict[str, Make]:
    return {make.__name__: make for make in makes}


_OF_FEATURES = _named(  # which need to know nothing else of a case
    *(diverse.coreset, diverse.kmeans_plusplus, covering.maxherding, covering.facility_location, clustered.kmeans),
    *(clustered.typiclust, diverse.similarity_discrepancy, diverse.herding, diverse.discriminative, clustered.reachable_density),
    *(first.activeft, first.usl, first.optimal_transport, first.representative_annotation),
)

_OF_BOTH = _named(
    *(uncertain.least_confidence, uncertain.margin, uncertain.entropy, uncertain.gini, uncertain.bvsb, uncertain.free_energy),
    *(uncertain.linear_deepfool, uncertain.minority, uncertain.mc_entropy, uncertain.variation_ratio, uncertain.vote_entropy),
    *(uncertain.mean_std, uncertain.variance, uncertain.pairwise_kl, uncertain.bald, uncertain.cod),
    uncertain.student_teacher,
    *(informative.eig, informative.aeig, informative.uig, informative.cfig, informative.mass),
    *(informative.egl, informative.gradient_norm),
    *_OF_FEATURES.values(),
    *(covering.uherding, covering.probcover, covering.suggestive_annotation, clustered.clue, clustered.dropquery),
    *(clustered.cluster_margin, diverse.dpp, diverse.ranked_batch, diverse.falcun, diverse.cdal),
    *(diverse.information_density, adversarial.bim, adversarial.vat),
    *(evidential.distribution_uncertainty, evidential.duc, predicted.learning_loss),
    *(targeted.flqmi, targeted.flvmi, targeted.gcmi, targeted.logdetmi, at_random.power_entropy, at_random.power_bald),
)

STRATEGIES: Table = {  # of segmentation
    **_named(at_random.random, fair.stratified_random, at_random.foreground_random, uncertain.masked_entropy),
    **_named(uncertain.scaled_entropy, uncertain.mc_iou, uncertain.pairwise_dice, uncertain.expected_dice),
    **_named(uncertain.neighbourhood, uncertain.ripu, predicted.predicted_dice),
    **_named(fair.weighted_entropy, fair.weighted_entropy_unmasked, fair.weighted_scaled_entropy, fair.worst_group),
    **_OF_BOTH,
    "badge": diverse.badge,
    "epig": informative.epig_of_regions,
    "class_balanced": by_class.class_balanced,
    "clasp_pe": by_class.clasp_pe,
}

STRATEGIES_OF_MASKS: Table = {
    **STRATEGIES,
    "deep_supervision": uncertain.deep_supervision,
}  # of plane images, by networks with side outputs

CLASSIFICATION_STRATEGIES: Table = {
    **_named(at_random.random, fair.stratified_random),
    **_OF_BOTH,
    "badge": diverse.badge_of_images,
    "worst_group": fair.worst_group_of_images,
    "class_balanced": by_class.class_balanced_of_images,
    "clasp_pe": by_class.clasp_pe_of_images,
    "batchbald": joint.batchbald,
    **_named(
        uncertain.augmented,
        clustered.alfa_mix,
        covering.dcom,
        diverse.prototypes,
        adversarial.deepfool,
        fisher.bait,
        fisher.isal,
        informative.epig,
    ),
}

# Which look at groups of patients.
OF_GROUPS = ("stratified_random", "worst_group", "weighted_entropy", "weighted_entropy_unmasked", "weighted_scaled_entropy")

REGRESSION_STRATEGIES: Table = {
    **_named(at_random.random, fair.stratified_random, values.total_variance, values.epistemic_variance, values.bald),
    **_named(values.epig, values.mixture_variance, values.cod, predicted.learning_loss),
    **_OF_FEATURES,
    "worst_group": fair.worst_group_of_numbers,
}

STRATEGIES_OF_PARTS: Table = {
    **_named(regions.random, regions.foreground_random, regions.least_confidence, regions.margin, regions.entropy, regions.gini),
    **_named(regions.bvsb, regions.mc_entropy, regions.variation_ratio, regions.vote_entropy, regions.mean_std, regions.variance),
    **_named(regions.pairwise_kl, regions.bald, regions.power_entropy, regions.power_bald),
    **_named(regions.eig, regions.aeig, regions.uig, regions.cfig, regions.ripu, regions.expected_dice),
    **{name: regions.of_tiles(make) for name, make in _OF_FEATURES.items()},
    **_named(regions.class_balanced, regions.clasp_pe),
}
