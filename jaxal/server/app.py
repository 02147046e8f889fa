"""The web application, without a socket: routes, and what stands before them."""

from collections.abc import Callable

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware

from jaxal.server import monai_label, pages
from jaxal.server.answers import EXCEPTIONS
from jaxal.server.desk import Desk
from jaxal.server.identity import Identify, Identity
from jaxal.server.limits import Guard, Limits
from jaxal.server.logins import Doorman
from jaxal.server.site import Site


def make_app(
    desk: Desk,
    limits: Limits,
    *,
    doorman: Doorman | None = None,
    upload_limit: int = 1 << 30,
    at_once: int = 2,
    told: Callable[[str], None] = lambda sentence: None,
) -> Starlette:
    """The application.

    Args:
      desk: the project.
      limits: of what a request may be.
      doorman: checks secrets; without one, who can reach the server is trusted to be who they say.
      upload_limit: bytes of a label that is handed in.
      at_once: labels that are checked at the same time, because each takes memory.
      told: is told in a sentence what happened.
    """
    identity = Identity(doorman)
    site = Site(desk, identity, upload_limit, anyio.CapacityLimiter(at_once), {}, told)
    return Starlette(
        routes=[*monai_label.routes(site), *pages.routes(site)],
        middleware=[Middleware(Guard, limits=limits), Middleware(Identify, desk=desk, identity=identity)],
        exception_handlers=EXCEPTIONS,
    )
