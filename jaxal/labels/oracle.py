"""Where labels come from."""

from collections.abc import Callable, Mapping, Sequence

from jaxal.types import Label

Oracle = Callable[[Sequence[str]], Mapping[str, Label]]  # names of units -> the labels that there are


def simulated(labels: Mapping[str, Label]) -> Oracle:
    """An oracle that answers at once with the labels that lie beside the images."""
    return lambda units: {unit: labels[unit] for unit in units if unit in labels}
