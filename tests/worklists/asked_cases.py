"""Worklists for the tests: names that break what is not escaped, real small scans, and images."""

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from jaxal.worklists.items import Class, Guess, Item, Worklist

NASTY = (
    "case 01",
    'O\'Neil "x" <b>&amp;',
    "Müller-größe 日本",
    "a<!--</script><script>document.title='taken'",
    "'''\\ $(x) %PATH% `y`",
    "v1.2.nii",
)
CLASSES = (Class("liver", "#e69f00"), Class("Tumor (größer) 'a' </script>", "#56b4e9"))


def scans(folder, names=NASTY, **changes):
    """A worklist of scans whose files need not exist, in the folder of a reader."""
    folder = Path(folder)
    items = [
        Item(
            name,
            {"CT": folder / "data" / f"scan {number}.nii.gz", "PET 'a'": folder / "data" / f"pet {number}.nii.gz"},
            folder / "readers" / "anna" / "inbox" / name.replace("/", "_"),
            f"The network is unsure of {name}.",
            number,
            folder / "proposals" / f"{number}.seg.nrrd",
            folder / "proposals" / f"{number}.nii.gz",
            folder / "proposals" / f"{number}-unsure.nii.gz",
            minutes=10.0 + number,
        )._replace(**changes)
        for number, name in enumerate(names, start=1)
    ]
    return Worklist("liver & spleen </script>", "anna 'ä'", CLASSES, items)


def write_scan(worklist, shape=(30, 40, 20), spacing_mm=(1.0, 1.0, 2.0), unsure_at=(22, 9, 14)):
    """Writes the files of the first case; the network is unsure around one place."""
    item, rng = worklist.items[0], np.random.default_rng(0)
    affine = np.diag([*spacing_mm, 1.0])
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    away = np.linalg.norm((grid - unsure_at) * spacing_mm, axis=-1)
    proposal = np.zeros(shape, np.uint8)
    proposal[5:25, 5:35, 4:18] = 1
    proposal[away < 5] = 2
    values = {
        **dict.fromkeys(item.images.values(), rng.normal(100, 20, shape).astype(np.float32)),
        item.proposal_nifti: proposal,
        item.uncertainty: np.exp(-away / 4).astype(np.float32),
    }
    for path, array in values.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return item


def images(folder, names=NASTY, size=(40, 30)):
    """A worklist of images with one class, and the images; the second has a guess, the third came back."""
    folder, rng = Path(folder), np.random.default_rng(0)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    items = []
    for number, name in enumerate(names, start=1):
        path = folder / "data" / f"image {number}.png"
        Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), np.uint8)).save(path)
        result = folder / "readers" / "anna" / "inbox" / name.replace("/", "_")
        items.append(Item(name, {"image": path}, result, f"Between two classes: {name}.", number, minutes=0.3))
    if len(items) > 2:
        items[1] = items[1]._replace(guess=Guess("moderate", 0.7))
        items[2] = items[2]._replace(returned=("Two readers <disagree>.",))
    classes = [Class(name, "#56b4e9") for name in ("no DR", "moderate", "severe </script>")]
    return Worklist("eyes", "anna", classes, items, "images")
