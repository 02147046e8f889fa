"""From a project's status to what its page shows: estimates with intervals, what is ahead, and verdicts that nothing acts upon."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.assessment import minutes as of_minutes
from jaxal.assessment import stopping
from jaxal.assessment.agreement import Bias, bias, biases_of_readers, cohens_kappa, mean_agreement, relative_difference
from jaxal.assessment.extrapolation import FEWEST_ROUNDS, Extrapolation, extrapolate
from jaxal.assessment.honest_curve import Honest, mean_dice
from jaxal.assessment.intervals import UNKNOWN, Estimate
from jaxal.assessment.reader_error import readers_agreement
from jaxal.assessment.stopping import Verdict
from jaxal.projects.measures import honest
from jaxal.projects.past import Past
from jaxal.projects.status import Status

GOALS = (0.8, 0.85, 0.9, 0.95)  # Dice or accuracy that people ask for
ANCHORED = 1 / 3  # share of labels that are the proposal, above which a reader may only be nodding
CAUTION = (
    "Labels of random cases were drawn from proposals, to which readers stay close; so the reader gain, and the curve, are "
    "higher than with labels drawn from nothing."
)
FEWEST_SHOWN = 3  # proposals, before which a share says nothing


class Point(NamedTuple):
    """A round of the honest curve; `honest` is None as long as too few of its labels are there.

    Attributes:
      round: number.
      trained_on: labels.
      honest: estimates.
      waiting: cases whose labels are not there yet.
    """

    round: int
    trained_on: int
    honest: Honest | None
    waiting: int


class VolumeBias(NamedTuple):
    """By how much more a reader draws, of one class, or of all of them.

    Attributes:
      reader: who.
      of: the class, or what else.
      millilitres, percent: more than the others, or than the proposal.
    """

    reader: str
    of: str
    millilitres: Bias
    percent: Bias


class Cost(NamedTuple):
    """What the next query would take.

    Attributes:
      cases: or parts, that it asks for.
      readings: of them; more than there are, because some are read twice.
      minutes: of all readings together.
      is_guess: whether this is the guess of the start, because too few readings are known.
    """

    cases: int
    readings: int
    minutes: Estimate
    is_guess: bool


class Nodding(NamedTuple):
    """How many proposals a reader took unchanged.

    Attributes:
      unchanged, shown: labels that are the proposal, and labels that began from one.
      is_much: whether that is more than a third.
    """

    unchanged: int
    shown: int
    is_much: bool


class Estimates(NamedTuple):
    """All that the page shows and that is computed.

    Attributes:
      curve: oldest round first.
      truth: what the last measured network is worth against the truth, as far as readers' differences tell; None where they do not.
      agreement: between two readers, by class.
      kappa: of two readers who chose classes; unknown where classes are drawn.
      between: volumes of each reader against those of whoever read the same cases.
      from_proposal: volumes of each reader against the proposals that they began from.
      cost: of the next query; None where nothing is left to ask for.
      spent: minutes of all readings that took no longer than work does.
      known, long: how many readings those are, and how many took longer.
      typical: median minutes of a reading.
      goals: what so much would take; of one that says for all of them why it cannot be told.
      verdicts: of the rules for stopping.
      caution: what makes a verdict kinder than it should be; empty where nothing is known to.
      nodding: by reader.
    """

    curve: Sequence[Point]
    truth: Estimate | None
    agreement: Sequence[Estimate]
    kappa: Estimate
    between: Sequence[VolumeBias]
    from_proposal: Sequence[VolumeBias]
    cost: Cost | None
    spent: float
    known: int
    long: int
    typical: Estimate
    goals: Sequence[Extrapolation]
    verdicts: Sequence[Verdict]
    caution: str
    nodding: dict[str, Nodding]


def to_json(value: Any) -> Any:
    """Estimates as plain lists and dictionaries; what is not known, or has no end, is null."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: to_json(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: to_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def estimates_of(status: Status, past: Past) -> Estimates:
    """Computes them."""
    curve = [Point(part.round, part.trained_on, honest(part), part.waiting) for part in status.unseen]
    between = np.array([pair.scores for pair in past.pairs], np.float64).reshape(len(past.pairs), len(status.classes))
    minutes = np.array([label.minutes for label in past.taken])
    within = minutes[minutes <= of_minutes.LONGEST]
    return Estimates(
        curve,
        _truth(past, curve, len(status.classes)),
        mean_agreement(between) if len(between) else [UNKNOWN] * len(status.classes),
        _kappa(status, past),
        _between(status, past),
        _from_proposal(past),
        _cost(status, past),
        float(within.sum()),
        len(within),
        int((minutes > of_minutes.LONGEST).sum()),
        of_minutes.median_minutes(within),
        _goals(curve, status.score),
        _verdicts(status, past, curve, between),
        CAUTION if past.measured_with_proposals else "",
        {reader.name: _nodding(reader.name, reader.unchanged, past) for reader in status.readers},
    )


def _truth(past: Past, curve: Sequence[Point], classes: int) -> Estimate | None:
    measured = [point.honest.over_all for point in curve if point.honest is not None]
    judged = past.judged
    agreed = readers_agreement([pair.scores for pair in past.pairs if judged.counts_disputed or not pair.disputed])
    if not measured or np.isnan(agreed.low):
        return None
    return judged.with_truth(measured[-1], agreed, classes)


def _kappa(status: Status, past: Past) -> Estimate:
    chosen = [pair.chosen for pair in past.pairs if pair.chosen]
    numbers = np.array([[status.classes.index(name) for name in names] for names in chosen]).reshape(len(chosen), 2)
    return cohens_kappa(numbers[:, 0], numbers[:, 1], len(status.classes)) if chosen else UNKNOWN


def _between(status: Status, past: Past) -> list[VolumeBias]:
    """Each reader against the other reader of the same case; a class that somebody did not draw has no volume."""
    biases, readers = [], sorted({name for pair in past.pairs for name in pair.readers})
    for reader in readers if len(readers) > 2 else readers[:1]:  # of two, each is the other's mirror image
        for class_ in status.classes:
            both = np.array(
                [
                    [
                        volumes.get(class_, 0.0)
                        for volumes in (pair.volumes_ml if pair.readers[1] == reader else pair.volumes_ml[::-1])
                    ]
                    for pair in past.pairs
                    if reader in pair.readers
                ]
            )  # the other's, then the reader's own
            drawn = both[both.sum(1) > 0]
            if len(drawn):
                biases.append(
                    VolumeBias(
                        reader, class_, bias(drawn[:, 1] - drawn[:, 0]), bias(relative_difference(drawn[:, 0], drawn[:, 1]))
                    )
                )
    return biases


def _from_proposal(past: Past) -> list[VolumeBias]:
    known = [label for label in past.taken if not np.isnan(label.proposed_ml)]
    if not known:
        return []
    proposed, drawn = (np.array(column) for column in zip(*((label.proposed_ml, label.drawn_ml) for label in known), strict=True))
    readers = [label.reader for label in known]
    percent = biases_of_readers(readers, relative_difference(proposed, drawn))
    return [
        VolumeBias(reader, "all classes", millilitres, percent[reader])
        for reader, millilitres in biases_of_readers(readers, drawn - proposed).items()
    ]


def _cost(status: Status, past: Past) -> Cost | None:
    cases = min(status.size, status.counts.get("unlabelled", 0) if status.parts is None else status.parts.left)
    present = sorted(reader.name for reader in status.readers if reader.present)
    if not cases or not present:
        return None
    readings = cases + round(past.doubled * cases)
    known = [label._replace(minutes=label.minutes / label.parts) for label in past.taken if label.minutes <= of_minutes.LONGEST]
    model = of_minutes.fit(
        np.zeros((len(known), 0)), [label.reader for label in known], np.array([label.minutes for label in known])
    )
    who = [present[place % len(present)] for place in range(readings)]
    _, total = of_minutes.predict(model, np.zeros((readings, 0)), who, status.guess)
    return Cost(cases, readings, total, model is None)


def _goals(curve: Sequence[Point], score: str) -> list[Extrapolation]:
    rounds = [(point.trained_on, point.honest.over_all) for point in curve if point.honest is not None and point.trained_on > 0]
    labelled, estimates = [labels for labels, _ in rounds], [estimate for _, estimate in rounds]
    told = [extrapolate(labelled, estimates, goal, score=score) for goal in GOALS]
    enough = sum(estimate.high - estimate.low > 0 for estimate in estimates) >= FEWEST_ROUNDS
    return told if enough else told[:0]


def _verdicts(status: Status, past: Past, curve: Sequence[Point], between: np.ndarray) -> list[Verdict]:
    known = [point for point in curve if point.honest is not None]
    last = next((part for part in reversed(status.unseen) if len(part.cases)), None)
    at_random = (
        np.array([]) if last is None else mean_dice(last.scores)[[part != "chosen" for part in last.parts]]
    )  # what the strategy chose is harder than the rest
    gains = stopping.money(
        [point.honest.over_all for point in known if point.honest],
        [past.spent.get(point.round, np.nan) for point in known],
        status.least_gain,
        score=status.score,
    )
    return [
        stopping.predictions_stabilise([_over_classes(rows) for rows in past.stable], score=status.score),
        *stopping.score_changes([rows for rows in past.stable if len(rows)], status.classes, score=status.score),
        stopping.reader_gain(at_random, mean_dice(between) if len(between) else np.array([])),
        gains,
    ]


def _over_classes(rows: np.ndarray) -> np.ndarray:
    return mean_dice(rows) if len(rows) else np.array([])


def _nodding(reader: str, unchanged: int, past: Past) -> Nodding:
    shown = sum(label.had_proposal for label in past.taken if label.reader == reader)
    return Nodding(unchanged, shown, shown >= FEWEST_SHOWN and unchanged > ANCHORED * shown)
