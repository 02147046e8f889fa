"""Maps of readers who err in ways of their own, from a formula instead of a generator, so that they are the same everywhere."""

import numpy as np

SHAPE = (14, 12, 9)


def readers(classes, count):
    """`count` maps of balls in a row: each reader shifts, grows or shrinks them, and misses or confuses some voxels."""
    x, y, z = np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij")
    maps = []
    for reader in range(count):
        labels = np.zeros(SHAPE, np.uint8)
        for value in range(1, classes + 1):
            centre = (3.5 * value + 0.6 * reader - 0.5, 5 + 0.4 * (reader % 2), 4 + 0.5 * (reader % 3))
            labels[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < (2.8 - 0.15 * reader) ** 2] = value
        slip = (x * 7 + y * 13 + z * 29 + reader * 17) % 31 == 0
        labels[slip & (labels > 0)] = (labels[slip & (labels > 0)] + 1) % (classes + 1)
        maps.append(labels)
    return maps
