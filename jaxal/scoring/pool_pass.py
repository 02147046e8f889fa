"""The pass: every case is read once, its deterministic layers run once, and all statistics leave together."""

import collections
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxal import hosts
from jaxal.arrays import flat, logits_of, logits_of_images, numbers_of
from jaxal.data.stream import batches
from jaxal.errors import within_memory
from jaxal.numbers import NUMBERS
from jaxal.scoring.journal import Journal, Keeping
from jaxal.scoring.members import MembersConfig, Stream, first_network, kept_of_member, stream_members
from jaxal.scoring.sensitivity import MEASURES
from jaxal.scoring.statistics import View
from jaxal.task_kind import Statistic, TaskKind
from jaxal.types import Case, Collected, Example, Model, Params

Array = jax.Array

_QUEUED = 2  # batches that are sent while one is computed, so that the device has work whenever this thread is late


class Given(NamedTuple):
    """What all cases of a pass share.

    Attributes:
      params: of the network.
      values: what strategies give statistics, by their names, in place of their own (`Statistic.given`).
    """

    params: Params
    values: Mapping[str, Any]


class Pass:
    """A compiled pass over cases of one shape for a fixed set of statistics.

    Scores of a case depend on the parameters, the key, the batch size and the case alone: not on its neighbours in the batch,
    their order or their number, nor on the number of devices and hosts.

    Args:
      kind: of task, which says what can be computed.
      model: the network.
      statistics: names of what to compute (`kind.statistics`); each is computed once however often it is asked for.
      members: whose disagreement counts; they run only if a statistic needs them.
      batch_size: cases on each device at once; part of the configuration, since results may differ in the last bits across
        batch sizes.
      config: of the statistics.
      devices: of this host that share the work; all of them by default.
    """

    def __init__(
        self,
        kind: TaskKind,
        model: Model,
        statistics: Sequence[str],
        members: MembersConfig,
        batch_size: int,
        config: Any,
        devices: Sequence[jax.Device] | None = None,
    ):
        unknown = sorted(set(statistics) - kind.statistics.keys())
        if unknown:
            raise ValueError(f"Unknown statistics {unknown} of {kind.name}; there are {sorted(kind.statistics)}.")
        self.statistics = tuple(sorted(set(statistics)))
        parts = tuple((name, kind.statistics[name]) for name in self.statistics)
        needed = [name for name, statistic in parts if statistic.needs_members]
        if needed and members.count < 2:
            raise ValueError(f"{needed} measure how members disagree, but {members} makes only one.")
        if not model.has_features and (reading := [name for name, statistic in parts if statistic.needs_features]):
            raise ValueError(f"{reading} read the features before the last layer, but of this network only the logits are known.")
        self._members, self._batch_size, self._config = members, batch_size, config
        mesh = Mesh(np.array(devices or jax.local_devices()), ("cases",))
        self._everywhere, self._shared = NamedSharding(mesh, P()), NamedSharding(mesh, P("cases"))
        self._at_once = batch_size * mesh.size
        self._given = {name: statistic.given for name, statistic in parts if statistic.given is not None}
        self._run = _compiled(_Program(Stream(model, members, kind.moments, kind.dense), parts, kind.label_type, config), mesh)

    def __call__(
        self,
        params: Params | Given,
        key: Array,
        cases: Sequence[Case],
        load: Callable[[Case], Example],
        progress: Callable[[int, int], None] | None = None,
        journal: Journal | None = None,
    ) -> Collected:
        """Streams cases through the pass.

        Args:
          params: of the model, one network's or several stacked (`MembersConfig.networks`), perhaps with what statistics are given.
          key: of the round; member and unit keys are folded from it.
          cases: each once.
          load: reads a case.
          progress: called with the number of cases done and of all cases, on several hosts of those that are this one's.
          journal: keeps each case's results as they come, and gives back those that are there already.

        Returns:
          Each statistic's results as NumPy arrays with a leading axis of cases, in their order; on every host those of all.
        """
        if not cases:
            return {}
        cases_here = list(cases[hosts.index() :: hosts.count()])
        what = f"Scoring {self._batch_size} cases at once on each device ({', '.join(self.statistics)})"
        with within_memory(what, "A smaller batch_size, or smaller patches or images, need less."):
            results = self._results_of(params, key, cases_here or list(cases[:1]), load, progress, journal)
        if hosts.count() == 1:
            return results
        most_cases = -(-len(cases) // hosts.count())

        def of_all(part: np.ndarray) -> np.ndarray:
            gathered = hosts.gather(np.pad(part, [(0, most_cases - len(part))] + [(0, 0)] * (part.ndim - 1)))
            # The case at place i was scored by host i modulo their number.
            return np.swapaxes(gathered, 0, 1).reshape(-1, *part.shape[1:])[: len(cases)]

        return jax.tree.map(of_all, results)  # one by one, so that memory holds only one of them twice

    def _results_of(
        self, params: Params | Given, key: Array, cases: list[Case], load, progress, journal: Journal | None
    ) -> Collected:
        given, key = jax.device_put((self._with_values(params), key), self._everywhere)
        left: Sequence[int] = range(len(cases))
        rows, write = _Rows(len(cases)), None
        if journal:
            pass_, names = self._identity(given, key, journal.identity), _Names(cases)
            left = rows.resume(names, journal.read(pass_), lambda: self._structure(params, key, load(cases[0])))

            def write(places: Sequence[int]) -> None:
                journal.write(pass_, [(names[place], rows.pack(place)) for place in places])

        with Keeping(write, progress, len(cases) - len(left), len(cases)) as keeping:
            at, running = 0, collections.deque[tuple[Sequence[int], Collected]]()

            def finish() -> None:
                places, results = running.popleft()
                rows.put(places, results)
                keeping.add(places)

            for batch in batches([cases[place] for place in left], load, self._at_once):
                numbers = numbers_of([case.id for case in batch.cases])
                numbers = np.pad(numbers, (0, self._at_once - len(numbers)))
                results = self._run(given, key, *jax.device_put((batch.examples, numbers), self._shared))
                for leaf in jax.tree.leaves(results):
                    leaf.copy_to_host_async()  # as soon as it is there, and not when it is asked for
                places, at = left[at : at + len(batch.cases)], at + len(batch.cases)
                running.append((places, results))
                if len(running) > _QUEUED:
                    finish()
            while running:
                finish()
        return rows.collected()

    def _with_values(self, params: Params | Given) -> Given:
        """The params, and what each statistic that reads something is given."""
        params, values = params if isinstance(params, Given) else (params, {})
        chosen = {name: values.get(name, own) for name, own in self._given.items()}
        if lacking := [name for name, value in chosen.items() if value is ...]:
            raise ValueError(f"{lacking} read what a strategy must give them.")
        return Given(params, jax.tree.map(lambda part: np.asarray(part, np.float32) if np.isscalar(part) else part, chosen))

    def _structure(self, params: Params | Given, key: Array, example: Example) -> Collected:
        """Shapes and types of the results of one batch."""
        batch = jax.tree.map(lambda part: jax.ShapeDtypeStruct((self._at_once, *part.shape), part.dtype), example)
        return jax.eval_shape(self._run, self._with_values(params), key, batch, jax.ShapeDtypeStruct((self._at_once,), np.uint32))

    def lower(self, params: Params, key: Array, examples: Example, numbers: Any) -> jax.stages.Lowered:
        """The program of a batch before it is compiled; arguments may be shapes. `numbers` are those of the cases' names (`numbers_of`)."""
        return self._run.lower(self._with_values(params), key, examples, numbers)

    def program_bytes(self, params: Params, key: Array, example: Example) -> int:
        """Memory that one call of the compiled pass takes on a device, arguments and results included."""
        batch = jax.tree.map(lambda part: jax.ShapeDtypeStruct((self._at_once, *part.shape), part.dtype), example)
        numbers = jax.ShapeDtypeStruct((self._at_once,), np.uint32)
        memory = self.lower(params, key, batch, numbers).compile().memory_analysis()
        assert memory is not None  # CPUs and GPUs tell it
        return memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes

    def _identity(self, given: Given, key: Array, outside: str) -> str:
        """A hash of all that decides a case's results but the case."""
        settings = {
            "outside": outside,
            "statistics": self.statistics,
            "members": dataclasses.asdict(self._members),
            "batch_size": self._batch_size,
            "config": repr(self._config),
            "device": jax.devices()[0].device_kind,
            "versions": [jax.__version__, NUMBERS],
            "key": np.asarray(jax.random.key_data(key)).tolist(),
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path((given.params, given.values) if given.values else given.params):
            digest.update(f"{path} {leaf.shape} {leaf.dtype}".encode() + np.asarray(leaf).tobytes())
        return digest.hexdigest()[:32]


class _Rows:
    """Results of all cases, filled in as they come."""

    def __init__(self, count: int):
        self._count = count
        self._structure: Any = None
        self._leaves: list[np.ndarray] = []

    def resume(self, names: Sequence[str], kept: Mapping[str, bytes], structure: Callable[[], Collected]) -> Sequence[int]:
        """Takes in what a journal kept; returns the places of the cases that are left."""
        there = [place for place, name in enumerate(names) if name in kept]
        if not there:
            return range(self._count)
        self._allocate(structure())
        for place in there:
            self._unpack(place, kept[names[place]])
        return sorted(set(range(self._count)).difference(there))

    def _allocate(self, batch: Collected) -> None:
        """Makes room, once the shapes of a batch's results are known."""
        leaves, self._structure = jax.tree.flatten(batch)
        self._leaves = [np.zeros((self._count, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]

    def put(self, places: Sequence[int], results: Collected) -> None:
        """Takes the first rows of a batch's results."""
        if self._structure is None:
            self._allocate(results)
        for whole, part in zip(self._leaves, jax.tree.leaves(results), strict=True):
            whole[np.asarray(places)] = np.asarray(part)[: len(places)]

    def pack(self, place: int) -> bytes:
        return b"".join(leaf[place].tobytes() for leaf in self._leaves)

    def _unpack(self, place: int, data: bytes) -> None:
        start = 0
        for leaf in self._leaves:
            size = leaf[:1].nbytes
            leaf[place] = np.frombuffer(data[start : start + size], leaf.dtype).reshape(leaf.shape[1:])
            start += size

    def collected(self) -> Collected:
        return jax.tree.unflatten(self._structure, self._leaves)


class _Names(Sequence[str]):
    """The names by which a journal knows cases; each is made when it is asked for, since those of a large pool take more room than its scores."""

    def __init__(self, cases: Sequence[Case]):
        self._cases = cases

    def __getitem__(self, place):
        case = self._cases[place]
        known = f"{case.label.version} {case.label.parts or ''}".rstrip() if case.label else ""
        return f"{case.id} {case.version} {known}"

    def __len__(self) -> int:
        return len(self._cases)


# XLA's CPU scheduler runs independent parts of a program side by side. Here that sets the samples' moments beside the search for
# the region of interest, which made the pass of all strategies cost 1.4 times its forward instead of 1.1.
_ON_CPU = {"xla_cpu_enable_concurrency_optimized_scheduler": False}


class _Program(NamedTuple):
    """What a pass computes of its cases; equal ones are compiled once."""

    stream: Stream
    statistics: tuple[tuple[str, Statistic], ...]
    label_type: Any
    config: Any


@functools.lru_cache(maxsize=64)
def _compiled(program: _Program, mesh: Mesh) -> jax.stages.Wrapped:
    """The program of a pass; several strategies and seeds of a study run the same ones."""

    evaluate = functools.partial(_evaluate, program)
    # Each device runs the program of a single one on its own cases; nothing travels between them.
    in_specs, out_specs = (P(), P(), P("cases"), P("cases")), P("cases")
    shared = jax.shard_map(evaluate, mesh=mesh, check_vma=False, in_specs=in_specs, out_specs=out_specs)
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return jax.jit(shared, compiler_options=_ON_CPU if on_cpu else None)


def _evaluate(program: _Program, given: Given, key: Array, examples: Example, numbers: Array) -> Collected:
    stream, names, params = program.stream, program.statistics, given.params
    model, moments = stream.model, stream.moments
    shape = examples.label.shape[1:]
    first = first_network(stream.config, params)
    within = examples.inside if stream.dense else None
    hidden = model.stem(first, examples.image, within)
    certain = model.tail(first, hidden, None)
    features = flat(certain)
    kernel, bias = model.head(first)
    logits = logits_of(features, kernel, bias)
    single = moments.of_members(logits[None])
    inside, labelled = (part.reshape(len(part), -1) for part in (examples.inside, examples.labelled))
    members = each = None
    if any(statistic.needs_members for _, statistic in names):
        of_batch = jax.vmap(functools.partial(kept_of_member, stream.dense, program.config, shape))
        kept = functools.partial(of_batch, inside=inside) if any(statistic.needs_each_member for _, statistic in names) else None
        seen = stream, params, examples.image, hidden, jax.random.fold_in(key, 0), moments.prediction(single)
        members, each = stream_members(*seen, within, kept)
    case_keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, 1), numbers)

    def of_case(view: View) -> Collected:
        return {
            name: statistic.evaluate(view._replace(shape=shape, given=given.values.get(name)), program.config)
            for name, statistic in names
        }

    label = examples.label.reshape(len(examples.label), -1).astype(program.label_type)
    image = examples.image.reshape(len(examples.image), -1, examples.image.shape[-1])
    parts = (features, certain.embedding, certain.auxiliary, logits, single, members, each, inside, labelled, label, case_keys)
    whole = functools.partial(logits_of_images, model, first, inside=within)
    keys = jax.vmap(jax.random.fold_in, (0, None))(case_keys, 1)
    read = sorted({statistic.of_inputs for _, statistic in names if statistic.of_inputs})
    sensitivity = {name: MEASURES[name](whole, examples.image, inside, keys) for name in read}
    views = View(*parts, (), None, image, kernel, sensitivity)
    by_item = moments.item_axes
    of_members = None if members is None else by_item, None if each is None else 1
    return jax.vmap(of_case, (View._make((0, 0, 0, 0, by_item, *of_members, 0, 0, 0, 0, None, None, 0, None, 0)),))(views)
