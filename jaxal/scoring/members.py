"""The members whose disagreement is uncertainty: networks, views of the image and dropout samples, and every combination."""

import dataclasses
import functools
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import uncertainty
from jaxal.acquisition.uncertainty import ClassMoments
from jaxal.types import Masks, Model, Output, Params

Array = jax.Array

# Logits of all members that are computed at once: what the cache holds on a CPU, what fills an accelerator.
_LOGITS_AT_ONCE = {"cpu": 2**18, "accelerator": 2**27}


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


def member_moments(model: Model, config: MembersConfig, params: Params, images: Array, hidden, key: Array) -> ClassMoments:
    """Streams all members into their moments, so that no axis of members ever meets one of elements as a whole.

    Each network sees each view once; only what dropout changes runs again for its samples.

    Args:
      model: the network.
      config: which members.
      params: see `MembersConfig.networks`.
      images: `[batch, *space, channels]`.
      hidden: the first network's `stem(images)`, which the pass has already.
      key: of the round; samples are keyed by network and number, so they are the same for every item and view.

    Returns:
      Moments of `[batch, classes, elements]`.
    """
    sample = functools.partial(_sample_moments, model, config.dropout)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(config.networks))
    total = sample(first_network(config, params), hidden, keys[0])
    space = images.shape[1:-1]
    outer = [(network, view) for network in range(config.networks) for view in range(2 ** len(config.flips))][1:]
    if not outer:
        return total

    def add(total: ClassMoments, member: tuple[Array, Array]):
        network, view = member
        own = params if config.networks == 1 else jax.tree.map(lambda leaf: leaf[network], params)
        turn = functools.partial(_flip, [view >> bit & 1 for bit in range(len(config.flips))], config.flips)
        moments = sample(own, model.stem(own, turn(images, 1)), keys[network])
        return jax.tree.map(lambda sum_, part: sum_ + _unflip(turn, part, space), total, moments), None

    networks, views = (np.array(part, np.int32) for part in zip(*outer, strict=True))
    return jax.lax.scan(add, total, (networks, views))[0]


def member_probabilities(model: Model, config: MembersConfig, params: Params, images: Array, hidden, key: Array) -> Array:
    """Probabilities of the same members one by one, `[members, batch, classes, 1]`, for images that have one class as a whole.

    Arguments are those of `member_moments`; a network's samples follow each other, view by view.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(config.networks))
    found = []
    for network in range(config.networks):
        own = params if config.networks == 1 else jax.tree.map(operator.itemgetter(network), params)
        for view in range(2 ** len(config.flips)):
            flipped = [1 + axis for bit, axis in enumerate(config.flips) if view >> bit & 1]
            seen = model.stem(own, jnp.flip(images, flipped)) if network or view else hidden
            found.append(_sample_probabilities(model, config.dropout, own, seen, keys[network]))
    return jnp.concatenate(found)


def _sample_probabilities(model: Model, dropout: int, params: Params, hidden, key: Array) -> Array:
    def of(masks: Masks | None) -> Array:
        logits = logits_of(flat(model.tail(params, hidden, masks)), *model.head(params, masks))
        return uncertainty.softmax_and_entropy(logits)[0]

    if dropout == 0:
        return of(None)[None]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(dropout))
    return jax.lax.map(lambda key: of(model.draw_masks(key)), keys)


def _flip(flags: list[Array], axes: tuple[int, ...], values: Array, first: int) -> Array:
    """Flips space axes whose flag is set; `first` is the place of the first of them."""
    for flag, axis in zip(flags, axes, strict=True):
        values = jnp.where(flag == 1, jnp.flip(values, first + axis), values)
    return values


def _unflip(turn, values: Array, space: tuple[int, ...]) -> Array:
    if values.ndim == 0 or values.shape[-1] != math.prod(space):  # a number, or the one prediction for an image as a whole
        return values
    lead = values.shape[:-1]
    return turn(values.reshape(*lead, *space), len(lead)).reshape(values.shape)


def _sample_moments(model: Model, dropout: int, params: Params, hidden, key: Array) -> ClassMoments:
    """Moments of the dropout samples of one network and view."""
    if dropout == 0:
        return uncertainty.moments_of(logits_of(flat(model.tail(params, hidden, None)), *model.head(params))[None])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(dropout))
    if not model.masked_tail:  # the samples share their features and differ in the head alone
        masks = jax.vmap(model.draw_masks)(keys)
        kernels, biases = jax.vmap(lambda mask: model.head(params, mask))(masks)
        return moments_of_heads(flat(model.tail(params, hidden, None)), kernels, biases)

    def add(moments: ClassMoments, key: Array):
        masks = model.draw_masks(key)
        logits = logits_of(flat(model.tail(params, hidden, masks)), *model.head(params, masks))
        return uncertainty.add_member(moments, logits), None

    shape = jax.eval_shape(lambda: logits_of(flat(model.tail(params, hidden, None)), *model.head(params))).shape
    return jax.lax.scan(add, uncertainty.no_moments(shape), keys)[0]


def moments_of_heads(features: Array, kernels: Array, biases: Array) -> ClassMoments:
    """Moments of many heads on the same features, block by block of elements, all heads at once.

    Args:
      features: `[batch, elements, features]`.
      kernels: `[members, features, classes]`.
      biases: `[members, classes]`.
    """
    on = {name: functools.partial(_moments_in_blocks, at_once) for name, at_once in _LOGITS_AT_ONCE.items()}
    return jax.lax.platform_dependent(features, kernels, biases, cpu=on["cpu"], default=on["accelerator"])


def _moments_in_blocks(at_once: int, features: Array, kernels: Array, biases: Array) -> ClassMoments:
    batch, elements, width = features.shape
    members, _, classes = kernels.shape
    count = batch * elements
    blocks = -(-count * members * classes // at_once)
    size = -(-count // blocks)
    rows = jnp.pad(features.reshape(count, width), ((0, blocks * size - count), (0, 0))).reshape(blocks, size, width)
    matrix = jnp.moveaxis(kernels, 2, 1).reshape(members * classes, width)

    def one(block: Array) -> ClassMoments:
        logits = jnp.einsum("mf,nf->mn", matrix, block, precision="highest").reshape(members, classes, size)
        return uncertainty.moments_of(logits + biases[:, :, None])

    moments = jax.lax.map(one, rows)

    def joined(part: Array) -> Array:  # [blocks, (classes,) size]
        whole = jnp.moveaxis(part, 0, -2).reshape(*part.shape[1:-1], blocks * size)[..., :count]
        return jnp.moveaxis(whole.reshape(*part.shape[1:-1], batch, elements), -2, 0)

    return ClassMoments(moments.count[0], *(joined(part) for part in moments[1:]))


def logits_of(features: Array, kernel: Array, bias: Array) -> Array:
    """Logits, classes first: `[batch, elements, features]` and `[(batch,) features, classes]` to `[batch, classes, elements]`."""
    equation = "bnf,bfc->bcn" if kernel.ndim == 3 else "bnf,fc->bcn"
    return jnp.einsum(equation, features, kernel, precision="highest") + bias[None, :, None]


def flat(output: Output) -> Array:
    """`[batch, *space, features]` to `[batch, elements, features]`."""
    return output.features.reshape(output.features.shape[0], -1, output.features.shape[-1])


def predict(model: Model, params: Params, image: np.ndarray) -> np.ndarray:
    """What one network makes of one image without dropout: `[*shape, channels]` to probabilities `[classes, *shape]`, or `[classes]`."""
    return np.asarray(_probability(model, params, image))


@functools.partial(jax.jit, static_argnums=0)
def _probability(model: Model, params: Params, image: jax.Array) -> jax.Array:
    output = model.tail(params, model.stem(params, image[None]), None)
    probability, _ = uncertainty.softmax_and_entropy(logits_of(flat(output), *model.head(params))[0])
    dense = output.features.ndim == image.ndim + 1
    return probability.reshape(-1, *image.shape[:-1]) if dense else probability[:, 0]
