"""Strategies that read uncertainty at a temperature, which makes a network as sure as it is right."""

from typing import Literal

from jaxal.assessment.temperature import best_temperature
from jaxal.strategies.contract import Context, Head, Strategy
from jaxal.types import Seen

Temperature = float | Literal["evaluation"]


def at_temperature(strategy: Strategy, statistic: str, temperature: Temperature) -> Strategy:
    """A strategy whose statistic of the pool is taken at a temperature (Guo et al. 2017, arXiv 1706.04599).

    Args:
      strategy: which.
      statistic: that is given the temperature, such as `tempered_margin`.
      temperature: that logits are divided by; `evaluation` is the one that makes the labels of the evaluation set most likely.

    Raises:
      ValueError: it is not above zero.
    """
    if temperature != "evaluation":
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature:g}; it must be above zero.")
        return strategy._replace(given=lambda context, head, evaluation: {statistic: float(temperature)})

    def given(context: Context, head: Head, evaluation: Seen) -> dict[str, float]:
        return {statistic: best_temperature(evaluation.statistics["temperature"])}

    needs = strategy.needs._replace(evaluation=(*strategy.needs.evaluation, "temperature"))
    return strategy._replace(needs=needs, given=given)
