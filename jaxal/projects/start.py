"""The beginning of a project: every file is checked, the plan is made and frozen, and labels that are there already are taken in."""

import dataclasses
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np

from jaxal.data.cases import fingerprint_of
from jaxal.data.draws import spread
from jaxal.data.scans.folder import FolderConfig, Showing, check_spacings, groups_of, look_at_all
from jaxal.data.scans.layouts import Files, ScanListing, find_cases
from jaxal.data.scans.plan import check_looks, make_plan
from jaxal.data.scans.prepare import prepare
from jaxal.data.scans.unlabelled import flat_scans, listed_scans
from jaxal.errors import UserError
from jaxal.files import lock
from jaxal.labels.deliveries import Delivered, Expected, receive
from jaxal.labels.refusals import Refused
from jaxal.networks.unet import UNetConfig
from jaxal.projects.deliver import grid_of, store
from jaxal.projects.measures import looks_at_evaluation
from jaxal.projects.project import IGNORE, Project, check_images, open_project
from jaxal.projects.settings import NAME, Protocol, Scan, new_settings, version, write_settings
from jaxal.projects.state import EXISTING, MERGED
from jaxal.rounds.protocol import evaluation_count
from jaxal.strategies.named import named_strategy
from jaxal.studies.presets import OWN_SCANS, Preset
from jaxal.tasks.segmentation import SEGMENTATION

CLASSES_AT_MOST = 254  # 255 means that nobody knows
FIRST_LABELS_AT_LEAST = 8  # that were there at the start, for the first query to come from a network
_SIMPLE = re.compile(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*")


@dataclasses.dataclass(frozen=True)
class Beginning:
    """What a project is started with.

    Attributes:
      data: a folder of scans in any layout, with or without labels, or a table of them.
      labels: names of what is to be drawn; as dataset.json has them when empty.
      readers: their names.
      protocol: how it goes on.
      folder: how the folder is read.
      preset: name of the sizes of network and training.
      start: how each round's training starts.
    """

    data: Path
    labels: tuple[str, ...]
    readers: tuple[str, ...]
    protocol: Protocol
    folder: FolderConfig
    preset: str = "small"
    start: str = "scratch"


def start(folder: Path, asked: Beginning, showing: Showing, now: Callable[[], float] = time.time) -> Project:
    """Starts a project.

    Args:
      folder: for the project; new or empty.
      asked: what it is to be.
      showing: tells how far the work is.
      now: the present time in seconds.

    Raises:
      UserError: a file is bad, or something that was given does not fit; nothing is left behind that would count as a project.
    """
    check_readers(asked.readers)
    named_strategy(asked.protocol.strategy, SEGMENTATION.strategies)
    _check_protocol(asked.protocol)
    with lock(folder):
        if (folder / NAME).exists() and not is_unfinished(folder):
            raise UserError(f"{folder}: holds a project already. `jaxal status {folder}` tells how it stands.")
        listing, groups, root = _find(asked)
        if not listing.cases:
            raise UserError(f"{asked.data}: holds no scans.")
        if not (folder / NAME).exists():
            _freeze(folder, asked, listing, groups, root, showing)
        project = open_project(folder, now)
        with project.log.held() as pen:
            if not pen.events:
                pen.add("started", readers=list(asked.readers), version=version())
        make_reader_folders(project, project.state().present)
        _take_existing(project, listing, showing)
    return project


def is_unfinished(folder: Path) -> bool:
    """Whether a project was being started when somebody stopped it."""
    return not any(event.kind == "imported" for event in open_project(folder).log.read())


def _freeze(
    folder: Path, asked: Beginning, listing: ScanListing, groups: Mapping[str, str], root: Path, showing: Showing
) -> None:
    """Checks every file, plans, prepares, and writes down what may not change."""
    files = {case.id: fingerprint_of(case.images, case.label) for case in listing.cases}
    with showing("checking files") as progress:
        looks = look_at_all(listing, files, folder / "prepared" / "looks", progress)
    check_looks(looks, listing)
    check_spacings(looks, listing)
    size, config = OWN_SCANS[asked.preset], asked.folder
    plan = make_plan(listing.channels, looks, config.patch_voxels or size.patch_voxels, config.spacing_mm or None, config.levels)
    bare = listing._replace(cases=tuple(case._replace(label=None) for case in listing.cases), ignore=IGNORE)
    with showing("preparing") as progress:
        prepare(bare, groups, plan, folder / "prepared", files, progress)
    settings = new_settings(
        name=folder.resolve().name,
        data=str(root.resolve()),
        layout=listing.layout,
        channels=listing.channels,
        classes=listing.classes,
        cases=tuple(_scan(case, groups, files[case.id].image, root) for case in listing.cases),
        plan=plan,
        preset=_preset(asked.preset, plan.levels, plan.pooling, asked.protocol, len(listing.cases), plan.spacing_mm),
        start=asked.start,
        protocol=asked.protocol,
    )
    write_settings(folder, settings)


def _take_existing(project: Project, listing: ScanListing, showing: Showing) -> None:
    """Takes in the labels that lie beside the images, as versions of nobody; a stopped start goes on where it was."""
    labelled = [case for case in listing.cases if case.label]
    roles = _roles(project, [case.id for case in labelled])
    with showing("taking labels") as progress:
        for done, case in enumerate(labelled):
            progress(done, len(labelled))
            if project.state().cases[case.id].versions:
                continue
            received = _receive_existing(project, listing, case)
            with project.log.held() as pen:
                store(
                    project,
                    pen,
                    case.id,
                    EXISTING,
                    received.labels,
                    role=roles[case.id],
                    delivered=received.sha256,
                    volumes_ml=received.volumes_ml,
                    centres={name: list(place) for name, place in received.centres.items()},
                )
        progress(len(labelled), len(labelled))
    with project.log.held() as pen:
        pen.add("imported", labels=len(labelled))


def _receive_existing(project: Project, listing: ScanListing, case: Files) -> Delivered:
    """A label of the data folder, whose values are those of its description."""
    assert case.label is not None
    classes = listing.classes[1:]
    names = classes if listing.ignore is None else (*classes, "ignore")
    expected = Expected(case.id, grid_of(project.cases[case.id]), classes, empty_is_meant=True, partial=True)
    try:
        return receive(case.label, expected, names=names)
    except Refused as refused:
        raise UserError(f"{case.label}: {refused.sentence}") from refused


def _roles(project: Project, ids: Sequence[str]) -> dict[str, str]:
    """What labels that were there are used for: where they are enough for a network, a part is the evaluation set."""
    if len(ids) < FIRST_LABELS_AT_LEAST:
        return dict.fromkeys(ids, "training")
    protocol, groups = project.settings.protocol, {id_: project.cases[id_].group for id_ in ids}
    evaluation = set(spread(ids, groups, evaluation_count(protocol.shares, len(ids)), protocol.seed, "evaluation"))
    return {id_: "evaluation" if id_ in evaluation else "training" for id_ in ids}


def check_readers(names: Sequence[str]) -> None:
    """Makes sure that readers' names can be names of folders and of versions.

    Raises:
      UserError: one cannot, or is there twice.
    """
    if not names:
        raise UserError("--readers names nobody. Who draws the labels? For example --readers anna,ben.")
    for name in names:
        if not _SIMPLE.fullmatch(name) or name != name.strip() or len(name) > 60:
            raise UserError(f"--readers: {name!r} cannot be a reader's name. Take letters and digits, such as anna.")
        if name in (EXISTING, MERGED):
            raise UserError(f"--readers: the name {name!r} is taken by jaxal itself. Choose another.")
    folded = [name.casefold() for name in names]
    if twice := [name for name in names if folded.count(name.casefold()) > 1]:
        raise UserError(f"--readers names {twice[0]!r} twice; names that differ in capitals only are one folder on some disks.")


def make_reader_folders(project: Project, readers: Sequence[str]) -> None:
    for reader in readers:
        for part in ("inbox", "returned"):
            (project.reader_folder(reader) / part).mkdir(parents=True, exist_ok=True)


def add_readers(project: Project, names: Sequence[str]) -> list[str]:
    """Adds readers, or takes back those who were away; returns the names of who is new or back."""
    with project.log.held() as pen:
        readers = project.state_of(pen.events).readers
        added = [name for name in names if not readers.get(name, False)]
        check_readers([*readers, *(name for name in added if name not in readers)])
        for name in added:
            pen.add("reader", name=name, present=True)
    make_reader_folders(project, added)
    return added


def move_data(project: Project, data: Path) -> None:
    """Notes where the data lie now.

    Raises:
      UserError: they are not those that the project began with.
    """
    if not data.is_dir():
        raise UserError(f"--data {data}: no such folder.")
    state = project.state()
    check_images(project, [id_ for id_, case in state.cases.items() if case.excluded is None], data)
    with project.log.held() as pen:
        pen.add("data", path=str(data.resolve()))


def add_class(project: Project, name: str, old: str) -> None:
    """Adds a class to a project that has begun.

    Args:
      project: whose.
      name: of the class.
      old: `absent`: labels that were drawn before count as they are, because the new class occurs in none of them; `ask`: none of
        them counts until it was drawn again, because the new class may be in it.

    Raises:
      UserError: there is a class of that name, or there are too many.
    """
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        _check_classes([*state.classes, name])
        pen.add("class", name=name, old=old)


def _check_classes(names: Sequence[str]) -> None:
    folded = [name.strip().casefold() for name in names]
    if twice := [name for name in names if folded.count(name.strip().casefold()) > 1]:
        raise UserError(f"--labels: {twice[0]!r} is there twice. Names must differ.")
    if strange := [name for name in names if not name.strip() or any(ord(letter) < 32 for letter in name)]:
        raise UserError(f"--labels: {strange[0]!r} cannot be a label's name.")
    if len(names) > CLASSES_AT_MOST:
        raise UserError(f"--labels names {len(names) - 1} labels; at most {CLASSES_AT_MOST - 1} are possible.")


def _check_protocol(protocol: Protocol) -> None:
    shares = {
        "random-share": protocol.random_share,
        "double-share": protocol.double_share,
        "evaluation-share": protocol.evaluation_share,
    }
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UserError(f"--{name} is {share:g}; a share lies between 0 and 1.")
    if protocol.size < 1:
        raise UserError(f"--size is {protocol.size}; it must be at least 1.")
    if looks_at_evaluation(protocol.strategy) and not evaluation_count(protocol.shares, protocol.size):
        raise UserError(
            f"--strategy {protocol.strategy} looks at an evaluation set, which comes from the first query: --evaluation-share must be above 0 and "
            "--size at least 2. Or take a strategy that needs none, such as entropy or bald."
        )
    if not 0 < protocol.minutes < 1e4:
        raise UserError(
            f"--minutes is {protocol.minutes:g}; it takes the minutes that a reading takes, as well as you can guess."
        )


def _find(asked: Beginning) -> tuple[ScanListing, Mapping[str, str], Path]:
    """The scans, each subject's group, and the folder that all paths are below."""
    data, wanted = asked.data, ("background", *(name for name in asked.labels if name.casefold() != "background"))
    if data.is_file() and data.suffix in (".csv", ".tsv"):
        channels, cases, groups = listed_scans(data)
        _need_labels(asked)
        return ScanListing("table", channels, wanted, None, tuple(sorted(cases))), groups, data.parent
    if not data.is_dir():
        raise UserError(f"--data {data}: {'a file, but no table (.csv or .tsv)' if data.exists() else 'no such folder'}.")
    if any((data / name).is_file() for name in ("dataset.json", "dataset_description.json")):
        listing = find_cases(data, asked.folder.channels or None, need_labels=False)
        if asked.labels and set(listing.classes[1:]) != set(wanted[1:]):
            if any(case.label for case in listing.cases):
                raise UserError(
                    f"--labels names {', '.join(wanted[1:])}, but the label maps of {data} hold {', '.join(listing.classes[1:])}. Leave --labels out."
                )
            listing = listing._replace(classes=wanted)
    else:
        cases = flat_scans(data)
        count = len(cases[0].images)
        names = asked.folder.channels or (("image",) if count == 1 else tuple(f"channel {number}" for number in range(count)))
        if len(names) != count:
            raise UserError(f"--channels names {len(names)} channels, but each scan has {count} files.")
        _need_labels(asked)
        listing = ScanListing("files", names, wanted, None, tuple(sorted(cases)))
    _check_classes(listing.classes)
    return listing, groups_of(data, asked.folder, listing)[1], data


def _need_labels(asked: Beginning) -> None:
    if not asked.labels:
        raise UserError(f"{asked.data}: nothing there tells what is to be drawn. Name it: --labels liver,tumour.")
    _check_classes(["background", *(name for name in asked.labels if name.casefold() != "background")])


def _scan(case: Files, groups: Mapping[str, str], fingerprint: str, root: Path) -> Scan:
    grid = nibabel.nifti1.load(case.images[0])
    affine = np.asarray(grid.affine, np.float64)[:3]
    return Scan(
        case.id,
        case.subject,
        groups.get(case.subject, ""),
        tuple(os.path.relpath(path, root) for path in case.images),
        fingerprint,
        tuple(int(size) for size in grid.shape[:3]),
        tuple(tuple(float(value) for value in row) for row in affine),
    )


def _preset(
    name: str, levels: int, pooling: tuple[tuple[int, ...], ...], protocol: Protocol, cases: int, spacing_mm: Sequence[float]
) -> Preset:
    size = OWN_SCANS[name]
    return Preset(
        cases=cases,
        spacing_mm=min(spacing_mm),
        rounds=1,
        query_size=protocol.size,
        initial_size=protocol.size,
        evaluation=protocol.evaluation_share,
        test=0.0,
        network=UNetConfig(width=size.width, levels=levels, pooling=pooling),
        training=size.training,
        members=size.members,
    )
