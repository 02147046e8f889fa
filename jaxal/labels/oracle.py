"""Labels that lie beside the images: the store and the oracle of a simulation."""

from collections.abc import Mapping, Sequence

from jaxal.types import Case, Label


class Simulated:
    """Answers at once with the labels that lie beside the images, which is also where they are kept.

    Args:
      labels: of whole cases, by their ids.
    """

    def __init__(self, labels: Mapping[str, Label]):
        self._labels = labels

    def ask(self, units: Sequence[str]) -> dict[str, Label]:
        """The labels of these units that there are now."""
        return {unit: self._labels[unit] for unit in units if unit in self._labels}

    def keep(self, answers: Mapping[str, Label]) -> None:
        """There is nothing to do: they are kept already.

        Raises:
          ValueError: an answer is another label than the one beside the image, so that it would be lost.
        """
        for unit, label in answers.items():
            if self._labels.get(unit) != label:
                raise ValueError(f"{unit}: a simulation takes only the label that lies beside the image.")

    def of(self, case: Case, units: Sequence[str]) -> Label:
        """The label of a case of which these units were answered; here the case itself is the only unit."""
        return self._labels[case.id]
