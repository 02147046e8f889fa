"""Strategies by name, with their own options behind it: `aeig`, `weighted_entropy,gamma=3`, `mine.py:my_strategy,sharpness=2`; and rules that are made of
them (`composed.py`): `badge+power,beta=2`, `entropy+then:coreset`.

A strategy's options are the keywords of the function that makes it. Its docstring and signature are all that help and reports say of it.
"""

import contextlib
import difflib
import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.errors import UserError
from jaxal.named_options import given_options, keywords_of
from jaxal.strategies.composed import OF_TWO, RULES
from jaxal.strategies.contract import Strategy
from jaxal.strategies.first import OF_FIRST_SETS
from jaxal.strategies.table import (
    CLASSIFICATION_STRATEGIES,
    REGRESSION_STRATEGIES,
    STRATEGIES,
    STRATEGIES_OF_MASKS,
    STRATEGIES_OF_PARTS,
)

Make = Callable[..., Strategy]
Table = Mapping[str, Make]

_ONLY_FOR = (
    (STRATEGIES, "whose elements each have a class and that are asked for as a whole"),
    (CLASSIFICATION_STRATEGIES, "that have one class each"),
    (STRATEGIES_OF_PARTS, "that are asked for in parts (--unit)"),
    (REGRESSION_STRATEGIES, "that have numbers as a whole"),
    (STRATEGIES_OF_MASKS, "in the plane that have masks, by a network with side outputs"),
)


_THE_LIST = "`jaxal strategies` lists all, with --for those of such data."

# Strategies of information gain whose formula is a sum over the classes that a label may be.
_OVER_CLASSES = ("eig", "aeig", "uig", "cfig", "mass")


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
      text: a row of the table or `FILE.py:FUNCTION`, perhaps with options behind it, and rules that are applied one after the other; a rule `cold:` alone is
        that of `random`.
      table: the strategies of this kind of task.
      defaults: of options, in place of the strategies' own, for those strategies that have them.

    Raises:
      UserError: there is no such strategy, rule or option, the option takes no such value, or the file is not what it should be.
    """
    if text.startswith("cold:"):  # what a first set is worth by itself
        text = f"random+{text}"
    plain, *rules = re.split(r"\+(?=[a-z_]+(?:[:,+]|$))", text)
    named = _of_one(plain, table, defaults)
    for rule in rules:
        named = _with_rule(named, rule, table, defaults)
    return named


def _with_rule(named: Named, text: str, table: Table, defaults: Mapping[str, Any] | None) -> Named:
    """A strategy after a rule, `power,beta=2` or `then:coreset,factor=5`; options that the rule does not have are those of its strategy."""
    head, *given = text.split(",")
    rule, _, other = head.partition(":")
    if rule not in RULES:
        near = difflib.get_close_matches(rule, RULES, 1, cutoff=0.75)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(RULES)}."
        raise UserError(f"There is no rule {rule!r} that follows a strategy. {hint}")
    if bool(other) != (rule in OF_TWO):
        example = f"{named.name}+{rule}:coreset" if rule in OF_TWO else f"{named.name}+{rule}"
        raise UserError(f"The rule {rule!r} takes {'a second' if rule in OF_TWO else 'no second'} strategy: {example}.")
    if rule != "cold" and any(before["name"] == "usable" for before in named.identity.get("rules", ())):
        raise UserError(
            f"{named.name}+{text}: what is usable must be what is left to choose from, so that rule comes last. Write +{text} before it."
        )
    if rule == "quota" and table is not CLASSIFICATION_STRATEGIES:
        raise UserError("The rule 'quota' counts images by their class, and these data have no such class.")
    if rule == "or" and table is REGRESSION_STRATEGIES:
        raise UserError(
            "The rule 'or' puts evaluation cases in the order of their errors, which are of classes; these data have numbers."
        )
    if rule == "usable" and table is REGRESSION_STRATEGIES:
        raise UserError("The rule 'usable' tells refused cases from labelled ones class by class, and these data have numbers.")
    make = RULES[rule]
    options = keywords_of(rule, make, ("strategy", "first", "second"))
    own = [option for option in given if option.partition("=")[0] in options or not other]
    values = given_options(f"Rule {text!r}", options, own)
    rows = {**table, **OF_FIRST_SETS} if rule == "cold" else table
    try:
        second = [_of_one(",".join([other, *(option for option in given if option not in own)]), rows, defaults)] if other else []
    except UserError as error:
        if len(own) == len(given):
            raise
        raise UserError(f"{error} Options of the rule {rule!r} are {', '.join(options) or 'none'}.") from error
    try:
        strategy = make(named.strategy, *(one.strategy for one in second), **values)
    except ValueError as error:
        raise UserError(f"{named.name}+{text}: {error}") from error
    told = {name: option.default for name, option in options.items()} | values
    folder = "+".join([named.name, ",".join(["-".join([rule, *(one.name for one in second)]), *own])])
    rules = [*named.identity.get("rules", ()), {"name": rule, **told, **({"strategy": second[0].identity} if second else {})}]
    return Named(folder, strategy, {**named.identity, "rules": rules})


def _of_one(text: str, table: Table, defaults: Mapping[str, Any] | None) -> Named:
    """The strategy of a name without rules."""
    row, *given = text.split(",")
    own_file = ".py:" in row
    make, source = function_of(row, table)
    try:
        options = keywords_of(row, make)
    except (TypeError, NameError, ValueError) as error:
        raise UserError(_broken(row, error)) from error
    values = {name: value for name, value in (defaults or {}).items() if name in options}
    values |= given_options(f"Strategy {text!r}", options, given)
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


def function_of(row: str, table: Table) -> tuple[Make, str | None]:
    """What makes a strategy, and of one from a user's file what changes when that does.

    Raises:
      UserError: there is no such strategy, or the file is not what it should be.
    """
    return _from_file(row) if ".py:" in row else (_from_table(row, table), None)


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
        if table is REGRESSION_STRATEGIES and name in _OVER_CLASSES:
            raise UserError(
                f"The strategy {name!r} weighs each class that a label may be, and a number has no list of them. Of numbers, epig is the "
                f"information gain. {_THE_LIST}"
            )
        if name in OF_FIRST_SETS:
            raise UserError(
                f"{name!r} chooses what is labelled at the start, and nothing later. Put it behind another strategy: entropy+cold:{name}."
            )
        kinds = [images for known, images in _ONLY_FOR if name in known]
        if kinds:
            of_masks = len(kinds) > 1 and name in STRATEGIES  # which plane images have, too
            told = ", or ".join(kinds[:-1] if of_masks else kinds)
            raise UserError(f"The strategy {name!r} is for images {told}, and these are not. {_THE_LIST}")
        near = difflib.get_close_matches(name.lower(), table, 1, cutoff=0.75)
        hint = f"Did you mean {near[0]}?" if near else _THE_LIST
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
