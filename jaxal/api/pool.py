"""Scores of images in memory by several strategies, from one compiled pass, with anybody's network."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxal.api.measures import array_of, budget_of, one_hot
from jaxal.arrays import key_of
from jaxal.errors import UserError
from jaxal.networks.checked import explained, first_line, layout
from jaxal.scoring.members import MembersConfig, stack_networks
from jaxal.scoring.pool_pass import Given, Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.strategies.contract import Context, Needs, Strategy, decide, given_by, score_pool
from jaxal.strategies.named import named_strategy
from jaxal.task_kind import TaskKind
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import Array, Case, Collected, Example, Model, Params, Seen, Unit

Images = Any  # an array [items, *space, channels], or a sequence of [*space, channels] that are read one by one
Labelled = tuple[Images, Any]  # images and their labels


class Ensemble(NamedTuple):
    """Several networks, as `score` takes them: every leaf of the params with a leading axis of networks."""

    params: Params
    networks: int


def ensemble(params: Sequence[Params]) -> Ensemble:
    """Several networks' params as one ensemble, whose disagreement is uncertainty (Lakshminarayanan et al. 2017, arXiv 1612.01474)."""
    networks = list(params)
    if len(networks) < 2:
        raise UserError(f"An ensemble is of two networks at least; there are {len(networks)}.")
    return Ensemble(stack_networks(networks), len(networks))


@dataclasses.dataclass(frozen=True)
class ScoreOptions:
    """What decides the numbers of `score`, besides the network and the images.

    Attributes:
      dropout_samples: of each network and view, if the network has dropout.
      flips: space axes, the first is 0; every subset of them is a view of the image.
      batch_size: images at once.
      learning_rate: of the one gradient step of the information gains, which their option `step_rate=training` means.
      seed: of all that is drawn.
      statistics: what counts as region of interest, and how large regions are, where each element has a class.
    """

    dropout_samples: int = 20
    flips: tuple[int, ...] = ()
    batch_size: int = 8
    learning_rate: float = 3e-3
    seed: int = 0
    statistics: StatisticsConfig = dataclasses.field(default_factory=StatisticsConfig)


class Evidence(NamedTuple):
    """All that strategies decide by, as `strategies.contract.decide` takes it."""

    context: Context
    head: tuple[Array, Array]
    pool: Collected
    labelled: Seen
    evaluation: Seen


class _NotScored(UserError, KeyError):
    """A strategy that was not scored; also a KeyError, because `in` and `get` of a mapping wait for one."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotation marks


class Scores(Mapping[str, np.ndarray]):
    """Scores `[items]` by strategy; high means "label me". `select` makes a query of them."""

    def __init__(self, strategies: Mapping[str, Strategy], evidence: Evidence):
        self._strategies, self._evidence = strategies, evidence
        self._scores = {name: score_pool(strategy, *evidence)[0] for name, strategy in strategies.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._scores:
            raise _NotScored(f"{name!r} was not scored; there are {', '.join(self._scores)}.")
        return self._scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def __repr__(self) -> str:
        return f"Scores of {len(self._evidence.context.pool)} images by {', '.join(self._scores)}"

    def select(self, strategy: str, budget: int) -> np.ndarray:
        """Places of the images that a strategy asks for, best first: the highest scores, or what its own rule chooses as a set.

        Args:
          strategy: one of those that were scored, as it was written there.
          budget: how many; all of them when there are fewer.

        Raises:
          UserError: the strategy was not scored, or the budget is no whole number from one upwards.
        """
        self[strategy]  # or it tells which there are
        names = self._evidence.context.ids
        query = decide(self._strategies[strategy], *self._evidence, budget_of(budget, len(names))).query
        places = {name: place for place, name in enumerate(names)}
        return np.array([places[name] for name in query.units], np.int64)


def score(
    model: Model,
    params: Params | Ensemble,
    images: Images,
    strategies: Sequence[str] | str,
    *,
    labelled: Labelled | None = None,
    evaluation: Labelled | None = None,
    options: ScoreOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Scores images by all strategies in one pass: each image is read once, and its deterministic layers run once.

    Whether an image has one class, or each of its elements, follows from the features that the network makes.

    Args:
      model: `jaxal.networks.adapters` makes one of any network.
      params: its weights, or an `ensemble` of several.
      images: the pool, `[items, *space, channels]`, or a sequence that gives `[*space, channels]` one by one; all of one shape.
      strategies: names, perhaps with options: `aeig,renormalise=true`.
      labelled: images and labels that the network was trained on, for strategies that compare with them, such as `coreset`.
      evaluation: images and labels of an evaluation set, for strategies whose gain is measured there, such as `aeig`. Labels are
        `[items]`, or `[items, *space]`, whole numbers; below zero where there is none.
      options: members, batch size, and what else decides numbers.
      progress: called with the number of images done and of all.

    Raises:
      UserError: something that was given does not fit; the message says what.
    """
    _check_model(model)
    options = options or ScoreOptions()
    given, networks = (params.params, params.networks) if isinstance(params, Ensemble) else (params, 1)
    first = jax.tree.map(lambda leaf: leaf[0], given) if networks > 1 else given
    image = _image("images", _sequence("images", images), 0)
    _check_layout(np.shape(images) if isinstance(images, np.ndarray) else (len(images), *image.shape), model.example)
    network = _Network(model, first, image)
    chosen = _named(strategies, network.kind)
    needs = _needs(chosen, network, labelled, evaluation)
    members = _members(network, networks, options, needs)
    key = key_of(options.seed)

    def see(split: _Split, names: tuple[str, ...], of_pool: bool, values: Mapping[str, Any] = MappingProxyType({})) -> Seen:
        if not names:
            return Seen(split.cases, {})
        by_all = of_pool or any(network.kind.statistics[name].needs_members for name in names)
        of_split = members if by_all else dataclasses.replace(members, networks=1)
        pass_ = Pass(network.kind, model, names, of_split, options.batch_size, options.statistics, jax.devices()[:1])
        weights, told = given if by_all else first, progress if of_pool else None
        return Seen(split.cases, pass_(Given(weights, values), jax.random.fold_in(key, 1), split.cases, split.load, told))

    labelled_seen, evaluated = [
        see(_Split(name, *_pair(name, of), network), of_split, False) if of is not None else Seen((), {})
        for name, of, of_split in (("labelled", labelled, needs.labelled), ("evaluation", evaluation, needs.evaluation))
    ]
    split, head = _Split("images", images, None, network), model.head(first)
    context = Context(jax.random.fold_in(key, 2), [Unit(case) for case in split.cases], learning_rate=options.learning_rate)
    values = given_by(list(chosen.values()), context, head, evaluated)
    pool = see(split, needs.pool, True, values)
    return Scores(chosen, Evidence(context, head, pool.statistics, labelled_seen, evaluated))


def _check_model(model: Any) -> None:
    """Makes sure that a network went through an adapter."""
    if isinstance(model, Model):
        return
    if isinstance(model, tuple) and model and isinstance(model[0], Model):
        raise UserError("model is what an adapter returned, a pair; write model, params = ... and give both.")
    raise UserError(
        f"model is of type {type(model).__name__}. An adapter makes one of a network, with its params: model, params = "
        "jaxal.networks.adapters.linen(network, variables, images[:2], head=...); there are nnx, equinox, function and logits, too."
    )


def _check_layout(shape: tuple[int, ...], example: tuple[int, ...] | None) -> None:
    """Makes sure that a pool is laid out as the adapter's example was; other sizes of images are left to the network.

    Args:
      shape: of the pool, `[items, *space, channels]`.
      example: of one image of the example; None where that is not known.

    Raises:
      UserError: there are other axes, or other channels.
    """
    image = shape[1:]
    if example is None or (len(image) == len(example) and image[-1] == example[-1]):
        return
    if len(image) == len(example) and image[0] == example[-1]:
        advice = "Of channels first it is np.moveaxis(images, 1, -1)."
    elif len(image) == len(example) - 1 and example[-1] == 1 and len(shape) > 1 and shape != example:
        advice = "Without an axis of channels it is images[..., None]."
    elif shape == example:
        advice = "A single image is image[None], and without an axis of channels it is images[..., None]."
    else:
        advice = "They must have the same axes, [items, *space, channels], and as many channels."
    raise UserError(
        f"images: an image has shape {image}, but in the example that the adapter was given it had {example}. {advice}"
    )


def _pair(name: str, given: Any) -> Labelled:
    """Images and their labels.

    Raises:
      UserError: they are not two.
    """
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise UserError(f"{name} is of type {type(given).__name__}; give {name}=(images, labels).")
    return given[0], given[1]


class _Network:
    """What a network is made for: the shape of images, the kind of task, what has a class of its own, and how many classes there are.

    Raises:
      UserError: it does not run on the images, or its features fit no kind of task.
    """

    def __init__(self, model: Model, params: Params, image: np.ndarray):
        self.model, self.shape = model, image.shape
        batch = jax.ShapeDtypeStruct((1, *image.shape), np.float32)
        try:
            output = jax.eval_shape(lambda params, images: model.tail(params, model.stem(params, images), None), params, batch)
            self.classes = jax.eval_shape(model.head, params)[1].shape[0]
        except UserError:
            raise
        except Exception as error:  # a network of somebody else's may raise anything
            trouble = f"The network does not run on images of shape {image.shape} with these params"
            if model.example is None:
                advice = layout("images")
            elif model.example != image.shape:
                advice = f"It ran on the adapter's example, whose images have shape {model.example}."
            else:
                advice = "It ran with those that the adapter returned; several networks are jaxal.ensemble([...])."
            if known := explained(error):
                raise UserError(f"{trouble}: {known} {advice}") from None
            raise UserError(f"{trouble}: {first_line(error).rstrip('.')}. {advice}") from error
        made = output.features.shape[1:]
        if len(made) == 1:
            self.kind, self.space = CLASSIFICATION, ()
        elif made[:-1] == image.shape[:-1]:
            self.kind, self.space = SEGMENTATION, image.shape[:-1]
        else:
            raise UserError(
                f"The network makes features of shape {made} of an image of shape {image.shape}; it must give one vector for the image, or one for "
                "every element."
            )


class _Split:
    """Images in memory as cases, whose names are their places.

    Args:
      name: as messages call them.
      images: see `score`.
      labels: likewise; None hides them.
      network: which they are for.
    """

    def __init__(self, name: str, images: Images, labels: Any, network: _Network):
        self._name, self._images, self._shape, self._space = name, _sequence(name, images), network.shape, network.space
        count, space = len(images), network.space
        self._labels = np.full((count, *space), -1) if labels is None else array_of(f"{name}: labels", labels)
        if self._labels.shape != (count, *space) or not np.issubdtype(self._labels.dtype, np.integer):
            raise UserError(
                f"{name}: labels have shape {self._labels.shape} and type {self._labels.dtype}; the network needs whole numbers of shape "
                f"{(count, *space)}." + one_hot(self._labels, (count, *space), network.classes)
            )
        if labels is not None and self._labels.max() < 0:
            raise UserError(f"{name}: no label is known; all are below zero.")
        if self._labels.max() >= network.classes:
            raise UserError(f"{name}: a label is {self._labels.max()}, but the network knows classes 0 to {network.classes - 1}.")
        digits = len(str(count - 1))
        self.cases = [Case(f"{place:0{digits}d}", "", Path()) for place in range(count)]

    def load(self, case: Case) -> Example:
        """An image with its label, if there is one, checked as it is read."""
        place = int(case.id)
        image = _image(self._name, self._images, place)
        if image.shape != self._shape:
            raise UserError(f"{self._name}: image {place} has shape {image.shape}; the first one of the pool has {self._shape}.")
        label = self._labels[place]
        known = label >= 0
        return Example(image, np.where(known, label, 0).astype(np.uint8), np.ones(self._space, bool), known)


def _sequence(name: str, images: Images) -> Images:
    if not hasattr(images, "__len__") or not hasattr(images, "__getitem__"):
        raise UserError(f"{name} must be an array or a sequence of arrays, but are of type {type(images).__name__}.")
    if len(images) == 0:
        raise UserError(f"{name}: there are none.")
    return images


def _image(name: str, images: Images, place: int) -> np.ndarray:
    image = array_of(f"{name}: the rows of image {place}", images[place])
    if image.ndim < 1 or not np.issubdtype(image.dtype, np.number):
        raise UserError(
            f"{name}: image {place} has shape {image.shape} and type {image.dtype}; numbers [*space, channels] are needed."
        )
    image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise UserError(f"{name}: image {place} holds numbers that are not finite.")
    return image


def _named(strategies: Sequence[str] | str, kind: TaskKind) -> dict[str, Strategy]:
    names = [strategies] if isinstance(strategies, str) else list(dict.fromkeys(strategies))
    if not names:
        raise UserError(f"No strategy is named; there are {', '.join(kind.strategies)}.")
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise UserError(f"A strategy is named by a text, such as 'entropy', but there is {wrong[0]!r}.")
    return {name: named_strategy(name, kind.strategies).strategy for name in names}


def _needs(chosen: Mapping[str, Strategy], network: _Network, labelled: Labelled | None, evaluation: Labelled | None) -> Needs:
    """The statistics that all strategies need together.

    Raises:
      UserError: a strategy looks at a split that was not given, at features that are not known, or needs a network of its own.
    """
    for name, strategy in chosen.items():
        if strategy.last_network or strategy.auxiliary:
            raise UserError(f"{name}: needs a network of its own training; run it in a loop of rounds.")
        if not network.model.has_features and any(
            network.kind.statistics[statistic].needs_features for split in strategy.needs for statistic in split
        ):
            raise UserError(f"{name}: reads the features before the last layer, but of this network only the logits are known.")
        if strategy.needs.labelled and labelled is None:
            raise UserError(f"{name}: compares with what is labelled; give labelled=(images, labels).")
        if strategy.needs.refused:
            raise UserError(f"{name}: looks at cases that readers refused, which rounds know of; run it in a loop of rounds.")
        if strategy.needs.evaluation and (evaluation is None or _pair("evaluation", evaluation)[1] is None):
            raise UserError(f"{name}: looks at an evaluation set; give evaluation=(images, labels).")
    parts = zip(*(strategy.needs for strategy in chosen.values()), strict=True)
    return Needs(*(tuple(sorted({name for names in part for name in names})) for part in parts))


def _members(network: _Network, networks: int, options: ScoreOptions, needs: Needs) -> MembersConfig:
    """Which members there are.

    Raises:
      UserError: a strategy measures how members disagree, and there is only one.
    """
    dropout = options.dropout_samples if jax.eval_shape(network.model.draw_masks, jax.random.key(0)) else 0
    members = MembersConfig(networks, options.flips, dropout)
    of_members = sorted(name for name in needs.pool if network.kind.statistics[name].needs_members)
    if of_members and members.count < 2:
        raise UserError(
            f"{', '.join(of_members)}: how members disagree is measured, but no dropout of this network is known, or it drew nothing when the "
            'adapter tried it. Name the call that switches it on where the adapter is made (of linen and nnx on={"train": True} or what the flag '
            "is), give jaxal.ensemble([...]) of several params, or flips in the options."
        )
    return members
