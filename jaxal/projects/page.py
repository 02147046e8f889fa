"""The page of a project, `status.html`: what to do now, how everything stands, and how far the numbers can be believed.

It is one file that loads nothing, so that it can be opened from a share, sent and printed. Every number comes from the records.
"""

import hashlib
import html
from pathlib import Path

from jaxal.files import write_text
from jaxal.projects import cases_table, page_parts
from jaxal.projects.decisions import now_of
from jaxal.projects.estimates import estimates_of
from jaxal.projects.kind import Progress
from jaxal.projects.page_looks import PAGE_SCRIPT, STYLE
from jaxal.projects.past import Past, past_of
from jaxal.projects.project import Project
from jaxal.projects.settings import version
from jaxal.projects.status import Status, Todo, status_of
from jaxal.worklists.looks import PAGE_STYLE
from jaxal.worklists.page import whole_page

NAME = "status.html"


def write_page(project: Project, status: Status | None = None, progress: Progress = lambda done, total: None) -> Path:
    """Writes `status.html` into the project's folder.

    Args:
      project: whose.
      status: of it, where that is known already.
      progress: is told how far the measuring is.

    Raises:
      UserError: the disk is full, or the folder cannot be written to.
    """
    path = project.folder / NAME
    write_text(path, text_of(project, status, progress))
    return path


def text_of(project: Project, status: Status | None = None, progress: Progress = lambda done, total: None) -> str:
    """The page as it is now."""
    return page_text(status or status_of(project, progress), past_of(project), now_of(project), version())


def page_text(status: Status, past: Past = Past(), written: str = "", by_version: str = "") -> str:  # noqa: B008
    """The page.

    Args:
      status: how the project stands.
      past: what happened until now; without it the page has no word of minutes, volumes and what came back.
      written: when, in UTC.
      by_version: of jaxal.
    """
    estimates = estimates_of(status, past)
    sections = [
        _now(status),
        _links(),
        page_parts.readers(status, estimates),
        cases_table.section(status),
        page_parts.network(status, estimates),
        page_parts.agreement(status, past, estimates),
        page_parts.effort(status, estimates),
        page_parts.ahead(status, estimates),
        page_parts.back(status, past),
    ]
    name = html.escape(status.name)
    content = f"<h1>{name}</h1>\n" + "\n".join(sections)
    digest = hashlib.sha256(content.encode()).hexdigest()[
        :16
    ]  # by which a page that is served finds out whether it is out of date
    body = f'<div id="content" data-content="{digest}">\n{content}\n{_foot(status, written, by_version)}</div>'
    return whole_page(f"{status.name}: status", body, PAGE_STYLE + STYLE, PAGE_SCRIPT)


def _now(status: Status) -> str:
    """What to do now, in the first sentence, and then the rest."""
    first, *others = status.todo or (Todo("There is nothing to do."),)
    rest = "".join(f"<li>{html.escape(thing.sentence)}{_command(thing)}</li>" for thing in others)
    then = f'<p>Then:</p><ol class="then">{rest}</ol>' if rest else ""
    return f'<div class="now"><p class="lead">{html.escape(first.sentence)}</p>{_command(first)}</div>{then}'


def _command(thing: Todo) -> str:
    return page_parts.copied(thing.command) if thing.command else ""


def _links() -> str:
    links = "".join(f'<a href="#{place}">{title}</a>' for place, title in page_parts.PLACES)
    return f'<nav aria-label="Parts of this page">{links}</nav>'


def _foot(status: Status, written: str, by_version: str) -> str:
    when = f"Written {page_parts.moment(written)}" if written else "Written"
    last = f" The last thing that happened to the project was {page_parts.moment(status.at)}." if status.at else ""
    return (
        f'<footer><span id="written">{when}{page_parts.by(by_version)}.</span>{last}<span id="live"></span> Intervals are of 95 %. '
        "This page holds ids of cases and names of readers, and nothing else about a patient. It is one file that loads nothing.</footer>"
    )
