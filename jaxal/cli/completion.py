"""What `jaxal completion` prints."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxal.cli.help import VERBS
from jaxal.cli.strategies import EVERY
from jaxal.errors import UserError

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
    from jaxal.cli import bench, compare, probabilities, strategies, verbs
    from jaxal.cli.project_options import PROJECT_OPTIONS

    of_verb: dict[str, list[Any]] = {
        "simulate": [verbs.OnScans, verbs.OnImages],
        "plan": [verbs.OnScans],
        "score": [verbs.Score, probabilities.Arguments],
        "predict": [verbs.Predict],
        "compare": [compare.Arguments],
        "strategies": [strategies.Arguments],
        "bench": [bench.Arguments],
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
            options[f"--{name.strip('_').replace('_', '-')}"] = list(EVERY) if name == "strategy" else _choices(plain)
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
