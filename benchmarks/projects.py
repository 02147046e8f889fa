"""What a project with readers costs besides training: a large label through the server, eight readers at once, and a query of 300 scans.

    python -m benchmarks.projects [--out benchmarks/results/projects-cpu.json] [--parts label ask]

Asked for: a label of 512 x 512 x 300 voxels is checked and stored within 5 s on two cores, with less than three times the map (uint8) of
memory; eight readers who hand in at once lose nothing; `jaxal ask` on 300 prepared scans of the demo's size costs training and one
pass, and at most 10 s besides, proposals timed apart. Server and `ask` each run in a process of their own, as users have them; the
server's peak of resident memory is read before and after. The load of the machine is written down beside every figure.
"""

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import nibabel
import numpy as np

from benchmarks.deliveries import AFFINE, CLASSES, SHAPE, ellipsoids

READERS = tuple(f"reader-{number}" for number in range(8))
SCANS, LABELLED = 300, 100
BOUNDARY = "----------lImIt_of_THE_fIle_eW_$"


def begin(folder: Path, data: Path, labels: tuple[str, ...], readers: tuple[str, ...], size: int, spacing_mm: tuple = ()) -> None:
    """Starts a project without double readings."""
    from jaxal.data.scans.folder import FolderConfig
    from jaxal.projects.kind import Beginning
    from jaxal.projects.settings import Protocol
    from jaxal.projects.start import start
    from jaxal.report.terminal import Display
    from jaxal.studies.scans import showing_on

    config = FolderConfig(need_labels=False, spacing_mm=spacing_mm)
    protocol = Protocol(size=size, double_share=0.0)
    start(folder, Beginning(data, labels, readers, protocol, config, "smoke"), showing_on(Display(quiet=True)))


def jaxal(*arguments: str, **options: Any) -> subprocess.Popen:
    command = [
        sys.executable,
        "-u",
        "-c",
        "import sys\nfrom jaxal.cli.main import main\nsys.exit(main(sys.argv[1:]))",
        *arguments,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


@contextlib.contextmanager
def served(project: Path) -> Iterator[tuple[int, str]]:
    """`jaxal serve`: its process and its host."""
    process = jaxal("serve", str(project), "--port", "0", env={**os.environ, "COLUMNS": "300"})
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if "Serving at" in line), "")
        yield process.pid, line.partition("http://")[2].partition(". ")[0]
    finally:
        process.terminate()
        process.communicate()


def memory_kib(process: int, name: str) -> int:
    return int(Path(f"/proc/{process}/status").read_text().split(f"{name}:")[1].split()[0])


def hand_in(host: str, reader: str, case: str, path: Path, names: tuple[str, ...]) -> tuple[int, dict[str, Any], float]:
    """As MONAI Label's client does: status, answer, and seconds from the first byte to the receipt."""
    params = json.dumps({"client_id": reader, "label_info": [{"name": name, "idx": place} for place, name in enumerate(names)]})
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{params}\r\n'.encode(),
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="label"; filename="{path}"\r\n\r\n'.encode(),
        path.read_bytes(),
        f"\r\n--{BOUNDARY}--\r\n".encode(),
    ]
    connection = http.client.HTTPConnection(host, timeout=300)
    begin_s = time.perf_counter()
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("PUT", f"/datastore/label?image={quote_plus(case)}&tag=final", b"".join(parts), kind)
    answer = connection.getresponse()
    content = answer.read()
    seconds = time.perf_counter() - begin_s
    connection.close()
    return answer.status, json.loads(content) if answer.status == 200 else {"message": content.decode()}, seconds


def at_once(host: str, work: list[tuple[str, str, Path]], names: tuple[str, ...]) -> tuple[list[tuple[str, str, str]], float]:
    """Each reader hands in all of theirs, all readers at once: what was taken (reader, case, version), and seconds for all."""
    taken: list[tuple[str, str, str]] = []

    def client(reader: str) -> None:
        for _, case, path in [entry for entry in work if entry[0] == reader]:
            status, answer, _ = hand_in(host, reader, case, path, names)
            if status == 200:
                taken.append((reader, case, answer["version"]))
            else:
                print(reader, case, status, answer["message"])

    threads = [threading.Thread(target=client, args=(reader,)) for reader in sorted({entry[0] for entry in work})]
    start_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken, time.perf_counter() - start_s


def kept(project: Path, taken: list[tuple[str, str, str]]) -> int:
    """How many labels that were taken are there, as the log says."""
    from jaxal.projects.project import open_project

    opened = open_project(project)
    cases = opened.state().cases
    return sum(
        hashlib.sha256(opened.label_path(case, name).read_bytes()).hexdigest() == cases[case].version(name).digest
        for _, case, name in taken
    )


def readings_of(project: Path) -> list[tuple[str, str]]:
    from jaxal.projects.project import open_project

    return [(reading.reader, reading.case) for reading in open_project(project).state().open_readings]


def large_labels(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Labels of 512 x 512 x 300 voxels through the server: one after the other, then eight at once."""
    from jaxal.labels.placing import Grid
    from jaxal.labels.writing import write_nifti, write_seg_nrrd

    data = folder / "scans"
    data.mkdir()
    values = np.zeros(SHAPE, np.int16, order="F")
    for number in range(repeats + 8):
        values[number, 0, 0] = 1
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), data / f"scan_{number:02d}.nii.gz")
    del values
    labels, grid = ellipsoids(), Grid(SHAPE, AFFINE)
    packed, named = folder / "drawn.nii.gz", folder / "drawn.seg.nrrd"
    write_nifti(packed, labels, grid)
    write_seg_nrrd(named, labels, grid, CLASSES)
    del labels
    project = folder / "large"
    begin(project, data, CLASSES, READERS, repeats + 8, (8.0, 8.0, 8.0))
    print(jaxal("ask", str(project)).communicate()[0])
    left, map_kib = readings_of(project), int(np.prod(SHAPE)) / 1024
    rows = []
    with served(project) as (process, host):
        before = memory_kib(process, "VmRSS")
        for number in range(repeats):
            reader, case = left.pop()
            path = (packed, named)[number % 2]
            status, _, seconds = hand_in(host, reader, case, path, CLASSES)
            maps = (memory_kib(process, "VmHWM") - before) / map_kib
            rows.append(row("label of 512 x 512 x 300", kind="".join(path.suffixes), status=status, seconds=seconds, maps=maps))
        taken, seconds = at_once(host, [(reader, case, packed) for reader, case in left], CLASSES)
        maps = (memory_kib(process, "VmHWM") - before) / map_kib
    rows.append(row("eight at once", sent=len(left), taken=len(taken), kept=kept(project, taken), seconds=seconds, maps=maps))
    return rows


def queries(folder: Path) -> list[dict[str, Any]]:
    """Two queries of 300 simulated brains of which a third has labels, and eight readers who hand in small labels at once between them."""
    from jaxal.data.simulated.brain import BrainConfig, write_cohort

    data, project, truth = folder / "brains", folder / "project", folder / "truth"
    write_cohort(BrainConfig(SCANS, 4.0, "strong"), data)
    (data / "labelsTr").rename(truth)
    (data / "labelsTr").mkdir()
    for path in sorted(truth.iterdir())[::3][:LABELLED]:
        shutil.copy(path, data / "labelsTr")
    begin(project, data, (), READERS, 40)
    rows = []
    for number in (1, 2):
        command = [sys.executable, "-m", "benchmarks.projects", "--ask", str(project)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        rows.append(row(f"query {number} of {SCANS} scans", **json.loads(answer.splitlines()[-1])))
        if number == 1:
            with served(project) as (_, host):
                work = [(reader, case, truth / f"{case}.nii.gz") for reader, case in readings_of(project)]
                names = json.loads((project / "project.json").read_text())["classes"][1:]
                taken, seconds = at_once(host, work, tuple(names))
            rows.append(row("small labels at once", sent=len(work), taken=len(taken), kept=kept(project, taken), seconds=seconds))
    return rows


def ask(folder: Path) -> None:
    """Goes through a round, as `jaxal ask` does, and prints seconds by part as JSON."""
    import cProfile
    import pstats

    begin_s = time.perf_counter()
    from jaxal.projects.ask import ask as ask_round
    from jaxal.projects.project import open_project
    from jaxal.projects.written import refresh
    from jaxal.report.terminal import Display
    from jaxal.studies.scans import showing_on

    imported_s, spent, display = time.perf_counter(), dict[str, float](), Display(quiet=True)
    showing = showing_on(display)

    @contextlib.contextmanager
    def timed(what: str) -> Iterator[Any]:
        start_s = time.perf_counter()
        with showing(what) as progress:
            yield progress
        spent[what] = spent.get(what, 0.0) + time.perf_counter() - start_s

    profile = cProfile.Profile() if os.environ.get("PROFILE") else None
    if profile:
        profile.enable()
    project = open_project(folder)
    round_ = ask_round(project, None, False, timed, display)
    asked_s = time.perf_counter()
    refresh(project)
    end_s = time.perf_counter()
    if profile:
        profile.disable()
        with Path(os.environ["PROFILE"]).open("w") as file:
            pstats.Stats(profile, stream=file).sort_stats("cumulative").print_stats(120)
    parts = json.loads((project.round_folder(round_.number) / "query.json").read_text())["seconds"]
    training_and_pass = sum(parts.get(name, 0.0) for name in ("train", "evaluate", "score"))
    numbers = {
        "imports": imported_s - begin_s,
        "all": end_s - imported_s,
        **{f"of_round_{name}": value for name, value in parts.items()},
        **{name.replace(" ", "_"): value for name, value in spent.items()},
        "worklists": end_s - asked_s,
        "besides": end_s - imported_s - training_and_pass - spent.get("proposals", 0.0),
    }
    print(
        json.dumps(
            {**numbers, "trained_on": len(round_.training), "readings": len(round_.asked["readings"] if round_.asked else ())}
        )
    )


def row(what: str, **figures: Any) -> dict[str, Any]:
    """A row of the result, with the machine's load at that moment."""
    rounded = {name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()}
    found = {"what": what, **rounded, "load": round(os.getloadavg()[0], 1)}
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parts", nargs="*", default=("label", "ask"))
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(options.ask)
        return
    rows = []
    for part, measure in (("label", lambda folder: large_labels(folder, options.repeats)), ("ask", queries)):
        if part in options.parts:
            with tempfile.TemporaryDirectory() as name:
                rows += measure(Path(name))
    if options.out:
        from benchmarks.measure import write

        write(options.out, rows, {"label": SHAPE, "scans": SCANS, "labelled": LABELLED, "readers": len(READERS)})


if __name__ == "__main__":
    main()
