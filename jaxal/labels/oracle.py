"""Labels that lie beside the images: the store and the oracle of a simulation."""

from collections.abc import Mapping, Sequence

from jaxal.data.parts import read_unit, with_parts
from jaxal.types import Case, Label


class Simulated:
    """Answers at once with the labels that lie beside the images, which is also where they are kept.

    Args:
      cases: with their labels.
    """

    def __init__(self, cases: Sequence[Case]):
        self._cases = {case.id: case for case in cases if case.label}

    def ask(self, units: Sequence[str]) -> dict[str, Label]:
        """The labels of these units that there are now; of a part of a case the label is known there only."""
        found = {name: read_unit(name, self._cases) for name in units}
        return {name: with_parts(unit.case.label, [unit]) for name, unit in found.items() if unit and unit.case.label}

    def keep(self, answers: Mapping[str, Label]) -> None:
        """There is nothing to do: they are kept already.

        Raises:
          ValueError: an answer is another label than the one beside the image, so that it would be lost.
        """
        known = self.ask(list(answers))
        for unit, label in answers.items():
            if known.get(unit) != label:
                raise ValueError(f"{unit}: a simulation takes only the label that lies beside the image.")

    def of(self, case: Case, units: Sequence[str]) -> Label:
        """The label of a case of which these units were answered."""
        whole = self._cases[case.id]
        assert whole.label
        answered = [read_unit(name, self._cases) for name in units]
        return with_parts(whole.label, [unit for unit in answered if unit])
