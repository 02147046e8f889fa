"""Kills the commands of a tiny project at random moments, again and again, and looks whether anything was lost, taken twice or changed."""

import contextlib
import dataclasses
import hashlib
import http.client
import io
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from unittest import mock
from urllib.parse import quote_plus, urlsplit

import killing
import nibabel
import numpy as np
import tiny

from jaxal.cli.main import main
from jaxal.data.scans.folder import FolderConfig
from jaxal.projects import start as starting
from jaxal.projects.deliver import deliver
from jaxal.projects.kind import Beginning, Delivery
from jaxal.projects.project import Project, open_project
from jaxal.projects.scans import start as of_scans
from jaxal.projects.scans.labels import read_version
from jaxal.projects.settings import Protocol
from jaxal.projects.settle import settle
from jaxal.projects.state import Reading
from jaxal.report.terminal import Display
from jaxal.studies.scans import showing_on

READERS = ("anna", "ben")
# Imports touch no project, so that a kill in their middle would tell nothing; the clock runs from here.
COMMAND = "import sys\nimport jaxal.projects.network, jaxal.cli.projects\nfrom jaxal.cli.main import main\nprint('ready')\nsys.exit(main(sys.argv[1:]))"
BOUNDARY = "----------lImIt_of_THE_fIle_eW_$"  # MONAI Label's client's


@dataclasses.dataclass
class Killed:
    """A project under fire.

    Attributes:
      folder: of the project.
      truth: folder of the label maps that readers hand in.
      cache: of compiled programs.
      rng: says when.
      struck: kills that struck a command which still ran, by command.
      told: readers, cases, versions and SHA-256 of what was sent, of everything that a reader was told is taken.
      wrong: a sentence for everything that must not be.
    """

    folder: Path
    truth: Path
    cache: Path
    rng: random.Random
    struck: Counter = dataclasses.field(default_factory=Counter)
    told: set[tuple[str, str, str, str]] = dataclasses.field(default_factory=set)
    wrong: list[str] = dataclasses.field(default_factory=list)

    @property
    def project(self) -> Project:
        return open_project(self.folder)

    def label(self, case: str) -> Path:
        return self.truth / f"{case}.nii.gz"

    def ask(self, kills: int, longest: float, late: Sequence[Reading]) -> None:
        """Asks, in the end to the end. What is late comes in as soon as the round has begun, which must not change it."""
        number = len(self.project.state().rounds) + 1
        command = ["ask", str(self.folder), "--even-if-open"]
        for _ in range(kills):
            self._strike(command, longest, lambda process: None)
            begun = self.project.state().rounds[number - 1 :]
            if begun:
                hand_in(self, late)
            if begun and begun[0].asked is not None:
                break  # asked again it would go on to the next round
        else:
            run(command)
        hand_in(self, late)

    def take(self, readings: Sequence[Reading], kills: int, longest: float) -> None:
        """Labels come through the inboxes."""
        for reading in readings:
            path = self.folder / "readers" / reading.reader / "inbox" / self.label(reading.case).name
            shutil.copy(self.label(reading.case), path)
            os.utime(path, (time.time() - 60,) * 2)  # nobody writes it any more
        for _ in range(kills):
            for line in self._strike(["take", str(self.folder)], longest, lambda process: None):
                self._note_receipt(line)
        for line in run(["take", str(self.folder)]).splitlines():
            self._note_receipt(line)
        self.look()
        hand_in(self, readings)

    def _note_receipt(self, line: str) -> None:
        words = line.split()
        if " as " in line and len(words) >= 5 and words[1].endswith(":"):
            reader, case, version = words[0].rstrip(":"), words[1].rstrip(":"), words[words.index("as") + 1].rstrip(".")
            self.told.add((reader, case, version, sha256(self.label(case))))

    def serve(self, readings: Sequence[Reading], kills: int, longest: float) -> None:
        """Labels come through the server, from both readers at once, and again and again, because a client that got no answer sends again."""

        def work(process: subprocess.Popen) -> None:
            line = next(line for line in process.stdout or () if "Serving at" in line)
            address = line.partition("Serving at ")[2].partition(". ")[0]
            threads = []
            for reader in READERS:
                own = [reading.case for reading in readings if reading.reader == reader]
                self.rng.shuffle(own)
                args = (self, address, reader, own, random.Random(self.rng.random()))
                threads.append(threading.Thread(target=client, args=args))
                threads[-1].start()
            time.sleep(self.rng.uniform(0, longest))
            process.kill()
            for thread in threads:
                thread.join(30)

        for _ in range(kills):
            self._strike(["serve", str(self.folder), "--port", "0"], 0.0, work)
        hand_in(self, readings)

    def _strike(self, arguments: list[str], longest: float, work: Callable[[subprocess.Popen], None]) -> list[str]:
        """Starts a command, lets work be done with it, and kills it; returns what it said."""
        process = killing.start([sys.executable, "-u", "-c", COMMAND, *arguments], self.cache, COLUMNS="500")
        assert process.stdout is not None
        said = [process.stdout.readline()]
        if said[0].strip() != "ready":
            raise AssertionError(said[0] + process.communicate()[0])
        time.sleep(self.rng.uniform(0, longest))
        work(process)
        process.kill()
        said += process.communicate()[0].splitlines()
        if process.returncode < 0:
            self.struck[arguments[0]] += 1
        elif process.returncode:
            self.wrong.append(f"{arguments[0]} ended with {process.returncode}: {' '.join(said[-3:])}")
        self.look()
        return said

    def look(self) -> None:
        """Whether everything that was told is there as it was sent, and once."""
        project = self.project
        state = project.state()
        versions = {(id_, version.name): version for id_, case in state.cases.items() for version in case.versions}
        for reader, case, name, digest in self.told:
            version = versions.get((case, name))
            if version is None or (version.reader, version.delivered) != (reader, digest):
                self.wrong.append(f"lost: {case}/{name}")
        for (case, name), version in versions.items():
            path = project.label_path(case, name)
            if not path.is_file() or sha256(path) != version.digest:
                self.wrong.append(f"not what the log says: {path}")
            elif not np.array_equal(read_version(project, case, name), np.asarray(nibabel.load(self.label(case)).dataobj)):
                self.wrong.append(f"not what was drawn: {path}")
        times = Counter((version.case, version.attempt, version.reader) for version in versions.values())
        self.wrong += [f"taken twice: {key}" for key, count in times.items() if count > 1]


def hand_in(killed: Killed, readings: Iterable[Reading]) -> None:
    """Readers hand in, whether or not it is there already, and the rest follows."""
    for reading in readings:
        path = killed.label(reading.case)
        receipt = deliver(killed.project, Delivery(reading.reader, reading.case, path))
        killed.told.add((reading.reader, reading.case, receipt.version, sha256(path)))
    settle(killed.project)


def client(killed: Killed, address: str, reader: str, cases: Sequence[str], rng: random.Random) -> None:
    """Does what MONAI Label's client does, slowly enough to be killed in the middle of a form, until nobody answers."""
    host = urlsplit(address).netloc
    with contextlib.suppress(OSError, http.client.HTTPException):
        while cases:
            for case in cases:
                request(host, "GET", f"/datastore/image?image={quote_plus(case)}", [], {})
                path = killed.label(case)
                body = form({"params": json.dumps({"label_info": [{"name": "ball", "idx": 1}], "client_id": reader})}, path)
                places = sorted(rng.sample(range(1, len(body)), 3))
                pieces = [body[begin:end] for begin, end in zip([0, *places], [*places, len(body)], strict=True)]
                kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
                address = f"/datastore/label?image={quote_plus(case)}&tag=final"
                status, content = request(host, "PUT", address, pieces, kind, rng.uniform(0, 0.02))
                if status != 200:
                    killed.wrong.append(f"{reader}, {case}: {status} {content[:200]!r}")
                    return
                killed.told.add((reader, case, json.loads(content)["version"], sha256(path)))


def request(
    host: str, method: str, path: str, pieces: list[bytes], headers: dict[str, str], pause: float = 0.0
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.putrequest(method, path)
        length = {"Content-Length": str(sum(map(len, pieces)))} if pieces else {}
        for name, value in {**headers, **length}.items():
            connection.putheader(name, value)
        connection.endheaders()
        for piece in pieces:
            connection.send(piece)
            time.sleep(pause)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def form(fields: dict[str, str], path: Path) -> bytes:
    """A body as MONAI Label's client makes it: whole paths as file names, and one line end too many."""
    lines: list[bytes] = []
    for name, value in fields.items():
        lines += [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n'.encode(), value.encode()]
    disposition = f'Content-Disposition: form-data; name="label"; filename="{path}"'
    lines += [f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n".encode(), path.read_bytes()]
    return b"".join(line + b"\r\n" for line in [*lines, f"--{BOUNDARY}--".encode(), b""])


def run(arguments: list[str]) -> str:
    """Runs a command of jaxal in this process, where its programs are compiled already; returns what it said."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), mock.patch.dict(os.environ, COLUMNS="500"):
        status = main(arguments)
    if status:
        raise AssertionError(f"jaxal {' '.join(arguments)}: {status}\n{output.getvalue()}")
    return output.getvalue()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_scans(folder: Path, cases: int) -> tuple[Path, Path]:
    """Scans without labels, and the labels apart; returns both folders."""
    data = tiny.write_dataset(folder / "data", cases)
    return data, (data / "labelsTr").rename(folder / "truth")


def begin(folder: Path, data: Path, **protocol: object) -> None:
    """A project of two readers, whose networks learn next to nothing."""
    size = of_scans.OWN_SCANS["smoke"]
    quick = dataclasses.replace(size, training=dataclasses.replace(size.training, steps=4, attempts=1))
    asked = Beginning(
        data, (), READERS, Protocol(**{"size": 6, "double_share": 0.3, **protocol}), FolderConfig(need_labels=False), "smoke"
    )  # fmt: skip
    with mock.patch.dict(of_scans.OWN_SCANS, smoke=quick):
        starting.start(folder, asked, showing_on(Display(quiet=True)))


def go_through(killed: Killed, rounds: int, kills: dict[str, int], longest: dict[str, float]) -> None:
    """The story of a project: of each round half of the labels come through inboxes, half through the server, and one comes late."""
    late: list[Reading] = []
    for number in range(rounds):
        killed.ask(kills["ask"], longest["ask" if number else "first"], late)
        readings = killed.project.state().open_readings
        late = [reading for reading in readings if not reading.double][-1:] if number + 1 < rounds else []
        now = [reading for reading in readings if reading not in late]
        killed.take(now[::2], kills["take"], longest["take"])
        killed.serve(now[1::2], kills["serve"], longest["serve"])
    killed.look()


NO_KILLS = {"ask": 0, "take": 0, "serve": 0}
LONGEST = {"first": 1.0, "ask": 8.0, "take": 1.5, "serve": 0.6}  # seconds that a command is let run for, at most


def picks(project: Project) -> list[tuple[dict, list]]:
    """What each round worked with and asked for."""
    return [(dict(round_.fields), round_.asked and round_.asked["readings"]) for round_ in project.state().rounds]
