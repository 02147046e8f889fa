"""Strategies for numbers: ask for what members or a mixture are least sure of, or what tells most of the evaluation set."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import values
from jaxal.acquisition.values import Mixture
from jaxal.arrays import chances_of
from jaxal.networks import auxiliary
from jaxal.strategies import contract
from jaxal.strategies.contract import Context, Needs, Strategy
from jaxal.types import Auxiliary, Collected, Example, Output, Params, Seen

Array = jax.Array
_WIDEST = 10.0  # logarithm of a component's variance, lest one shrinks to a single training case, whose likelihood has no end


def _units(context: Context, head: contract.Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
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


def cod() -> Strategy:
    """How far predictions moved since the last round's network, over the variance of the labelled targets; at random in the first round (Huang et al. 2021, arXiv 2107.14153)."""

    def score(statistics: Collected, context: Context) -> np.ndarray:
        if not context.round:
            return chances_of(context.key, context.ids)
        return (statistics["spread"].epistemic / context.value).mean(-1)  # a fourth of the squared distance of the two

    return epistemic_variance()._replace(score=score, last_network="alone")


def bald() -> Strategy:
    """Information that the numbers would give of the network, as of normal distributions (Houlsby et al. 2011, arXiv 1112.5745)."""

    def score(statistics: Collected, context: Context) -> np.ndarray:
        spread = statistics["spread"]
        return 0.5 * np.log1p(spread.epistemic / spread.aleatoric).sum(-1)

    return Strategy(Needs(pool=("spread",)), score)


def epig() -> Strategy:
    """Information that the numbers would give of those of the evaluation set, as of normal distributions (Bickford Smith et al. 2023, arXiv 2304.08151)."""

    def prepare(context: Context, head: contract.Head, labelled: Seen, evaluation: Seen) -> tuple[np.ndarray, np.ndarray]:
        return evaluation.statistics["member_values"], evaluation.statistics["spread"].aleatoric

    def score(statistics: Collected, context: Context) -> np.ndarray:
        pool = statistics["member_values"], statistics["spread"].aleatoric
        return np.asarray(values.information_of_pairs(*pool, *context.value))

    names = ("member_values", "spread")
    return Strategy(Needs(pool=names, evaluation=names), score, prepare)


def mixture_variance(*, components: int = 5, aleatoric: bool = False) -> Strategy:
    """Variance of the means of a mixture of normal distributions that a head predicts, over that of the labelled targets (Choi et al. 2021, arXiv 2103.16130).

    The head learns the numbers' likelihood and leaves the features alone. Its components lie around the network's own prediction, in units of the
    deviation that the network predicts.

    Args:
      components: of the mixture of each target.
      aleatoric: whether the variance within the components counts, too.
    """
    if components < 2:
        raise ValueError(f"components is {components}; a mixture has two at least.")

    def score(statistics: Collected, context: Context) -> np.ndarray:
        mixture = statistics["auxiliary"]["mixture"]
        variance = values.variance_between(mixture)
        if aleatoric:
            variance = variance + values.variance_within(mixture)
        return (np.asarray(variance) / context.value).mean(-1)

    needs = Needs(pool=("auxiliary",), labelled=("prediction",))
    return Strategy(needs, score, _units, auxiliary=_mixture(components))


@functools.cache  # so that equal heads are one, and share their compiled programs
def _mixture(components: int) -> Auxiliary:
    """A head whose value is a `Mixture`, `[batch, targets, components]`."""

    def read(output: Output, logits: Array) -> tuple[tuple[Array, Array], Array]:
        return auxiliary.pooled(output, logits), jax.lax.stop_gradient(logits[..., 0])

    def head(logits: Any) -> auxiliary.Head:
        return auxiliary.Head(3 * components * logits.shape[-1] // 2)

    def init(key: Array, given: tuple[tuple[Array, Array], Array]) -> Params:
        return head(given[1]).lazy_init(key, *given[0])["params"]

    def apply(params: Params, given: tuple[tuple[Array, Array], Array]) -> Mixture:
        stages, logits = given
        outputs: Any = head(logits).apply({"params": params}, *stages)
        weight, mean, log_variance = jnp.moveaxis(outputs.reshape(len(logits), -1, 3, components), 2, 0)
        centre, spread = values.split(logits[..., None])  # a target an element, beside which components stand
        log_variance = spread + jnp.clip(log_variance, -_WIDEST, _WIDEST)
        return Mixture(jax.nn.log_softmax(weight), centre + jnp.exp(0.5 * spread) * mean, log_variance)

    def loss(mixture: Mixture, logits: Array, lost: Array, batch: Example) -> Array:
        value = jnp.where(batch.labelled, batch.label, 0.0)
        return -jnp.where(batch.labelled, values.log_density(mixture, value), 0.0).sum(-1)

    return Auxiliary("mixture", init, apply, loss, read)
