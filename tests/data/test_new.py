"""Scans and images that are not of a data set, as its network sees them."""

import contextlib

import folders
import numpy as np
import pytest
from PIL import Image

from jaxal.data.images.decoded import make_images
from jaxal.data.images.layouts import find_images
from jaxal.data.images.new import read_new_images
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.layouts import find_cases
from jaxal.data.scans.new import read_new_scans
from jaxal.data.scans.prepare import load_case
from jaxal.errors import UserError


@contextlib.contextmanager
def silently(what):
    yield lambda done, total: None


def test_new_scans_are_prepared_as_the_old_ones_were(tmp_path):
    """The same files give the same arrays, whatever layout they lie in; by their own plan they would not."""
    data = folders.decathlon(tmp_path / "data")
    ready = make_ready(data, tmp_path / "prepared", FolderConfig(spacing_mm=(1.5, 1.5, 3.0)))
    new = read_new_scans(data / "imagesTr", ready, tmp_path / "new", silently)  # files alone, two channels in each
    assert [case.id for case in new.dataset.cases] == [case.id for case in ready.dataset.cases]
    for old, case in zip(ready.dataset.cases, new.dataset.cases, strict=True):
        np.testing.assert_array_equal(load_case(case, new.dataset).image, load_case(old, ready.dataset).image)
        assert not load_case(case, new.dataset).labelled.any()


def test_bids_needs_no_label_maps_where_none_are_asked_for(tmp_path):
    data = folders.bids(tmp_path / "data")
    labelled = find_cases(data)
    without = find_cases(data, need_labels=False)
    assert [case._replace(label=None) for case in labelled.cases] == [case._replace(label=None) for case in without.cases]
    (data / "derivatives").rename(tmp_path / "elsewhere")
    bare = find_cases(data, need_labels=False)
    assert [case.label for case in bare.cases] == [None] * 6
    assert bare.channels == ("FLAIR", "T1w")
    with pytest.raises(UserError, match="holds no label maps"):
        find_cases(data)
    (data / "sub-03" / "ses-1" / "anat" / "sub-03_ses-1_T1w.nii.gz").unlink()
    with pytest.raises(UserError, match="sub-03_ses-1 has no T1w, which 5 of 6 cases have"):
        find_cases(data, need_labels=False)


def images_of(folder, classes=("cat", "dog"), count=4):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for place in range(count):
            values = np.random.default_rng(10 * number + place).integers(0, 255, (20, 16, 3)).astype(np.uint8)
            Image.fromarray(values).save(folder / name / f"{place}.png")
    return folder


def test_new_images_are_seen_as_the_old_ones_were(tmp_path):
    listing = find_images(images_of(tmp_path / "data"))
    images = make_images(listing, tmp_path / "prepared", (8, 8))
    new = tmp_path / "new"
    (new / "dog").mkdir(parents=True)
    (tmp_path / "data" / "dog" / "2.png").rename(new / "dog" / "again.PNG")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(new / "other.jpg")
    (new / ".hidden.png").write_bytes(b"")
    cases, load = read_new_images(new, images)
    assert [(case.id, case.category) for case in cases] == [("dog/again.PNG", "dog"), ("other.jpg", "")]
    old = next(case for case in images.dataset.cases if case.id.endswith("dog/2.png") or case.id.endswith("dog/2"))
    np.testing.assert_array_equal(load(cases[0]).image, images.load(old).image)
    assert [bool(load(case).labelled) for case in cases] == [True, False]


def test_no_images_and_broken_ones_are_told_of(tmp_path):
    images = make_images(find_images(images_of(tmp_path / "data")), tmp_path / "prepared", (8, 8))
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        read_new_images(tmp_path / "new", images)
    with pytest.raises(UserError, match="no such folder"):
        read_new_images(tmp_path / "nowhere", images)
    (tmp_path / "new" / "broken.png").write_bytes(b"no image")
    cases, load = read_new_images(tmp_path / "new", images)
    with pytest.raises(UserError, match=r"broken\.png: cannot be read as an image"):
        load(cases[0])
