"""Strategies by name, with their own options behind it: `aeig`, `weighted_entropy,gamma=3`, `mine.py:my_strategy,sharpness=2`.

A strategy's options are the keywords of the function that makes it. Its docstring and signature are all that help and reports say of it.
"""

import contextlib
import difflib
import hashlib
import importlib.util
import inspect
import math
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from jaxal.errors import UserError
from jaxal.strategies.contract import Strategy
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, STRATEGIES, STRATEGIES_OF_PARTS

Make = Callable[..., Strategy]
Table = Mapping[str, Make]

_ONLY_FOR = (
    (STRATEGIES, "whose elements each have a class and that are asked for as a whole"),
    (CLASSIFICATION_STRATEGIES, "that have one class each"),
    (STRATEGIES_OF_PARTS, "that are asked for in parts (--unit)"),
)


class Named(NamedTuple):
    """A strategy that was asked for.

    Attributes:
      name: of its folder among the results.
      strategy: what it does.
      identity: its name, all of its options, and of one from a user's file what changes when that does; ready for JSON.
    """

    name: str
    strategy: Strategy
    identity: dict[str, Any]


def named_strategy(text: str, table: Table, defaults: Mapping[str, Any] | None = None) -> Named:
    """The strategy of a name.

    Args:
      text: a row of the table or `FILE.py:FUNCTION`, perhaps with options behind it.
      table: the strategies of this kind of task.
      defaults: of options, in place of the strategies' own, for those strategies that have them.

    Raises:
      UserError: there is no such strategy or option, the option takes no such value, or the file is not what it should be.
    """
    row, *given = text.split(",")
    own_file = ".py:" in row
    make, source = _from_file(row) if own_file else (_from_table(row, table), None)
    options = _options(row, make)
    named = [option.partition("=")[0] for option in given]
    if twice := [name for name in named if named.count(name) > 1]:
        raise UserError(f"Strategy {text!r}: the option {twice[0]!r} is there twice.")
    values = {name: value for name, value in (defaults or {}).items() if name in options}
    values |= dict(_parsed(text, options, *option.partition("=")[::2]) for option in given)
    try:
        strategy = make(**values)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if not own_file and not isinstance(error, ValueError):
            raise
        raise UserError(f"Strategy {text!r}: {error}" if isinstance(error, ValueError) else _broken(row, error)) from error
    if not isinstance(strategy, Strategy):
        raise UserError(f"{row}: returned {type(strategy).__name__}; a strategy is made with jaxal.strategies.contract.Strategy.")
    identity = {"name": row.rpartition("/")[2], **{name: option.default for name, option in options.items()}, **values}
    if source:
        identity["file"] = source
    # The name is that of a folder, so an option's value must not lead elsewhere.
    name = ",".join([identity["name"].replace(".py:", "."), *given]).replace("/", "%2F").replace("..", "%2E%2E")
    return Named(name, strategy, {key: str(value) if isinstance(value, Path) else value for key, value in identity.items()})


def options_of(make: Make) -> tuple[str, ...]:
    """Names of a strategy's options."""
    return tuple(inspect.signature(make).parameters)


def summary_of(make: Make) -> str:
    """What a strategy does, in one sentence: the first of its docstring."""
    return (inspect.getdoc(make) or "").split("\n\n")[0].replace("\n", " ")


def _from_table(name: str, table: Table) -> Make:
    if name.endswith(".py"):
        raise UserError(f"{name}: names a file and no function. Write {name}:FUNCTION.")
    if name not in table:
        for known, images in _ONLY_FOR:
            if name in known:
                raise UserError(f"The strategy {name!r} is for images {images}, and these are not. There are {', '.join(table)}.")
        near = difflib.get_close_matches(name.lower(), table, 1, cutoff=0.75)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(table)}."
        raise UserError(f"There is no strategy {name!r}. {hint}")
    return table[name]


def _from_file(text: str) -> tuple[Make, str]:
    """A function of a user's file, and sixteen hexadecimal digits that change when the file does."""
    file, _, function = text.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{path}: no such file; it should hold the strategy {function!r}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    with _as_if_started(path, module):
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise UserError(_broken(str(path), error)) from error
    make = getattr(module, function, None)
    if not callable(make):
        functions = [name for name, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == path.stem]
        raise UserError(f"{path}: holds no function {function!r}; there are {', '.join(functions) or 'none'}.")
    return make, hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@contextlib.contextmanager
def _as_if_started(path: Path, module: types.ModuleType) -> Iterator[None]:
    """Lets a file import what lies beside it, and be found by what looks its module up, as if Python had been started with it."""
    folder, before = str(path.resolve().parent), sys.modules.get(module.__name__)
    sys.path.insert(0, folder)
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.path.remove(folder)
        if before is not None:
            sys.modules[module.__name__] = before


def _broken(place: str, error: BaseException) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    line = (
        f", line {where.lineno} of {where.filename}" if where.filename.endswith(".py") and "jaxal" not in where.filename else ""
    )
    return f"{place}: does not run ({type(error).__name__}: {error}{line})."


def _options(name: str, make: Make) -> dict[str, inspect.Parameter]:
    """The keywords of a strategy's function; each must have a default and a type that a text can be read as."""
    try:
        hints = get_type_hints(make)
        parameters = inspect.signature(make).parameters
    except (TypeError, NameError, ValueError) as error:
        raise UserError(_broken(name, error)) from error
    for option in parameters.values():
        if option.kind not in (option.POSITIONAL_OR_KEYWORD, option.KEYWORD_ONLY):
            raise UserError(f"{name}: {option} is no option; write each one by its name.")
        if option.default is option.empty:
            raise UserError(f"{name}: the option {option.name!r} has no default; write {option.name}=…")
    return {
        option.name: option.replace(annotation=hints.get(option.name, type(option.default))) for option in parameters.values()
    }


def _parsed(text: str, options: Mapping[str, inspect.Parameter], name: str, value: str) -> tuple[str, Any]:
    """An option and its value."""
    if name not in options:
        has = f"It has {', '.join(options)}." if options else "It has none."
        raise UserError(f"Strategy {text!r}: there is no option {name!r}. {has}")
    kind = options[name].annotation
    possible = []
    for choice in get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,):
        for known, meaning in _choices(choice).items():
            if value == known:
                return name, meaning
        with contextlib.suppress(ValueError):
            return name, _read(choice, value)
        possible += list(_choices(choice)) or [{int: "a whole number", float: "a number", Path: "a path"}.get(choice, "a text")]
    raise UserError(f"Strategy {text!r}: {name} is {value!r}; it takes {' or '.join(possible)}.")


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
