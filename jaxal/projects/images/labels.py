"""Classes that readers chose: checked, compared with each other, and made one of several. The log holds them, and no file."""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import combinations

import numpy as np

from jaxal.labels.refusals import Note, Refused, shown
from jaxal.projects.images.guesses import guess_of
from jaxal.projects.kind import Delivery, Received, Settled
from jaxal.projects.project import Project
from jaxal.projects.state import State, Version


def receive_class(project: Project, state: State, delivery: Delivery, confirmed: Collection[str]) -> Received:
    """Checks a chosen class; see `Kind.receive`.

    Raises:
      Refused: it is none of the project's classes, or a file came instead.
    """
    if delivery.answer is None:
        raise Refused(
            "not-chosen",
            "Images of this project are not drawn on: a class is chosen for each. Open click.html of your own folder.",
        )
    if delivery.answer not in state.classes:
        raise Refused(
            "unknown-class", f"{shown(delivery.answer)} is no class of this project; there are {', '.join(state.classes)}."
        )
    notes = []
    reading = state.cases[delivery.case].readings.get(delivery.reader)
    guess = guess_of(project, delivery.case, reading.round) if reading and project.shows(reading) else None
    if guess is not None and guess.argmax() == state.classes.index(delivery.answer):
        notes.append(Note("unchanged", "This is the class that the network proposed."))
    return Received(tuple(notes), {"category": delivery.answer})


def settle_classes(project: Project, state: State, versions: Sequence[Version]) -> Settled:
    """Two readers must choose the same class; of three or more the majority counts, if there is one."""
    counts = Counter(version.category for version in versions)
    (chosen, votes), *_ = counts.most_common()
    told = ", ".join(f"{version.reader} chose {version.category}" for version in versions)
    scores = {
        f"{first.reader} {second.reader}": [None if value != value else value for value in between(state, first, second)]
        for first, second in combinations(versions, 2)
    }
    disputed = 2 * votes <= len(versions)
    return Settled(disputed, f"readers differ: {told}." if disputed else "", scores, Received((), {"category": chosen}))


def between_versions(project: Project, state: State, first: Version, second: Version) -> list[float]:
    """See `Kind.between`."""
    return between(state, first, second)


def between(state: State, first: Version, second: Version) -> list[float]:
    """Whether two readers chose the same class, by class: 1 where both chose it, 0 where one did, NaN where neither."""
    return of_classes(
        state.classes.index(str(first.category)), state.classes.index(str(second.category)), len(state.classes)
    ).tolist()


def of_classes(first: int, second: int, classes: int) -> np.ndarray:
    """Agreement of two numbers of classes in the same form, `[classes]`."""
    values = np.full(classes, np.nan)
    values[[first, second]] = float(first == second)
    return values


def problems(project: Project, state: State, version: Version) -> list[str]:
    """A class that is none of the project's, in a sentence."""
    if version.category in state.classes:
        return []
    return [f"{version.case}/{version.name}: is of the class {version.category!r}, which the project does not have."]
