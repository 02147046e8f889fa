"""Convolution and its relatives, in the form that each backend runs fast.

XLA's CPU backend has no fast 3-D convolution, and for gradients inside loops it falls back to one that is tens of times
slower. Its matrix product is fast everywhere. So on a CPU a 3-D convolution and its gradient are matrix products over tiles of the volume
(`conv_tiles.py`). On a GPU or TPU the plain operation is the fast one. `benchmarks/convolution.py` measures the forms; `conv_plain` is the
oracle in the tests.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxal.networks import conv_tiles

Array = jax.Array

_ONE_CORE_FEATURES = 64  # of a 2-D convolution, up to which XLA's CPU backend keeps one core busy; of 128 it keeps both
_FEW_VOXELS = 1024  # of a volume, up to which `conv_by_axes` is as fast as tiles


def conv(inputs: Array, kernel: Array, stride: int = 1, by_axes: bool = False) -> Array:
    """Convolves with as much zero padding on either side as keeps the size at stride 1.

    Args:
      inputs: `[batch, *space, channels]` with two or three space axes.
      kernel: `[*window, channels, features]`, odd windows.
      stride: elements from one window to the next, along every axis.
      by_axes: whether small volumes go to `conv_by_axes` at stride 1, too. A network of many layers then compiles in a fifth of the time, and of
        many channels it is faster, too: the gradient of 512 channels of 2 x 2 x 1 takes a thirtieth.

    Returns:
      `[batch, *space, features]`, space divided by the stride and rounded up.

    Which form runs is chosen when the program is lowered, so the same traced function exports to every platform.
    """
    if all(size == 1 for size in kernel.shape[:-2]):
        kept = inputs if stride == 1 else inputs[(slice(None), *(slice(None, None, stride),) * (inputs.ndim - 2))]
        return jnp.einsum("...c,cf->...f", kept, kernel.reshape(kernel.shape[-2:]))
    if kernel.ndim == 4:
        # Where fewer pixels come out than the window has, XLA makes something else: 512 channels of 2 x 2 take 90 times as long, and the
        # gradient from 4 x 4 to 2 x 2 takes 15 times as long.
        is_small = any(-(-size // stride) < length for size, length in zip(inputs.shape[1:-1], kernel.shape, strict=False))
        forms = (conv_by_patches if is_small else _conv_in_halves, conv_plain)
        on_cpu, elsewhere = (functools.partial(form, stride=stride) for form in forms)
        return lax.platform_dependent(inputs, kernel, cpu=on_cpu, default=elsewhere)
    if stride != 1 or (by_axes and math.prod(inputs.shape[1:-1]) <= _FEW_VOXELS):
        on_cpu, elsewhere = (functools.partial(form, stride=stride) for form in (conv_by_axes, conv_plain))
        return lax.platform_dependent(inputs, kernel, cpu=on_cpu, default=elsewhere)
    return _conv_of_volumes(inputs, kernel)


# The choice of the form stands inside of the gradient and not around it, where JAX would trace every form several times.
@jax.custom_vjp
def _conv_of_volumes(inputs: Array, kernel: Array) -> Array:
    return lax.platform_dependent(inputs, kernel, cpu=conv_tiles.convolved, default=conv_plain)


def _gradients_of_volumes(saved: tuple[Array, Array], errors: Array) -> tuple[Array, Array]:
    def plain(inputs: Array, kernel: Array, errors: Array) -> tuple[Array, Array]:
        return jax.vjp(conv_plain, inputs, kernel)[1](errors)

    return lax.platform_dependent(*saved, errors, cpu=conv_tiles.gradients, default=plain)


_conv_of_volumes.defvjp(lambda inputs, kernel: (_conv_of_volumes(inputs, kernel), (inputs, kernel)), _gradients_of_volumes)


def conv_plain(inputs: Array, kernel: Array, stride: int = 1) -> Array:
    """The platform's own convolution: fast on accelerators and in two dimensions, slow in three on a CPU."""
    return convolve(inputs, kernel, [(size // 2, size // 2) for size in kernel.shape[:-2]], (stride,) * (kernel.ndim - 2))


def convolve(
    inputs: Array,
    kernel: Array,
    padding: Sequence[tuple[int, int]],
    stride: Sequence[int] | None = None,
    dilated: Sequence[int] | None = None,
) -> Array:
    """The same with zeros before and behind each space axis as told, a stride for each, and zeros between the inputs where they are dilated."""
    space = "DHW"[3 - (kernel.ndim - 2) :]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    stride = stride or (1,) * len(space)
    return lax.conv_general_dilated(inputs, kernel, stride, padding, lhs_dilation=dilated, dimension_numbers=numbers)


def _conv_in_halves(inputs: Array, kernel: Array, stride: int = 1) -> Array:
    """In two dimensions the plain form is the fast one on a CPU, too, but of few features XLA keeps only one core busy with it.

    Two halves of a batch run beside each other. The first layer is left whole, because joining its large halves takes what they save.
    """
    batch, features = inputs.shape[0], kernel.shape[-1]
    if batch % 2 or features > _ONE_CORE_FEATURES or max(kernel.shape[:2]) > 3:
        return conv_plain(inputs, kernel, stride)
    return jnp.concatenate([conv_plain(half, kernel, stride) for half in jnp.split(inputs, 2)])


def conv_by_patches(inputs: Array, kernel: Array, stride: int = 1) -> Array:
    """A 2-D convolution as one matrix product with all of each window's neighbours stacked as channels: for images of a few pixels."""
    space, *_, channels, features = inputs.shape[1:-1], *kernel.shape
    reach = [size // 2 for size in kernel.shape[:2]]
    padded = jnp.pad(inputs, [(0, 0), *((length, length) for length in reach), (0, 0)])
    ends = [stride * (-(-length // stride) - 1) + 1 for length in space]
    neighbours = [
        padded[:, top : top + ends[0] : stride, left : left + ends[1] : stride]
        for top, left in itertools.product(*map(range, kernel.shape[:2]))
    ]
    stacked = jnp.concatenate(neighbours, axis=-1)
    return stacked @ kernel.reshape(len(neighbours) * channels, features)


def conv_by_axes(inputs: Array, kernel: Array, stride: int = 1) -> Array:
    """A 3-D convolution as one matrix product for each place of the window in depth: for strides, and for small volumes.

    Neighbours are stacked as channels along one axis after the other, so that a window of 7 x 7 takes 14 copies and not 49, and their gradient as
    few sums.
    """
    *space, channels = inputs.shape[1:]
    *window, _, features = kernel.shape
    counts = [-(-length // stride) for length in space]
    around = [(length // 2, length // 2) for length in window]
    stacked = jnp.pad(inputs, [(0, 0), *around, (0, 0)])
    for axis in (3, 2):  # width first, so that channels lie in the order of the kernel's
        stacked = jnp.concatenate(
            [_every(stacked, place, stride, counts[axis - 1], axis) for place in range(window[axis - 1])], -1
        )
    matrices = kernel.reshape(window[0], window[1] * window[2] * channels, features)
    products = (_every(stacked, place, stride, counts[0], 1) @ matrices[place] for place in range(window[0]))
    return functools.reduce(jnp.add, products)


def _every(values: Array, first: int, stride: int, count: int, axis: int) -> Array:
    return lax.slice_in_dim(values, first, first + stride * (count - 1) + 1, stride, axis)


def upsample(inputs: Array, kernel: Array) -> Array:
    """Enlarges space: a transposed convolution whose window equals its stride, as one matrix product.

    Args:
      inputs: `[batch, *space, channels]`.
      kernel: `[*factors, channels, features]`, one matrix for each corner of the enlarged cell; a factor of 1 leaves its axis alone.

    Returns:
      `[batch, *(factors * space), features]`.
    """
    rank, factors = kernel.ndim - 2, kernel.shape[:-2]
    batch, *space, channels = inputs.shape
    features = kernel.shape[-1]
    matrix = jnp.moveaxis(kernel, -2, 0).reshape(channels, math.prod(factors) * features)
    corners = (inputs.reshape(-1, channels) @ matrix).reshape(batch, *space, *factors, features)
    order = [0, *itertools.chain.from_iterable((1 + axis, 1 + rank + axis) for axis in range(rank)), 1 + 2 * rank]
    return corners.transpose(order).reshape(
        batch, *(factor * size for factor, size in zip(factors, space, strict=True)), features
    )


def enlarge(values: Array, factor: int, inside: Array | None = None) -> Array:
    """Multiplies the sides of images by linear interpolation; element i comes to lie at `factor * i`, where a stride found its window's centre.

    Written as matrix products, because XLA compiles these in no time. As sums of slices a call is half a millisecond faster on a CPU, but the
    gradient of a network takes 1.5 times as long to compile; as a broadcast product its gradient took up to 30 times as long.

    Args:
      values: `[batch, height, width, channels]`; behind the last element they stay what they are there.
      factor: at least 1.
      inside: which elements count, `[batch, height, width, 1]`, boolean; all of them without it. Behind the last of them values stay what they
        are there, too.

    Returns:
      `[batch, factor * height, factor * width, channels]`; zero where no neighbour is inside.
    """
    if inside is not None:
        shares = enlarge(inside.astype(values.dtype), factor)
        return enlarge(jnp.where(inside, values, 0), factor) / jnp.maximum(shares, factor**-2)
    if factor == 1:
        return values
    across, down = (jnp.asarray(_interpolation(size, factor), values.dtype) for size in (values.shape[2], values.shape[1]))
    return jnp.einsum("Hh,bhwc->bHwc", down, jnp.einsum("Ww,bhwc->bhWc", across, values))


def _interpolation(size: int, factor: int) -> np.ndarray:
    """The share that each element has in each one of a row that is `factor` times as long, `[factor * size, size]`."""
    before, step = np.divmod(np.arange(factor * size), factor)
    behind = np.minimum(before + 1, size - 1)
    elements = np.eye(size)
    share = (step / factor)[:, None]
    return (1 - share) * elements[before] + share * elements[behind]


def max_pool(inputs: Array, factors: Sequence[int] | None = None) -> Array:
    """Divides every space axis by its factor, 2 when left out, by the maximum of each cell; space axes must be multiples."""
    space = inputs.shape[1:-1]
    factors = factors or (2,) * len(space)
    _require_multiples(space, factors)
    for axis, factor in enumerate(factors, 1):
        before, after = inputs.shape[:axis], inputs.shape[axis + 1 :]
        cells = inputs.reshape(*before, inputs.shape[axis] // factor, factor, *after)
        places = (cells[(slice(None),) * (axis + 1) + (place,)] for place in range(factor))
        inputs = functools.reduce(larger, places)
    return inputs


def max_pool_overlapping(inputs: Array) -> Array:
    """Halves every space axis by the maximum of three neighbours along each, as a ResNet begins; sides are rounded up.

    The gradient of the platform's own form takes 15 times as long on a CPU, a seventh of a training step.
    """
    return lax.platform_dependent(inputs, cpu=_max_pool_by_slices, default=_max_pool_plain)


def _max_pool_plain(inputs: Array) -> Array:
    rank = inputs.ndim - 2
    return nn.max_pool(inputs, (3,) * rank, (2,) * rank, padding=((1, 1),) * rank)


def _max_pool_by_slices(inputs: Array) -> Array:
    for axis in range(1, inputs.ndim - 1):
        around = [(int(axis == each), int(axis == each)) for each in range(inputs.ndim)]
        padded = jnp.pad(inputs, around, constant_values=-jnp.inf)
        last = 2 * (-(-inputs.shape[axis] // 2) - 1)
        parts = (lax.slice_in_dim(padded, first, first + last + 1, 2, axis) for first in range(3))
        inputs = functools.reduce(larger, parts)
    return inputs


def larger(left: Array, right: Array) -> Array:
    """The maximum; of equal values the left one gets the gradient.

    That of `max` goes to the values that equal the maximum. XLA may compute them anew for it, with other last digits: then none does.
    """
    return jnp.where(left >= right, left, right)


def _require_multiples(space: Sequence[int], factors: Sequence[int]) -> None:
    if any(size % factor for size, factor in zip(space, factors, strict=True)):
        raise ValueError(
            f"Every space axis must be even to be halved, but the shape is {tuple(space)}, divided by {tuple(factors)}."
        )
