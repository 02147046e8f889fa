"""The command `jaxal` and its verbs. What takes seconds to import is imported once a verb is known and a folder is there."""

import difflib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jaxal.cli.help import HELP, USAGE, VERBS
from jaxal.cli.help_projects import PROJECT_VERBS
from jaxal.cli.huge_pages import use_huge_pages

FILES = (".npz", ".tsv", ".csv")  # that are data sets: MedMNIST's, tables of scans and numbers


def console() -> int:
    """The command as a process of its own."""
    use_huge_pages()
    return main()


def main(given: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    try:
        return _main(list(sys.argv[1:] if given is None else given))
    except KeyboardInterrupt:  # before a run has begun; from then on it ends at the next step
        print("Stopped before anything was done.", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read the output has enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        known = arguments[1] if len(arguments) > 1 and arguments[1] in VERBS else ""
        print(HELP[known] if known else USAGE, end="")
        return 0 if arguments else 2
    verb, *words = arguments
    if verb == "--version":
        return _version()
    if verb not in VERBS:
        meant = difflib.get_close_matches(verb, VERBS, 1)
        known = f"Did you mean {meant[0]}?" if meant else f"There are {', '.join(VERBS)}."
        return _refuse(f"There is no verb {verb!r}. {known} `jaxal --help` tells what they do.")
    asks_for_help = bool({"-h", "--help"} & set(words))
    if verb in ("simulate", "plan"):
        return _on_data(verb, words, asks_for_help)
    if asks_for_help:
        print(HELP[verb], end="")
        return 0
    if verb in ("strategies", "completion"):
        return _tell(verb, words)
    if verb == "bench":
        return _run(lambda verbs: verbs.bench(words))
    if verb == "demo":
        if words[:1] != ["readers"]:
            return _refuse("jaxal demo readers: there is one demo so far, that of a project with readers.")
        return _run(lambda verbs: verbs.demo(words))
    if verb in PROJECT_VERBS:
        return _on_project(verb, words)
    takes = {"score": "RUN", "predict": "RUN", "compare": "FOLDER"}[verb]
    scores_files = verb == "score" and any(word.split("=")[0] == "--probabilities" for word in words)
    if not scores_files and (not words or words[0].startswith("-")):
        or_else = ", or --probabilities DIR" if verb == "score" else ""
        return _refuse(f"jaxal {verb} {takes} …: the {takes} comes first{or_else}. `jaxal {verb} --help` tells what it is.")
    if not scores_files and not (words[0] and Path(words[0]).is_dir()):
        return _refuse(f"jaxal {verb} {_no_folder(words[0])}")
    return _run(lambda verbs: verbs.RUNS[verb](words))


def _on_project(verb: str, words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        return _refuse(f"jaxal {verb} PROJECT …: the PROJECT's folder comes first. `jaxal {verb} --help` tells more.")
    if verb != "start" and not (words[0] and Path(words[0]).is_dir()):
        return _refuse(f"jaxal {verb} {_no_folder(words[0])} `jaxal start` begins a project.")
    return _run(lambda verbs: verbs.on_project(verb, words))


def _on_data(verb: str, words: list[str], asks_for_help: bool) -> int:
    if asks_for_help and (words[0] in ("-h", "--help") or not Path(words[0]).exists()):
        print(HELP[verb], end="")
        return 0
    if not words or words[0].startswith("-"):
        return _refuse(f"jaxal {verb} DATA …: the DATA comes first. `jaxal {verb} --help` tells what it is.")
    is_there = words[0] and (Path(words[0]).is_dir() or (Path(words[0]).is_file() and words[0].endswith(FILES)))
    if not is_there:
        return _refuse(f"jaxal {verb} {_no_folder(words[0])}")
    return _run(lambda verbs: verbs.simulate(Path(words[0]), words[1:], verb == "plan"))


def _no_folder(given: str) -> str:
    """What is wrong with something given as a folder."""
    return f"{given or repr(given)}: {'a file, not a folder' if given and Path(given).exists() else 'no such folder'}."


def _run(work) -> int:
    """Runs a verb's work, given the module of all verbs."""
    before = signal.signal(signal.SIGINT, _stop_at_once)  # an exception during imports may be swallowed by them
    from jaxal.cli import verbs
    from jaxal.errors import UserError

    signal.signal(signal.SIGINT, before)
    try:
        return work(verbs)
    except UserError as error:
        return _refuse(str(error))


def _tell(verb: str, words: list[str]) -> int:
    from jaxal.cli import completion, strategies
    from jaxal.errors import UserError

    try:
        print((strategies.strategies if verb == "strategies" else completion.completion)(words))
    except UserError as error:
        return _refuse(str(error))
    return 0


def _version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"jaxal {version('jaxal')}")
    except PackageNotFoundError:
        print("jaxal, from a checkout that is not installed")
    return 0


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _stop_at_once(number: int, frame: object) -> NoReturn:
    os.write(2, b"\nStopped before anything was done.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(console())
