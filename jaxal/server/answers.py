"""What the server says when something cannot be done: a status, and one sentence as plain text, which Slicer shows to its reader."""

import sys
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.server.desk import UnknownCase

STATUSES = {
    "unknown-reader": 403,
    "not-asked": 403,
    "unknown-case": 404,
    "not-open": 409,
    "excluded": 409,
}  # of refusals; else 400
NAME_YOURSELF = "The server does not know who you are: set your name in Slicer's settings, MONAI Label, Client/User-ID."


class Problem(Exception):
    """A request that cannot be answered as asked: the status, a sentence, and perhaps headers."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None):
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers


def answer_problem(_request: Request, error: Exception) -> Response:
    """The answer to a `Problem`, a `Refused`, or another error of the user's."""
    match error:
        case Problem():
            return PlainTextResponse(error.sentence, error.status, error.headers)
        case Refused():
            return PlainTextResponse(error.sentence, STATUSES.get(error.code, 400))
        case UnknownCase():
            return PlainTextResponse(str(error), 404)
    print(f"jaxal serve: {error}", file=sys.stderr)  # names files of this machine, which others need not know
    return PlainTextResponse("The server cannot do that now; it has told its keeper why. Try again later.", 503)


EXCEPTIONS = {Problem: answer_problem, UserError: answer_problem, Refused: answer_problem, UnknownCase: answer_problem}
