"""Limits of what a request may be, wherever it goes: its host, where it comes from, how long it takes.

It is plain ASGI, because wrappers that read a request's body would wait for ever: MONAI Label's client sends the length of an earlier
upload with later requests that have no body.
"""

import asyncio
import traceback
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
# Pages need nothing from elsewhere; nobody may put them into a frame, and their addresses, which may hold a secret, go nowhere.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Limits(NamedTuple):
    """What a request may be.

    Attributes:
      hosts: names that the server may be called by, in lower case; None is any. On loopback it keeps pages of other sites out, whose
        names were made to lead here (DNS rebinding).
      forwarded: whether a proxy says by which name the server was called.
      idle_seconds: that a client may keep the server waiting for more of a body.
      upload_seconds: that a body may take as a whole.
    """

    hosts: frozenset[str] | None
    forwarded: bool = False
    idle_seconds: float = 30.0
    upload_seconds: float = 900.0


class Guard:
    """Turns away what is outside of the limits, and adds the headers that browsers heed."""

    def __init__(self, app: ASGIApp, limits: Limits):
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                given = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    given.setdefault(name, value)
            await send(message)

        if (why_not := self._why_not(scope["method"], headers)) is not None:
            await why_not(scope, receive, sending)
            return
        try:
            await self.app(scope, _timed(receive, self.limits), sending)
        except TooSlow:
            if not began:
                late = PlainTextResponse("The upload took too long and was cut off. Send it again.", 408, {"Connection": "close"})
                await late(scope, receive, sending)
        except Exception:  # for the keeper of the server; others learn nothing of its inside
            traceback.print_exc()
            if not began:
                await PlainTextResponse("The server has made a mistake. Tell its keeper.", 500)(scope, receive, sending)

    def _why_not(self, method: str, headers: Headers) -> Response | None:
        """The answer to a request that is turned away unread; None if it is not."""
        host = headers.get("host", "")
        if self.limits.hosts is not None and name_of(host) not in self.limits.hosts:
            return PlainTextResponse("This server is not called by that name. Use the address that it was started with.", 421)
        if method in CHANGING and not self._is_same_site(headers, host):
            return PlainTextResponse("This was asked for by a page of another site, which may not do that.", 403)
        return None

    def _is_same_site(self, headers: Headers, host: str) -> bool:
        """Whether a request comes from a page of this server, or from no page at all. Browsers say so, other programs say nothing."""
        if (site := headers.get("sec-fetch-site")) is not None:
            return site in ("same-origin", "none")
        origin = headers.get("origin")
        if origin is None:
            return True
        called = (headers.get("x-forwarded-host") if self.limits.forwarded else None) or host
        return urlsplit(origin).netloc.lower() == called.lower()


class TooSlow(Exception):
    """A client keeps the server waiting."""


def _timed(receive: Receive, limits: Limits) -> Receive:
    """Waits for a body no longer than it may take. Once it is whole, only the client's leaving can come, for which a long answer waits as well."""
    ends, is_whole = asyncio.get_running_loop().time() + limits.upload_seconds, False

    async def receiving() -> Message:
        nonlocal is_whole
        if is_whole:
            return await receive()
        left = ends - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(limits.idle_seconds, left)):
                message = await receive()
        except TimeoutError as error:
            raise TooSlow from error
        is_whole = message["type"] == "http.request" and not message.get("more_body", False)
        return message

    return receiving


def name_of(host: str) -> str:
    """The name in a `Host` header, without the port, in lower case; nothing if it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".") if not set(host) & set("/?#@\\ \t") else ""
    except ValueError:
        return ""
