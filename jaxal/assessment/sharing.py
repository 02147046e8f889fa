"""Who reads what: balanced by minutes, one subject to one reader, and the same again after a restart."""

import hashlib
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple


class Reader(NamedTuple):
    """What a reader can do.

    Attributes:
      capacity: minutes a week; 0 of one who is away and gets nothing.
      load: minutes of cases that wait for the reader already.
    """

    capacity: float
    load: float = 0.0


Pair = tuple[str, str]


def share_out(
    cases: Sequence[str],
    minutes: Mapping[str, float],
    subjects: Mapping[str, str],
    readers: Mapping[str, Reader],
    *,
    double: Collection[str] = (),
    settled: Mapping[str, str] | None = None,
    pairs: Mapping[Pair, int] | None = None,
    key: str = "",
) -> dict[str, tuple[str, ...]]:
    """Shares cases out, the longest first, to whoever has the least load for their capacity (Graham 1969).

    All cases of a subject go to one reader. A case that is read twice goes to a second reader, too: of the pairs that have read the fewest
    cases, that with the least load, so that all pairs come round. What is equal is settled by a hash of the case's id, so that the
    order of the arguments does not matter and no reader is preferred for a name.

    Args:
      cases: ids, each once.
      minutes: that each will take.
      subjects: whose scan each is; a case that is missing is a subject of its own.
      readers: by name.
      double: cases to be read twice. With one reader alone they are read once.
      settled: reader of each subject that has been read or is being read; one who is away is replaced.
      pairs: how many cases each pair, its names in order, has read twice until now.
      key: of the project, so that ties fall differently in each.

    Returns:
      By case, in the order given, its readers: one, or two of those read twice.

    Raises:
      ValueError: if nobody has capacity, or a case is there twice.
    """
    if len(set(cases)) < len(cases):
        raise ValueError("A case is to be shared out twice.")
    state = _start(readers, pairs or {}, key)
    of_subject: dict[tuple[bool, str], list[str]] = {}
    for case in sorted(cases):
        of_subject.setdefault((case in subjects, subjects.get(case, case)), []).append(case)
    work = {subject: sum(minutes[case] for case in its_cases) for subject, its_cases in of_subject.items()}
    shared: dict[str, tuple[str, ...]] = {}
    for subject in sorted(of_subject, key=lambda subject: (-work[subject], _hash(key, of_subject[subject][0]))):
        its_cases = of_subject[subject]
        twice = [case for case in its_cases if case in double] if len(state.load) > 1 else []
        reader = (settled or {}).get(subject[1])
        again = {case: minutes[case] for case in twice}
        both = state.give(reader if reader in state.load else None, work[subject], again, its_cases[0])
        shared |= {case: both if case in again else both[:1] for case in its_cases}
    return {case: shared[case] for case in cases}


def _start(readers: Mapping[str, Reader], pairs: Mapping[Pair, int], key: str) -> "_State":
    there = sorted(name for name, reader in readers.items() if reader.capacity > 0)
    if not there:
        raise ValueError("No reader has capacity for a case.")
    together = dict.fromkeys(itertools.combinations(there, 2), 0) | dict(pairs)
    return _State({name: readers[name].load for name in there}, {name: readers[name].capacity for name in there}, together, key)


class _State(NamedTuple):
    """Minutes that wait for each reader who is there, their capacities, how many cases each pair has read, and the key of ties."""

    load: dict[str, float]
    capacity: Mapping[str, float]
    together: dict[Pair, int]
    key: str

    def relative(self, name: str, more: float) -> float:
        return (self.load[name] + more) / self.capacity[name]

    def give(self, reader: str | None, work: float, again: Mapping[str, float], case: str) -> tuple[str, ...]:
        """Gives a subject to a reader, who may be settled, and some of its cases to a second one, too."""
        if not again:
            reader = reader or self.one(work, case)
            self.load[reader] += work
            return (reader,)
        both = self.pair(reader, work, sum(again.values()), case)
        self.together[_in_order(both)] += len(again)
        self.load[both[0]] += work
        self.load[both[1]] += sum(again.values())
        return both

    def one(self, work: float, case: str) -> str:
        """The reader whose load is the least once the work is theirs."""
        return min(self.load, key=lambda name: (self.relative(name, work), _hash(self.key, case, name)))

    def pair(self, reader: str | None, work: float, again: float, case: str) -> Pair:
        """Who reads all of a subject, which may be settled, and who reads a part again."""

        def order(pair: Pair) -> tuple[int, float, str]:
            heavier = max(self.relative(pair[0], work), self.relative(pair[1], again))
            return self.together[_in_order(pair)], heavier, _hash(self.key, case, *pair)

        return min((pair for pair in itertools.permutations(self.load, 2) if reader in (None, pair[0])), key=order)


def _in_order(pair: Pair) -> Pair:
    return min(pair), max(pair)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
