"""Small folders in the layouts of others, with labels that a plan can be made from."""

import json

import nibabel
import numpy as np

OBLIQUE = np.array([[0.98, -0.2, 0.0, 10], [0.2, 0.97, 0.1, -5], [0.0, -0.1, 3.0, 7], [0, 0, 0, 1]])


def save(path, values, affine=None, code=2):
    """Writes a volume; its header calls the affine `code`: 1 the scanner's, 2 aligned to something."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    image.set_sform(image.affine, code)
    nibabel.save(image, path)


def volumes(index, shape=(8, 8, 6), channels=1, classes=2):
    rng = np.random.default_rng(index)
    label = np.zeros(shape, np.uint8)
    for number in range(1, classes):
        label[1 + number : 3 + number, 2:5, 2:4] = number
    image = (rng.normal(size=(*shape, channels)) + 3 * label[..., None]).astype(np.float32)
    return image, label


def decathlon(folder, cases=6, channels=2, classes=3, affine=OBLIQUE):
    listed = []
    for index in range(cases):
        image, label = volumes(index, channels=channels, classes=classes)
        save(folder / "imagesTr" / f"scan_{index}.nii.gz", image, affine)
        save(folder / "labelsTr" / f"scan_{index}.nii.gz", label, affine, code=1)
        listed.append({"image": f"./imagesTr/scan_{index}.nii.gz", "label": f"./labelsTr/scan_{index}.nii.gz"})
    description = {
        "modality": {str(channel): f"MRI{channel}" for channel in range(channels)},
        "labels": {"0": "background", **{str(number): f"part {number}" for number in range(1, classes)}},
        "training": listed,
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    table(folder, {f"scan_{index}": "AB"[index % 2] for index in range(cases)})
    return folder


def bids(folder, subjects=6, sessions=("ses-1",), channels=("FLAIR", "T1w")):
    (folder).mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    for index in range(subjects):
        for session in sessions:
            place = "/".join(part for part in (f"sub-{index:02d}", session, "anat") if part)
            stem = "_".join(part for part in (f"sub-{index:02d}", session) if part)
            image, label = volumes(index, channels=len(channels))
            for number, channel in enumerate(channels):
                save(folder / place / f"{stem}_{channel}.nii.gz", image[..., number])
            save(folder / "derivatives" / "readers" / place / f"{stem}_space-orig_dseg.nii.gz", label)
    table(folder, {f"sub-{index:02d}": "AB"[index % 2] for index in range(subjects)})
    return folder


def table(folder, groups, column="group"):
    lines = [f"participant_id\t{column}", *(f"{id_}\t{group}" for id_, group in groups.items())]
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")


def change_description(folder, **entries):
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def brats(folder, cases=6, late=False, affine=OBLIQUE, grades=("",)):
    """Cases of BraTS with six voxels of necrotic core, six of oedema and twelve of enhancing tumour, on 8 x 8 x 6."""
    mark, channels, values = (
        ("-", ("t1n", "t1c", "t2w", "t2f"), (0, 1, 2, 3)) if late else ("_", ("t1", "t1ce", "t2", "flair"), (0, 1, 2, 4))
    )
    for index in range(cases):
        name = f"BraTS-GLI-{index // 2:05d}-{index % 2:03d}" if late else f"BraTS19_X_{index}_1"
        image, label = volumes(index, channels=4, classes=4)
        place = folder / grades[index % len(grades)] / name
        for number, channel in enumerate(channels):
            save(place / f"{name}{mark}{channel}.nii.gz", image[..., number], affine)
        save(place / f"{name}{mark}seg.nii.gz", np.array(values, np.uint8)[label], affine)
    return folder
