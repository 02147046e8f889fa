"""Options behind a name, `aeig,renormalise=true` or `groupdro,step_size=0.1`: the keywords of the function that the name stands for, read as their types."""

import contextlib
import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from jaxal.errors import UserError

Made = TypeVar("Made")


def keywords_of(name: str, make: Callable[..., Any], leave_out: Sequence[str] = ()) -> dict[str, inspect.Parameter]:
    """The keywords of a function; each must have a default and a type that a text can be read as.

    Args:
      name: of the function, for messages.
      make: the function.
      leave_out: parameters that are no options.

    Raises:
      UserError: one is no option, has no default, or is of a type that no text is read as.
      TypeError, NameError, ValueError: its signature cannot be read.
    """
    hints = get_type_hints(make)
    parameters = {name: option for name, option in inspect.signature(make).parameters.items() if name not in leave_out}
    for option in parameters.values():
        if option.kind not in (option.POSITIONAL_OR_KEYWORD, option.KEYWORD_ONLY):
            raise UserError(f"{name}: {option} is no option; write each one by its name.")
        if option.default is option.empty:
            raise UserError(
                f"{name}: the option {option.name!r} has no default. Give it one where the function is written: {option.name}=…"
            )
    typed = {name: option.replace(annotation=hints.get(name, type(option.default))) for name, option in parameters.items()}
    if unread := [option.name for option in typed.values() if not _is_read(option.annotation)]:
        raise UserError(
            f"{name}: the option {unread[0]!r} is of a type that no text is read as. Options are int, float, bool, str, Path, Literal, None, or one of several of these."
        )
    return typed


def _is_read(kind: Any) -> bool:
    """Whether a text can be read as a type."""
    if get_origin(kind) in (Union, types.UnionType):
        return all(map(_is_read, get_args(kind)))
    return get_origin(kind) is Literal or kind in (int, float, bool, str, Path, type(None))


def given_options(what: str, options: Mapping[str, inspect.Parameter], given: list[str]) -> dict[str, Any]:
    """The values of options that follow a name.

    Args:
      what: has the options, for messages, such as `Strategy 'aeig,step=5'`.
      options: that there are.
      given: `NAME=VALUE` each.

    Raises:
      UserError: there is no such option, it is there twice, or it takes no such value.
    """
    named = [option.partition("=")[0] for option in given]
    if twice := [name for name in named if named.count(name) > 1]:
        raise UserError(f"{what}: the option {twice[0]!r} is there twice.")
    return dict(_parsed(what, options, *option.partition("=")[::2]) for option in given)


def _parsed(what: str, options: Mapping[str, inspect.Parameter], name: str, value: str) -> tuple[str, Any]:
    """An option and its value."""
    if name not in options:
        has = f"It has {', '.join(options)}." if options else "It has none."
        raise UserError(f"{what}: there is no option {name!r}. {has}")
    kind = options[name].annotation
    possible = []
    for choice in get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,):
        for known, meaning in _choices(choice).items():
            if value == known:
                return name, meaning
        with contextlib.suppress(ValueError):
            return name, _read(choice, value)
        possible += list(_choices(choice)) or [{int: "a whole number", float: "a number", Path: "a path"}.get(choice, "a text")]
    raise UserError(f"{what}: {name} is {value!r}; it takes {' or '.join(possible)}.")


def _choices(kind: Any) -> dict[str, Any]:
    if kind is bool:
        return {"true": True, "false": False}
    if kind is type(None):
        return {"none": None}
    return {str(choice): choice for choice in get_args(kind)} if get_origin(kind) is Literal else {}


def _read(kind: Any, value: str) -> Any:
    """A text as a number, a path or a text.

    Raises:
      ValueError: it cannot be read so.
    """
    if kind in (str, Path) and value:
        return kind(value)
    if kind is int:
        return int(value)
    if kind is float and math.isfinite(number := float(value)):
        return number
    raise ValueError(value)


def made_by_name(text: str, makes: Mapping[str, Callable[..., Made]], what: str, unknown: str) -> Made:
    """What the function of a name makes, `NAME,OPTION=VALUE,...`.

    Args:
      text: the name, perhaps with options behind it.
      makes: functions by name.
      what: it is, for messages about options.
      unknown: a sentence's beginning for a name that there is not, with `{}` for the name.

    Raises:
      UserError: there is no such name or option, or the option takes no such value.
    """
    name, *given = text.split(",")
    if name not in makes:
        raise UserError(f"{unknown.format(repr(name))}. There are {', '.join(makes)}.")
    try:
        return makes[name](**given_options(f"{what} {text!r}", keywords_of(name, makes[name]), given))
    except ValueError as error:
        raise UserError(f"{what} {text!r}: {error}") from error
