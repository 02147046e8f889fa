"""Every sentence that the page for readers explains is one that a reader can get."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("labels", "projects", "server", "worklists")


def explained():
    """Sentences of the tables' first column, cut where the page leaves something out."""
    rows = re.findall(r'^\| "([^"]+)" \|', (ROOT / "docs" / "readers.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [part.strip(" ,") for row in rows for part in row.split("…") if part.strip(" ,")]


def said():
    """All texts of the rooms that speak to readers; what a sentence fills in is cut out."""
    for path in (path for room in ROOMS for path in (ROOT / "jaxal" / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "\0".join(part.value for part in node.values if isinstance(part, ast.Constant))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_sentences_that_are_explained_are_said():
    texts = list(said())
    assert len(explained()) > 30
    assert [sentence for sentence in explained() if not any(sentence in text for text in texts)] == []
