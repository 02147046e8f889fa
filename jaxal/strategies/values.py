"""Strategies for numbers: ask for what the members are least sure of, or what tells most of the evaluation set."""

import numpy as np

from jaxal.acquisition.values import information_of_pairs
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.types import Collected, Seen


def _units(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
    """Variance of each target over the labelled cases, `[targets]`, so that no target counts more because its unit is small."""
    label = np.asarray(labelled.statistics["prediction"].label, np.float64)
    variance = label.var(0)
    return np.where(variance > 0, variance, 1.0)


def total_variance() -> Strategy:
    """Variance of the members' means and the variance that they predict, over that of the labelled targets (Kendall & Gal 2017, arXiv 1703.04977)."""

    def score(statistics: Collected, context: Context) -> np.ndarray:
        spread = statistics["spread"]
        return ((spread.epistemic + spread.aleatoric) / context.value).mean(-1)

    return Strategy(Needs(pool=("spread",), labelled=("prediction",)), score, _units)


def epistemic_variance() -> Strategy:
    """Variance of the members' means, over that of the labelled targets: what a label would remove (Kendall & Gal 2017, arXiv 1703.04977)."""

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return (statistics["spread"].epistemic / context.value).mean(-1)

    return Strategy(Needs(pool=("spread",), labelled=("prediction",)), score, _units)


def bald() -> Strategy:
    """Information that the numbers would give of the network, as of normal distributions (Houlsby et al. 2011, arXiv 1112.5745)."""

    def score(statistics: Collected, context: Context) -> np.ndarray:
        spread = statistics["spread"]
        return 0.5 * np.log1p(spread.epistemic / spread.aleatoric).sum(-1)

    return Strategy(Needs(pool=("spread",)), score)


def epig() -> Strategy:
    """Information that the numbers would give of those of the evaluation set, as of normal distributions (Bickford Smith et al. 2023, arXiv 2304.08151)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> tuple[np.ndarray, np.ndarray]:
        return evaluation.statistics["member_values"], evaluation.statistics["spread"].aleatoric

    def score(statistics: Collected, context: Context) -> np.ndarray:
        pool = statistics["member_values"], statistics["spread"].aleatoric
        return np.asarray(information_of_pairs(*pool, *context.value))

    names = ("member_values", "spread")
    return Strategy(Needs(pool=names, evaluation=names), score, prepare)
