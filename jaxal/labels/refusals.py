"""What is said of a delivery: why it cannot be taken, and what was noticed though it was taken."""

from typing import NamedTuple

from jaxal.errors import UserError


class Refused(UserError):
    """A delivery that cannot be taken.

    Attributes:
      code: a fixed short word for logs and programs, such as "other-spacing".
      sentence: what is wrong and what to do, for a reader. It holds no text of the file's header but names of segments, escaped and cut.
    """

    def __init__(self, code: str, sentence: str):
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Note(NamedTuple):
    """Something noticed in a delivery that can be taken all the same: a fixed short word, and a sentence for a reader."""

    code: str
    sentence: str


def shown(name: str, longest: int = 40) -> str:
    """A name out of a file as it may stand in a sentence: in quotes, without control characters, cut.

    Only names of segments are shown, because the rest of a header may hold a patient's name.
    """
    plain = "".join(sign if sign.isprintable() else "?" for sign in name)
    return f'"{plain if len(plain) <= longest else plain[: longest - 1] + "…"}"'


def listed(names: list[str], most: int = 6) -> str:
    """Names in a row, the first few of many."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
