"""The contracts: what the rooms say to each other. Protocols and named tuples, no logic."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxal.cells import Cells

Array = jax.Array
Params = Any
Masks = Mapping[str, Array]
Collected = dict[str, Any]  # a statistic's name -> pytree of arrays with a leading axis of cases


# A network


class Output(NamedTuple):
    """What a network's tail returns.

    Attributes:
      features: `[batch, *space, features]`, the input of the linear head, float32; or the same by cells (`cells.Cells`).
      embedding: `[batch, embedding]`, one pooled vector an item, for diversity.
      auxiliary: further outputs by name (a contour, a log-variance, a predicted loss), leading axis `[batch]`.
    """

    features: Array | Cells
    embedding: Array
    auxiliary: Mapping[str, Array]


class Stem(Protocol):
    def __call__(self, params: Params, inputs: Array, inside: Array | None = None) -> Any: ...


class Head(Protocol):
    def __call__(self, params: Params, masks: Masks | None = None) -> tuple[Array, Array]: ...


class Model(NamedTuple):
    """A network as functions over a params pytree.

    Attributes:
      init: `(key, example) -> params`.
      stem: `(params, inputs, inside) -> hidden`, the deterministic layers; runs once an item. `inside`, `[batch, *space]`, boolean, tells
        the image from its padding, where every element has a label; networks that see none need not read it.
      tail: `(params, hidden, masks) -> Output`, from the first dropout layer on; runs once a member. `masks=None` is dropout off.
      head: `(params, masks) -> kernel [features, classes], bias [classes]`; logits are `features @ kernel + bias`. Masks of the
        head's own input are folded into the kernel.
      draw_masks: `key -> masks`, one member's channel masks, already divided by the keep probability. No batch axis: a member
        is one function, the same for every item. Training maps it over items instead.
      masked_tail: whether `tail` reads the masks. Where only the head does, dropout samples share their features.
      trainable: `params -> pytree of booleans`, which leaves training may change.
      has_features: whether the head's input is more than the logits themselves, so that strategies may read it.
      example: shape of an image that it is known to run on, `[*space, channels]`; None where it was made for none.
    """

    init: Callable[[Array, Array], Params]
    stem: Stem
    tail: Callable[[Params, Any, Masks | None], Output]
    head: Head
    draw_masks: Callable[[Array], Masks]
    masked_tail: bool
    trainable: Callable[[Params], Any]
    has_features: bool = True
    example: tuple[int, ...] | None = None


class Auxiliary(NamedTuple):
    """A further output of the network with a loss of its own, such as a prediction of the loss (`networks.auxiliary.with_auxiliary`).

    Attributes:
      name: of the output in `Output.auxiliary`, and of its params.
      init: `(key, output) -> params`, given an output of the network for its shapes.
      apply: `(params, output) -> [batch, ...]`.
      loss: `(values [batch, ...], losses [batch], batch) -> [batch]`, added to the loss of training; `losses` are those of the task.
    """

    name: str
    init: Callable[[Array, Output], Params]
    apply: Callable[[Params, Output], Array]
    loss: Callable[[Array, Array, "Example"], Array]


# Cases


class Label(NamedTuple):
    """What is known of a case.

    Attributes:
      version: changes when the label's content does.
      path: of a prepared label map; None where the label is a class.
      category: name of the class that the image has as a whole; empty for label maps.
    """

    version: str
    path: Path | None = None
    category: str = ""


class Case(NamedTuple):
    """One scan or image as it was prepared.

    Attributes:
      id: its name.
      group: of patients; empty where there are no groups.
      image: array on disk.
      label: None as long as nobody gave one.
      subject: whose scan it is; the scans of one subject stay in one split. The id when left out.
      version: changes when the image's content does.
    """

    id: str
    group: str
    image: Path
    label: Label | None = None
    subject: str = ""
    version: str = ""

    @property
    def category(self) -> str:
        """The class that the image has as a whole, as far as it is known."""
        return self.label.category if self.label else ""


class Example(NamedTuple):
    """A case, or several along a leading axis, as arrays.

    Attributes:
      image: `[*shape, channels]`, float32.
      label: `[*shape]` uint8, or a number for the image as a whole; zero where it is not known.
      inside: which elements belong to the image and not to its padding, boolean, of the label's shape; they are scored.
      labelled: which elements have a label, boolean, of the label's shape; they are trained on and measured.
      targets: further maps by name that outputs besides the classes are trained on, a dict of `[*shape]` arrays; None where there are none.
    """

    image: Any
    label: Any
    inside: Any
    labelled: Any
    targets: Any = None


class Unit(NamedTuple):
    """What is asked for at once: a case or a part of it.

    Attributes:
      case: whose.
      start, size: of the part along each axis, in elements; empty for the whole case.
      cost: of labelling it, in whatever the budget is counted.
    """

    case: Case
    start: tuple[int, ...] = ()
    size: tuple[int, ...] = ()
    cost: float = 1.0

    @property
    def id(self) -> str:
        """`case`, or `case@z,y,x+dz,dy,dx`."""
        if not self.size:
            return self.case.id
        return f"{self.case.id}@{','.join(map(str, self.start))}+{','.join(map(str, self.size))}"

    @property
    def group(self) -> str:
        return self.case.group


Load = Callable[[Case], Example]


class Labels(Protocol):
    """Where labels come from and where they are kept: beside the images in a simulation, in a store with readers."""

    def ask(self, units: Sequence[str]) -> Mapping[str, Label]:
        """The labels of these units that there are now; with readers perhaps none."""
        ...

    def keep(self, answers: Mapping[str, Label]) -> None:
        """Makes answers durable, before the ledger speaks of them."""
        ...

    def of(self, case: Case, units: Sequence[str]) -> Label:
        """The label of a case of which these units were answered."""
        ...


class Seen(NamedTuple):
    """A split as strategies and assessments may see it.

    Attributes:
      cases: in order.
      statistics: by name, with a leading axis of cases.
    """

    cases: Sequence[Case]
    statistics: Collected


# A kind of task


class Statistic(NamedTuple):
    """A small result of every case: `evaluate(view, config) -> pytree of small arrays` (`scoring/statistics.py`).

    Attributes:
      needs_members, needs_each_member: whether it reads the members' moments, or the members one by one.
      needs_features: whether it reads the head's input or the embedding.
    """

    evaluate: Callable[[Any, Any], Any]
    needs_members: bool = False
    needs_each_member: bool = False
    needs_features: bool = False


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


class Curve(Protocol):
    """One run over its rounds, as the comparison sees it.

    Attributes:
      labelled: cases labelled in each round, `[rounds]`.
      pool: cases that could be labelled in all; None in ledgers that do not say.
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
      curve_of: a run's ledger as a curve.
      measures: columns of the tables besides `LABELS`, as `Curve.measures` names them; other names are the main measure of a group.
      in_short: those of them that the terminal shows.
      columns: of the terminal's table of rounds, given the groups.
      queried: entry of the ledger that counts the queried cases by what matters: by group, or by class.
      pictures: what is to be seen on those of queried cases.
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
    curve_of: Callable[[Sequence[Mapping[str, Any]]], Curve]
    measures: Mapping[str, Measure]
    in_short: tuple[str, ...]
    columns: Callable[[Sequence[str]], list[Column]]
    queried: str
    pictures: str


class Sight(NamedTuple):
    """What there is to draw of a case.

    Attributes:
      example: with its label, if there is one.
      pixels: the image as people see it, where it is not the example's; uint8.
      predict: `() -> probabilities` of one network without dropout; runs only if it is called.
      spacing_mm: of the elements along each axis.
    """

    example: Example
    pixels: np.ndarray | None
    predict: Callable[[], np.ndarray]
    spacing_mm: Sequence[float]


class Predicting(NamedTuple):
    """Cases to be predicted, and what is needed for it.

    Attributes:
      folder: of the run, which the predictions go to.
      cases: with the part of the data that each is in: `labelled`, `pool`, `evaluation` or `test`, or `new`.
      predict: `case -> probabilities` of one network without dropout, `[classes, *shape]` or `[classes]`.
      classes: their names.
      origin: where the cases came from, as the kind of task needs it.
      progress: called with the number of cases done and of all.
    """

    folder: Path
    cases: Sequence[tuple[Case, str]]
    predict: Callable[[Case], np.ndarray]
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
      undecided: settings that decide nothing here, as `section` or `section.name`; they are no part of a study's identity.
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
    undecided: tuple[str, ...] = ()


class Watcher(Protocol):
    """Who is told how far the work is, and may ask for it to end."""

    def progress(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]: ...
    def note(self, text: str) -> None: ...
    def should_stop(self) -> bool: ...
