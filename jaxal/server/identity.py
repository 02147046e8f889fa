"""Who asks. MONAI Label's clients say so in several ways, or not at all, so there are several here.

- `/as/NAME/…` before every path, in the address that a reader gives to Slicer. It is the only way that every request of every client
  carries, a reviewer's among them. With logins the address is `/as/NAME/SECRET/…`.
- `client_id` in what is sent: only a claim, and only without logins, where all who can reach the server are on its own machine.
- With logins, the login window of Slicer's extension, which asks for a token (`/auth/token`), and browsers' (Basic, RFC 7617).
- A *ticket* in the id of a case. Slicer downloads an image without any word of who it is; after a login, ids that are sent end with `~`
  and a ticket, which opens the image of this case and nothing else.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Collection
from typing import NamedTuple

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from jaxal.server.answers import NAME_YOURSELF, Problem
from jaxal.server.desk import Desk, Role
from jaxal.server.logins import Doorman

TOKEN_SECONDS = 12 * 3600.0
_TICKET_SECONDS = 24 * 3600.0
_MOST_TOKENS = 10_000


class Person(NamedTuple):
    """Somebody who works here.

    Attributes:
      name: theirs.
      role: what they may do.
    """

    name: str
    role: Role

    @property
    def is_reviewer(self) -> bool:
        return self.role == "reviewer"


class Identity:
    """Knows who asks.

    Attributes:
      doorman: who checks secrets; None without logins.
    """

    def __init__(self, doorman: Doorman | None):
        self.doorman = doorman
        self._key = secrets.token_bytes(32)  # of tickets; a new server gives new ones
        self._tokens: dict[bytes, tuple[str, float, bytes]] = {}

    def person(self, request: Request, claimed: object = None) -> Person:
        """Who asks.

        Args:
          request: that came.
          claimed: who the client says it works for, inside of what it sends.

        Raises:
          Problem: nobody knows, or it is nobody who works here.
        """
        person = self.known(request)
        if person is not None:
            return person
        if self.doorman is not None:
            raise Problem(401, "Log in first.", {"WWW-Authenticate": "Bearer"})
        person = _find(request, claimed) if isinstance(claimed, str) else None
        if person is None:
            raise Problem(403, NAME_YOURSELF)
        return person

    def known(self, request: Request) -> Person | None:
        """Who asks, as far as the address or a login says."""
        return _find(request, request.state.name)

    def let_in(self, request: Request) -> Person | None:
        """As `known`; with logins it must be somebody.

        Raises:
          Problem: it is nobody.
        """
        return self.known(request) if self.doorman is None else self.person(request)

    def reviewer(self, request: Request, claimed: object = None) -> Person:
        """Who asks for what only reviewers may see or do.

        Raises:
          Problem: it is somebody else.
        """
        person = self.known(request) or (None if self.doorman or claimed is None else self.person(request, claimed))
        if person is None and self.doorman is not None:
            raise Problem(401, "Log in first.", {"WWW-Authenticate": "Bearer"})
        if person is None or not person.is_reviewer:
            raise Problem(
                403,
                "Only reviewers may do that. A reviewer gives Slicer the address that ends with /as/ and the reviewer's name.",
            )
        return person

    def give_token(self, name: str) -> str:
        """A token that stands for a login."""
        if self.doorman is None:
            raise ValueError("there are no logins")
        now = time.monotonic()
        self._tokens = {digest: entry for digest, entry in self._tokens.items() if entry[1] > now}
        while len(self._tokens) >= _MOST_TOKENS:
            del self._tokens[next(iter(self._tokens))]  # the oldest
        token = secrets.token_urlsafe(32)
        self._tokens[_digest(token)] = (name, now + TOKEN_SECONDS, self.doorman.version_of(name))
        return token

    def name_of_token(self, token: str) -> str | None:
        """Whose token it is, if it holds still."""
        entry = self._tokens.get(_digest(token))
        if entry is None or self.doorman is None:
            return None
        name, ends, version = entry
        return name if time.monotonic() < ends and version and version == self.doorman.version_of(name) else None

    def id_for(self, request: Request, case: str) -> str:
        """A case's id as it is sent to this client."""
        return f"{case}~{self._ticket(case)}" if request.state.by_token else case

    def case_of(self, sent: str, known: Collection[str]) -> tuple[str, bool] | None:
        """The case, of those known, that a client means by an id, and whether a ticket in it holds; None if there is no such case."""
        if sent in known:
            return sent, False
        case, _, ticket = sent.rpartition("~")
        if case not in known:
            return None
        return case, any(hmac.compare_digest(ticket.encode(), self._ticket(case, back).encode()) for back in (0, 1))

    def _ticket(self, case: str, periods_back: int = 0) -> str:
        period = int(time.time() // _TICKET_SECONDS) - periods_back
        return hmac.new(self._key, f"{period}\0{case}".encode(), hashlib.sha256).hexdigest()[:32]


class Identify:
    """Takes what a request says of its sender out of it: state `name`, `by_token` if a token said so, and who works here as `roles`."""

    def __init__(self, app: ASGIApp, desk: Desk, identity: Identity):
        self.app = app
        self.desk = desk
        self.identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope = await self._identified(scope)
            except Problem as problem:
                await PlainTextResponse(problem.sentence, problem.status, problem.headers)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _identified(self, scope: Scope) -> Scope:
        roles = await anyio.to_thread.run_sync(self.desk.roles)
        name, by_token = None, False
        if scope["path"].startswith("/as/"):
            scope, name = await self._addressed(scope)
            if name not in roles:
                raise Problem(403, "The name in the address is none of this project's readers.")
        elif self.identity.doorman is not None:
            name, by_token = await self._logged_in(Headers(scope=scope).get("authorization", ""))
        return {**scope, "state": {**scope.get("state", {}), "name": name, "by_token": by_token, "roles": roles}}

    async def _addressed(self, scope: Scope) -> tuple[Scope, str]:
        """The request without what its address says of its sender, and the sender's name."""
        has_secret = self.identity.doorman is not None
        parts = scope["path"].removeprefix("/as/").split("/")
        if len(parts) <= has_secret:
            raise Problem(401, "The address of a reader ends with /as/, the reader's name, / and the secret.")
        if has_secret and not await self._admits(parts[0], parts[1]):
            raise Problem(401, "The name or the secret in the address is wrong.")
        return {**scope, "path": "/" + "/".join(parts[1 + has_secret :])}, parts[0]

    async def _logged_in(self, header: str) -> tuple[str | None, bool]:
        kind, _, value = header.partition(" ")
        if kind.lower() == "bearer":
            return self.identity.name_of_token(value.strip()), True
        if kind.lower() == "basic":
            try:
                name, _, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None, False
            return (name if await self._admits(name, secret) else None), False
        return None, False

    async def _admits(self, name: str, secret: str) -> bool:
        if self.identity.doorman is None:
            return False
        return await anyio.to_thread.run_sync(self.identity.doorman.admits, name, secret)


def _find(request: Request, name: str | None) -> Person | None:
    role = request.state.roles.get(name)
    return None if name is None or role is None else Person(name, role)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
