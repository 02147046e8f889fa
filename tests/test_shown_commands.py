"""Every command line that the documents show is one that this version takes: its module exists, and so do its options."""

import argparse
import dataclasses
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from jaxal import hosts
from jaxal.cli import command, main, project_options
from jaxal.studies.submission import SubmitConfig

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BEGINNING = r"(?:[\w./]*/)?(?:python -m (?:jaxal|experiments|benchmarks)\.|jaxal (?:--)?[a-z])"
OPTIONS_OF_OTHERS = {"save_probabilities"}  # nnU-Net's


def commands_of(document):
    """Lines of blocks, and code within sentences, that begin as a command of ours does; without comments."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    sentences = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    parts = [part for line in lines for part in re.split(r" && ", line)] + re.findall(r"`([^`\n]+)`", sentences)
    return [re.sub(r" +#.*", "", part).strip() for part in parts if re.match(BEGINNING, part) and "…" not in part]


SHOWN = {text: str(document.relative_to(ROOT)) for document in reversed(DOCUMENTS) for text in commands_of(document)}


@pytest.fixture
def idle(monkeypatch, tmp_path):
    """A place where commands read their options and do nothing."""
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser, *given):
        parse(parser, *given)
        raise Parsed

    monkeypatch.setattr(command, "run", lambda *given: 0)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


class Parsed(Exception):
    """A benchmark has read its options."""


def takes(text, idle):
    """Whether this version takes a command; `jaxal` one of images or of scans."""
    words = shlex.split(text)
    if words[0].endswith("jaxal"):
        words += ["--help"] if len(words) == 2 and words[1] != "strategies" else []  # a sentence names the verb alone
        return any(status_of(words[1:], mark) == 0 for mark in ("", "dataset.json"))
    name, *given = words[2:]
    module = importlib.import_module(name)
    if hasattr(module, "Arguments"):
        return module.main(command.parse(module.Arguments, name, given)) == 0
    idle.setattr(sys, "argv", [name, *given])
    with pytest.raises(Parsed):
        module.main()
    return True


def status_of(words, mark):
    """The exit status of `jaxal`, where each folder that the command may mean exists; a file named `mark` makes it one of scans."""
    for word in words:
        if not word.startswith("-"):
            folder = Path(word)
            folder.mkdir(parents=True, exist_ok=True)
            if mark:
                (folder / mark).touch()
    try:
        return main.main(words)
    except SystemExit as error:
        return error.code


@pytest.mark.parametrize("text", SHOWN)
def test_it_is_taken(text, idle):
    assert takes(text, idle), SHOWN[text]


def options():
    """Names of all options of all commands."""
    names = set(re.findall(r'"--([a-z-]+)"', "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))))
    for path in [*(ROOT / "experiments").glob("*.py"), *(ROOT / "jaxal" / "cli").glob("*.py")]:
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for arguments in (getattr(module, "Arguments", None), hosts.HostsConfig, SubmitConfig):
            if arguments:
                names |= {field.name.replace("_", "-") for field in dataclasses.fields(arguments)}
    for verb in project_options.PROJECT_OPTIONS.values():
        names |= {field.name.replace("_", "-") for field in dataclasses.fields(verb)}
    return {name.strip("-") for name in names} | {"help"}  # a word of Python's own is followed by a line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_that_are_named_exist(document):
    named = set(re.findall(r"`--([\w-]+)[^`\n]*`", document.read_text(encoding="utf-8")))
    assert named - options() - OPTIONS_OF_OTHERS == set()


@pytest.mark.parametrize(
    "text",
    [
        "jaxal simulate DIR --sedes 3",
        "jaxal simulat DIR",
        "jaxal strategies entropi",
        "python -m experiments.digits --bias weak",
        "python -m benchmarks.scaling --turns 3",
        "python -m experiments.gone",
    ],
)
def test_what_is_not_taken_is_noticed(text, idle):
    try:
        assert not takes(text, idle)
    except (SystemExit, ModuleNotFoundError) as error:
        assert getattr(error, "code", 2) == 2


def test_there_are_commands():
    assert len(SHOWN) > 40
