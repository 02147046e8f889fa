"""Types of options, as the help shows them: what happens where an option is left out stands in its own text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxal.errors import UserError


def _whole(words: list[str]) -> int:
    try:
        return int(words[0])
    except ValueError:
        raise ValueError(f"{words[0]!r} is no whole number") from None


_WHOLE = tyro.constructors.PrimitiveConstructorSpec(  # the library's own for `int | None` tells of Python's types
    nargs=1,
    metavar="NUMBER",
    instance_from_str=_whole,
    is_instance=lambda value: value is None or isinstance(value, int),
    str_from_instance=lambda value: [str(value)],
)
Number = Annotated[int | None, _WHOLE, tyro.conf.arg(help_behavior_hint="")]
Numbers = Annotated[tuple[int, ...], tyro.conf.arg(metavar="NUMBER...", help_behavior_hint="")]
Reals = Annotated[tuple[float, ...], tyro.conf.arg(metavar="NUMBER...")]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...", help_behavior_hint="")]
Place = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]


Edges = Annotated[tuple[str, ...], tyro.conf.arg(metavar="EDGE...", help_behavior_hint="")]


def edges(bins: Sequence[str]) -> tuple[float, ...]:
    """`60 75` or `60,75` as two numbers.

    Raises:
      UserError: one is no number.
    """
    try:
        return tuple(float(edge) for edge in split(bins))
    except ValueError as error:
        raise UserError(f"--bins is {' '.join(bins)}; it takes numbers, such as 60 75 or 60,75.") from error


def split(names: Sequence[str]) -> tuple[str, ...]:
    """`a,b c` as three names."""
    return tuple(part.strip() for name in names for part in name.split(",") if part.strip())


def strategies(example: str) -> Any:
    """The type of the option that names strategies.

    Args:
      example: of a strategy with an option.
    """
    help_ = (
        "How cases are chosen; of several, one run after the other. `jaxal strategies` lists them, and `jaxal strategies NAME` a strategy's "
        f"options, which follow its name, as in {example}. FILE.py:FUNCTION takes a strategy of your own (docs/adding-a-strategy.md)."
    )
    return Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[,OPTION=VALUE...]...", help=help_)]
