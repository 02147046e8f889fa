"""Hooks of the site (`mkdocs.yml`): documents that stand beside `docs/` become pages, so that no text is written twice."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
PICTURES = "benchmarks/results"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, and the pictures that benchmarks draw."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=in_site((ROOT / name).read_text(encoding="utf-8"), "")))
    for picture in sorted((ROOT / PICTURES).glob("*.png")):
        files.append(File.generated(config, f"{PICTURES}/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links out of `docs/` into links within the site, and keeps what belongs together in a cell in one line."""
    return unbroken(in_site(markdown, "../" * (page.file.src_uri.count("/") + 1)))


def in_site(markdown: str, root: str) -> str:
    """The text with its relative links as they are within the site.

    Args:
      markdown: a document.
      root: how its links say the root of the clone: nothing, or `../` for each folder above it.
    """

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if target in PAGES:
            target = PAGES[target]
        elif root == "" and target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif not target.startswith(PICTURES):
            return match[0]
        return f"]({root.removesuffix('../')}{target}{anchor})"

    return re.sub(rf"\]\({re.escape(root)}([\w./-]+)(#[\w-]+)?\)", link, markdown)


def unbroken(markdown: str) -> str:
    """The text with spaces in tables that no line breaks at: within intervals, and after a plus or minus."""

    def row(match: re.Match[str]) -> str:
        cells = re.sub(r"(\[[-+]?[\d.∞]+,) (?=[-+]?[\d.∞]+\])", "\\1\u00a0", match[0])
        return cells.replace("± ", "±\u00a0")

    return re.sub(r"^\|.*$", row, markdown, flags=re.MULTILINE)
