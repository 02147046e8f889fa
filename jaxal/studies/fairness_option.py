"""The question of fairness: is entropy unfair to a group of patients, and what mends it? An option of studies that tell classes apart."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from jaxal.errors import UserError
from jaxal.report.comparison import FEWEST_SEEDS
from jaxal.studies import revisit

# Those that answer it: what asks for nothing, what may overlook a group, and what mends it, one step at a time.
STRATEGIES = ("random", "entropy", "weighted_entropy", "scaled_entropy", "weighted_scaled_entropy")
STRATEGIES_OF_IMAGES = ("random", "stratified_random", "entropy", "worst_group")  # whose classes have no volume
A = TypeVar("A", bound=Any)


@dataclasses.dataclass(frozen=True)
class FairnessOption:
    """The option."""

    fairness: bool = False
    """Is entropy unfair to a group of patients here, and what mends it? In place of --strategy random, entropy and its weighted and scaled forms, with
    three seeds or more and training on everything."""


def with_fairness(arguments: A, strategies: tuple[str, ...] = STRATEGIES) -> A:
    """What `--fairness` stands for; a run that is looked at again keeps to the strategies that are named.

    Args:
      arguments: a study's, with this option.
      strategies: those that answer it.

    Raises:
      UserError: parts of cases are asked for, which no strategy weighs by groups, or other strategies are named.
    """
    if not arguments.fairness or revisit.is_asked_for(arguments):
        return arguments
    if getattr(arguments, "of_parts", False):
        raise UserError("--fairness compares strategies that ask for whole cases; leave --unit out.")
    if getattr(arguments, "study", False):
        raise UserError("--fairness and --study each choose the strategies; give one of them.")
    if arguments.strategy != next(field.default for field in dataclasses.fields(arguments) if field.name == "strategy"):
        raise UserError(
            f"--fairness compares {', '.join(strategies)}; leave --strategy out. The same command without --fairness adds others to its folder."
        )
    return dataclasses.replace(arguments, strategy=strategies, seeds=max(arguments.seeds, FEWEST_SEEDS), full=True)


def check_groups(arguments: FairnessOption, groups: Sequence[str]) -> None:
    """Refuses the question where there are no groups to tell apart.

    Raises:
      UserError: all cases are of one group.
    """
    if arguments.fairness and len(groups) < 2:
        where = f"all cases are of the group {groups[0]!r}" if groups and groups[0] else "no case has a group"
        raise UserError(f"--fairness compares groups of patients, but {where}. Name a column with --group-column.")
