"""A strategy in a user's own file, as `docs/adding-a-strategy.md` shows it."""

import re
import sys
from pathlib import Path

import jax
import killing
import numpy as np
import pytest

from jaxal.cli.main import main
from jaxal.errors import UserError
from jaxal.rounds.ledger import Ledger
from jaxal.strategies.contract import Context, Needs, Strategy, decide
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import STRATEGIES
from jaxal.types import Case, Seen, Unit

DOCUMENT = Path(__file__).parents[2] / "docs" / "adding-a-strategy.md"


def documented():
    """The file that the document shows."""
    return re.search(r"<!-- mine.py -->\n```python\n(.*?)```", DOCUMENT.read_text(), re.S)[1]


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(documented())
    return path


def test_it_takes_at_most_fifteen_lines():
    assert len([line for line in documented().splitlines() if line.strip()]) <= 15


def test_the_documented_strategy_runs_with_its_option(mine, tiny_folder, tmp_path):
    arguments = killing.command(tiny_folder, tmp_path / "out", f"{mine}:my_strategy,sharpness=2", "--rounds", "1")
    status, output = killing.here(arguments)
    assert status == 0, output
    (line,) = Ledger(tmp_path / "out" / "data-balanced" / "mine.my_strategy,sharpness=2" / "seed-0" / "rounds.jsonl").read()
    assert line["strategy"]["name"] == "mine.py:my_strategy"
    assert line["strategy"]["sharpness"] == 2.0
    assert len(line["queried"]) == 2
    mine.write_text(documented() + "\n# another thought\n")
    before_it = arguments.index("--strategy") + 1
    status, output = killing.here([*arguments[:before_it], "random", *arguments[before_it:-1], "2"])
    assert status == 2
    assert "holds rounds of another mine.py:my_strategy: its file has changed" in " ".join(output.split())
    assert not (tmp_path / "out" / "data-balanced" / "random").exists(), "it is told before anything runs"
    mine.write_text(documented())
    assert killing.here([*arguments[:-1], "2"])[0] == 0


def test_its_option_does_something(mine):
    plain, sharper = (named_strategy(f"{mine}:my_strategy{option}", STRATEGIES) for option in ("", ",sharpness=2"))
    statistics = {name: np.linspace(0.1, 0.9, 3) for name in plain.strategy.needs.pool}
    assert (plain.strategy.score(statistics, None) != sharper.strategy.score(statistics, None)).any()
    assert plain.identity["file"] == sharper.identity["file"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "mine.py:my_strategy", "no such file; it should hold the strategy 'my_strategy'"),
        ("import nonsense_that_is_not_there", "mine.py:my_strategy", "does not run (ModuleNotFoundError"),
        ("def f(:", "mine.py:f", "does not run (SyntaxError"),
        ("def other(): return 1", "mine.py:my_strategy", "holds no function 'my_strategy'; there are other."),
        ("def f(): return 1", "mine.py:f", "returned int; a strategy is made with"),
        ("def f(): raise KeyError('x')", "mine.py:f", "does not run (KeyError"),
        (
            "def f(sharpness): return 1",
            "mine.py:f,sharpness=2",
            "the option 'sharpness' has no default. Give it one where the function is written: sharpness=…",
        ),
        (
            "def f(sharpness: list = ()): return 1",
            "mine.py:f,sharpness=2",
            "the option 'sharpness' is of a type that no text is read as",
        ),
        ("def f(*, sharpness: int = 1): return 1", "mine.py:f,sharpness=much", "it takes a whole number"),
        ("def f(*, sharpness=1.0): return 1", "mine.py:f,sharpnes=2", "no option 'sharpnes'. It has sharpness."),
        ("f = 3", "mine.py:f", "holds no function 'f'; there are none."),
        ("", "mine.py", "names a file and no function. Write"),
        ("import sys; sys.exit(3)", "mine.py:f", "does not run (SystemExit: 3"),
        ("def f(**more): return 1", "mine.py:f", "**more is no option"),
        ("def f(*, a=1): return 1", "mine.py:f,a=1,a=2", "the option 'a' is there twice"),
    ],
)
def test_files_that_are_no_strategy_end_in_one_message(tmp_path, content, name, message):
    if content is not None:
        (tmp_path / "mine.py").write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        named_strategy(f"{tmp_path}/{name}", STRATEGIES)


def test_options_of_every_type_are_read(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\n"
        "from typing import Literal\n"
        "from jaxal.strategies.at_random import random\n"
        "def f(*, a: int = 1, b: float = 1.0, c: bool = False, d: str = 'x', e: Path | None = None, g: Literal['s', 't'] = 's',"
        " h: int | None = 3, i: float | Literal['auto'] = 'auto'):\n"
        "    return random()\n"
    )
    identity = named_strategy(f"{tmp_path}/mine.py:f,a=7,b=0.5,c=true,d=word,e=some/where,g=t,h=none,i=2", STRATEGIES).identity
    del identity["name"], identity["file"]
    assert identity == {"a": 7, "b": 0.5, "c": True, "d": "word", "e": "some/where", "g": "t", "h": None, "i": 2.0}
    assert named_strategy(f"{tmp_path}/mine.py:f", STRATEGIES).name == "mine.f"


def test_a_file_may_import_what_lies_beside_it_and_define_classes(tmp_path):
    (tmp_path / "beside_mine.py").write_text("SHARPNESS = 2.0\n")
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\n"
        "import dataclasses\n"
        "from beside_mine import SHARPNESS\n"
        "from jaxal.strategies.uncertain import entropy\n"
        "@dataclasses.dataclass\n"
        "class Config:\n"
        "    sharpness: float = SHARPNESS\n"
        "def f(*, sharpness: float = Config().sharpness):\n"
        "    return entropy()\n"
    )
    assert named_strategy(f"{tmp_path}/mine.py:f", STRATEGIES).identity["sharpness"] == 2.0
    assert str(tmp_path) not in sys.path


def test_no_option_leads_out_of_the_results(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from jaxal.strategies.uncertain import entropy\ndef f(*, where: str = 'here'):\n    return entropy()\n"
    )
    name = named_strategy(f"{tmp_path}/mine.py:f,where=../../escaped/there", STRATEGIES).name
    assert "/" not in name and ".." not in name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Strategy(Needs(pool=('entropyy',)), None)", "needs 'entropyy' of the pool cases; what can be computed is"),
        ("Strategy(Needs(pool='entropy'), None)", "needs 'entropy' instead of a tuple of names"),
    ],
)
def test_what_cannot_be_computed_is_refused_before_any_training(tiny_folder, tmp_path, line, message):
    mine = tmp_path / "mine.py"
    mine.write_text(f"from jaxal.strategies.contract import Needs, Strategy\ndef f(): return {line}\n")
    status, output = killing.here(killing.command(tiny_folder, tmp_path / "out", f"{mine}:f"))
    assert status == 2
    assert message in " ".join(output.split())
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_name_do_not_share_a_folder(tiny_folder, tmp_path):
    for name, other in (("a", "entropy"), ("b", "margin")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(f"from jaxal.strategies.uncertain import {other} as f\n")
    arguments = killing.command(tiny_folder, tmp_path / "out", f"{tmp_path}/a/mine.py:f")
    arguments.insert(arguments.index("--data"), f"{tmp_path}/b/mine.py:f")
    status, output = killing.here(arguments)
    assert status == 2
    assert "its results would lie in the folder 'mine.f' of another one" in " ".join(output.split())


def test_help_tells_of_a_strategy_in_a_file(mine, capsys):
    assert main(["strategies", f"{mine}:my_strategy,sharpness=2"]) == 0
    told = capsys.readouterr().out
    assert "Entropy where the two most probable classes are close" in told and "sharpness=1.0" in told
    assert "the prediction's entropy" in told and "all data of which that is known" in told


def decided(**parts):
    pool = [Unit(Case(name, "", Path())) for name in ("a", "b")]
    strategy = Strategy(
        **{"needs": Needs(pool=("entropy",)), "score": lambda statistics, context: statistics["entropy"], **parts}
    )
    nothing = Seen((), {})
    return decide(strategy, Context(jax.random.key(0), pool), None, {"entropy": np.ones(2)}, nothing, nothing, 1)


def test_what_a_strategy_does_wrong_is_said():
    with pytest.raises(
        UserError, match=r"reads 'margin' of the pool, which its Needs\(pool=…\) does not name; it names entropy\."
    ):
        decided(score=lambda statistics, context: statistics["margin"])
    with pytest.raises(UserError, match="The strategy's select gave list; it must give a Query"):
        decided(select=lambda *given: ["a"])
    with pytest.raises(KeyError, match="entropy"):  # its own affair
        decided(score=lambda statistics, context: {}["entropy"])
    assert decided().query.units == ("a",)
