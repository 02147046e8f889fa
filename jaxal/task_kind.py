"""The contract of a kind of task: all in which segmentation, classification and others differ. Protocols and named tuples, no logic."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxal.types import Case, Example, Part, Seen

Array = jax.Array


class Statistic(NamedTuple):
    """A small result of every case: `evaluate(view, config) -> pytree of small arrays` (`scoring/statistics.py`).

    Attributes:
      needs_members, needs_each_member: whether it reads the members' moments, or the members one by one.
      needs_features: whether it reads the head's input or the embedding.
      of_inputs: which of `scoring.sensitivity.MEASURES` it reads, by gradients with respect to images; none if empty.
      needs_logits: whether a constant added to all logits changes it, so that probabilities are not enough.
      given: what it reads from the view besides, where the strategy gives nothing else; `...` where a strategy must give it, None if it
        reads nothing.
    """

    evaluate: Callable[[Any, Any], Any]
    needs_members: bool = False
    needs_each_member: bool = False
    needs_features: bool = False
    needs_logits: bool = False
    given: Any = None
    of_inputs: str = ""


class Moments(NamedTuple):
    """How predictions of members are streamed into what measures of uncertainty read.

    Moments are kept around a prediction that all members share, so that members which hardly differ are told apart.

    Attributes:
      none: `prediction [..., classes, elements] -> moments` of no member, around it.
      add: `(moments, logits) -> moments` with one member more.
      join: `(moments, moments) -> moments` of the members of both, around the same prediction.
      of_members: `([members, ...] logits, prediction) -> moments` around it, or around the first member.
      prediction: `moments -> [..., classes, elements]`, the members' mean prediction.
      item_axes: the axis of items in each leaf of the moments; None in leaves that all items share.
    """

    none: Callable[[Array], Any]
    add: Callable[[Any, Array], Any]
    join: Callable[[Any, Any], Any]
    of_members: Callable[..., Any]
    prediction: Callable[[Any], Array]
    item_axes: Any


class Budget(NamedTuple):
    """How labels are counted along learning curves.

    Attributes:
      title: of the axis.
      spent: on the labels that a ledger's line was trained with.
      pool: by a ledger's line, what labels of everything come to; None where it does not say, or where shares of it are counted.
      place: of a ledger's line; lines of one place are averaged over seeds.
      needed: the measure that says how much it takes to reach a goal.
      shown: a number of it.
      after: two numbers of it as the beginning of a sentence, in lower case.
    """

    title: str
    spent: Callable[[Mapping[str, Any]], float]
    pool: Callable[[Mapping[str, Any]], int | None]
    place: Callable[[Mapping[str, Any]], int]
    needed: str
    shown: Callable[[float], str]
    after: Callable[[float, float], str]


class Curve(Protocol):
    """One run over its rounds, as the comparison sees it.

    Attributes:
      labelled: in each round, as the budget counts it, `[rounds]`.
      pool: what labels of everything come to; see `Budget`.
    """

    @property
    def labelled(self) -> np.ndarray: ...

    @property
    def pool(self) -> int | None: ...

    def levels(self) -> np.ndarray:
        """The main measure after each round, `[rounds]`."""
        ...

    def measures(self) -> dict[str, float]:
        """What the run comes to; NaN where that is undefined."""
        ...


class Measure(NamedTuple):
    """A column of the tables.

    Attributes:
      title, meaning: what a reader sees, and its explanation.
      lower_is_better: whether less of it is better.
      digits: that are shown.
    """

    title: str
    meaning: str
    lower_is_better: bool = False
    digits: int = 3


class Column(NamedTuple):
    """A column of the table on the terminal: its title, and its cell in a ledger's line."""

    title: str
    cell: Callable[[Mapping[str, Any]], str]


class Assessment(NamedTuple):
    """How networks of one kind of task are assessed.

    Attributes:
      key: of the main measure in the ledger's lines, which hold it `overall`, `by_group` and `by_class`.
      title: of the main measure.
      labelled, test: statistics to collect over the labelled cases, over the test cases.
      success: of a training on its own labelled cases; None where it cannot be told.
      success_title: what that is.
      collapsed_below: success that tells a collapsed training.
      entries: `(labelled, test, classes) -> entries of the ledger`, ready for JSON.
      answered: `queried cases with their labels -> entries of the ledger` that tell what the labels were.
      curve_of: a run's ledger as a curve, given how labels are counted.
      measures: columns of the tables besides `LABELS`, as `Curve.measures` names them; other names are the main measure of a group.
      in_short: those of them that the terminal shows.
      columns: of the terminal's table of rounds, given the groups.
      queried: entry of the ledger that counts the queried cases by what matters: by group, or by class.
      pictures: what is to be seen on those of queried cases.
      class_named: what the data set's classes are to people.
      each: how well each case fares, `[cases]`, high is good and NaN undefined; None where only many cases together have a success.
      each_title: what that is, to people.
      sizes: elements of the structures that are predicted in each case, and those that are there, `[cases]` each; None where nothing has a size.
    """

    key: str
    title: str
    labelled: tuple[str, ...]
    test: tuple[str, ...]
    success: Callable[[Seen], float | None]
    success_title: str
    collapsed_below: float
    entries: Callable[[Seen, Seen, Sequence[str]], dict[str, Any]]
    answered: Callable[[Sequence[Case]], dict[str, Any]]
    curve_of: Callable[[Sequence[Mapping[str, Any]], Budget], Curve]
    measures: Mapping[str, Measure]
    in_short: tuple[str, ...]
    columns: Callable[[Sequence[str]], list[Column]]
    queried: str
    pictures: str
    class_named: str = "class"
    each: Callable[[Seen], np.ndarray] | None = None
    each_title: str = ""
    sizes: Callable[[Seen], tuple[np.ndarray, np.ndarray]] | None = None


class Curves(NamedTuple):
    """How a network's uncertainty is assessed over what is left once uncertain predictions are dropped (`tasks/curves.py`).

    Attributes:
      statistic: to collect over the test cases, of all members.
      entries: `(test, classes, configuration of the statistics) -> curves by name`, ready for JSON.
    """

    statistic: str
    entries: Callable[[Seen, Sequence[str], Any], dict[str, Any]]


class Prediction(NamedTuple):
    """What one network without dropout makes of a case.

    Attributes:
      probability: `[classes, *shape]`, or `[classes]` of an image as a whole.
      outputs: the network's further outputs by name, as they are (`types.Output.auxiliary`), without an axis of cases.
    """

    probability: np.ndarray
    outputs: Mapping[str, np.ndarray]


class Sight(NamedTuple):
    """What there is to draw of a case.

    Attributes:
      example: with its label, if there is one.
      pixels: the image as people see it, where it is not the example's; uint8.
      predict: `() -> probabilities` of one network without dropout; runs only if it is called.
      spacing_mm: of the elements along each axis.
      parts: that are asked for, where parts are: the one that the picture is of, then the others of the same case and query.
      sure_below: entropy, as a share of its maximum, below which a prediction is kept as a pseudo-label; 0 where none is.
    """

    example: Example
    pixels: np.ndarray | None
    predict: Callable[[], np.ndarray]
    spacing_mm: Sequence[float]
    parts: Sequence[Part] = ()
    sure_below: float = 0.0


class Predicting(NamedTuple):
    """Cases to be predicted, and what is needed for it.

    Attributes:
      folder: of the run, which the predictions go to.
      cases: with the part of the data that each is in: `labelled`, `pool`, `evaluation` or `test`, or `new`.
      predict: what the network makes of a case.
      classes: their names.
      origin: where the cases came from, as the kind of task needs it.
      progress: called with the number of cases done and of all.
    """

    folder: Path
    cases: Sequence[tuple[Case, str]]
    predict: Callable[[Case], Prediction]
    classes: Sequence[str]
    origin: Any
    progress: Callable[[int, int], None]


class TaskKind(NamedTuple):
    """All that differs between kinds of tasks; one value in a file of `tasks/` each.

    Attributes:
      name: as every line of the ledger has it.
      dense: whether every element of an image has a label and a prediction of its own, instead of one for the image as a whole.
      label_type: what labels are in the pass: whole numbers of classes, or real ones.
      elements: what people call them.
      loss: `(training configuration, logits [batch, classes, elements], batch) -> [batch]`.
      moments: what members are streamed into.
      statistics: what the pass can compute, by name.
      strategies: functions that make strategies, by name.
      assessment: how networks are assessed.
      picture: a queried case as a WebP image; None where there is nothing to see.
      predictions: writes what a network makes of every case; returns lines to show.
      curves: whether the network knows when it is wrong.
      undecided: settings that decide nothing here, as `section` or `section.name`; they are no part of a study's identity.
      in_parts: whether cases are asked for in parts, so that training meets labels that are known in some places only.
      plane: whether images have two space axes. A CPU then takes a batch in one piece (`training.step.compiled_step`).
    """

    name: str
    dense: bool
    label_type: Any
    elements: str
    loss: Callable[[Any, Array, Example], Array]
    moments: Moments
    statistics: Mapping[str, Statistic]
    strategies: Mapping[str, Callable[..., Any]]
    assessment: Assessment
    picture: Callable[[Sight], bytes | None]
    predictions: Callable[[Predicting], Iterable[str]]
    curves: Curves
    undecided: tuple[str, ...] = ()
    in_parts: bool = False
    plane: bool = False
