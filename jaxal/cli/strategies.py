"""What `jaxal strategies` prints."""

import dataclasses
import inspect
import math
import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import tyro

from jaxal.errors import UserError
from jaxal.report.advice import Measured, kind_of, read_evidence, told_of
from jaxal.strategies.composed import OF_TWO, RULES
from jaxal.strategies.contract import Strategy
from jaxal.strategies.first import OF_FIRST_SETS
from jaxal.strategies.named import function_of, named_strategy, options_of, summary_of
from jaxal.strategies.table import (
    CLASSIFICATION_STRATEGIES,
    REGRESSION_STRATEGIES,
    STRATEGIES,
    STRATEGIES_OF_MASKS,
    STRATEGIES_OF_PARTS,
)
from jaxal.task_kind import Statistic

TABLES = {
    "segmentation": STRATEGIES,
    "classification": CLASSIFICATION_STRATEGIES,
    "parts of cases": STRATEGIES_OF_PARTS,
    "regression": REGRESSION_STRATEGIES,
    "images with masks": STRATEGIES_OF_MASKS,
}
EVERY = {**REGRESSION_STRATEGIES, **STRATEGIES_OF_PARTS, **CLASSIFICATION_STRATEGIES, **STRATEGIES_OF_MASKS}
FAMILIES = {  # what a file of `jaxal/strategies/` holds
    "at_random": "At random",
    "uncertain": "What the network is unsure of",
    "informative": "What a label would tell, and gradients",
    "fisher": "What a label would tell of the last layer",
    "adversarial": "How little must change for another prediction",
    "evidential": "How much evidence the network has",
    "predicted": "What a further output predicts",
    "joint": "What labels would tell together",
    "diverse": "Unlike each other and what is labelled",
    "covering": "What stands for many others",
    "first": "Features alone, made for a first set",
    "clustered": "Some of every cluster",
    "by_class": "Some for every class",
    "targeted": "Like what fares badly, or like a rare class",
    "fair": "For the worst-served group of patients",
    "regions": "Parts of cases alone",
    "values": "Numbers alone",
}
ONLY = {"scans": "segmentation", "images": "classification", "regions": "parts of cases", "regression": "regression"}
KINDS = {**ONLY, "regions": kind_of("image segmentation", True)}  # of tasks of the leaderboard
SPLITS = {
    "pool": "the pool",
    "labelled": "the labelled cases",
    "evaluation": "an evaluation set with labels",
    "refused": "cases that were refused",
}
STATISTICS = {
    "entropy": "the prediction's entropy",
    "least_confidence": "the largest probability",
    "margin": "the lead of the most probable class",
    "mc_entropy": "the entropy of the members' mean prediction",
    "variation_ratio": "the members' votes",
    "mean_std": "how the members' probabilities differ",
    "bald": "what the label would tell of the members",
    "egl": "the expected length of the last layer's gradient",
    "gradient_norm": "the length of the entropy's gradient",
    "head_gradient": "the last layer's gradient",
    "embedding": "pooled features",
    "auxiliary": "the auxiliary output",
    "self_supervised_loss": "how hard a network that learned without labels finds each",
    "masked_entropy": "the entropy around the predicted structure",
    "scaled_entropy": "the prediction's entropy over the predicted structure's volume",
    "scaled_region_entropy": "the entropy around the predicted structure over its volume",
    "foreground": "the share that is predicted as foreground",
    "regions": "predictions and features, averaged over regions (an image with one class is one region)",
    "evaluation_sample": "features and classes of a sample of the elements",
    "overlap": "how predictions and labels overlap",
    "drawn": "how much there is to draw",
    "calibration": "how probabilities fit the labels",
    "temperature": "how likely the labels are at several temperatures",
    "prediction": "the prediction",
    "member_probability": "each member's probabilities",
    "member_regions": "each member's probabilities, averaged over regions",
    "filtered": "how predictions and labels overlap where the members are sure",
    "joined": "the members' mean probabilities",
    "spread": "the numbers that members predict, and their variances",
    "member_values": "the numbers that each member predicts",
    "gini": "how likely two draws from the prediction differ",
    "best_versus_second": "the second largest probability over the largest",
    "tempered_entropy": "the prediction's entropy at a temperature",
    "tempered_margin": "the lead of the most probable class at a temperature",
    "free_energy": "the summed exponentials of the logits",
    "steps_to_another_class": "how many small steps change the prediction",
    "divergence_nearby": "how far the prediction moves where it changes fastest",
    "distance_to_another_class": "the shortest change of the image for another class",
    "evidential_uncertainties": "how unsure the network is of the distribution over classes, and of the class besides",
    "variance": "the variance of the members' probabilities",
    "vote_entropy": "the entropy of the members' votes",
    "pairwise_divergence": "the divergence between members",
    "dissent": "the share of members that vote against the prediction",
    "class_shares": "the predicted share of each class",
    "entropy_by_class": "the prediction's entropy, and the part of each class",
    "class_counts": "how much is labelled of each class",
    "contextual_mixtures": "what each predicted class is confused with",
    "nearness_to_boundary": "how near the last layer's features are to another class",
    "error": "one minus Dice, or minus the probability of the class",
    "disagreement_on_intersection": "what all members have in common of a structure",
    "disagreement_with_sides": "the Dice of side outputs with the last one",
    "disagreement_of_pairs": "the Dice of pairs of members",
    "expected_error_of_dice": "the Dice that the prediction expects of itself",
    "neighbourhood_disagreement": "how predictions differ from those next to them",
    "tiles": "features, averaged over windows side by side",
    "impurity_times_entropy": "how mixed predicted classes are, times how unsure",
}  # in plain words


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Lists the strategies, a line each, or tells all about some."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Of strategies, perhaps with options or rules behind them."""
    for_: Annotated[Literal["anything", "scans", "images", "regions", "regression"], tyro.conf.arg(name="for")] = "anything"
    """List only those for such data; of names what they mean there."""
    needs: Literal["anything", "nothing", "features", "members", "evaluation"] = "anything"
    """List only those that need the features before the last layer, members that disagree, an evaluation set, or none of these."""
    cost: bool = False
    """Tell, too, how many milliseconds a query took where it was measured."""


def strategies(words: Sequence[str]) -> str:
    """Lists strategies, or tells everything about some: what they do, their options, what they look at and what it costs."""
    asked = tyro.cli(Arguments, args=list(words), prog="jaxal strategies", description=Arguments.__doc__)
    if not asked.names:
        return _listed(asked)
    only = None if asked.for_ == "anything" else asked.for_
    told = [_all_about(name, only) for name in asked.names]
    return "\n\n".join(told if len(told) == 1 else [f"{name}\n\n{text}" for name, text in zip(asked.names, told, strict=True)])


def _listed(asked: Arguments) -> str:
    table = EVERY if asked.for_ == "anything" else TABLES[ONLY[asked.for_]]
    measured = _measured(asked) if asked.cost else None
    lines: list[str] = []
    for family, title in FAMILIES.items():
        listed = {name: make for name, make in table.items() if make.__module__.rpartition(".")[2] == family}
        if family == "first" and asked.for_ != "regions":
            listed |= {f"NAME+cold:{name}": make for name, make in OF_FIRST_SETS.items()}
        shown = [
            _line(name, make, _milliseconds(name, measured) if measured else "")
            for name, make in listed.items()
            if asked.needs == "anything" or asked.needs in _needs(make())
        ]
        lines += ["", title, *shown] if shown else []
    if asked.needs == "anything":
        rules = {f"NAME+{rule}{':NAME' if rule in OF_TWO else ''}": make for rule, make in RULES.items()}
        lines += ["", "Rules that make strategies of these", *(_line(rule, make) for rule, make in rules.items())]
    if measured:
        of = measured.setting
        lines += [
            "",
            *textwrap.wrap(f"ms: of a query where that was measured: {measured.about}; {of.pool} cases in the pool.", 80),
        ]
    return "\n".join(
        [*lines[1:], "", "`jaxal strategies NAME` tells all about one. Options follow its name:", "weighted_entropy,gamma=3."]
    )


def _measured(asked: Arguments) -> Measured:
    """The task of such data on which most strategies were measured; of several the one of the largest pool.

    Raises:
      UserError: none was.
    """
    evidence = read_evidence()
    of = "images" if asked.for_ == "anything" else asked.for_
    kind = KINDS[of]
    alike = [measured for measured in evidence.values() if measured.setting.kind == kind]
    if not alike:
        raise UserError(f"--cost: nothing was measured of {of}.")
    return max(alike, key=lambda measured: (len(measured.found), measured.setting.pool))


def _milliseconds(name: str, measured: Measured) -> str:
    found = measured.found.get(name)
    return "" if found is None or math.isnan(found.milliseconds) else f"{found.milliseconds:.0f} ms: "


def _line(name: str, make: Callable[..., Strategy], before: str = "") -> str:
    """A name, and of what it does as much as fits into a line, without the source."""
    wide = min(max(shutil.get_terminal_size().columns, 80), 130)
    summary = re.split(r" \((?=[A-Z])", summary_of(make))[0].rstrip(".")
    return f"  {name:<26} {textwrap.shorten(before + summary, wide - 30, placeholder=' …')}"


def _needs(strategy: Strategy) -> set[str]:
    """What a strategy needs besides one prediction of each case of the pool."""
    known = _statistics()
    of_splits = [known[statistic] for split in strategy.needs for statistic in split if statistic in known]
    found = {
        "features": any(statistic.needs_features for statistic in of_splits),
        "members": any(statistic.needs_members for statistic in of_splits),
        "evaluation": bool(strategy.needs.evaluation),
    }
    nothing = set() if strategy.auxiliary else {"nothing"}  # a further output must be trained
    return {need for need, is_needed in found.items() if is_needed} or nothing


class _Variant(NamedTuple):
    """A strategy as some data have it."""

    tasks: tuple[str, ...]
    make: Callable[..., Strategy]
    strategy: Strategy


def _variants(text: str, kind: str | None) -> list[_Variant]:
    """What a name means for each kind of data that it fits, those together that make no difference.

    Raises:
      UserError: it fits none.
    """
    name, found, trouble = text.split(",")[0].split("+")[0], dict[Callable[..., Strategy], _Variant](), None
    everything = {**EVERY, **OF_FIRST_SETS}
    if ".py:" in name:  # all data of which its statistics are known
        return [_Variant((), function_of(name, everything)[0], named_strategy(text, everything).strategy)]
    for task, table in TABLES.items():
        rows = {**table, **OF_FIRST_SETS}
        if (kind and task != ONLY[kind]) or name not in rows:
            continue
        try:
            strategy, make = named_strategy(text, rows).strategy, function_of(name, rows)[0]
        except UserError as error:
            trouble = trouble or error
            continue
        tasks = found[make].tasks if make in found else ()
        found[make] = _Variant((*tasks, task), make, strategy)
    if trouble and not found:
        raise trouble
    if not found:
        named_strategy(text, TABLES[ONLY[kind]] if kind else everything)  # tells what is wrong with the name
    return list(found.values())


def _all_about(text: str, kind: str | None = None) -> str:
    if text in RULES:
        doc = "\n".join(_wrapped(line) for line in _joined(inspect.getdoc(RULES[text]) or ""))
        return f"{doc}\n\nA rule, which follows a strategy: NAME+{text}{':NAME' if text in OF_TWO else ''}"
    text = f"random+{text}" if text.startswith("cold:") else text
    variants, everything = _variants(text, kind), {**EVERY, **OF_FIRST_SETS}
    rules = [rule.split(",")[0].partition(":") for rule in text.split("+")[1:]]
    others = [make for rule, _, other in rules for make in (RULES[rule], *([everything[other]] if other in everything else []))]
    lines: list[str] = []
    for doc in dict.fromkeys(inspect.getdoc(variant.make) or "" for variant in variants):
        lines += [*map(_wrapped, _joined(doc)), ""]
        for one in others:
            lines += [*map(_wrapped, _joined(inspect.getdoc(one) or "")), ""]
        others = []
        for variant in variants:
            if (inspect.getdoc(variant.make) or "") == doc:
                lines += [
                    textwrap.fill(f"{title}: {told}", 80, subsequent_indent="    ")
                    for title, told in _told(text, variant).items()
                ]
                lines.append("")
    if measured := told_of(text, read_evidence()):
        lines += [textwrap.fill(f"Measured: {'. '.join(measured)}", 80, subsequent_indent="    "), ""]
    return "\n".join(lines).rstrip("\n")


def _told(text: str, variant: _Variant) -> dict[str, str]:
    """What there is to know of a variant, by title."""
    strategy, name = variant.strategy, text.split(",")[0].split("+")[0]
    options = [f"{option.name}={option.default}" for option in inspect.signature(variant.make).parameters.values()]
    looks = [
        f"{SPLITS[split]}: {' and '.join(_told_of(need) for need in needs)}"
        for split, needs in strategy.needs._asdict().items()
        if needs
    ]
    told = {
        "Options": ", ".join(options) if options_of(variant.make) else "none",
        "Looks at": "; ".join(looks) or "nothing but the names in the pool",
        "Costs": _cost(strategy),
    }
    if strategy.first:
        learns = ", which a network learns first" if strategy.first.learns else ""
        told["At the start"] = f"features of the pool without labels, {strategy.first.features}{learns}"
    told["For"] = ", ".join(variant.tasks)
    if name in OF_FIRST_SETS:
        told["For"] = f"a first set alone, NAME+cold:{name}"
    if ".py:" in name:
        told["For"] = "all data of which that is known"
    return told


def _told_of(statistic: str) -> str:
    """What a statistic is; one of parts is called after the measure that their means are of."""
    measure = statistic.removeprefix("windows_")
    of_measure = STATISTICS.get(measure, measure.replace("_", " "))
    return of_measure if measure == statistic else f"the best windows by {of_measure}"


def _joined(doc: str) -> list[str]:
    """A docstring's lines, each paragraph and each entry of a list as one."""
    lines: list[str] = []
    for line in doc.splitlines():
        deep, before = len(line) - len(line.lstrip()), lines[-1] if lines else ""
        deep_before = len(before) - len(before.lstrip())
        goes_on = line.strip() and before and not before.endswith(":") and (deep > deep_before or deep == deep_before == 0)
        if goes_on:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return lines


def _wrapped(line: str) -> str:
    """A line of a docstring within 80 columns, its continuation set in further."""
    text = line.lstrip()
    before = " " * (len(line) - len(text))
    return textwrap.fill(text, 80, initial_indent=before, subsequent_indent=before + ("    " if before else ""))


def _statistics() -> dict[str, Statistic]:
    """Of all kinds of tasks."""
    from jaxal.tasks.classification import CLASSIFICATION
    from jaxal.tasks.image_segmentation import IMAGE_SEGMENTATION
    from jaxal.tasks.regression import REGRESSION
    from jaxal.tasks.segmentation import SEGMENTATION_OF_PARTS

    return {
        **REGRESSION.statistics,
        **SEGMENTATION_OF_PARTS.statistics,
        **CLASSIFICATION.statistics,
        **IMAGE_SEGMENTATION.statistics,
    }


def _cost(strategy: Strategy) -> str:
    """What a strategy costs a round besides the training."""
    known, parts = _statistics(), []
    if strategy.needs.pool:
        of_pool = [known[name] for name in strategy.needs.pool if name in known]
        members = any(statistic.needs_members or statistic.needs_each_member for statistic in of_pool)
        again = ", and again all that follows the first dropout layer for each member" if members else ""
        two = strategy.last_network in ("alone", "student")
        parts.append(
            "a forward of each case of the pool by each of two networks" if two else f"a forward of each case of the pool{again}"
        )
    if strategy.needs.labelled:
        parts.append("nothing more for the labelled cases, which every round looks at")
    if strategy.needs.evaluation:
        parts.append("a forward of each evaluation case")
    if strategy.needs.refused:
        parts.append("a forward of each case that was refused")
    if strategy.auxiliary:
        parts.append("an auxiliary output that is trained, too")
    if strategy.of_evidence:
        parts.append("networks that are trained with --evidence")
    return "; ".join(parts) or "nothing"
