"""The command `jaxal` and its verbs. What takes seconds to import is imported once a verb is known and a folder is there."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

USAGE = """Usage: jaxal VERB [ARGUMENTS]

Decides which medical scans to label next.

  simulate DATA [OPTIONS]    go through rounds of active learning on data that
                             have labels, and compare strategies
  plan DATA [OPTIONS]        tell what that would do and cost
  score RUN [OPTIONS]        score what a run has not labelled, by strategies
  predict RUN                write what a run's network makes of every case
  compare FOLDER             compare the runs of a results folder
  strategies [NAME]          list the strategies, or tell all about one

DATA is a folder of scans (nnU-Net's layout, the Decathlon's or BIDS) or of
images of one class each; the kind of task follows from it. RUN is the folder of
one run, RESULTS/SETTING/STRATEGY/seed-N. `jaxal VERB ... --help` tells a verb's
options.
"""


class Verb(NamedTuple):
    """What a verb takes, and how its arguments become those of the commands on anybody's data.

    Attributes:
      takes: what its one argument is; empty where it is optional.
      arguments: `(the argument, what follows) -> arguments`.
    """

    takes: str
    arguments: Callable[[str, Sequence[str]], list[str]]


ON_DATA = {
    "simulate": Verb("DATA", lambda data, more: ["--data", data, *more]),
    "plan": Verb("DATA", lambda data, more: ["--data", data, "--plan", *more]),
}
ON_RUNS = {
    "score": Verb("RUN", lambda run, more: ["--score-only", run, *more]),
    "predict": Verb("RUN", lambda run, more: ["--predict-only", run, *more]),
}


def main(given: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    try:
        return _main(given)
    except KeyboardInterrupt:  # before a run has begun; from then on it ends at the next step
        print("Stopped before anything was done.", file=sys.stderr)
        return 128 + signal.SIGINT


def _main(given: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if given is None else given)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    verb, *more = arguments
    if verb == "--version":
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"jaxal {version('jaxal')}")
        except PackageNotFoundError:
            print("jaxal, from a checkout that is not installed")
        return 0
    verbs = [*ON_DATA, *ON_RUNS, "compare", "strategies"]
    if verb not in verbs:
        return _refuse(f"There is no verb {verb!r}; there are {', '.join(verbs)}. `jaxal --help` tells what they do.")
    if verb == "strategies":
        return _strategies(more)
    takes = {**ON_DATA, **ON_RUNS}[verb].takes if verb != "compare" else "FOLDER"
    if not more or (more[0].startswith("-") and more[0] not in ("-h", "--help")):
        return _refuse(f"jaxal {verb} {takes} …: the {takes} comes first. `jaxal --help` tells what it is.")
    if more[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if not Path(more[0]).is_dir() and not {"-h", "--help"} & set(more):
        return _refuse(f"jaxal {verb} {more[0]}: no such folder.")
    return _on_folder(verb, more[0], more[1:])


def _on_folder(verb: str, folder: str, more: Sequence[str]) -> int:
    before = signal.signal(signal.SIGINT, _stop_at_once)  # an exception during imports may be swallowed by them
    from jaxal.cli import classification, command, compare, segmentation

    signal.signal(signal.SIGINT, before)
    if verb == "compare":
        return compare.main(command.parse(compare.Arguments, "jaxal compare", [folder, *more]))
    if verb in ON_DATA:
        is_of_scans, arguments = _holds_scans(Path(folder)), ON_DATA[verb].arguments(folder, more)
    else:
        is_of_scans, arguments = _is_of_scans(Path(folder)), ON_RUNS[verb].arguments(folder, more)
    if is_of_scans:
        return segmentation.main(command.parse(segmentation.Arguments, f"jaxal {verb}", arguments))
    if verb == "plan":
        return _refuse(f"jaxal plan {folder}: only studies of scans can be planned so far, and this folder holds none.")
    return classification.main(command.parse(classification.Arguments, f"jaxal {verb}", arguments))


def _holds_scans(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("dataset.json", "dataset_description.json"))


def _is_of_scans(run: Path) -> bool:
    """Whether a run is of scans, as its ledger says; one that cannot be read is told of by the command."""
    from jaxal.errors import UserError
    from jaxal.rounds.ledger import Ledger

    try:
        rounds = Ledger(run / "rounds.jsonl").read()
    except UserError:
        return True
    return not rounds or rounds[0]["task"] == "segmentation"


def _strategies(names: Sequence[str]) -> int:
    """Lists all strategies, or tells everything about some: what they do, their options, what they look at."""
    import inspect
    import textwrap

    from jaxal.errors import UserError
    from jaxal.strategies.named import named_strategy, options_of, summary_of
    from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, STRATEGIES

    tables = {"segmentation": STRATEGIES, "classification": CLASSIFICATION_STRATEGIES}
    every = {**STRATEGIES, **CLASSIFICATION_STRATEGIES, **STRATEGIES}
    if not names:
        for name, make in every.items():
            only = [task for task, table in tables.items() if name in table]
            print(
                textwrap.fill(
                    f"{name}: {summary_of(make)}{'' if len(only) > 1 else f' For {only[0]} only.'}", 80, subsequent_indent="    "
                )
            )
        print("\n`jaxal strategies NAME` tells a strategy's options. They follow its name:\nweighted_entropy,gamma=3.")
        return 0
    for name in names:
        try:
            strategy = named_strategy(name, every).strategy
        except UserError as error:
            return _refuse(str(error))
        make = every[name.split(",")[0]]
        print(inspect.getdoc(make))
        options = [f"{option.name}={option.default}" for option in inspect.signature(make).parameters.values()]
        print(f"\nOptions: {', '.join(options) if options_of(make) else 'none'}")
        looks = [f"{split}: {', '.join(needs)}" for split, needs in strategy.needs._asdict().items() if needs]
        print(f"Looks at: {'; '.join(looks) or 'nothing but the names in the pool'}")
        print(f"For: {', '.join(task for task, table in tables.items() if name.split(',')[0] in table)}")
    return 0


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _stop_at_once(number: int, frame: object) -> NoReturn:
    os.write(2, b"\nStopped before anything was done.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
