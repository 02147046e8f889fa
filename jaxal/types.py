"""The contracts: what the rooms say to each other. Protocols and named tuples, no logic."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax

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
    auxiliary: Mapping[str, Any]


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


# `(values, logits [batch, classes, elements], losses [batch], examples) -> [batch]`
AuxiliaryLoss = Callable[[Any, Array, Array, "Example"], Array]


def _the_output(output: Output, logits: Array) -> Any:
    """A head reads all of it, and not what the last layer makes of it."""
    return output


class Auxiliary(NamedTuple):
    """A further output of the network with a loss of its own, such as a prediction of the loss (`networks.auxiliary.with_auxiliary`).

    Attributes:
      name: of the output in `Output.auxiliary`, and of its params.
      init: `(key, what is read) -> params`, given shapes.
      apply: `(params, what is read) -> values`, an array `[batch, ...]` or a pytree of such.
      loss: `(values, logits [batch, classes, elements], losses [batch], batch) -> [batch]`, added to the loss of training; `losses`
        are those of the task. None where examples are compared.
      read: `(output, logits [batch, classes, elements]) -> what the head reads`, leading axis `[batch]`; the output when left out.
      comparison: `(values [batch, ...], losses [batch]) -> [batch]`, a loss that compares all examples of a batch. It trains the head alone and not the
        features, since examples come one after the other; what is read should be small, as it is kept of all.
    """

    name: str
    init: Callable[[Array, Any], Params]
    apply: Callable[[Params, Any], Any]
    loss: AuxiliaryLoss | None
    read: Callable[[Output, Array], Any] = _the_output
    comparison: Callable[[Array, Array], Array] | None = None


# `(auxiliary outputs, examples, steps done, steps in all) -> [batch]`: what the network's own further outputs add to the loss.
FurtherLoss = Callable[[Mapping[str, Array], "Example", Array, Array], Array]


# Cases


Part = tuple[tuple[int, ...], tuple[int, ...]]  # first element and length along each axis


class Label(NamedTuple):
    """What is known of a case.

    Attributes:
      version: changes when the label's content does.
      path: of a prepared label map; None where the label is a class or numbers.
      category: name of the class that the image has as a whole; empty for label maps.
      values: numbers that the image has as a whole, in their own units; empty where it has none.
      parts: where it is known; None where it is known as a whole.
      guess: file of pseudo-labels that training takes for labels elsewhere (`data.guesses`); None where there are none.
      refusal: why a reader gave none, such as "not this organ"; such a case is neither trained on nor asked for again. Empty where there is a label.
    """

    version: str
    path: Path | None = None
    category: str = ""
    parts: tuple[Part, ...] | None = None
    guess: Path | None = None
    values: tuple[float, ...] = ()
    refusal: str = ""


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
      label: `[*shape]` uint8, or for the image as a whole the number of its class, uint8, or a number for each target, `[targets]` float32;
        zero where it is not known.
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


# A run


class Watcher(Protocol):
    """Who is told how far the work is, and may ask for it to end."""

    def progress(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]: ...
    def note(self, text: str) -> None: ...
    def should_stop(self) -> bool: ...
