"""Publishes the leaderboard: what `jaxal bench` found becomes what the library advises, and what the documents show.

    mkdir -p runs && tar xJf docs/results/leaderboard.tar.xz -C runs
    python -m jaxal bench --out runs/leaderboard   # with more tasks, strategies or seeds; what is done is not done again
    python -m benchmarks.leaderboard runs/leaderboard

It writes the outcomes (`docs/results/leaderboard.tar.xz`), what the library knows of them (`jaxal/report/leaderboard.json`), the page
(`docs/leaderboard.html`) and the table in `docs/which-strategy.md`. What is said around that table is written by hand and read again.
"""

import argparse
import io
import lzma
import shutil
import tarfile
import tempfile
from pathlib import Path

from jaxal.files import write_text, write_whole
from jaxal.leaderboard import page
from jaxal.leaderboard.outcomes import OUTCOME
from jaxal.report.advice import FILE

ROOT = Path(__file__).parents[1]
OUTCOMES = ROOT / "docs" / "results" / "leaderboard.tar.xz"
KNOWN = ROOT / "jaxal" / "report" / FILE
PAGE = ROOT / "docs" / "leaderboard.html"
TEXT = ROOT / "docs" / "which-strategy.md"
FROM, TO = "<!-- what `python -m benchmarks.leaderboard` writes -->\n", "<!-- written by hand again -->\n"


def packed(runs: Path) -> bytes:
    """Settings and outcomes of a folder of runs, without what can be computed again; the same bytes of the same outcomes."""
    files = sorted([*runs.glob("*/config.json"), *runs.glob(f"*/*/seed-*/{OUTCOME}")])
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            content = file.read_bytes()
            entry = tarfile.TarInfo(f"leaderboard/{file.relative_to(runs)}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return lzma.compress(held.getvalue(), preset=9)


def unpacked(outcomes: Path, folder: Path) -> Path:
    """Unpacks outcomes into a folder; returns the folder of runs therein."""
    with tarfile.open(outcomes) as archive:
        archive.extractall(folder, filter="data")
    return folder / "leaderboard"


def shown(markdown: str) -> str:
    """What the document shows of the leaderboard's own text: what was found, and all strategies on all tasks at a glance."""
    first, *parts = markdown.split("\n## ")
    (glance,) = [part for part in parts if part.startswith("At a glance\n")]
    return f"{first.strip()}\n\n{glance.removeprefix('At a glance').strip()}\n"


def with_table(text: str, markdown: str) -> str:
    """A document with what is shown of the leaderboard put in anew."""
    before, rest = text.split(FROM)
    _, after = rest.split(TO)
    return f"{before}{FROM}\n{shown(markdown)}\n{TO}{after}"


def publish(runs: Path) -> str:
    """Writes all four files; returns what was found."""
    with tempfile.TemporaryDirectory() as folder:
        content = packed(runs)
        write_whole(OUTCOMES, lambda file: file.write(content))
        found, (html, text, known) = page.write(unpacked(OUTCOMES, Path(folder)))  # of what is published, and nothing else
        shutil.copyfile(html, PAGE)
        shutil.copyfile(known, KNOWN)
        write_text(TEXT, with_table(TEXT.read_text(encoding="utf-8"), text.read_text(encoding="utf-8")))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs/leaderboard"), help="what `jaxal bench` wrote")
    print(publish(parser.parse_args().runs))


if __name__ == "__main__":
    main()
