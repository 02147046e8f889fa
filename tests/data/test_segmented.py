"""Images with masks, prepared: once, in part after a kill, for the files as they are now, and as examples of one size."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from mask_folders import glas, numbers_of, pairs, picture, save
from PIL import Image

from jaxal.data import prepared as kept_arrays
from jaxal.data.images import segmented
from jaxal.data.images.contours import contour_map
from jaxal.data.images.masks import find_masks
from jaxal.data.images.resizing import area_averaged, majority
from jaxal.data.images.segmented import SegmentedConfig, make_segmented
from jaxal.data.stream import batches
from jaxal.errors import UserError


def made(folder, config=None, **how):
    return make_segmented(find_masks(folder, **how), folder.parent / "prepared", config)


def case_of(ready, name):
    return next(case for case in ready.dataset.cases if case.id == name)


def of_two_sizes(folder):
    """GlaS with an image that is larger than the others, and one that holds no gland."""
    glas(folder)
    save(folder / "train_1.bmp", picture(8, (21, 18)))
    save(folder / "train_1_anno.bmp", numbers_of((21, 18)))
    save(folder / "testB_1_anno.bmp", numbers_of(objects=0))
    return folder


def test_examples_have_one_size_and_say_what_is_in_them(tmp_path):
    ready = made(of_two_sizes(tmp_path / "glas"), SegmentedConfig(multiple=8))
    assert ready.dataset.shape == (24, 24)
    assert (ready.dataset.channels, ready.dataset.classes) == (("red", "green", "blue"), ("background", "gland"))
    assert ready.empty == ("testB_1",)
    pixels = np.concatenate([ready.pixels(case).reshape(-1, 3).astype(float) for case in ready.dataset.cases])
    np.testing.assert_allclose(ready.mean, pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(ready.deviation, pixels.std(0), rtol=1e-5)
    for name, (height, width) in (("train_1", (21, 18)), ("train_2", (16, 20))):
        case = case_of(ready, name)
        example, numbers = ready.load(case), numbers_of((height, width), 3 if name == "train_1" else 2)
        assert [(part.shape, part.dtype) for part in jax.tree.leaves(example)] == [
            ((24, 24, 3), np.float32), ((24, 24), np.uint8), ((24, 24), bool), ((24, 24), bool), ((24, 24), np.uint8)
        ]  # fmt: skip
        within = np.zeros((24, 24), bool)
        within[:height, :width] = True
        np.testing.assert_array_equal(example.inside, within)
        np.testing.assert_array_equal(example.labelled, within)
        np.testing.assert_array_equal(ready.instances(case), numbers)
        np.testing.assert_array_equal(example.label[:height, :width], numbers > 0)
        np.testing.assert_array_equal(example.targets["contour"][:height, :width], contour_map(numbers, 3))
        for part in (example.image, example.label, example.targets["contour"]):
            assert not part[~within].any()
        np.testing.assert_allclose(
            example.image[within] * ready.deviation + ready.mean, ready.pixels(case).reshape(-1, 3), atol=1e-3
        )


def test_a_case_without_its_label_has_the_same_parts(tmp_path):
    ready = made(of_two_sizes(tmp_path / "glas"))
    case = case_of(ready, "train_1")
    known, unknown = ready.load(case), ready.load(case._replace(label=None))
    assert jax.tree.structure(known) == jax.tree.structure(unknown)
    np.testing.assert_array_equal(unknown.image, known.image)
    np.testing.assert_array_equal(unknown.inside, known.inside)
    for part in (unknown.label, unknown.labelled, unknown.targets["contour"]):
        assert not part.any()
    cases = [case, case_of(ready, "train_2")._replace(label=None)]
    (batch,) = batches(cases, ready.load, 2)
    assert batch.examples.targets["contour"].shape == (2, *ready.dataset.shape)
    assert batch.examples.targets["contour"][0].any() and not batch.examples.targets["contour"][1].any()


@pytest.mark.parametrize(("config", "scale"), [(SegmentedConfig(scale=0.5), 0.5), (SegmentedConfig(longest_side=14), 14 / 21)])
def test_all_images_become_smaller_by_one_factor(tmp_path, config, scale):
    folder = of_two_sizes(tmp_path / "glas")
    ready = made(folder, config)
    assert ready.scale == pytest.approx(scale)
    assert ready.dataset.spacing_mm == pytest.approx((1 / scale, 1 / scale))
    for case in ready.dataset.cases:
        original = np.asarray(Image.open(folder / f"{case.id}.bmp"))
        numbers = np.asarray(Image.open(folder / f"{case.id}_anno.bmp"))
        shape = round(original.shape[0] * scale), round(original.shape[1] * scale)
        np.testing.assert_array_equal(ready.pixels(case), area_averaged(original, shape))
        np.testing.assert_array_equal(ready.instances(case), majority(numbers, shape))
        np.testing.assert_array_equal(ready.load(case).label[: shape[0], : shape[1]], majority(numbers, shape) > 0)
    assert made(folder, SegmentedConfig(longest_side=100)).scale == 1.0


def test_classes_have_objects_of_their_own_and_what_is_not_annotated_counts_nowhere(tmp_path):
    folder = pairs(tmp_path / "pairs")
    (folder / "classes.json").write_text(json.dumps({"background": 0, "gland": 1, "tumour": 2, "ignore": 3}))
    for path in (folder / "masks").iterdir():
        save(path, numbers_of())
    ready = made(folder)
    case = ready.dataset.cases[0]
    example, numbers = ready.load(case), numbers_of()
    np.testing.assert_array_equal(example.labelled, numbers != 3)
    np.testing.assert_array_equal(example.label, np.where(numbers == 3, 0, numbers))
    np.testing.assert_array_equal(ready.instances(case), np.where(numbers == 3, 0, numbers))


def test_what_is_not_annotated_is_no_object(tmp_path):
    folder = pairs(tmp_path / "pairs", count=1)
    (folder / "classes.json").write_text(json.dumps({"background": 0, "gland": 1, "ignore": 3}))
    save(folder / "masks" / "case_0.png", numbers_of())
    for scale in (1.0, 0.5):
        ready = made(folder, SegmentedConfig(scale=scale), instances=True)
        example, case = ready.load(ready.dataset.cases[0]), ready.dataset.cases[0]
        numbers = majority(numbers_of(), example.label.shape)
        np.testing.assert_array_equal(example.labelled, numbers != 3)
        np.testing.assert_array_equal(example.label, (numbers == 1) | (numbers == 2))
        np.testing.assert_array_equal(ready.instances(case), np.where(numbers == 3, 0, numbers))


def test_sixteen_bit_numbers_of_objects_are_kept(tmp_path):
    folder = pairs(tmp_path / "pairs")
    for path in (folder / "masks").iterdir():
        save(path, numbers_of().astype(np.uint16) * 20_000)
    with pytest.raises(UserError, match=r"case_0\.png: the mask holds the values 0, 20000, 40000, 60000, .*say --instances"):
        made(folder)
    ready = made(folder, instances=True)
    assert np.unique(ready.instances(ready.dataset.cases[0])).tolist() == [0, 20_000, 40_000, 60_000]
    np.testing.assert_array_equal(ready.load(ready.dataset.cases[0]).label, numbers_of() > 0)


def test_what_is_bad_is_found_before_anything_is_trained_and_all_of_it_is_named(tmp_path):
    folder = pairs(tmp_path / "pairs", count=5)
    save(folder / "masks" / "case_1.png", numbers_of((16, 19), value=255))
    save(folder / "masks" / "case_2.png", np.dstack([numbers_of(), numbers_of(), numbers_of() * 2]))
    (folder / "images" / "case_4.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError) as caught:
        made(folder)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "masks/case_1.png: the mask has 16 x 19 pixels (height x width), but its image case_1.png has 16 x 20" in lines[0]
    assert "masks/case_2.png: the mask has colours" in lines[1]
    assert "images/case_4.png" in lines[2]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SegmentedConfig(scale=0.0), r"The scale is 0; it must be above 0 and at most 1"),
        (SegmentedConfig(scale=2.0), r"The scale is 2; it must be above 0 and at most 1"),
        (SegmentedConfig(scale=0.5, longest_side=9), r"A scale and a longest side are given"),
        (SegmentedConfig(longest_side=0), r"The longest side is 0"),
    ],
)
def test_sizes_that_make_no_sense(tmp_path, config, message):
    with pytest.raises(UserError, match=message):
        made(pairs(tmp_path / "pairs", count=1), config)


def watched(monkeypatch):
    """Names of the files that are decoded from now on."""
    seen = []
    for name in ("read_image", "read_mask"):
        original = getattr(segmented, name)
        monkeypatch.setattr(segmented, name, lambda path, original=original: (seen.append(path.name), original(path))[1])
    return seen


def test_what_is_prepared_is_not_prepared_again(tmp_path, monkeypatch):
    folder, seen = of_two_sizes(tmp_path / "glas"), watched(monkeypatch)
    first = made(folder)
    assert len(seen) == 8
    seen.clear()
    again = made(folder)
    assert seen == [] and again.dataset == first.dataset and again.fingerprint == first.fingerprint
    assert again.empty == first.empty
    np.testing.assert_array_equal(again.mean, first.mean)
    save(folder / "train_2_anno.bmp", numbers_of(objects=1))
    third = made(folder)
    assert seen == ["train_2_anno.bmp"]
    assert third.fingerprint != first.fingerprint
    before, now = case_of(first, "train_2"), case_of(third, "train_2")
    assert before.version == now.version and before.label.version != now.label.version
    assert first.load(before).label.sum() > third.load(now).label.sum()
    seen.clear()
    save(folder / "testA_1.bmp", picture(77))
    made(folder)
    assert seen == ["testA_1.bmp"]
    made(folder, SegmentedConfig(contour_radius=1))
    assert sorted(seen[1:]) == ["testA_1_anno.bmp", "testB_1_anno.bmp", "train_1_anno.bmp", "train_2_anno.bmp"]


def test_a_preparation_that_was_stopped_goes_on(tmp_path, monkeypatch):
    folder, seen = pairs(tmp_path / "pairs", count=6), watched(monkeypatch)
    monkeypatch.setattr(segmented, "AT_ONCE", 2)

    def stopping(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_segmented(find_masks(folder), tmp_path / "prepared", progress=stopping)
    seen.clear()
    ready = made(folder)
    assert sorted(seen) == ["case_4.png"] * 2 + ["case_5.png"] * 2
    whole = make_segmented(find_masks(folder), tmp_path / "elsewhere")
    for one, other in zip(ready.dataset.cases, whole.dataset.cases, strict=True):
        for parts in zip(*(jax.tree.leaves(made.load(case)) for made, case in ((ready, one), (whole, other))), strict=True):
            np.testing.assert_array_equal(*parts)


def test_large_arrays_lie_alone_and_are_read_alike(tmp_path, monkeypatch):
    folder = of_two_sizes(tmp_path / "glas")
    packed = made(folder)
    monkeypatch.setattr(kept_arrays, "SMALL_BYTES", 0)
    alone = make_segmented(find_masks(folder), tmp_path / "alone")
    assert {case.image.suffix for case in packed.dataset.cases} == {".npz"}
    assert {case.image.suffix for case in alone.dataset.cases} == {".npy"}
    for one, other in zip(packed.dataset.cases, alone.dataset.cases, strict=True):
        np.testing.assert_array_equal(packed.instances(one), alone.instances(other))
        np.testing.assert_array_equal(packed.pixels(one), alone.pixels(other))
        for parts in zip(jax.tree.leaves(packed.load(one)), jax.tree.leaves(alone.load(other)), strict=True):
            np.testing.assert_array_equal(*parts)


def test_the_fingerprint_knows_groups_and_what_values_mean_and_not_the_place(tmp_path):
    folder = pairs(tmp_path / "pairs")
    first = made(folder).fingerprint
    assert make_segmented(find_masks(pairs(tmp_path / "again")), tmp_path / "other").fingerprint == first
    (folder / "participants.tsv").write_text("participant_id\tgroup\n" + "".join(f"case_{n}\t{'AB'[n % 2]}\n" for n in range(4)))
    grouped = made(folder)
    assert grouped.dataset.groups == ("A", "B")
    (folder / "classes.json").write_text('["background", "lesion"]')
    assert len({first, grouped.fingerprint, made(folder).fingerprint}) == 3


def test_images_without_a_mask_are_prepared_too(tmp_path):
    folder = pairs(tmp_path / "pairs")
    (folder / "masks" / "case_1.png").unlink()
    ready = made(folder, need_masks=False)
    assert [case.label is None for case in ready.dataset.cases] == [False, True, False, False]
    assert not ready.load(ready.dataset.cases[1]).labelled.any()
    assert ready.empty == ()


def test_what_the_page_shows_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "own-masks.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "own-masks.md", "exec"), {})
    assert capsys.readouterr().out.startswith("(96, 128, 3) (96, 128) ")
