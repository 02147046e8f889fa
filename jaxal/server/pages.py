"""Pages for a browser: how the project stands, each reader's list, and where classes are clicked."""

import html
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import anyio
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from jaxal.labels.refusals import Refused
from jaxal.server.answers import Problem
from jaxal.server.identity import Person
from jaxal.server.site import Site, in_thread
from jaxal.server.uploads import read_object
from jaxal.worklists.answers import REFUSALS

STATUS_SECONDS = 3.0  # that the page of a project is shown before it is made anew, because it may cost seconds


def routes(site: Site) -> list[Route]:
    """Paths of the pages."""
    status = _Status(site)
    gets: list[tuple[str, Callable[[Request], Awaitable[Response]]]] = [
        ("/", status.answer),
        ("/status.html", status.answer),
        ("/review.html", lambda request: _review(site, request)),
        ("/readers/{reader}", _with_slash),
        ("/readers/{reader}/", lambda request: _worklist(site, request)),
        ("/readers/{reader}/worklist.html", lambda request: _worklist(site, request)),
        ("/readers/{reader}/click.html", lambda request: _click(site, request)),
    ]
    answer = Route("/readers/{reader}/answer", _asking(lambda request: _answer(site, request)), methods=["POST"])
    return [*(Route(path, _asking(handle), methods=["GET"]) for path, handle in gets), answer]


class _Status:
    """The page of the project: made once for all who ask within some seconds."""

    def __init__(self, site: Site):
        self._site = site
        self._lock = anyio.Lock()
        self._made = float("-inf")
        self._page = ""

    async def answer(self, request: Request) -> Response:
        person = self._site.identity.let_in(request)
        if person is not None and not person.is_reviewer:
            asked = request.scope["raw_path"].decode("ascii", "replace")
            if not asked.endswith(("/", ".html")):  # as people type it; the page's link is relative to it
                return RedirectResponse(f"{asked.rpartition('/')[2]}/")
            return HTMLResponse(_home(person))
        async with self._lock:
            if time.monotonic() - self._made > STATUS_SECONDS:
                self._page = await in_thread(self._site.desk.status_page)
                self._made = time.monotonic()
        return HTMLResponse(self._page)


def _home(person: Person) -> str:
    """What a reader sees instead of the project's page, which tells who reads the same cases."""
    address = html.escape(f"readers/{quote(person.name, safe='')}/")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Your worklist</title>'
        f'<p>Hello {html.escape(person.name)}. <a href="{address}">Here is your worklist.</a></p></html>\n'
    )


async def _review(site: Site, request: Request) -> Response:
    person = site.identity.let_in(request)
    if person is not None and not person.is_reviewer:
        raise Problem(403, "Only reviewers may see that.")
    page = await in_thread(site.desk.review_page)
    if page is None:
        raise Problem(404, "There is nothing to review.")
    return HTMLResponse(page)


async def _with_slash(request: Request) -> Response:
    """Links on a reader's page are relative to its folder."""
    return RedirectResponse(f"{quote(request.path_params['reader'], safe='')}/")


async def _worklist(site: Site, request: Request) -> Response:
    return HTMLResponse(await in_thread(site.desk.worklist_page, _owner(site, request)))


async def _click(site: Site, request: Request) -> Response:
    page = await in_thread(site.desk.click_page, _owner(site, request))
    if page is None:
        raise Problem(404, "Nothing is to be clicked here: labels of this project are drawn.")
    return HTMLResponse(page)


async def _answer(site: Site, request: Request) -> Response:
    """An answer of the page for clicking. Only JSON is taken, which no page of another site can send without being asked whether it may."""
    reader = _owner(site, request, own=True)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "An answer must be JSON.")
    answer = await read_object(request)
    case, name, seconds, at, refusal = (answer.get(part) for part in ("case", "class", "seconds", "at", "refusal"))
    if (
        not isinstance(case, str)
        or not isinstance(name, str)
        or not isinstance(at, str | None)
        or not isinstance(seconds, int | float | None)
        or isinstance(seconds, bool)
    ):
        raise Problem(422, "An answer needs a case and a class, and may have seconds and when it was chosen.")
    if seconds is not None and not 0 <= seconds < 1e7:
        raise Problem(422, "The seconds must be a number from 0 on.")
    if refusal is not None and (refusal not in ("", *REFUSALS) or (refusal and name)):
        raise Problem(422, f"An image without a class is refused as {' or '.join(REFUSALS)}.")
    try:
        receipt = await in_thread(site.desk.answer, reader, case, name, seconds, (at or "")[:40], refusal or "")
    except Refused as refused:
        site.told(f"{reader}: {refused.sentence}")
        raise
    site.told(f"{reader}: {receipt.sentence}")
    return JSONResponse(
        {"version": receipt.version, "message": receipt.sentence, "notes": [note.sentence for note in receipt.notes]}
    )


def _owner(site: Site, request: Request, own: bool = False) -> str:
    """The reader whose page is asked for, if whoever asks may have it; answers only one's own.

    Raises:
      Problem: there is no such reader, or it is somebody else's page.
    """
    person, name = site.identity.let_in(request), request.path_params["reader"]
    if person is not None and person.name != name and (own or not person.is_reviewer):
        raise Problem(403, "This is another reader's page.")
    if name not in request.state.roles:
        raise Problem(404, "There is no reader of that name.")
    return str(name)


def _asking(handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A page whose browser asks its reader for name and secret."""

    async def asking(request: Request) -> Response:
        try:
            return await handle(request)
        except Problem as problem:
            if problem.status != 401:
                raise
            raise Problem(401, problem.sentence, {"WWW-Authenticate": 'Basic realm="jaxal", charset="UTF-8"'}) from problem

    return asking
