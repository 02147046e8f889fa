"""Probabilities on disk: which files make which members and cases, and what is wrong with a file."""

import nibabel
import numpy as np
import pytest

from jaxal.data.predictions import find_predictions, read_members, read_probabilities
from jaxal.errors import UserError


def probabilities(seed=0, shape=(6, 5, 4), classes=3):
    """`[classes, *shape]`."""
    raw = np.random.default_rng(seed).uniform(0.1, 1, (classes, *shape))
    return (raw / raw.sum(0)).astype(np.float32)


def write(path, values, key="probabilities"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".npz"):
        np.savez_compressed(path, **{key: values})
    elif path.name.endswith(".npy"):
        np.save(path, values)
    else:
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


@pytest.fixture
def folds(tmp_path):
    """Two folds of two cases as nnU-Net leaves them, label maps and properties beside the probabilities."""
    for fold in range(2):
        for case in range(2):
            place = tmp_path / "folds" / f"fold_{fold}" / f"case_{case}.npz"
            values = probabilities(10 * fold + case, (6, 5, 4 + case))
            write(place, values.astype(np.float16))
            write(place.with_name(f"case_{case}.nii.gz"), values.argmax(0).astype(np.uint8))
            place.with_suffix(".pkl").write_bytes(b"no pickle is ever loaded")
        (tmp_path / "folds" / f"fold_{fold}" / "plans.json").write_text("{}")
    return tmp_path / "folds"


def test_the_folds_of_nnunet_are_members(folds):
    predictions = find_predictions([folds])
    assert predictions.members == ("fold_0", "fold_1")
    assert list(predictions.files) == ["case_0", "case_1"]
    members = list(read_members(predictions.files["case_1"]))
    for fold, member in enumerate(members):
        np.testing.assert_allclose(member, np.moveaxis(probabilities(10 * fold + 1, (6, 5, 5)), 0, -1), atol=2e-3)
        np.testing.assert_allclose(member.sum(-1), 1, atol=1e-6)
    assert find_predictions([folds / "fold_0", folds / "fold_1"]).files == predictions.files
    assert find_predictions([folds / "fold_1"]).members == ("fold_1",)


@pytest.mark.parametrize("ending", [".npz", ".npy", ".nii.gz", ".nii"])
def test_all_forms_hold_the_same(tmp_path, ending):
    values = probabilities()
    stored = np.moveaxis(values, 0, -1) if ".nii" in ending else values
    read = read_probabilities(write(tmp_path / f"case{ending}", stored))
    np.testing.assert_allclose(read, np.moveaxis(values, 0, -1), atol=1e-6)


def test_three_axes_of_a_nifti_file_are_the_foregrounds(tmp_path):
    values = probabilities(classes=2)
    read = read_probabilities(write(tmp_path / "case.nii.gz", values[1]))
    np.testing.assert_allclose(read, np.moveaxis(values, 0, -1), atol=1e-6)


def test_the_first_nnunets_key_and_a_single_array_are_read(tmp_path):
    for key in ("softmax", "anything"):
        assert read_probabilities(write(tmp_path / f"{key}.npz", probabilities(), key)).shape == (6, 5, 4, 3)


def test_one_images_classes_are_a_single_axis(tmp_path):
    np.testing.assert_allclose(read_probabilities(write(tmp_path / "a.npy", np.array([0.2, 0.8]))), [0.2, 0.8], rtol=1e-6)


def refusal(read, *given):
    with pytest.raises(UserError) as error:
        read(*given)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_folders_that_hold_no_predictions_are_refused(folds, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no such folder" in refusal(find_predictions, [tmp_path / "nowhere"])
    assert "a file, not a folder" in refusal(find_predictions, [folds / "fold_0" / "plans.json"])
    assert "holds no predictions" in refusal(find_predictions, [tmp_path / "empty"])
    assert "holds no predictions" in refusal(find_predictions, [folds / "fold_0", tmp_path / "empty"])
    (folds / "fold_0").rename(tmp_path / "moved")
    (tmp_path / "deep" / "fold_0").mkdir(parents=True)
    (tmp_path / "moved").rename(tmp_path / "deep" / "fold_0" / "validation")
    assert "deep/fold_0/validation; name such folders themselves" in refusal(find_predictions, [tmp_path / "deep"])
    (tmp_path / "deep" / "fold_0" / "validation").rename(folds / "fold_0")
    assert "named twice" in refusal(find_predictions, [folds / "fold_0", folds / "fold_0"])


def test_members_must_have_the_same_cases(folds):
    (folds / "fold_1" / "case_0.npz").unlink()
    (folds / "fold_1" / "case_0.nii.gz").unlink()
    assert "fold_1 has no prediction of 'case_0', which fold_0 has" in refusal(find_predictions, [folds])


def test_a_label_map_without_probabilities_is_told_of(folds):
    (folds / "fold_1" / "case_0.npz").unlink()
    assert "case_0.nii.gz: has no case_0.npz beside it" in refusal(find_predictions, [folds])


def test_predictions_beside_members_are_ambiguous(folds):
    write(folds / "case_9.npz", probabilities())
    assert "holds predictions itself (case_9.npz) and folders with predictions (fold_0)" in refusal(find_predictions, [folds])


def test_a_case_in_two_forms_is_refused(tmp_path):
    write(tmp_path / "a" / "x.npy", probabilities())
    write(tmp_path / "a" / "x.nii.gz", probabilities()[1])
    assert "One prediction must be one file" in refusal(find_predictions, [tmp_path / "a"])


def test_members_must_share_their_grid(tmp_path):
    files = [write(tmp_path / "a.npy", probabilities()), write(tmp_path / "b.npy", probabilities(shape=(6, 5, 3)))]
    message = refusal(lambda: list(read_members(files)))
    assert "b.npy: has shape (6, 5, 3, 3)" in message
    assert "a.npy has (6, 5, 4, 3)" in message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.log(probabilities()) * 5, "so it is logits or something else"),
        (probabilities().argmax(0)[None].repeat(2, 0).astype(np.float32), "so it is a label map"),
        (probabilities() * 0.5, "do not sum to 1 over the classes"),
        (np.moveaxis(probabilities(), 0, 1), "They do along axis 1 of the file"),
        (np.where(probabilities() > 0.5, np.nan, probabilities()), "NaN or infinite"),
        (np.zeros((1, 4, 4, 4)), "has shape (1, 4, 4, 4)"),
        (np.zeros((2, 0, 4, 4)), "has shape (2, 0, 4, 4)"),
        (np.array([{"a": 1}], object), "Python objects, which are never loaded"),
        (np.array(["a", "b"]), "expected probabilities [classes, *space]"),
    ],
)
def test_what_are_no_probabilities_is_told(tmp_path, values, message):
    np.save(tmp_path / "case.npy", values, allow_pickle=True)
    assert message in refusal(read_probabilities, tmp_path / "case.npy")


def test_damaged_files_are_told_of(tmp_path):
    path = write(tmp_path / "case.npz", probabilities())
    path.write_bytes(path.read_bytes()[:100])
    assert "not a readable array" in refusal(read_probabilities, path)
    path.write_bytes(b"")
    assert "not a readable array" in refusal(read_probabilities, path)
    np.savez(path, a=probabilities(), b=probabilities())
    assert "holds a, b; expected one array, 'probabilities'" in refusal(read_probabilities, path)
    nifti = write(tmp_path / "case.nii.gz", probabilities()[1])
    nifti.write_bytes(nifti.read_bytes()[:60])
    assert "not a readable NIfTI file" in refusal(read_probabilities, nifti)
