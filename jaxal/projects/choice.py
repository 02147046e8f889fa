"""What a round asks for: cases, and where parts of them are asked for, which."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxal.data.draws import spread
from jaxal.projects.kind import Drawing, PartsOfCases
from jaxal.projects.kinds import kind_of
from jaxal.projects.network import Working
from jaxal.projects.project import Project
from jaxal.projects.state import Round, State
from jaxal.rounds.propose import Chosen
from jaxal.types import Part


class Choice(NamedTuple):
    """What a round asks for.

    Attributes:
      chosen: cases that the strategy chose, or of which it chose parts, best first.
      at_random: cases drawn beside them, or those of which nothing but parts at random is asked for.
      roles: what labels will be used for that are not for training.
      record: what is known of it, ready for JSON.
      working: the round's network; None in a first query, which comes from none.
      params: its weights.
      parts: of each case that are asked for, on its own grid, and whether each was drawn at random; empty where cases are asked for as a whole.
    """

    chosen: Sequence[str]
    at_random: Sequence[str]
    roles: Mapping[str, str]
    record: dict[str, Any]
    working: Working | None = None
    params: Any = None
    parts: Mapping[str, Sequence[tuple[Part, bool]]] = {}

    def shorter(self) -> "Choice":
        """Without the last case that the strategy chose, but for its first; then without those drawn beside it."""
        if len(self.chosen) > 1 or not self.at_random:
            return self._replace(chosen=self.chosen[:-1])
        return self._replace(at_random=self.at_random[:-1])


def record_of(working: Working, chosen: Chosen) -> dict[str, Any]:
    """What is known of a strategy's choice, ready for JSON."""
    query = chosen.decision.query
    return {
        "strategy": dict(working.run.identity),
        "scores": dict(zip(query.units, map(float, query.scores), strict=True)),
        "score_gap": query.gap,
        **chosen.decision.explanation,
        "collapsed": chosen.failures,
        "would_take": list(chosen.would_take),
        "seconds": chosen.seconds,
    }


def parts_at_random(project: Project, state: State, round_: Round, choice: Choice) -> Choice:
    """A first query's cases with parts of them drawn at random: nobody knows yet which parts would teach most.

    There are several parts of each case, because opening a case takes a reader's time, too. Cases of the evaluation set are asked for in parts like
    the others.
    """
    cases = [*choice.chosen, *choice.at_random]
    drawn = _draw(project, state, round_, _shared_out(cases, int(round_.fields["size"])), {})
    parts = {id_: [(part, True) for part in of_case] for id_, of_case in drawn.items() if of_case}
    return choice._replace(
        chosen=[id_ for id_ in choice.chosen if id_ in parts],
        at_random=[id_ for id_ in choice.at_random if id_ in parts],
        roles={id_: role for id_, role in choice.roles.items() if id_ in parts},
        parts=parts,
    )


def parts_of_strategy(project: Project, state: State, round_: Round, working: Working, chosen: Chosen) -> Choice:
    """The parts that the strategy chose, and beside them parts at random of cases drawn from all, which tell how good the network is elsewhere."""
    decision, number, count = chosen.decision, round_.number, int(round_.fields["at_random"])
    of_strategy = _of_parts(project).own(project, [decision.units[name] for name in decision.query.units])
    unasked = list(round_.fields["unasked"])
    groups = {id_: project.cases[id_].group for id_ in unasked}
    seed, name = project.settings.protocol.seed, f"random share of round {number}"
    cases = spread(unasked, groups, min(count, len(unasked)), seed, name)
    drawn = _draw(project, state, round_, _shared_out(cases, count), of_strategy)
    at_random = {id_: [part for part in of_case if part not in of_strategy.get(id_, ())] for id_, of_case in drawn.items()}
    parts = {
        id_: [*((part, False) for part in of_strategy.get(id_, ())), *((part, True) for part in at_random.get(id_, ()))]
        for id_ in dict.fromkeys([*of_strategy, *sorted(at_random)])
    }
    parts = {id_: of_case for id_, of_case in parts.items() if of_case}
    only_random = [id_ for id_ in parts if id_ not in of_strategy]
    return Choice(list(of_strategy), only_random, {}, record_of(working, chosen), working, chosen.params, parts)


def _draw(
    project: Project, state: State, round_: Round, counts: Mapping[str, int], besides: Mapping[str, Sequence[Part]]
) -> dict[str, list[Part]]:
    known = dict([*round_.training, *round_.evaluation, *round_.test])
    return _of_parts(project).draw(project, state, Drawing(counts, known, besides, f"query {round_.number}"))


def _of_parts(project: Project) -> PartsOfCases:
    parts = kind_of(project).parts
    assert parts is not None
    return parts


def _shared_out(cases: Sequence[str], count: int) -> dict[str, int]:
    """How many parts each case has, as evenly as it goes; none where there are more cases than parts."""
    counts = {id_: count // len(cases) + (place < count % len(cases)) for place, id_ in enumerate(cases)}
    return {id_: number for id_, number in counts.items() if number}
