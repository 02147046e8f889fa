"""Crops at random of examples that are in memory."""

from collections.abc import Sequence

import numpy as np

from jaxal.types import Example, Label


def random_crop(example: Example, label: Label | None, size: Sequence[int], rng: np.random.Generator) -> Example:
    """A window at random of an example, within the image as far as that is large enough.

    Where parts of the image have labels, the window lies around an element of one of them, each part as often as any other; elsewhere there
    may be nothing to learn.

    Args:
      example: padded at the far ends.
      label: of the case.
      size: of the window along each axis, at most that of the example.
      rng: of the draw.
    """
    extent = [int(np.flatnonzero(example.inside.any(_others(axis, len(size))))[-1]) + 1 for axis in range(len(size))]
    room = [max(length - part, 0) for length, part in zip(extent, size, strict=True)]
    if label is not None and label.parts:
        first, lengths = label.parts[rng.integers(len(label.parts))]
        centre = np.array(first) + rng.integers(lengths)
        start = [int(np.clip(place - rng.integers(part), 0, free)) for place, part, free in zip(centre, size, room, strict=True)]
    else:
        start = [int(rng.integers(free + 1)) for free in room]
    window = tuple(slice(first, first + part) for first, part in zip(start, size, strict=True))
    targets = {name: part[window] for name, part in example.targets.items()} if example.targets else example.targets
    image, label_map, inside, labelled = (part[window] for part in example[:4])
    return Example(image, label_map, inside, labelled, targets)


def _others(axis: int, axes: int) -> tuple[int, ...]:
    return tuple(other for other in range(axes) if other != axis)
