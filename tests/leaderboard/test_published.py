"""What the library and the documents say of the leaderboard is what its runs came to."""

import re

import pytest

from benchmarks import leaderboard
from jaxal.leaderboard import page
from jaxal.leaderboard.outcomes import Outcome, write_outcome

pytestmark = pytest.mark.skipif(not leaderboard.OUTCOMES.is_file(), reason="the source archive leaves the outcomes out")


def without_charts(html: str) -> str:
    """Charts are drawn anew by another version of what draws them, and not at all here."""
    return re.sub(r"<figure.*?</figure>", "", html, flags=re.DOTALL)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the published outcomes come to: the page, the text, what the library knows."""
    runs = leaderboard.unpacked(leaderboard.OUTCOMES, tmp_path_factory.mktemp("published"))
    _, files = page.write(runs)
    return [file.read_text(encoding="utf-8") for file in files]


def test_the_library_knows_what_the_runs_came_to(made):
    assert leaderboard.KNOWN.read_text(encoding="utf-8") == made[2]


def test_the_documents_show_it(made):
    text = leaderboard.TEXT.read_text(encoding="utf-8")
    assert leaderboard.with_table(text, made[1]) == text
    assert without_charts(leaderboard.PAGE.read_text(encoding="utf-8")) == without_charts(made[0])


def test_outcomes_are_packed_alike_and_without_what_can_be_computed_again(tmp_path):
    runs = tmp_path / "runs"
    for name in ("random", "entropy"):
        write_outcome(runs / "digits" / name / "seed-100", Outcome(0.5, 3.0))
    (runs / "digits" / "random" / "seed-100" / "rounds.jsonl").write_text("{}\n")
    packed = leaderboard.packed(runs)
    assert packed == leaderboard.packed(runs)
    (tmp_path / "packed.tar.xz").write_bytes(packed)
    again = leaderboard.unpacked(tmp_path / "packed.tar.xz", tmp_path / "again")
    names = sorted(str(file.relative_to(again)) for file in again.rglob("*") if file.is_file())
    assert names == ["digits/entropy/seed-100/outcome.json", "digits/random/seed-100/outcome.json"]
