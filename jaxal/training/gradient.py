"""The gradient of a batch: of the mean loss of its examples, or of the mean in which groups of patients have shares of their own.

Devices share the pieces that a batch is cut into; their gradients are added in the order of the examples (`training.step`).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxal.arrays import flat, logits_of
from jaxal.training import unlabelled
from jaxal.training.augment import augment
from jaxal.training.config import TrainingConfig
from jaxal.training.weighting import Cohort, GroupDRO, Shares, example_weights, group_losses, next_shares
from jaxal.types import Auxiliary, Example, FurtherLoss, Model, Params

Array = jax.Array
Clock = tuple[Array, Array]  # steps done, steps in all


class Recipe(NamedTuple):
    """All that a step is compiled for; of equal ones there is one program.

    Attributes:
      model: the network.
      config: how to train it.
      loss, dense: of the kind of task (`task_kind.TaskKind`).
      auxiliary: an output with a loss of its own, which a strategy asked for.
      further: loss of the further outputs that the network has itself (`types.FurtherLoss`).
      in_parts: of the kind of task; an example's loss then weighs as much as it has labelled elements.
      plane: of the kind of task; its images have two space axes.
    """

    model: Model
    config: TrainingConfig
    loss: Callable[[TrainingConfig, Array, Example], Array]
    dense: bool
    auxiliary: Auxiliary | None = None
    further: FurtherLoss | None = None
    in_parts: bool = False
    plane: bool = False

    @property
    def dro(self) -> GroupDRO | None:
        """How shares of groups follow their losses; None where groups have no shares."""
        return self.config.weighting.dro

    @property
    def weighs(self) -> bool:
        """Whether a step is told of its examples' groups."""
        return self.config.weighting.weighs

    @property
    def of_volumes(self) -> bool:
        """Whether each example is a volume, with labels for its elements."""
        return self.dense and not self.plane


class Batch(NamedTuple):
    """What a step learns from.

    Attributes:
      examples: labelled ones, with a leading axis.
      cohort: their groups of patients; None where all examples weigh alike.
      unlabelled: further examples, `Unlabelled.ratio` times as many, whose labels are not read; None where there are none.
    """

    examples: Example
    cohort: Cohort | None = None
    unlabelled: Example | None = None


class Further(NamedTuple):
    """Unlabelled examples at hand.

    Attributes:
      keys: of the variation and of the dropout of each, `[unlabelled]` each.
      batch: the examples.
    """

    keys: tuple[Array, Array]
    batch: Example


class Inputs(NamedTuple):
    """What is known of the examples at hand.

    Attributes:
      augment_keys, mask_keys: of each example, `[examples]`.
      batch: the examples.
      unlabelled: further ones without labels, as many or several times as many; None where there are none.
      weights: what the loss of each is multiplied by, `[examples]`; None where all weigh alike, or where that follows from the losses.
    """

    augment_keys: Array
    mask_keys: Array
    batch: Example
    weights: Array | None
    unlabelled: Further | None = None


class Told(NamedTuple):
    """What examples tell of themselves besides their gradient, for a head that compares them (`types.Auxiliary.comparison`).

    Attributes:
      losses: of the task, `[examples]`.
      read: what the head reads, leading axis `[examples]`.
    """

    losses: Array
    read: Any


class Cut(NamedTuple):
    """How a batch is cut.

    Attributes:
      pieces: of the examples at hand that yield a gradient of their own, one after the other; None where all come together.
      axis: name of the devices' axis; None where there is one device.
    """

    pieces: int | None = None
    axis: str | None = None


WHOLE = Cut()


class Course(NamedTuple):
    """How a step goes through its examples.

    Attributes:
      cut: of the batch.
      turns: number of pieces as XLA knows it.
      clock: steps done, and in all.
      teacher: weights that say what is to be learned of unlabelled examples; None where those that learn do.
    """

    cut: Cut
    turns: Array
    clock: Clock
    teacher: Params | None = None


def gradient_of(
    recipe: Recipe,
    params: Params,
    shares: Shares | None,
    key: Array,
    batch: Batch,
    course: Course,
) -> tuple[Params, Shares | None]:
    """The gradient of the mean loss of all devices' examples, the mean of the pieces' gradients added in their order; and the groups' shares after it.

    GroupDRO weighs examples by their losses. Where pieces have gradients of their own, these are weighed afterwards, else the losses of one
    forward pass are weighed before its gradient is taken. So it costs no pass more than ERM.

    Args:
      recipe: see `Recipe`.
      params: weights before the step.
      shares: of the groups before the step, with GroupDRO.
      key: of the step.
      batch: the examples at hand.
      course: how they are gone through.
    """
    axis, examples, cohort = course.cut.axis, batch.examples, batch.cohort
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    augment_keys, mask_keys = _keys(key, (0, 1), len(examples.image), axis)
    weights = _weights(recipe, examples, cohort, axis)
    weigh = None
    if recipe.dro:
        assert cohort is not None and shares is not None
        weigh = functools.partial(_robust_weights, recipe.dro, shares, _of_all(cohort, weights, axis))
        weights = None
    further = None
    if batch.unlabelled is not None:
        further = Further(_keys(key, (2, 3), len(batch.unlabelled.image), axis), batch.unlabelled)
    inputs = Inputs(augment_keys, mask_keys, examples, weights, further)
    losses, shares = None, None
    if course.cut.pieces is None:
        gradients, shares, told = _together(recipe, params, course, inputs, weigh)
    else:
        gradients, losses, told = _one_by_one(recipe, params, course, inputs)
    if devices > 1:
        gradients = jax.tree.map(lambda part: jax.lax.all_gather(part, axis, tiled=True), gradients)
    if weigh and losses is not None:
        of_pieces, shares = weigh(losses if axis is None else jax.lax.all_gather(losses, axis, tiled=True))
        gradients = jax.tree.map(lambda part: part * of_pieces.reshape(-1, *[1] * (part.ndim - 1)), gradients)
    total = (course.cut.pieces or 1) * devices
    gradient = jax.tree.map(lambda part: functools.reduce(jnp.add, (part[piece] for piece in range(total))) / total, gradients)
    if told is not None:
        gradient = {**gradient, "auxiliary": _of_comparing_head(recipe, params, told, axis)}
    return gradient, shares


def _keys(key: Array, purposes: tuple[int, int], count: int, axis: str | None) -> tuple[Array, Array]:
    """Of each example at hand for two purposes, the same for any number of devices."""
    devices, place = (1, 0) if axis is None else (jax.lax.axis_size(axis), jax.lax.axis_index(axis))
    keys = [jax.random.split(jax.random.fold_in(key, purpose), count * devices) for purpose in purposes]
    first, second = (jax.lax.dynamic_slice_in_dim(part, place * count, count) for part in keys)
    return first, second


def _of_comparing_head(recipe: Recipe, params: Params, told: Told, axis: str | None) -> Params:
    """The gradient of a head whose loss compares all examples of the batch; they come in the same order for any number of devices."""
    auxiliary = recipe.auxiliary
    assert auxiliary is not None and auxiliary.comparison is not None
    told = told if axis is None else jax.tree.map(lambda part: jax.lax.all_gather(part, axis, tiled=True), told)
    compared, read = auxiliary.comparison, told.read
    return jax.grad(lambda head: compared(auxiliary.apply(head, read), told.losses).mean())(params["auxiliary"])


def _weights(recipe: Recipe, batch: Example, cohort: Cohort | None, axis: str | None) -> Array | None:
    """What each example's loss is multiplied by, `[examples]`; None where all weigh alike.

    Of cases that are labelled in parts, it is how many labelled elements each has, over their mean in the whole batch: an element then weighs
    the same in all.
    """
    weights = None if cohort is None else cohort.weight
    if not recipe.in_parts:
        return weights
    counts = batch.labelled.reshape(len(batch.labelled), -1).sum(-1).astype(jnp.float32)
    of_all = counts if axis is None else jax.lax.all_gather(counts, axis, tiled=True)
    shares = counts / jnp.maximum(of_all.mean(), 1.0)
    return shares if weights is None else shares * weights


def _of_all(cohort: Cohort, weights: Array | None, axis: str | None) -> Cohort:
    """The examples of all devices."""
    mine = cohort if weights is None else cohort._replace(weight=weights)
    if axis is None:
        return mine
    group, weight = (jax.lax.all_gather(part, axis, tiled=True) for part in (mine.group, mine.weight))
    return Cohort(group, weight, mine.sizes)


def _robust_weights(dro: GroupDRO, shares: Shares, cohort: Cohort, losses: Array) -> tuple[Array, Shares]:
    """What each example of all devices weighs by the shares that follow from this batch's losses, `[examples]`; and these shares."""
    loss, weight = group_losses(losses, cohort)
    after = next_shares(dro, shares, loss, weight, cohort.sizes)
    return example_weights(after.share, weight, cohort), after


Weigh = Callable[[Array], tuple[Array, Shares]]


def _together(
    recipe: Recipe, params: Params, course: Course, inputs: Inputs, weigh: Weigh | None
) -> tuple[Params, Shares | None, Told | None]:
    """The gradient of all examples at hand as one piece, `[1, ...]`."""
    if weigh is None:
        gradient, told = jax.grad(_loss, 1, has_aux=True)(recipe, params, course, inputs)
        shares = None
    else:
        axis = course.cut.axis

        def robust(params: Params) -> tuple[Array, tuple[Shares, Told | None]]:
            losses, told = _losses(recipe, params, course, inputs)
            known = jax.lax.stop_gradient(losses)
            weights, shares = weigh(known if axis is None else jax.lax.all_gather(known, axis, tiled=True))
            if axis is not None:
                weights = jax.lax.dynamic_slice_in_dim(weights, jax.lax.axis_index(axis) * len(losses), len(losses))
            return (losses * weights).mean(), (shares, told)

        gradient, (shares, told) = jax.grad(robust, has_aux=True)(params)
    return jax.tree.map(lambda part: part[None], gradient), shares, told


def _one_by_one(recipe: Recipe, params: Params, course: Course, inputs: Inputs) -> tuple[Params, Array | None, Told | None]:
    """Each piece's own gradient, `[pieces, ...]`, one after the other; where weights follow from them, the losses, `[pieces]`; what examples tell."""
    pieces = course.cut.pieces
    assert pieces is not None and (recipe.dro is None or len(inputs.mask_keys) == pieces)
    parts = jax.tree.map(lambda part: part.reshape(pieces, part.shape[0] // pieces, *part.shape[1:]), inputs)

    def of_piece(part: Inputs) -> tuple[Params, Array | None, Told | None]:
        if recipe.dro is None:
            gradient, told = jax.grad(_loss, 1, has_aux=True)(recipe, params, course, part)
            return gradient, None, told
        (loss, told), gradient = jax.value_and_grad(_loss, 1, has_aux=True)(recipe, params, course, part)
        return gradient, loss, told

    def part_of(piece: Array) -> Inputs:
        return jax.tree.map(lambda all_: jax.lax.dynamic_index_in_dim(all_, piece, keepdims=False), parts)

    def put(piece: Array, found: Any) -> Any:
        one = of_piece(part_of(piece))
        return jax.tree.map(lambda all_, one: jax.lax.dynamic_update_index_in_dim(all_, one, piece, 0), found, one)

    shapes = jax.eval_shape(lambda: of_piece(part_of(course.turns)))
    nothing = jax.tree.map(lambda part: jnp.zeros((pieces, *part.shape), part.dtype), shapes)
    gradients, losses, told = jax.lax.fori_loop(0, course.turns, put, nothing)
    return gradients, losses, jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), told)


def _loss(recipe: Recipe, params: Params, course: Course, inputs: Inputs) -> tuple[Array, Told | None]:
    losses, told = _losses(recipe, params, course, inputs)
    total = losses.mean() if inputs.weights is None else (losses * inputs.weights).mean()
    if inputs.unlabelled is None:
        return total, told
    teacher = params if course.teacher is None else course.teacher
    further, method = inputs.unlabelled, recipe.config.unlabelled
    added = unlabelled.term(recipe.config, recipe.model, recipe.dense, params, teacher, further.keys, further.batch)
    return total + unlabelled.weight_at(method, *course.clock) * added.mean(), told


def _losses(recipe: Recipe, params: Params, course: Course, inputs: Inputs) -> tuple[Array, Told | None]:
    """Of each example, `[examples]`; and what examples tell of themselves, if a head compares them."""
    model = recipe.model
    batch = jax.vmap(functools.partial(augment, recipe.config, recipe.dense))(inputs.augment_keys, inputs.batch)
    masks = jax.vmap(model.draw_masks)(inputs.mask_keys)
    inside = batch.inside if recipe.dense else None
    output = model.tail(params, model.stem(params, batch.image, inside), masks)
    logits = logits_of(flat(output), *model.head(params, masks))
    losses = recipe.loss(recipe.config, logits, batch)
    if recipe.further:
        losses = losses + recipe.further(output.auxiliary, batch, *course.clock)
    auxiliary = recipe.auxiliary
    if auxiliary is None:
        return losses, None
    if auxiliary.comparison:
        return losses, Told(losses, auxiliary.read(output, logits))
    assert auxiliary.loss is not None, "a head has a loss, or compares"
    return losses + auxiliary.loss(output.auxiliary[auxiliary.name], logits, losses, batch), None
