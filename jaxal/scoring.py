"""The pass: every case is read once, its deterministic layers run once, and all statistics leave together."""

import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxal import uncertainty
from jaxal.data.cases import Case, Example
from jaxal.data.stream import batches
from jaxal.statistics import STATISTICS, StatisticsConfig, View
from jaxal.types import Model, Output, Params

Array = jax.Array
Collected = dict[str, Any]  # statistic's name -> pytree of arrays with a leading axis of units


class Pass:
    """A compiled pass over cases of one shape for a fixed set of statistics.

    Scores of a case depend on the parameters, the key, the batch size and the case alone, not on its neighbours in the batch,
    their order or their number.

    Args:
      model: the network.
      statistics: names of what to compute (`statistics.STATISTICS`); each is computed once however often it is asked for.
      members: dropout samples, drawn only if a statistic needs them.
      batch_size: cases on the device at once; part of the configuration, since results may differ in the last bits across
        batch sizes.
      config: of the statistics.
    """

    def __init__(self, model: Model, statistics: Sequence[str], members: int, batch_size: int, config: StatisticsConfig):
        unknown = sorted(set(statistics) - STATISTICS.keys())
        if unknown:
            raise ValueError(f"Unknown statistics {unknown}; there are {sorted(STATISTICS)}.")
        self.statistics = tuple(sorted(set(statistics)))
        self.batch_size = batch_size
        needs_members = any(STATISTICS[name].needs_members for name in self.statistics)
        self._run = jax.jit(functools.partial(_evaluate, model, self.statistics, members if needs_members else 0, config))

    def __call__(
        self,
        params: Params,
        key: Array,
        cases: Sequence[Case],
        load: Callable[[Case], Example],
        progress: Callable[[int, int], None] | None = None,
    ) -> Collected:
        """Streams cases through the pass.

        Args:
          params: of the model.
          key: of the round; member and unit keys are folded from it.
          cases: units of this version are whole cases.
          load: reads a case.
          progress: called with the number of cases done and of all cases.

        Returns:
          Each statistic's results as NumPy arrays with a leading axis of cases, in their order.
        """
        parts: list[Collected] = []
        done = 0
        for batch in batches(cases, load, self.batch_size):
            numbers = np.array([_stable_number(case.id) for case in batch.cases], np.uint32)
            numbers = np.pad(numbers, (0, self.batch_size - len(numbers)))
            results = self._run(params, key, batch.examples, numbers)
            done += (count := len(batch.cases))
            parts.append(jax.tree.map(lambda part, count=count: np.asarray(part)[:count], results))
            if progress:
                progress(done, len(cases))
        if not parts:
            return {}
        return jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)


def _stable_number(name: str) -> int:
    """A number for a name that is the same on every machine and in every run (Python's own hash is not)."""
    return zlib.crc32(name.encode())


def _evaluate(
    model: Model,
    names: tuple[str, ...],
    members: int,
    config: StatisticsConfig,
    params: Params,
    key: Array,
    examples: Example,
    numbers: Array,
) -> Collected:
    shape = examples.label.shape[1:]
    hidden = model.stem(params, examples.image)
    certain = model.tail(params, hidden, None)
    features = _flat(certain)
    logits = logits_of(features, *model.head(params))
    moments = _member_moments(model, params, hidden, members, key, logits.shape) if members else None
    unit_keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, 1), numbers)

    def one(features, logits, moments, valid, label, unit_key):
        single = uncertainty.add_member(uncertainty.no_moments(logits.shape), logits)
        label = label.reshape(-1).astype(jnp.int32)
        view = View(features, logits, single, moments, valid.reshape(-1), label, unit_key, shape)
        return {name: STATISTICS[name].evaluate(view, config) for name in names}

    in_moments = None if moments is None else uncertainty.ClassMoments(None, 0, 0, 0, 0)
    return jax.vmap(one, (0, 0, in_moments, 0, 0, 0))(features, logits, moments, examples.valid, examples.label, unit_keys)


def _member_moments(model: Model, params: Params, hidden, members: int, key: Array, shape: tuple[int, ...]):
    """Streams the members into their moments; only the tail runs again for each."""

    def add(moments, member):
        masks = model.draw_masks(jax.random.fold_in(jax.random.fold_in(key, 0), member))
        logits = logits_of(_flat(model.tail(params, hidden, masks)), *model.head(params, masks))
        return uncertainty.add_member(moments, logits), None

    moments, _ = jax.lax.scan(add, uncertainty.no_moments(shape), jnp.arange(members))
    return moments


def logits_of(features: Array, kernel: Array, bias: Array) -> Array:
    """Logits, classes first: `[batch, features, elements]` and `[(batch,) features, classes]` to `[batch, classes, elements]`."""
    equation = "bfn,bfc->bcn" if kernel.ndim == 3 else "bfn,fc->bcn"
    return jnp.einsum(equation, features, kernel, precision=jax.lax.Precision.HIGHEST) + bias[None, :, None]


def _flat(output: Output) -> Array:
    """`[batch, *space, features]` to `[batch, features, elements]`."""
    features = output.features
    return jnp.moveaxis(features.reshape(features.shape[0], -1, features.shape[-1]), -1, -2)
