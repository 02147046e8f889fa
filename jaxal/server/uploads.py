"""What clients send: small bodies, and forms with a file, which goes to a temporary file in the project's folder as it comes.

That file disappears whatever happens: when the request ends, or, after a kill, when the next server starts (`clear`).
"""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from jaxal.files import writing
from jaxal.labels.formats import ending_of
from jaxal.server.answers import Problem

SMALL = 1 << 16  # bytes of a body or a form's field that has no file
_PARTS = 20  # of a form


class Upload:
    """A form, as it comes in.

    Attributes:
      fields: texts by name.
      path: of the file; None where none came.
    """

    def __init__(self, folder: Path, boundary: bytes, limit: int, file_part: str):
        """Gets ready.

        Args:
          folder: for the file.
          boundary: between the form's parts.
          limit: bytes of the file.
          file_part: the name of the part that is the file; other files are dropped.
        """
        self.fields: dict[str, str] = {}
        self.path: Path | None = None
        self._folder, self._limit, self._file_part = folder, limit, file_part
        self._file: BinaryIO | None = None
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._part: str | None = None  # name of the text that is being read
        self._text = bytearray()
        self._size, self._parts, self._is_whole = 0, 0, False
        self._parser = python_multipart.MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, piece: bytes) -> None:
        """Takes in a piece of the body.

        Raises:
          Problem: it is no form, or it is too large.
          UserError: the disk is full.
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise Problem(400, "The upload is no form that can be read. Send it again.") from error

    def close(self, whole: bool) -> None:
        """Closes the file.

        Args:
          whole: whether the body has come to its end; then the form must have, too.
        """
        if self._file is not None:
            with writing(self.path or self._folder):
                self._file.close()
        if whole and not self._is_whole:
            raise Problem(400, "The upload ended too early. Send it again.")

    def remove(self) -> None:
        """Removes the file."""
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise Problem(413, f"The form has more than {_PARTS} parts.")
        self._headers, self._part = {}, None
        self._text.clear()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", errors="replace")
        if b"filename" not in options:
            self._part = name
        elif name == self._file_part:
            if self.path is not None:
                raise Problem(422, f"The form has more than one file {name!r}. Send one.")
            said = options[b"filename"].decode("utf-8", errors="replace").lower()
            ending = ending_of(said)  # all else of a client's file name is dropped
            path = self._folder / f"{uuid.uuid4().hex}{ending}"
            with writing(path):
                self._file = path.open("xb")
            self.path = path

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part is not None:
            self._text += data[start:end]
            if len(self._text) > SMALL:
                raise Problem(413, f"The field {self._part[:40]!r} is longer than {SMALL} bytes.")
        elif self._file is not None:
            self._size += end - start
            if self._size > self._limit:
                raise _too_large(self._limit)
            with writing(self.path or self._folder):
                self._file.write(data[start:end])

    def _end_part(self) -> None:
        if self._part is not None:
            self.fields[self._part] = self._text.decode("utf-8", errors="replace")
        elif self._file is not None and not self._file.closed:
            with writing(self.path or self._folder):
                self._file.close()

    def _end(self) -> None:
        self._is_whole = True


@contextlib.asynccontextmanager
async def receive_form(request: Request, folder: Path, limit: int, file_part: str) -> AsyncIterator[Upload]:
    """Receives a form with a file, which is there as long as the context is.

    Args:
      request: whose body it is.
      folder: for the file.
      limit: bytes of the file.
      file_part: the name of the part that is the file.

    Raises:
      Problem: it is none, it is too large, or it ends too early.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise Problem(422, f"A form (multipart/form-data) with a part {file_part!r} is needed.")
    _check_length(request, limit + _PARTS * SMALL)
    upload = Upload(folder, boundary, limit, file_part)
    try:
        async for piece in _pieces(request):
            upload.write(piece)
        upload.close(whole=True)
        yield upload
    finally:
        upload.remove()


async def read_small(request: Request) -> bytes:
    """A body without a file.

    Raises:
      Problem: it is too large.
    """
    _check_length(request, SMALL)
    body = bytearray()
    async for piece in _pieces(request):
        body += piece
        if len(body) > SMALL:
            raise _too_large(SMALL)
    return bytes(body)


async def read_object(request: Request) -> dict[str, Any]:
    """A body that is a JSON object, or empty.

    Raises:
      Problem: it is something else.
    """
    return parse_object((await read_small(request)).decode("utf-8", errors="replace"), "The body")


async def read_fields(request: Request) -> dict[str, str]:
    """A body that is a form without files, as browsers send it: the first value of each field."""
    body = (await read_small(request)).decode("utf-8", errors="replace")
    try:
        return {name: values[0] for name, values in parse_qs(body, keep_blank_values=True, max_num_fields=_PARTS).items()}
    except ValueError as error:
        raise Problem(422, f"The form has more than {_PARTS} fields.") from error


def parse_object(text: str, what: str) -> dict[str, Any]:
    """A JSON object; an empty text is an empty one.

    Raises:
      Problem: it is none.
    """
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Problem(422, f"{what} is no JSON.") from error
    if not isinstance(value, dict):
        raise Problem(422, f"{what} must be a JSON object.")
    return value


def clear(folder: Path) -> None:
    """Makes the folder for uploads, and removes what a server left that was killed. Only who holds the folder may call it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_file() and path.name != ".lock":
            path.unlink(missing_ok=True)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect as error:
        raise Problem(400, "The upload broke off.") from error


def _check_length(request: Request, limit: int) -> None:
    """Turns away what says that it is too large, before any of it is read."""
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> Problem:
    size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
    return Problem(
        413, f"This is larger than {size}, which is the most that the server takes. Export the segmentation compressed."
    )
