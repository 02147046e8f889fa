"""The members whose disagreement is uncertainty: networks, views of the image and dropout samples, and every combination."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import information
from jaxal.arrays import Features, flat, logits_of
from jaxal.cells import Cells
from jaxal.task_kind import Moments, Prediction, TaskKind
from jaxal.types import Example, Model, Params

Array = jax.Array

# Logits of all members that are computed at once: what the cache holds on a CPU, what fills an accelerator.
_LOGITS_AT_ONCE = {"cpu": 2**18, "accelerator": 2**27, "tpu": 2**29}

# Numbers that the tails of dropout samples which run at once on an accelerator begin or end with. Within a U-Net's decoder they keep about
# twenty times as many. On a CPU one sample fills the cache.
_NUMBERS_AT_ONCE = 2**26


@dataclasses.dataclass(frozen=True)
class MembersConfig:
    """Where members come from; there are `networks * 2 ** len(flips) * max(dropout, 1)` of them.

    Attributes:
      networks: trained separately (Lakshminarayanan et al. 2017, arXiv 1612.01474). Above one, every leaf of the params has a
        leading axis of networks; what asks for a single prediction gets the first one's.
      flips: space axes, the first is 0. Each subset of them is a view of the image that is flipped along these axes, its
        prediction flipped back (test-time augmentation).
      dropout: dropout samples (Gal & Ghahramani 2016, arXiv 1506.02142) of each network and view; with 0 dropout stays off.
    """

    networks: int = 1
    flips: tuple[int, ...] = ()
    dropout: int = 20

    def __post_init__(self):
        if self.networks < 1 or self.dropout < 0 or len(set(self.flips)) != len(self.flips):
            raise ValueError(f"{self}: needs at least one network, no negative dropout and each flip once.")

    @property
    def count(self) -> int:
        return self.networks * 2 ** len(self.flips) * max(self.dropout, 1)


def first_network(config: MembersConfig, params: Params) -> Params:
    """The params of the network that makes the single predictions."""
    return params if config.networks == 1 else jax.tree.map(lambda leaf: leaf[0], params)


def stack_networks(params: Sequence[Params]) -> Params:
    """Weights of several networks as the pass takes them (`MembersConfig.networks`)."""
    return params[0] if len(params) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)


class Stream(NamedTuple):
    """How members are made and joined; equal ones share their compiled programs.

    Attributes:
      model: the network.
      config: which members.
      moments: what they are streamed into.
      dense: whether every element has a prediction, which is flipped back with its view.
    """

    model: Model
    config: MembersConfig
    moments: Moments
    dense: bool


def stream_members(
    stream: Stream,
    params: Params,
    images: Array,
    hidden: Any,
    key: Array,
    around: Array,
    inside: Array | None = None,
    kept: Callable[[Array], Array] | None = None,
) -> tuple[Any, Array | None]:
    """Streams all members into their moments, so that no axis of members ever meets one of elements as a whole.

    Each network sees each view once; only what dropout changes runs again for its samples.

    Args:
      stream: which members, of what.
      params: see `MembersConfig.networks`.
      images: `[batch, *space, channels]`.
      hidden: the first network's `stem(images)`, which the pass has already.
      key: of the round; samples are keyed by network and number, so they are the same for every item and view.
      around: the first network's prediction without dropout, `[batch, classes, elements]`, which the moments are kept around.
      inside: which elements are no padding, `[batch, *space]`; all of them without it.
      kept: what to keep of each member's prediction, `[batch, classes, elements]` to `[batch, ...]`: less than all of it where there are many elements.
        Nothing when left out.

    Returns:
      Moments of `[batch, classes, elements]`, and what was kept, `[members, batch, ...]` or None: a network's samples follow each other, view by view.
    """
    config = stream.config
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(config.networks))
    total, each = _stream_samples(stream, first_network(config, params), hidden, keys[0], around, kept)
    space = images.shape[1:-1]
    outer = [(network, view) for network in range(config.networks) for view in range(2 ** len(config.flips))][1:]
    if not outer:
        return total, each

    def add(total: Any, member: tuple[Array, Array]) -> tuple[Any, Array | None]:
        network, view = member
        of_network = params if config.networks == 1 else jax.tree.map(lambda leaf: leaf[network], params)
        turn = functools.partial(_flip, [view >> bit & 1 for bit in range(len(config.flips))], config.flips)
        seen = stream.model.stem(of_network, turn(images, 1), None if inside is None else turn(inside, 1))
        if not stream.dense:
            moments, of_each = _stream_samples(stream, of_network, seen, keys[network], around, kept)
            return stream.moments.join(total, moments), of_each
        kept_back = kept and (lambda whole: kept(_unflip(turn, whole, space)))
        moments, of_each = _stream_samples(stream, of_network, seen, keys[network], _unflip(turn, around, space), kept_back)
        moments = _over_items(stream.moments, lambda part: _unflip(turn, part, space), moments)
        return stream.moments.join(total, moments), of_each

    networks, views = (jnp.array(part, jnp.int32) for part in zip(*outer, strict=True))
    total, others = jax.lax.scan(add, total, (networks, views))
    return total, None if each is None else jnp.concatenate([each, _one_axis(others)])


def kept_of_member(dense: bool, config: Any, shape: tuple[int, ...], probability: Array, inside: Array) -> Array:
    """What a pass keeps of one member's prediction of a case: all of an image with one class, of a map the means of its blocks.

    Args:
      dense: whether every element has a prediction.
      config: of the statistics; `region_size` is a block's side.
      shape: of the image.
      probability: `[classes, elements]`.
      inside: which elements are no padding, `[elements]`.

    Returns:
      `[classes, elements]`, or `[classes, blocks]`.
    """
    return information.block_mean(probability, inside, shape, config.region_size) if dense else probability


def _one_axis(values: Any) -> Any:
    """Leaves whose first two axes are one."""
    return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), values)


def _over_items(moments: Moments, change: Callable[[Array], Array], values: Any) -> Any:
    """Changes the leaves of some moments that have an axis of items."""
    return jax.tree.map(
        lambda axis, part: part if axis is None else change(part), moments.item_axes, values, is_leaf=lambda axis: axis is None
    )


def _as_many_as_fit(of_samples: Callable[[int | None, Any], Any], samples: Any, numbers: int) -> Any:
    """Runs dropout samples one after the other on a CPU, and several at once elsewhere.

    Args:
      of_samples: from how many run at once, None for one after the other, and all samples to their result.
      samples: their keys or heads, on the leading axes.
      numbers: that one sample's tail begins or ends with, of which there are more.
    """
    count = len(jax.tree.leaves(samples)[0])
    most = max(1, _NUMBERS_AT_ONCE // numbers)
    at_once = max(some for some in range(1, count + 1) if some <= most and count % some == 0)
    one_by_one = functools.partial(of_samples, None)
    if at_once == 1:
        return one_by_one(samples)
    return jax.lax.platform_dependent(samples, cpu=one_by_one, default=functools.partial(of_samples, at_once))


def _flip(flags: list[Array], axes: tuple[int, ...], values: Array, first: int) -> Array:
    """Flips space axes whose flag is set; `first` is the place of the first of them."""
    for flag, axis in zip(flags, axes, strict=True):
        values = jnp.where(flag == 1, jnp.flip(values, first + axis), values)
    return values


def _unflip(turn: Callable[[Array, int], Array], values: Array, space: tuple[int, ...]) -> Array:
    lead = values.shape[:-1]
    return turn(values.reshape(*lead, *space), len(lead)).reshape(values.shape)


def _stream_samples(
    stream: Stream, params: Params, hidden: Any, key: Array, around: Array, kept: Callable[[Array], Array] | None
) -> tuple[Any, Array | None]:
    """Moments of the dropout samples of one network and view, and what is kept of each, `[samples, batch, ...]`."""
    model, dropout, moments = stream.model, stream.config.dropout, stream.moments

    def of_each(logits: Array) -> Array | None:
        return kept(moments.prediction(moments.of_members(logits[None]))) if kept else None

    if dropout == 0:
        logits = logits_of(flat(model.tail(params, hidden, None)), *model.head(params))
        return moments.of_members(logits[None], around), jax.tree.map(lambda part: part[None], of_each(logits))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(dropout))
    if not model.masked_tail:  # the samples share their features and differ in the head alone
        masks = jax.vmap(model.draw_masks)(keys)
        kernels, biases = jax.vmap(lambda mask: model.head(params, mask))(masks)
        features = flat(model.tail(params, hidden, None))
        together = moments_of_heads(moments, features, kernels, biases, around)
        if kept is None:
            return together, None

        def of_heads(at_once: int | None, heads: tuple[Array, Array]) -> Array:
            return jax.lax.map(lambda head: of_each(logits_of(features, *head)), heads, batch_size=at_once)

        return together, _as_many_as_fit(of_heads, (kernels, biases), around.size)

    def logits_by(key: Array) -> Array:
        masks = model.draw_masks(key)
        return logits_of(flat(model.tail(params, hidden, masks)), *model.head(params, masks))

    def add(total: Any, logits: Array) -> tuple[Any, Array | None]:
        return moments.add(total, logits), of_each(logits)

    def of_samples(at_once: int | None, keys: Array) -> tuple[Any, Array | None]:
        if at_once is None:
            return jax.lax.scan(lambda total, key: add(total, logits_by(key)), moments.none(around), keys)
        groups = keys.reshape(-1, at_once)
        total, each = jax.lax.scan(
            lambda total, some: jax.lax.scan(add, total, jax.vmap(logits_by)(some)), moments.none(around), groups
        )
        return total, _one_axis(each)

    enter, leave = sum(leaf.size for leaf in jax.tree.leaves(hidden)), len(model.head(params)[0]) * around[:, 0].size
    return _as_many_as_fit(of_samples, keys, max(enter, leave))


def moments_of_heads(moments: Moments, features: Features, kernels: Array, biases: Array, around: Array) -> Any:
    """Moments of many heads on the same features, block by block of elements, all heads at once.

    Args:
      moments: what the heads' logits are streamed into.
      features: `[batch, elements, features]`, or by cells.
      kernels: `[members, features, classes]`.
      biases: `[members, classes]`.
      around: the prediction that the moments are kept around, `[batch, classes, elements]`.
    """
    if isinstance(features, Cells):
        return _moments_of_cells(moments, features, kernels, biases, around)
    cpu, others = (functools.partial(_moments_in_blocks, moments, _LOGITS_AT_ONCE[name]) for name in ("cpu", "accelerator"))
    return jax.lax.platform_dependent(features, kernels, biases, around, cpu=cpu, default=others)


def _moments_of_cells(moments: Moments, features: Cells, kernels: Array, biases: Array, around: Array) -> Any:
    """The same of features by cells, as many items at once as the memory of an accelerator takes."""
    members, width, classes = kernels.shape
    matrix = jnp.moveaxis(kernels, 1, 0).reshape(width, members * classes)

    def of_item(item: tuple[Cells, Array]) -> Any:
        """Places are a leading axis, so that the arrays of all members need no other layout."""
        features, around = item
        by_place = jnp.moveaxis(features.by_cell(around).reshape(classes, features.places, -1), 1, 0)
        logits = features.times(matrix).reshape(members, classes, features.places, -1)
        # Without barriers a TPU's compiler computes everything in the order that the maps are put into afterwards: 1.3 times the traffic.
        by_place, logits = jax.lax.optimization_barrier((by_place, logits))
        by_class = [logits[:, index] + biases[:, index, None, None] for index in range(classes)]
        of_members = jax.lax.optimization_barrier(moments.of_members(jnp.stack(by_class, axis=-2), by_place))

        def in_order(part: Array) -> Array:  # [places, (classes,) cells]
            return features.by_element(jnp.moveaxis(part, 0, -2).reshape(*part.shape[1:-1], -1))

        # Joined to none, so that what the members share is taken as it was and not put into order again.
        return moments.join(moments.none(around), _over_items(moments, in_order, of_members))

    at_once = max(1, _LOGITS_AT_ONCE["tpu"] // (members * classes * around.shape[-1]))
    return jax.tree.map(
        lambda axis, part: part[0] if axis is None else jnp.moveaxis(part, 0, axis),
        moments.item_axes,
        jax.lax.map(of_item, (features, around), batch_size=min(at_once, len(around))),
        is_leaf=lambda axis: axis is None,
    )


def _moments_in_blocks(moments: Moments, at_once: int, features: Array, kernels: Array, biases: Array, around: Array) -> Any:
    batch, elements, width = features.shape
    members, _, classes = kernels.shape
    count = batch * elements
    blocks = -(-count * members * classes // at_once)
    size = -(-count // blocks)
    padding = (0, blocks * size - count)
    rows = jnp.pad(features.reshape(count, width), (padding, (0, 0))).reshape(blocks, size, width)
    predictions = jnp.pad(jnp.moveaxis(around, 0, 1).reshape(classes, count), ((0, 0), padding)).reshape(classes, blocks, size)
    matrix = jnp.moveaxis(kernels, 2, 1).reshape(members * classes, width)

    def of_block(block: tuple[Array, Array]) -> Any:
        features, around = block
        logits = jnp.einsum("mf,nf->mn", matrix, features, precision="highest").reshape(members, classes, size)
        return moments.of_members(logits + biases[:, :, None], around)

    def joined(part: Array) -> Array:  # [blocks, (classes,) size]
        whole = jnp.moveaxis(part, 0, -2).reshape(*part.shape[1:-1], blocks * size)[..., :count]
        return jnp.moveaxis(whole.reshape(*part.shape[1:-1], batch, elements), -2, 0)

    return jax.tree.map(
        lambda axis, part: part[0] if axis is None else joined(part),
        moments.item_axes,
        jax.lax.map(of_block, (rows, jnp.moveaxis(predictions, 1, 0))),
        is_leaf=lambda axis: axis is None,
    )


def predict(kind: TaskKind, model: Model, params: Params, example: Example) -> Prediction:
    """What one network makes of one example without dropout."""
    inside = example.inside if kind.dense else None
    probability, outputs = _predict(model, kind.moments, kind.dense, params, example.image, inside)
    return Prediction(np.asarray(probability), jax.tree.map(lambda part: np.asarray(part[0]), outputs))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _predict(
    model: Model, moments: Moments, dense: bool, params: Params, image: Array, inside: Array | None
) -> tuple[Array, Mapping[str, Array]]:
    output = model.tail(params, model.stem(params, image[None], None if inside is None else inside[None]), None)
    prediction = moments.prediction(moments.of_members(logits_of(flat(output), *model.head(params))))
    return prediction.reshape(-1, *image.shape[:-1]) if dense else prediction[:, 0], output.auxiliary
