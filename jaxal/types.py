"""What the other files speak: protocols and named tuples, no logic."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax

Array = jax.Array
Params = Any
Masks = Mapping[str, Array]


class Output(NamedTuple):
    """What a network's tail returns.

    Attributes:
      features: `[batch, *space, features]`, the input of the linear head, float32.
      embedding: `[batch, embedding]`, one pooled vector an item, for diversity.
      auxiliary: further outputs by name (a contour, a log-variance).
    """

    features: Array
    embedding: Array
    auxiliary: Mapping[str, Array]


class Init(Protocol):
    def __call__(self, key: Array, example: Array) -> Params: ...


class Stem(Protocol):
    def __call__(self, params: Params, inputs: Array) -> Any: ...


class Tail(Protocol):
    def __call__(self, params: Params, hidden: Any, masks: Masks | None) -> Output: ...


class Head(Protocol):
    def __call__(self, params: Params, masks: Masks | None = None) -> tuple[Array, Array]: ...


class DrawMasks(Protocol):
    def __call__(self, key: Array) -> Masks: ...


class Model(NamedTuple):
    """A network as functions over a params pytree.

    Attributes:
      init: `(key, example) -> params`.
      stem: `(params, inputs) -> hidden`, the deterministic layers; runs once an item.
      tail: `(params, hidden, masks) -> Output`, from the first dropout layer on; runs once a member. `masks=None` is dropout off.
      head: `(params, masks) -> kernel [features, classes], bias [classes]`; logits are `features @ kernel + bias`. Masks of the
        head's own input are folded into the kernel.
      draw_masks: `key -> masks`, one member's channel masks, already divided by the keep probability. No batch axis: a member
        is one function, the same for every item. Training maps it over items instead.
      masked_tail: whether `tail` reads the masks. Where only the head does, dropout samples share their features.
    """

    init: Init
    stem: Stem
    tail: Tail
    head: Head
    draw_masks: DrawMasks
    masked_tail: bool
