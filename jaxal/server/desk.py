"""What the server needs of a project. It knows no more of it than this.

The server calls a desk's methods from several threads at once, and a kill may come in the middle of any of them. So a method that
changes something has done so durably when it returns, and two readers who ask at the same instant get two cases.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from jaxal.errors import UserError
from jaxal.labels.refusals import Note

Role = Literal["reader", "reviewer"]
Decision = Literal["approve", "flag", "comment"]
Standing = Literal["", "approved", "flagged"]


class UnknownCase(UserError):
    """No case of the project has this name."""


class Counts(NamedTuple):
    """How far a project is.

    Attributes:
      total: cases, without those that were left out.
      completed: of these, those that have a label which counts.
    """

    total: int
    completed: int


class Entry(NamedTuple):
    """A case in the list of all.

    Attributes:
      id: its name.
      file_name: of its image, as `Image` has it.
      completed: whether a label of it counts. It must not be told before all readings of a case are in, because readers must not learn
        that somebody else reads it, too.
      proposed: whether there is a proposal that readers of this case may see.
    """

    id: str
    file_name: str
    completed: bool
    proposed: bool


class Image(NamedTuple):
    """The file of a case that is sent to readers: its first channel, or the one that the project's head has chosen.

    Attributes:
      path: where it lies.
      file_name: as it is sent: with its ending, without folders. It holds a piece of a checksum, because Slicer keeps files by name, and
        the reviewer's extension shows the one that it has of another project.
      sha256: of its content, in hexadecimal digits.
    """

    path: Path
    file_name: str
    sha256: str


class Version(NamedTuple):
    """A label that was handed in, as a reviewer sees it.

    Attributes:
      name: of the version.
      reader: who drew it.
      time: when it came; seconds since 1970.
      standing: what the last reviewer said.
      reviewer: who that was.
      comment: of that reviewer.
    """

    name: str
    reader: str
    time: int
    standing: Standing = ""
    reviewer: str = ""
    comment: str = ""


class Handed(NamedTuple):
    """What a reader hands in.

    Attributes:
      reader, case: whose.
      path: of the file, which is gone when the call returns. It ends as the reader's file did, if that ending is known.
      names: the k-th is that of the value k, for files without names of their own; None if the reader's program does not say.
      seconds: that it took, if the reader's program says so.
      empty: whether the reader says that there is nothing to see.
      comment: of the reader.
      via: the program that it came through.
    """

    reader: str
    case: str
    path: Path
    names: tuple[str, ...] | None = None
    seconds: float | None = None
    empty: bool = False
    comment: str = ""
    via: str = "server"


class Receipt(NamedTuple):
    """What became of a label that was taken.

    Attributes:
      version: its name from now on.
      sentence: what the reader is told.
      notes: what was noticed.
    """

    version: str
    sentence: str
    notes: Sequence[Note] = ()


class Desk(Protocol):
    """A project, as the server needs it.

    Attributes:
      name: of the project.
      classes: names that readers draw, in the order of the values 1, 2, … of a label map.
      uploads: a folder of the project for files on their way in; nothing else is there.
    """

    name: str
    uploads: Path

    @property
    def classes(self) -> Sequence[str]: ...

    def roles(self) -> Mapping[str, Role]:
        """Who may work here, by name."""

    def counts(self) -> Counts:
        """How far the project is."""

    def accuracy(self) -> float | None:
        """How good the last network is, 0 to 1; None as long as nobody knows."""

    def cases(self) -> Sequence[Entry]:
        """All cases that were not left out."""

    def current_case(self, reader: str) -> str | None:
        """The case that a reader was given last and has neither handed in nor skipped."""

    def next_case(self, reader: str) -> str | None:
        """Reserves the reader's next case, which is `current_case` from then on, and stays so when asked again; None if nothing is left."""

    def asked_for(self, reader: str, case: str) -> str:
        """What of a case is asked of a reader, in words; empty where that is all of it."""

    def skip(self, reader: str, case: str) -> None:
        """The reader gives a case back."""

    def image(self, case: str) -> Image:
        """The image of a case.

        Raises:
          UnknownCase: there is none.
        """

    def proposal(self, case: str, reader: str | None = None) -> Path | None:
        """What a reader begins with, as a label map (`.nii.gz`) with the values 1, 2, … of `classes`; None where readers are to see none.

        It is the network's proposal, or the reader's own label where that came back, which nobody else may see.

        Args:
          case: its name.
          reader: who asks; None of a request that says nothing of who asks, which only a server without logins answers.

        Raises:
          UnknownCase: there is no such case.
        """

    def deliver(self, handed: Handed) -> Receipt:
        """Takes a label in.

        Raises:
          Refused: it cannot be taken; the code `empty` means that it has no voxel, and that nobody has said that this is meant.
        """

    def answer(self, reader: str, case: str, name: str, seconds: float | None, at: str = "", refusal: str = "") -> Receipt:
        """Takes the class of an image that has one, or why its reader chooses none; `at` is when it was chosen, which tells one answer from a later one.

        Raises:
          Refused: it cannot be taken.
        """

    def versions(self) -> Mapping[str, Sequence[Version]]:
        """All labels by case, oldest first, for reviewers."""

    def version_file(self, case: str, version: str) -> Path:
        """A label's file for a reviewer: `.seg.nrrd`, because only there segments have their names, which come back with what is edited."""

    def review(self, reviewer: str, case: str, version: str, decision: Decision, text: str) -> None:
        """Writes down what a reviewer says of a label. One approved label of a case takes the place of another.

        Raises:
          Refused: that is not possible now.
        """

    def submit_version(self, handed: Handed) -> Receipt:
        """Takes a reviewer's own label of a case in, as a further version.

        Raises:
          Refused: it cannot be taken.
        """

    def status_page(self) -> str:
        """The page of the whole project, as HTML."""

    def review_page(self) -> str | None:
        """The page of what is to be decided, as HTML; None where there is none."""

    def worklist_page(self, reader: str) -> str:
        """The page of what a reader is asked for, as HTML."""

    def click_page(self, reader: str) -> str | None:
        """The page where a reader clicks classes, as HTML; None where classes are drawn."""
