"""What a worklist shows of an image."""

from collections.abc import Sequence
from typing import Any

from jaxal.projects.images.guesses import guess_of
from jaxal.projects.project import Project
from jaxal.projects.state import State
from jaxal.worklists.items import Guess, Item
from jaxal.worklists.pictures import thumbnail


def complete(project: Project, state: State, reader: str, item: Item) -> Item:
    """An item with the network's guess, where its reader may see one. See `Kind.item`."""
    reading = state.cases[item.case].readings[reader]
    guess = guess_of(project, item.case, reading.round) if project.shows(reading) else None
    if guess is None:
        return item
    return item._replace(guess=Guess(state.classes[int(guess.argmax())], float(guess.max())))


def picture(item: Item, classes: Sequence[Any]) -> bytes:
    """The image, small. See `Kind.picture`."""
    return thumbnail(item.image)
