"""What `jaxal strategies` and `jaxal completion` print."""

import dataclasses
import inspect
import textwrap
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxal.cli.help import VERBS
from jaxal.errors import UserError
from jaxal.strategies.contract import Strategy
from jaxal.strategies.named import named_strategy, options_of, summary_of
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, REGRESSION_STRATEGIES, STRATEGIES, STRATEGIES_OF_PARTS

TABLES = {
    "segmentation": STRATEGIES,
    "classification": CLASSIFICATION_STRATEGIES,
    "parts of cases": STRATEGIES_OF_PARTS,
    "regression": REGRESSION_STRATEGIES,
}
SPLITS = {"pool": "the pool", "labelled": "the labelled cases", "evaluation": "an evaluation set with labels"}
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
    "masked_entropy": "the entropy around the predicted structure",
    "scaled_entropy": "the prediction's entropy over the predicted structure's volume",
    "scaled_region_entropy": "the entropy around the predicted structure over its volume",
    "foreground": "the share that is predicted as foreground",
    "regions": "predictions and features, averaged over regions (an image with one class is one region)",
    "evaluation_sample": "features and classes of a sample of the elements",
    "overlap": "how predictions and labels overlap",
    "calibration": "how probabilities fit the labels",
    "temperature": "how likely the labels are at several temperatures",
    "prediction": "the predicted probabilities",
    "member_probability": "each member's probabilities",
    "filtered": "how predictions and labels overlap where the members are sure",
    "joined": "the members' mean probabilities",
    "spread": "the numbers that members predict, and their variances",
    "member_values": "the numbers that each member predicts",
}  # in plain words
EVERY = {**REGRESSION_STRATEGIES, **STRATEGIES_OF_PARTS, **CLASSIFICATION_STRATEGIES, **STRATEGIES}


def strategies(names: Sequence[str]) -> str:
    """Lists all strategies, or tells everything about some: what they do, their options, what they look at and what it costs."""
    return "\n\n".join(map(_all_about, names)) if names else _listed()


def _listed() -> str:
    lines = []
    for name, make in EVERY.items():
        tasks = _tasks(name)
        only = f" For {tasks[0]} only." if len(tasks) == 1 else ""
        lines.append(textwrap.fill(f"{name}: {summary_of(make)}{only}", 80, subsequent_indent="    "))
    return "\n".join(
        [*lines, "", "`jaxal strategies NAME` tells a strategy's options. They follow its name:", "weighted_entropy,gamma=3."]
    )


def _all_about(name: str) -> str:
    strategy, make = named_strategy(name, EVERY).strategy, EVERY[name.split(",")[0]]
    options = [f"{option.name}={option.default}" for option in inspect.signature(make).parameters.values()]
    looks = [
        f"{SPLITS[split]}: {' and '.join(_told_of(need) for need in needs)}"
        for split, needs in strategy.needs._asdict().items()
        if needs
    ]
    told = {
        "Options": ", ".join(options) if options_of(make) else "none",
        "Looks at": "; ".join(looks) or "nothing but the names in the pool",
        "Costs": _cost(strategy),
        "For": ", ".join(_tasks(name.split(",")[0])),
    }
    lines = [textwrap.fill(f"{title}: {text}", 80, subsequent_indent="    ") for title, text in told.items()]
    told_by_itself = [_wrapped(line) for line in (inspect.getdoc(make) or "").splitlines()]
    return "\n".join([*told_by_itself, "", *lines])


def _told_of(statistic: str) -> str:
    """What a statistic is; one of parts is called after the measure that their means are of."""
    measure = statistic.removeprefix("windows_")
    return STATISTICS.get(statistic) or f"the best windows by {STATISTICS.get(measure, measure.replace('_', ' '))}"


def _wrapped(line: str) -> str:
    """A line of a docstring within 80 columns, its continuation set in further."""
    text = line.lstrip()
    before = " " * (len(line) - len(text))
    return textwrap.fill(text, 80, initial_indent=before, subsequent_indent=before + ("    " if before else ""))


def _cost(strategy: Strategy) -> str:
    """What a strategy costs a round besides the training."""
    from jaxal.tasks.classification import CLASSIFICATION
    from jaxal.tasks.regression import REGRESSION
    from jaxal.tasks.segmentation import SEGMENTATION_OF_PARTS

    known = {**REGRESSION.statistics, **SEGMENTATION_OF_PARTS.statistics, **CLASSIFICATION.statistics}
    parts = []
    if strategy.needs.pool:
        members = any(known[name].needs_members or known[name].needs_each_member for name in strategy.needs.pool)
        parts.append(
            "a forward of each case of the pool, and again all that follows the first dropout layer for each member"
            if members
            else "a forward of each case of the pool"
        )
    if strategy.needs.labelled:
        parts.append("nothing more for the labelled cases, which every round looks at")
    if strategy.needs.evaluation:
        parts.append("a forward of each evaluation case")
    if strategy.auxiliary:
        parts.append("an auxiliary output that is trained, too")
    return "; ".join(parts) or "nothing"


def _tasks(name: str) -> list[str]:
    return [task for task, table in TABLES.items() if name in table]


# Completion

SHELLS = ("bash", "zsh", "fish")


def completion(shells: Sequence[str]) -> str:
    """What makes a shell complete verbs, options, their choices and strategies; everything else is completed as a path.

    Raises:
      UserError: not one of the three shells is named.
    """
    if len(shells) != 1 or shells[0] not in SHELLS:
        raise UserError(f"jaxal completion SHELL: names one of {', '.join(SHELLS)}.")
    options = _options()
    return _fish(options) if shells[0] == "fish" else _bash(options, shells[0] == "zsh")


def _options() -> dict[str, dict[str, list[str]]]:
    """The options of each verb, with the words that each may be followed by; none where it is anything."""
    from jaxal.cli import compare, probabilities, verbs
    from jaxal.cli.project_options import PROJECT_OPTIONS

    of_verb: dict[str, list[Any]] = {
        "simulate": [verbs.OnScans, verbs.OnImages],
        "plan": [verbs.OnScans],
        "score": [verbs.Score, probabilities.Arguments],
        "predict": [verbs.Predict],
        "compare": [compare.Arguments],
        **{verb: [kind] for verb, kind in PROJECT_OPTIONS.items()},
    }
    options: dict[str, dict[str, list[str]]] = {verb: {"--help": []} for verb in VERBS}
    for verb, kinds in of_verb.items():
        for kind in kinds:
            options[verb] |= _options_of(kind)
    return options


def _options_of(kind: Any) -> dict[str, list[str]]:
    import tyro

    options: dict[str, list[str]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        field = kind.__dataclass_fields__.get(name)
        if field is None or (get_origin(hint) is not None and "ClassVar" in str(hint)):
            continue
        if dataclasses.is_dataclass(plain := _plain(hint)):
            options |= _options_of(plain)
        elif not any(mark is tyro.conf.Suppress or mark is tyro.conf.Positional for mark in marks):
            options[f"--{name.replace('_', '-')}"] = list(EVERY) if name == "strategy" else _choices(plain)
    return options


def _plain(hint: Any) -> Any:
    return getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint


def _choices(hint: Any) -> list[str]:
    """The words of a `Literal`, perhaps one that may be left out."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    return [word for part in get_args(hint) for word in _choices(part)]


def _bash(options: dict[str, dict[str, list[str]]], in_zsh: bool) -> str:
    of_verb = "\n".join(f'      {verb}) words="{" ".join(known)}" ;;' for verb, known in options.items())
    after = {option: words for known in options.values() for option, words in known.items() if words}
    of_option = "\n".join(f'    {option}) words="{" ".join(words)}" ;;' for option, words in after.items())
    return f"""{"autoload -U +X bashcompinit && bashcompinit" if in_zsh else "# bash completion of jaxal"}
_jaxal() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}} option= words= place
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "{" ".join(VERBS)} --help --version" -- "$word"))
    return
  fi
  if [[ $word == -* ]]; then
    case $verb in
{of_verb}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    return
  fi
  for ((place = COMP_CWORD - 1; place > 1; place--)); do
    if [[ ${{COMP_WORDS[place]}} == --* ]]; then option=${{COMP_WORDS[place]}}; break; fi
  done
  case $verb in
    strategies) option=--strategy ;;
    completion) words="{" ".join(SHELLS)}" ;;
  esac
  case $option in
{of_option}
  esac
  COMPREPLY=()
  if [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$word")); fi
}}
complete -o default -F _jaxal jaxal"""


def _fish(options: dict[str, dict[str, list[str]]]) -> str:
    lines = ["# fish completion of jaxal", f"complete -c jaxal -n __fish_use_subcommand -f -a '{' '.join(VERBS)}'"]
    for verb, known in options.items():
        inside = f"complete -c jaxal -n '__fish_seen_subcommand_from {verb}'"
        for option, words in known.items():
            lines.append(f"{inside} -l {option.removeprefix('--')}" + (f" -x -a '{' '.join(words)}'" if words else ""))
    lines.append(f"complete -c jaxal -n '__fish_seen_subcommand_from strategies' -f -a '{' '.join(EVERY)}'")
    lines.append(f"complete -c jaxal -n '__fish_seen_subcommand_from completion' -f -a '{' '.join(SHELLS)}'")
    return "\n".join(lines)
