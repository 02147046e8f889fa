"""Plans, resampling there and back, and patches."""

import concurrent.futures
import time

import jax
import nibabel
import numpy as np
import pytest
import tiny
from folders import OBLIQUE, bids, decathlon, save, table
from scipy import ndimage

from jaxal.data import prepared as kept_arrays
from jaxal.data import shards
from jaxal.data.scans import prepare
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.layouts import find_cases
from jaxal.data.scans.plan import Look, Scaling, make_plan
from jaxal.data.scans.prepare import draw_patch, load_case, normalise
from jaxal.data.scans.resampling import resample, resample_label
from jaxal.errors import UserError
from jaxal.tasks.original_grid import to_original_grid


def look(shape, spacing_mm, intensities=((1.0,), (2.0,))):
    return Look(shape, spacing_mm, np.array(intensities), np.array([True, True]), np.array([False]), np.zeros(2))


def test_the_spacing_is_the_median():
    plan = make_plan(["T1"], [look((40, 40, 40), (1.0, 1.0, size)) for size in (1.0, 1.5, 2.5)], 10**6)
    assert plan.spacing_mm == (1.0, 1.0, 1.5)
    assert plan.largest == (40, 40, 67)
    assert plan.whole


def test_a_coarse_axis_takes_the_tenth_percentile():
    looks = [look((200, 200, 20), (0.8, 0.8, size)) for size in (3.0, *(5.0,) * 9)]
    plan = make_plan(["T1"], looks, 10**6)
    assert 3.0 <= plan.spacing_mm[2] < 5.0
    assert "10th percentile" in plan.why[0]


def test_a_patch_keeps_proportions_and_multiples():
    plan = make_plan(["T1"], [look((200, 160, 120), (1.0, 1.0, 1.0))] * 3, 2**17)
    assert np.prod(plan.patch) <= 2**17
    assert all(size % 4 == 0 for size in plan.patch)
    ratios = np.array(plan.patch) / (200, 160, 120)
    assert ratios.max() / ratios.min() < 1.2
    assert not plan.whole


@pytest.mark.parametrize(
    ("shape", "spacing", "levels", "pooling", "multiples"),
    [
        ((40, 40, 40), (1.0, 1.0, 1.0), 3, (), (4, 4, 4)),
        ((12, 12, 12), (1.0, 1.0, 1.0), 2, (), (2, 2, 2)),
        ((7, 7, 7), (1.0, 1.0, 1.0), 1, (), (1, 1, 1)),
        ((400, 400, 6), (0.5, 0.5, 5.0), 3, ((2, 2, 1), (2, 2, 1)), (4, 4, 1)),  # too few slices
        ((400, 400, 64), (0.5, 0.5, 5.0), 3, ((2, 2, 1), (2, 2, 1)), (4, 4, 1)),  # enough, but thick
        ((64, 64, 32), (1.0, 1.0, 3.0), 3, ((2, 2, 1), (2, 2, 2)), (4, 4, 2)),  # as coarse as the others after one step
        ((40, 40, 12), (1.0, 1.0, 1.0), 3, ((2, 2, 2), (2, 2, 1)), (4, 4, 2)),
        ((6, 6, 64), (0.5, 0.5, 5.0), 3, ((1, 1, 2), (1, 1, 2)), (1, 1, 4)),
    ],
)
def test_axes_are_halved_while_they_are_long_and_fine_enough(shape, spacing, levels, pooling, multiples):
    plan = make_plan(["T1"], [look(shape, spacing)] * 3, 2**17)
    assert (plan.levels, plan.pooling, plan.multiples) == (levels, pooling, multiples)
    assert all(size % multiple == 0 for size, multiple in zip(plan.patch, multiples, strict=True))
    assert np.prod(plan.patch) <= 2**17
    assert any("thick slices are not halved" in reason for reason in plan.why) == bool(pooling)
    asked = make_plan(["T1"], [look(shape, spacing)] * 3, 2**17, levels=2)
    assert (asked.levels, asked.pooling, asked.multiples) == (2, (), (2, 2, 2))


def test_thick_slices_are_prepared_without_padding_slices(tmp_path):
    folder = decathlon(tmp_path / "data", cases=4, channels=1, classes=2, affine=np.diag([0.5, 0.5, 5.0, 1.0]))
    for index in range(4):
        label = np.zeros((32, 30, 5), np.uint8)
        label[8:20, 9:21, 1:4] = 1
        for part, values in (("images", label.astype(np.float32)), ("labels", label)):
            save(folder / f"{part}Tr" / f"scan_{index}.nii.gz", values, np.diag([0.5, 0.5, 5.0, 1.0]))
    ready = make_ready(folder, tmp_path / "prepared", FolderConfig())
    assert ready.plan.pooling == ((2, 2, 1), (2, 2, 1))
    assert ready.dataset.shape == (32, 32, 5)


def test_every_decision_says_why():
    plan = make_plan(["CT", "T1", "noNorm"], [look((32, 32, 32), (1, 1, 1), [(-50.0, 1, 2), (90.0, 1, 2)])], 2**17)
    assert len(plan.why) == 6
    assert plan.scaling[0].name == "ct"
    assert -51 < plan.scaling[0].low < plan.scaling[0].high < 91
    assert plan.scaling[1] == Scaling("z-score")
    assert normalise(np.array([5.0]), plan.scaling[2]) == 5.0


def test_ct_is_clipped_to_percentiles_of_the_foreground(rng):
    intensities = rng.normal(40, 30, (2, 500, 1))
    (scaling,) = make_plan(["CT"], [look((32, 32, 32), (1, 1, 1), values) for values in intensities], 2**17).scaling
    low, high = np.percentile(intensities, [0.5, 99.5])
    clipped = np.clip(intensities, low, high)
    assert (scaling.low, scaling.high) == pytest.approx((low, high))
    assert (scaling.mean, scaling.deviation) == pytest.approx((clipped.mean(), clipped.std()))


def test_ct_is_scaled_alike_for_all(rng):
    scaling = Scaling("ct", -100.0, 100.0, 10.0, 20.0)
    np.testing.assert_allclose(normalise(np.array([-500.0, 10.0, 30.0, 900.0]), scaling), [-5.5, 0.0, 1.0, 4.5])


def smooth(shape, rng):
    return ndimage.gaussian_filter(rng.normal(size=shape), 3).astype(np.float32)


def test_resampling_there_and_back(rng):
    values = smooth((20, 24, 16), rng)
    fine = resample(values, (40, 36, 32))
    back = resample(fine, values.shape)
    assert np.abs(back - values).max() < 0.1 * np.abs(values).max()
    assert resample(values, values.shape) is values
    ramp = np.broadcast_to(np.arange(8.0)[:, None, None] + 0.5, (8, 4, 4))
    np.testing.assert_allclose(
        resample(ramp, (16, 4, 4), order=1)[2:-2, 0, 0], (np.arange(16) + 0.5)[2:-2] / 2
    )  # voxel edges agree


def test_labels_stay_labels():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6], labels[6:, 6:, 6:] = 1, 3
    fine = resample_label(labels, (16, 16, 16))
    assert set(np.unique(fine)) == {0, 1, 3}
    np.testing.assert_array_equal(fine[5:11, 4:12, 5:11], 1)  # faces stay, corners are rounded off
    assert abs((fine == 1).sum() / (8 * (labels == 1).sum()) - 1) < 0.02


def test_mixed_spacings_and_orientations_become_one(tmp_path):
    """The same head in two grids: prepared, they are the same but for interpolation."""
    rng = np.random.default_rng(0)
    image = smooth((24, 24, 24), rng)
    label = np.zeros((24, 24, 24), np.uint8)
    label[8:16, 6:14, 10:18] = 1
    folder = decathlon(tmp_path / "data", cases=4, channels=1, classes=2, affine=np.eye(4))
    for index in range(4):
        save(folder / "imagesTr" / f"scan_{index}.nii.gz", image)
        save(folder / "labelsTr" / f"scan_{index}.nii.gz", label)
    turned = np.array([[0, 0, -1.0, 23], [-1.0, 0, 0, 23], [0, 1.0, 0, 0], [0, 0, 0, 1]])  # axes P, S, L
    save(folder / "imagesTr" / "scan_1.nii.gz", image.transpose(1, 2, 0)[::-1, :, ::-1], turned)
    save(folder / "labelsTr" / "scan_1.nii.gz", label.transpose(1, 2, 0)[::-1, :, ::-1], turned)
    coarse = np.diag([1.0, 1.0, 2.0, 1.0])
    coarse[2, 3] = 0.5
    save(folder / "imagesTr" / "scan_2.nii.gz", image.reshape(24, 24, 12, 2).mean(-1), coarse)
    save(folder / "labelsTr" / "scan_2.nii.gz", label[:, :, ::2], coarse)
    ready = make_ready(folder, tmp_path / "prepared", FolderConfig())
    plain, turned, coarse = (load_case(ready.dataset.cases[index], ready.dataset) for index in range(3))
    np.testing.assert_allclose(turned.image, plain.image, atol=1e-5)
    np.testing.assert_array_equal(turned.label, plain.label)
    assert np.abs(coarse.image - plain.image).mean() < 0.1
    assert (coarse.label == plain.label).mean() > 0.99


def test_label_maps_prepared_in_another_way_are_not_taken_for_those_of_this_one(tmp_path, monkeypatch):
    folder = decathlon(tmp_path / "data", cases=4, channels=1, classes=2)
    now = make_ready(folder, tmp_path / "prepared", FolderConfig()).dataset.cases[0]
    monkeypatch.setattr(prepare, "LABELS", prepare.LABELS - 1)
    before = make_ready(folder, tmp_path / "prepared", FolderConfig()).dataset.cases[0]
    assert now.image == before.image
    assert now.label.path != before.label.path
    assert now.label.version != before.label.version


@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE, OBLIQUE[[1, 2, 0, 3]], np.diag([-1.0, -1.0, 2.5, 1.0])])
def test_predictions_go_back_to_the_original_grid(tmp_path, affine):
    """Put through resampling and back, the label map itself must come out where it was."""
    label = np.zeros((20, 22, 12), np.uint8)
    label[4:10, 6:15, 3:9], label[12:18, 6:15, 3:9] = 1, 2
    folder = decathlon(tmp_path / "data", cases=4, channels=1, classes=3)
    for index in range(4):
        save(folder / "imagesTr" / f"scan_{index}.nii.gz", label.astype(np.float32), affine)
        save(folder / "labelsTr" / f"scan_{index}.nii.gz", label, affine)
    ready = make_ready(folder, tmp_path / "prepared", FolderConfig(spacing_mm=(0.7, 0.8, 1.1)))
    case = ready.dataset.cases[0]
    prepared = np.load(case.label.path)[f"{case.id}-{case.label.version}.label"]
    probability = np.stack([prepared == number for number in range(3)]).astype(np.float32)
    source = find_cases(folder).cases[0].label
    back = to_original_grid(probability, source)
    np.testing.assert_array_equal(back.affine, nibabel.load(source).affine)
    assert back.shape == label.shape
    values = np.asarray(back.dataobj)
    for number in (1, 2):
        assert 2 * ((values == number) & (label == number)).sum() / ((values == number).sum() + (label == number).sum()) > 0.93


def test_nothing_is_prepared_twice_and_changes_are_seen(tmp_path):
    folder = bids(tmp_path / "data")
    seen = []

    import contextlib

    @contextlib.contextmanager
    def showing(what):
        seen.append(what)
        yield lambda done, total: None

    first = make_ready(folder, tmp_path / "prepared", FolderConfig(), showing)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared").rglob("*.np*")}
    again = make_ready(folder, tmp_path / "prepared", FolderConfig(), showing)
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared").rglob("*.np*")} == times
    table(folder, {f"sub-{index:02d}": "AB"[index // 3] for index in range(6)})
    regrouped = make_ready(folder, tmp_path / "prepared", FolderConfig(), showing)
    assert regrouped.fingerprint != first.fingerprint
    assert [case.image for case in regrouped.dataset.cases] == [case.image for case in first.dataset.cases]


def test_patches_are_drawn_around_foreground(tmp_path):
    """One foreground voxel, which must lie in the middle unless the border is in the way."""
    folder = tiny.write_dataset(tmp_path / "data", cases=4, shape=(16, 16, 16))
    for id_, place in (("case_000", (8, 7, 9)), ("case_001", (0, 15, 8))):
        label = np.zeros((16, 16, 16), np.uint8)
        label[place] = 1
        save(folder / "labelsTr" / f"{id_}.nii.gz", label)
    middle, corner = tiny.read(folder).cases[:2]
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert np.argwhere(draw_patch(middle, (6, 6, 6), 1.0, rng).label).tolist() == [[3, 3, 3]]
        assert np.argwhere(draw_patch(corner, (6, 6, 6), 1.0, rng).label).tolist() == [[0, 5, 3]]


def test_every_class_is_drawn_as_often(tmp_path):
    """A class of one voxel beside one of hundreds."""
    folder = decathlon(tmp_path / "data", cases=4, channels=1, classes=3)
    label = np.zeros((16, 16, 16), np.uint8)
    label[:8] = 1
    label[14, 8, 8] = 2
    save(folder / "imagesTr" / "scan_0.nii.gz", label.astype(np.float32))
    save(folder / "labelsTr" / "scan_0.nii.gz", label)
    case, rng = (
        make_ready(folder, tmp_path / "prepared", FolderConfig(spacing_mm=(1, 1, 1))).dataset.cases[0],
        np.random.default_rng(0),
    )
    rare = [(draw_patch(case, (4, 4, 4), 1.0, rng).label == 2).any() for _ in range(60)]
    assert 20 <= sum(rare) <= 40


def test_patches_come_from_the_case_and_hold_foreground_as_asked(tmp_path):
    folder = tiny.write_dataset(tmp_path / "data", cases=4, shape=(16, 12, 9))
    dataset = tiny.read(folder)
    whole = load_case(dataset.cases[0], dataset)
    rng = np.random.default_rng(0)
    with_ball = 0
    for _ in range(40):
        patch = draw_patch(dataset.cases[0], (4, 4, 4), 1.0, rng)
        assert patch.image.shape == (4, 4, 4, 1)
        with_ball += patch.label.any()
        cut_from_it = False
        for start in np.argwhere(whole.image[..., 0] == patch.image[0, 0, 0, 0]):
            window = tuple(slice(first, first + 4) for first in start)
            cut_from_it = cut_from_it or np.array_equal(whole.image[window], patch.image)
        assert cut_from_it
    assert with_ball == 40
    starts = {
        tuple(np.argwhere(whole.image[..., 0] == draw_patch(dataset.cases[0], (15, 12, 9), 0.0, rng).image[0, 0, 0, 0])[0])
        for _ in range(20)
    }
    assert starts == {(0, 0, 0), (1, 0, 0)}  # the last place that a patch can have, too
    large = draw_patch(dataset.cases[0], (20, 4, 12), 0.0, rng)
    assert large.inside.sum() == 16 * 4 * 9
    first_drawn, second_drawn = (draw_patch(dataset.cases[0], (4, 4, 4), 0.3, np.random.default_rng(7)).image for _ in range(2))
    np.testing.assert_array_equal(first_drawn, second_drawn)


def test_patches_of_a_case_that_is_labelled_in_parts(tmp_path):
    """They lie around what has a label, at its foreground as often as asked, and know nothing of the rest."""
    dataset = tiny.read(tiny.write_dataset(tmp_path / "data", cases=4, shape=(16, 12, 9)))
    case = dataset.cases[0]
    ball = np.argwhere(load_case(case, dataset).label)[0].tolist()
    parts = (((12, 8, 6), (3, 3, 3)), (tuple(ball), (2, 1, 2)))
    partly = case._replace(label=case.label._replace(parts=parts))
    whole, rng, with_ball = load_case(partly, dataset), np.random.default_rng(0), 0
    assert whole.labelled.sum() == 27 + 4 and whole.label.any()
    for share in (0.0, 1.0):
        for _ in range(30):
            patch = draw_patch(partly, (5, 4, 4), share, rng)
            (start,) = np.argwhere(whole.image[..., 0] == patch.image[0, 0, 0, 0])
            window = tuple(slice(first, first + length) for first, length in zip(start, (5, 4, 4), strict=True))
            np.testing.assert_array_equal(patch.labelled, whole.labelled[window])
            np.testing.assert_array_equal(patch.label, whole.label[window])
            assert patch.labelled.any()
            with_ball += share * patch.label.any()
    assert with_ball == 30


def test_headers_are_parsed_by_one_thread_at_a_time(tmp_path, monkeypatch):
    """`ast.literal_eval`, by which NumPy reads a header, races in CPython before 3.11.8: SystemError in one of six studies."""
    parsing, most = [0], [0]

    def slowly(original):
        def slow(file, **how):
            parsing[0] += 1
            most[0] = max(most[0], parsing[0])
            time.sleep(0.005)
            parsing[0] -= 1
            return original(file, **how)

        return slow

    folder = tiny.write_dataset(tmp_path / "data", cases=8)
    packed = tiny.read(folder)
    monkeypatch.setattr(kept_arrays, "SMALL_BYTES", 0)
    alone = tiny.read(folder, tmp_path / "alone")
    assert {case.image.suffix for case in packed.cases} == {".npz"} and {case.image.suffix for case in alone.cases} == {".npy"}
    monkeypatch.setattr(np, "load", slowly(np.load))
    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", slowly(np.lib.format.read_array_header_1_0))
    monkeypatch.setattr(shards, "_header", shards._header.__wrapped__)  # as if no two were the same
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        read = [pool.submit(load_case, case, dataset) for dataset in (packed, alone) for case in dataset.cases]
        read += [
            pool.submit(draw_patch, case, (4, 4, 4), 1.0, np.random.default_rng(0))
            for dataset in (packed, alone)
            for case in dataset.cases
        ]
        assert all(np.isfinite(example.result().image).all() for example in read)
    assert most[0] == 1


def test_small_arrays_read_from_shards_are_those_of_files_of_their_own(tmp_path, monkeypatch):
    """With and without a label, padded and not, whole and as patches; a folder of an earlier version, all loose, is read on as it is."""
    folder = tiny.write_dataset(tmp_path / "data", cases=4, shape=(9, 8, 7))
    packed = tiny.read(folder)
    monkeypatch.setattr(kept_arrays, "SMALL_BYTES", 0)
    alone = tiny.read(folder, tmp_path / "alone")
    monkeypatch.undo()
    assert tiny.read(folder, tmp_path / "alone") == alone
    assert not list((tmp_path / "alone").glob("*.npz")) and not list((tmp_path / "prepared").glob("*.npy"))
    for one, other in zip(packed.cases, alone.cases, strict=True):
        for unlabelled in (False, True):
            pair = [case._replace(label=None) if unlabelled else case for case in (one, other)]
            for shape in ((10, 8, 8), (9, 8, 7)):
                whole = [load_case(case, packed._replace(shape=shape)) for case in pair]
                patches = [draw_patch(case, (4, 9, 4), 0.5, np.random.default_rng(3)) for case in pair]
                for parts in (*zip(*map(jax.tree.leaves, whole), strict=True), *zip(*map(jax.tree.leaves, patches), strict=True)):
                    assert parts[0].dtype == parts[1].dtype
                    np.testing.assert_array_equal(*parts)


def test_a_stopped_preparation_keeps_what_was_packed(tmp_path, monkeypatch):
    """The fourth case is bad; the three before it are not prepared again."""
    folder = tiny.write_dataset(tmp_path / "data", cases=5)
    prepared, original = [], prepare._prepare_case

    def failing(case, *rest):
        if len(prepared) == 3:
            raise UserError("bad")
        prepared.append(case.id)
        original(case, *rest)

    monkeypatch.setattr(prepare, "_prepare_case", failing)
    with pytest.raises(UserError, match="bad"):
        tiny.read(folder)
    prepared.clear()
    assert len(tiny.read(folder).cases) == 5
    assert prepared == ["case_003", "case_004"]


def test_a_flipped_bit_is_told_of_and_the_shard_is_made_anew(tmp_path):
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    dataset = tiny.read(folder)
    examples = [load_case(case, dataset) for case in dataset.cases]
    (shard,) = {case.image for case in dataset.cases}
    content = bytearray(shard.read_bytes())
    content[content.index(examples[2].image.tobytes()) + 100] ^= 16
    shard.write_bytes(content)
    again = tiny.read(folder)
    np.testing.assert_array_equal(load_case(again.cases[1], again).image, examples[1].image)
    with pytest.raises(UserError, match=rf"{shard.name}: prepared arrays that are damaged .*case_002.* Remove the file and run"):
        load_case(again.cases[2], again)
    shard.unlink()
    anew = tiny.read(folder)
    for case, example in zip(anew.cases, examples, strict=True):
        for part, before in zip(load_case(case, anew), example, strict=True):
            np.testing.assert_array_equal(part, before)
