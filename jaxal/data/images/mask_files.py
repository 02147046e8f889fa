"""One image and its mask, read from their files and checked: what a mask's values mean, and which of its pixels are one object."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from jaxal.data.images.class_names import ClassNames
from jaxal.data.images.decoded import DEEP_MODES, in_bytes
from jaxal.data.prepared import UNLABELLED
from jaxal.errors import UserError

OBJECTS_AT_MOST = 2**16 - 1
ORIENTATION = 0x0112  # of EXIF
EIGHT_NEIGHBOURS = np.ones((3, 3), int)


def size_of(path: Path) -> tuple[int, int]:
    """Height and width, from the head of the file.

    Raises:
      UserError: it is no image.
    """
    with _opened(path) as image:
        return image.height, image.width


def read_image(path: Path) -> np.ndarray:
    """An image in colour, `[h, w, 3]` uint8; grey of more than eight bits goes from its darkest to its brightest value.

    Of an alpha channel only the colours below it are read.

    Raises:
      UserError: it does not decode, holds several images, or is marked to be turned, of which its mask would know nothing.
    """
    with _opened(path) as image:
        try:
            if image.getexif().get(ORIENTATION, 1) > 1:
                raise UserError(
                    f"{path}: is to be turned before it is shown (EXIF orientation), and a mask does not say whether it was drawn before or after. "
                    "Save the image upright."
                )
            shown = image.convert("RGBA") if image.mode in ("P", "PA") else in_bytes(image)
            return np.asarray(shown.convert("RGB"), np.uint8)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise _broken(path, error) from error


def read_mask(path: Path) -> np.ndarray:
    """The values of a mask, `[h, w]` whole numbers; of a palette its indices, not its colours.

    Raises:
      UserError: it does not decode, has colours or something transparent, or holds several images or values that are no whole numbers up to 65535.
    """
    with _opened(path) as image:
        try:
            transparent = image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255
            values = np.asarray(image.getchannel(0) if image.mode in ("LA", "PA") else image)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise _broken(path, error) from error
        mode = image.mode
    if transparent:
        raise UserError(
            f"{path}: parts of the mask are transparent, which says nothing of classes. Save it without an alpha channel."
        )
    if mode in ("RGB", "RGBA", "RGBX"):
        if (values[..., :1] != values[..., 1:3]).any():
            raise UserError(f"{path}: the mask has colours. Save it in grey or with a palette, one value a class or object.")
        values = values[..., 0]
    elif mode not in ("1", "L", "P", "LA", "PA", *DEEP_MODES):
        raise UserError(f"{path}: the mask has the mode {mode}. Save it in grey or with a palette, one value a class or object.")
    if not (
        np.isfinite(values).all() and (values == np.round(values)).all() and 0 <= values.min() <= values.max() <= OBJECTS_AT_MOST
    ):
        raise UserError(f"{path}: the mask's values must be whole numbers from 0 to {OBJECTS_AT_MOST}.")
    return values.astype(np.uint16)


def class_map(values: np.ndarray, names: ClassNames, instances: bool, path: Path) -> np.ndarray:
    """Classes of a mask's pixels, `[h, w]` uint8, `UNLABELLED` where nobody annotated.

    Args:
      values: of the mask, `[h, w]`.
      names: what they mean.
      instances: whether each value above 0 is an object.
      path: of the mask, for the message.

    Raises:
      UserError: a value is of no class.
    """
    present = np.unique(values).tolist()
    table = np.full(OBJECTS_AT_MOST + 1, UNLABELLED, np.uint8)
    if instances:
        numbers = {value: int(value > 0) for value in present}
    elif names.values is not None:
        numbers = dict(names.values)
    else:
        numbers = {0: 0, 255 if 255 in present and 1 not in present else 1: 1}
    if names.ignore is not None:
        numbers[names.ignore] = UNLABELLED
    if strange := [value for value in present if value not in numbers]:
        raise UserError(_strange(path, present, strange[0], names))
    for value, number in numbers.items():
        table[value] = number
    return table[values]


def objects_of(classes: np.ndarray) -> np.ndarray:
    """Numbers the objects of a class map: pixels of one class above 0 that touch, corners included, `[h, w]` uint16; 0 is none.

    Raises:
      ValueError: there are more than 65535.
    """
    objects, count = np.zeros(classes.shape, np.int64), 0
    for number in np.unique(classes[(classes > 0) & (classes != UNLABELLED)]):
        components, found = ndimage.label(classes == number, EIGHT_NEIGHBOURS)
        objects[components > 0] = components[components > 0] + count
        count += found
    if count > OBJECTS_AT_MOST:
        raise ValueError(f"There are {count} objects; at most {OBJECTS_AT_MOST} are told apart.")
    return objects.astype(np.uint16)


def _strange(path: Path, present: list[int], value: int, names: ClassNames) -> str:
    known = names.values or {0: 0, 1: 1}
    classes = ", ".join(f"{names.classes[number]} {value}" for value, number in known.items())
    shown = ", ".join(map(str, present[:8])) + (" ..." if len(present) > 8 else "")
    if path.suffix.lower() in (".jpg", ".jpeg"):
        advice = "JPEG changes values: save masks as PNG."
    else:
        place = f"in {names.source}" if names.source else "in a file classes.json"
        advice = f"Name all classes {place}, or, if each object has a number of its own, say --instances True."
    binary = "" if names.values else " (or 255)"
    return f"{path}: the mask holds the values {shown}, but {value} is of no class; there are {classes}{binary}. {advice}"


def _opened(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}). Copy it again, or leave it out.") from error
    if getattr(image, "n_frames", 1) > 1:
        image.close()
        raise UserError(f"{path}: holds several images, of which one would be read. Save the one that is meant.")
    return image


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: does not decode ({error}). Copy it again, or leave it out.")
