"""What all routes work with, and how they find what a client means."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from jaxal.errors import UserError
from jaxal.files import why_no_file
from jaxal.server.answers import Problem
from jaxal.server.desk import Desk, UnknownCase, Version
from jaxal.server.identity import Identity


class Site(NamedTuple):
    """What the routes work with.

    Attributes:
      desk: the project.
      identity: knows who asks.
      upload_limit: bytes of a file that is handed in.
      at_once: how many labels are checked at the same time, because each takes memory.
      empty: when readers handed in a label without a voxel, by reader and case: doing so again confirms it.
      told: is told in a sentence what happened, for the keeper of the server.
    """

    desk: Desk
    identity: Identity
    upload_limit: int
    at_once: anyio.CapacityLimiter
    empty: dict[tuple[str, str], float]
    told: Callable[[str], None]


async def in_thread(work: Callable[..., Any], *given: Any) -> Any:
    """Calls what may wait for a disk, so that the server answers others meanwhile."""
    return await anyio.to_thread.run_sync(work, *given)


def param(request: Request, name: str) -> str:
    """A parameter of the address.

    Raises:
      Problem: it is missing.
    """
    value = request.query_params.get(name)
    if not value:
        raise Problem(422, f"The parameter {name} is missing.")
    return str(value)


def case_of(site: Site, request: Request, name: str, with_ticket: bool = False) -> str:
    """The case that a parameter names. It is looked up among those that there are, and never becomes a path.

    Raises:
      Problem: it is missing, or nobody knows who asks.
      UnknownCase: there is none.
    """
    sent = param(request, name)
    found = site.identity.case_of(sent, {entry.id for entry in site.desk.cases()})
    if not (with_ticket and found and found[1]):
        site.identity.let_in(request)
    if found is None:
        raise UnknownCase("There is no case of that name.")
    return found[0]


def send_file(path: Path, name: str) -> Response:
    """The answer that is a file.

    Raises:
      UserError: it is gone.
    """
    if not path.is_file():
        raise UserError(f"{path}: {why_no_file(path)}, so it cannot be sent. Put it back.")
    return FileResponse(path, filename=name, media_type="application/octet-stream")


def tag_of(place: int) -> str:
    """The name that the reviewer's extension has for a label: the first is `final`, all later ones are `version_1`, `version_2`, …"""
    return "final" if place == 0 else f"version_{place}"


def tagged(versions: Sequence[Version]) -> dict[str, Version]:
    return {tag_of(place): version for place, version in enumerate(versions)}


def ending_of(name: str) -> str:
    return next((ending for ending in (".seg.nrrd", ".nii.gz") if name.endswith(ending)), f".{name.rpartition('.')[2]}")


def plain_name(name: str) -> str:
    """A name that every system takes for a file, and that MONAI Label's client finds in a header: ASCII, without signs that mean something.

    Names that differ stay different, because Slicer keeps files by name.
    """
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._- ") else "_" for sign in name)
    return plain if plain == name else f"{hashlib.sha256(name.encode()).hexdigest()[:8]}-{plain}"
