"""`--fairness`: what it stands for, what it refuses, and its answer on the terminal."""

import dataclasses
from pathlib import Path

import pytest
from ledgers import THIN, write_rankings

from jaxal.cli import classification, segmentation
from jaxal.errors import UserError
from jaxal.studies import study
from jaxal.studies.fairness_option import STRATEGIES_OF_IMAGES, check_groups, with_fairness

ASKED = segmentation.Arguments(data=Path("scans"), fairness=True)


def test_it_stands_for_entropy_and_what_mends_it_over_three_seeds_or_more():
    arguments = with_fairness(ASKED)
    assert arguments.strategy == ("random", "entropy", "weighted_entropy", "scaled_entropy", "weighted_scaled_entropy")
    assert (arguments.seeds, arguments.full) == (3, True)
    assert with_fairness(dataclasses.replace(ASKED, seeds=5)).seeds == 5
    plain = segmentation.Arguments(data=Path("scans"))
    assert with_fairness(plain) is plain


def test_a_run_that_is_looked_at_again_keeps_to_the_strategies_that_are_named():
    arguments = dataclasses.replace(ASKED, score_only=Path("run"), strategy=("bald",))
    assert with_fairness(arguments).strategy == ("bald",)


def test_parts_of_cases_are_refused():
    with pytest.raises(UserError, match="whole cases; leave --unit out"):
        with_fairness(dataclasses.replace(ASKED, unit="box"))


def test_other_strategies_beside_the_question_are_refused():
    with pytest.raises(UserError, match="leave --strategy out"):
        with_fairness(dataclasses.replace(ASKED, strategy=("bald",)))


def test_two_questions_at_once_are_refused():
    with pytest.raises(UserError, match="--fairness and --study each choose"):
        with_fairness(classification.Arguments(data=Path("images"), fairness=True, study=True), STRATEGIES_OF_IMAGES)


@pytest.mark.parametrize(("group", "told"), [("", "no case has a group"), ("f", "all cases are of the group 'f'")])
def test_one_group_is_refused(group, told):
    with pytest.raises(UserError, match=f"{told}. Name a column with --group-column"):
        check_groups(ASKED, (group,))
    check_groups(dataclasses.replace(ASKED, fairness=False), (group,))


def test_the_answer_is_told_in_words_for_every_setting(tmp_path):
    write_rankings(tmp_path, THIN)
    write_rankings(tmp_path, {"entropy": (0.3, 0.08, 0.92, 1.4, None)}, setting="none-imbalanced", seeds=1)
    told = study.fairness_in_words(tmp_path)
    assert "closes" in told["thin-imbalanced"] and "entropy overlooks group B" in told["thin-imbalanced"]
    assert "none-imbalanced" not in told  # of one seed there is nothing to tell
