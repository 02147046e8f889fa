"""Links of the documents lead somewhere, and files that they name exist, so that a file that moves takes its mentions with it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AT_THE_ROOT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
DOCUMENTS = [*(ROOT / name for name in AT_THE_ROOT), *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = r"`((?:\.ci|jaxal|experiments|benchmarks|tests|docs)/[\w./-]*)`"


def prose(document):
    """The text without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(document):
    """What a link may end with: a heading in lower case, without punctuation, with hyphens for its spaces."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not re.match(r"[a-z]+:", target) and not (path.is_file() and (not anchor or anchor in anchors(path))):
            yield target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    assert list(broken_links(document)) == []


@pytest.mark.parametrize("text", ["[a](gone.md)", "[a](#nowhere)", "[a](README.md#nowhere)", "![a](docs/gone.png)"])
def test_a_broken_link_is_found(text, tmp_path):
    (tmp_path / "README.md").write_text("# Here\n[a](#here)\n")
    (tmp_path / "page.md").write_text(f"# Page\n[b](README.md#here) [c](#page) {text}\n")
    assert len(list(broken_links(tmp_path / "page.md"))) == 1


NOW = [document for document in DOCUMENTS if document.name != "CHANGELOG.md"]  # which names files of earlier versions, too


@pytest.mark.parametrize("document", NOW, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(document):
    named = [name for name in re.findall(NAMED, prose(document)) if not re.search("[A-Z]{3}", Path(name).stem)]
    if not (ROOT / "docs" / "results").exists():  # the source archive leaves them out, because they are large
        named = [name for name in named if not name.startswith("docs/results/")]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1500
