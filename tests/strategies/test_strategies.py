"""Every strategy goes through one template; see `docs/adding-a-strategy.md`."""

import copy
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_images

from jaxal.acquisition import discriminator, information
from jaxal.arrays import key_of
from jaxal.assessment import fairness, metrics
from jaxal.data.scans.prepare import load_case
from jaxal.errors import UserError
from jaxal.networks.resnet import resnet
from jaxal.networks.unet import unet
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Given, Pass
from jaxal.strategies import at_random, informative
from jaxal.strategies.contract import Context, decide, given_by
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, STRATEGIES
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import Seen, Unit

KEY, BUDGET = jax.random.key(3), 3
CLUSTERED = ("kmeans", "clue", "typiclust", "dropquery", "cluster_margin", "alfa_mix", "predicted_dice", "activeft", "usl")
CLUSTERED = (*CLUSTERED, "optimal_transport", "representative_annotation", "reachable_density", "discriminative")
NO_RANKING = ("badge", "stratified_random", "worst_group", "batchbald", "flqmi", "logdetmi", "falcun", "ranked_batch", "bait")
NO_RANKING = (*NO_RANKING, "duc", "herding", "dcom", "kmeans_plusplus", "class_balanced", "clasp_pe")
SEES_FEATURES = (
    *("eig", "aeig", "uig", "cfig", "egl", "gradient_norm", "badge", "coreset", "flqmi", "linear_deepfool", "maxherding"),
    *("uherding", "probcover", "facility_location", "suggestive_annotation", "dpp", "ranked_batch", "similarity_discrepancy"),
    *("information_density", "flvmi", "gcmi", "logdetmi", "bait", "isal", "epig", "falcun", "cdal", "learning_loss"),
    *("herding", "prototypes", "dcom", "kmeans_plusplus"),
    *CLUSTERED,
)
OF_BOTH_TASKS = [("scans", name) for name in STRATEGIES] + [("images", name) for name in CLASSIFICATION_STRATEGIES]
OF_BOTH_TASKS.remove(("scans", "discriminative"))  # once is enough of what trains thirty networks
AT_RANDOM = ("random", "stratified_random", "cod", "clasp_pe")  # draw in the first round
# What they look at grows with what is asked for.
GROWING = ("suggestive_annotation", "bait", "duc", "class_balanced", "clasp_pe", *CLUSTERED)
LABELLED, EVALUATION = slice(0, 3), slice(12, 16)


def with_outputs(model, kind, example):
    """The network with the outputs that all strategies ask for, each of a fresh head, whose weights are no params here."""
    strategies = [make() for make in kind.strategies.values()]
    heads = {strategy.auxiliary.name: strategy.auxiliary for strategy in strategies if strategy.auxiliary}
    reads = {name: functools.partial(head.read, logits=None) for name, head in heads.items()}
    image = jnp.asarray(example.image[None])
    params = jax.jit(model.init)(jax.random.key(1), image)
    output = jax.eval_shape(lambda: model.tail(params, model.stem(params, image), None))
    weights = {name: head.init(jax.random.key(4), jax.eval_shape(reads[name], output)) for name, head in heads.items()}

    def tail(params, hidden, masks):
        output = model.tail(params, hidden, masks)
        return output._replace(auxiliary={name: head.apply(weights[name], reads[name](output)) for name, head in heads.items()})

    return model._replace(tail=tail)


class Bench:
    """A fresh network, a pool, labelled and evaluation cases, and every strategy's query over them."""

    def __init__(self, dataset, load, model, kind):
        self.dataset, self.load, self.kind = dataset, load, kind
        self.model = with_outputs(model, kind, load(dataset.cases[0]))
        self.params = jax.jit(model.init)(jax.random.key(1), jnp.asarray(load(dataset.cases[0]).image[None]))
        self.pool, self.kept = list(dataset.cases[3:12]), {}
        needs = [self.strategy(name).needs for name in kind.strategies]
        self.statistics = sorted(set(kind.assessment.labelled).union(*(set().union(*splits) for splits in needs)))

    def strategy(self, name):
        return named_strategy(name, self.kind.strategies).strategy

    @functools.cache  # noqa: B019, there are two benches
    def scaled(self, scale):
        """The network with its last layer's weights multiplied."""
        return {**self.params, "kernel": scale * self.params["kernel"]}

    def collect(self, names, cases, batch_size=2, params=None, given=None):
        """All statistics in one pass, which all strategies share; what a strategy did not ask for is kept from it."""
        collected = self._collected(tuple(cases), batch_size, self.params if params is None else params, given or {})
        return {name: collected[name] for name in names}

    def _collected(self, cases, batch_size, params, given):
        """Each pass is run once for all tests; the params are kept beside it, so that no others take their place in memory."""
        asked = (cases, batch_size, id(params), tuple(sorted(given.items())))
        if asked not in self.kept:
            pass_ = Pass(self.kind, self.model, self.statistics, MembersConfig(dropout=4), batch_size, tiny.STATISTICS)
            self.kept[asked] = params, pass_(Given(params, given), KEY, cases, self.load)
        return self.kept[asked][1]

    def query(self, name, pool=None, budget=BUDGET, batch_size=2, params=None):
        strategy = self.strategy(name)
        pool = self.pool if pool is None else pool
        params = self.params if params is None else params
        needs = strategy.needs
        cases = self.dataset.cases
        labelled = Seen(cases[LABELLED], self.collect(needs.labelled, cases[LABELLED], batch_size, params))
        evaluation = Seen(cases[EVALUATION], self.collect(needs.evaluation, cases[EVALUATION], batch_size, params))
        context, head = Context(KEY, [Unit(case._replace(label=None)) for case in pool]), self.model.head(params)
        given = given_by([strategy], context, head, evaluation)
        statistics = self.collect(needs.pool, pool, batch_size, params, given)
        return decide(strategy, context, head, statistics, labelled, evaluation, budget).query


@pytest.fixture(scope="module", autouse=True)
def short_lessons():
    """`discriminative` trains ten networks a query; how well they learn says nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discriminator, "_STEPS", 20)
        discriminator._trained.clear_cache()
        yield
    discriminator._trained.clear_cache()


@pytest.fixture(scope="module")
def bench(tiny_dataset):
    return Bench(tiny_dataset, lambda case: load_case(case, tiny_dataset), unet(tiny.NETWORK), SEGMENTATION)


@pytest.fixture(scope="module")
def image_bench(tmp_path_factory):
    images = tiny_images.read(tmp_path_factory.mktemp("images"), 16, ("A", "B"))
    return Bench(images.dataset, images.load, resnet(tiny_images.NETWORK), CLASSIFICATION)


@pytest.fixture
def benches(bench, image_bench):
    return {"scans": bench, "images": image_bench}


@pytest.mark.parametrize("name", ["badge", "coreset", "aeig", "entropy"])
def test_statistics_that_are_not_finite_are_named_before_anything_is_drawn(bench, name):
    """Picks of `badge` would repeat, and `coreset` would choose by comparisons with NaN."""
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), bench.params)
    with pytest.raises(
        UserError, match=r"output is not finite for \d+ of \d+ (pool|labelled|evaluation) cases, the first is case_\d+ "
    ):
        bench.query(name, params=broken)


def test_the_names_are_the_fields():
    """A new strategy's name goes into `both`, `scans` or the images' own."""
    both = "least_confidence margin entropy gini bvsb free_energy linear_deepfool minority mc_entropy variation_ratio vote_entropy mean_std variance pairwise_kl bald cod"
    both += (
        " eig aeig uig cfig mass egl gradient_norm coreset maxherding uherding probcover facility_location suggestive_annotation"
    )
    both += " dpp kmeans_plusplus ranked_batch falcun cdal similarity_discrepancy information_density flqmi flvmi gcmi logdetmi"
    both += " distribution_uncertainty duc learning_loss activeft usl optimal_transport representative_annotation"
    both += " herding discriminative reachable_density bim vat student_teacher epig class_balanced clasp_pe"
    both += " kmeans clue typiclust dropquery cluster_margin power_entropy power_bald badge random"
    both += " stratified_random worst_group"
    scans = "foreground_random masked_entropy scaled_entropy mc_iou pairwise_dice expected_dice neighbourhood ripu"
    scans += " predicted_dice weighted_entropy weighted_entropy_unmasked weighted_scaled_entropy"
    assert set(STRATEGIES) == {*both.split(), *scans.split()}
    assert set(CLASSIFICATION_STRATEGIES) == {
        *both.split(),
        "batchbald",
        "alfa_mix",
        "dcom",
        "augmented",
        "prototypes",
        "deepfool",
        "bait",
        "isal",
    }


@pytest.mark.parametrize(("task", "name"), OF_BOTH_TASKS)
def test_picks_are_distinct_from_the_pool_and_fill_the_budget(benches, task, name):
    bench = benches[task]
    query = bench.query(name)
    assert len(query.units) == len(set(query.units)) == BUDGET
    assert set(query.units) <= {case.id for case in bench.pool}
    if name not in (*NO_RANKING, *CLUSTERED):
        assert list(query.scores) == sorted(query.scores, reverse=True)
    assert np.isfinite(query.scores).all()
    everything = bench.query(name, budget=100)
    assert sorted(everything.units) == sorted(case.id for case in bench.pool)
    if name not in GROWING:
        assert everything.units[:BUDGET] == query.units


# In the discriminator's trainings the last bits of features grow.
@pytest.mark.parametrize(("task", "name"), [(task, name) for task, name in OF_BOTH_TASKS if name != "discriminative"])
def test_chunking_does_not_change_picks(benches, task, name):
    bench = benches[task]
    plain = bench.query(name, budget=9)
    other = bench.query(name, budget=9, batch_size=4)
    scores = dict(zip(other.units, other.scores, strict=True))
    np.testing.assert_allclose(
        [scores[unit] for unit in plain.units], plain.scores, rtol=1e-4, atol=2e-4 * np.abs(plain.scores).max()
    )
    if plain.gap is None or plain.gap > 1e-5:
        assert other.units[:BUDGET] == plain.units[:BUDGET]


@pytest.mark.parametrize(("task", "name"), OF_BOTH_TASKS)
def test_the_order_of_the_pool_does_not_matter(benches, task, name):
    bench = benches[task]
    backwards = bench.query(name, pool=bench.pool[::-1])
    assert backwards == bench.query(name)


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, name in OF_BOTH_TASKS if name not in AT_RANDOM])
def test_ties_go_to_the_first_id(benches, task, name):
    """A head without weights scores all cases of a group alike."""
    bench = benches[task]
    flat = bench.scaled(0.0)
    pool = [case for case in bench.pool if case.group == "A"]
    query = bench.query(name, pool=pool[::-1], params=flat, budget=2)
    if name.startswith("power_") or name == "foreground_random":
        assert query.units == bench.query(name, pool=pool, params=flat, budget=2).units
    elif name in SEES_FEATURES:
        assert np.isfinite(query.scores).all()
    else:
        np.testing.assert_allclose(query.scores[0], query.scores[1], rtol=1e-6)
        assert query.units == tuple(sorted(case.id for case in pool)[:2])


@pytest.mark.parametrize(("task", "name"), OF_BOTH_TASKS)
@pytest.mark.parametrize("scale", [1e4, 0.0])
def test_saturated_and_empty_predictions_give_finite_scores(benches, task, name, scale):
    bench = benches[task]
    assert np.isfinite(bench.query(name, params=bench.scaled(scale)).scores).all()


def test_badge_of_images_is_badge_of_gradients_written_out(image_bench):
    """The same first image, the longest gradient, and the same scores as from the gradients themselves."""
    items = image_bench.collect(("regions",), image_bench.pool)["regions"].candidates
    features, probability = np.asarray(items.features)[:, 0], np.asarray(items.probability)[:, 0]
    error = probability - np.eye(3)[probability.argmax(-1)]
    written_out = np.einsum("nc,nf->ncf", error, np.pad(features, ((0, 0), (0, 1)), constant_values=1)).reshape(9, -1)
    query = image_bench.query("badge", budget=1)
    longest = np.linalg.norm(written_out, axis=-1)
    assert query.units == (image_bench.pool[int(longest.argmax())].id,)
    assert query.scores[0] == pytest.approx(longest.max() ** 2, rel=1e-4)


def test_information_gain_of_images_says_what_is_mass_and_what_is_gain(image_bench):
    strategy = image_bench.strategy("aeig")
    pool = image_bench.collect(strategy.needs.pool, image_bench.pool)
    evaluation = image_bench.dataset.cases[EVALUATION]
    seen = Seen(evaluation, image_bench.collect(strategy.needs.evaluation, evaluation))
    head = image_bench.model.head(image_bench.params)
    context = Context(KEY, [Unit(case) for case in image_bench.pool])
    decision = decide(strategy, context, head, pool, Seen((), {}), seen, BUDGET)
    parts = decision.explanation
    np.testing.assert_allclose(np.add(parts["mass"], parts["gain"]), decision.query.scores, rtol=1e-6)
    labels = np.array([tiny_images.CLASSES.index(case.category) for case in evaluation])
    frequency = np.bincount(labels, minlength=3) / len(labels)
    features = np.stack([image_bench.collect(("embedding",), [case])["embedding"][0] for case in evaluation])
    logits = features @ np.asarray(head[0]) + np.asarray(head[1])
    entropy = np.mean([-(p * np.log(p)).sum() for p in np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)])
    mass = dict(zip(*image_bench.query("mass", budget=9)[:2], strict=True))
    for unit, part in zip(decision.query.units, parts["mass"], strict=True):
        assert part == pytest.approx(mass[unit] * entropy, rel=1e-4)  # (1 - Σ P f) H₁
    assert frequency.sum() == 1


def test_random_depends_on_the_key_alone(bench):
    picks = bench.query("random").units
    assert picks == bench.query("random", params=jax.tree.map(jnp.zeros_like, bench.params)).units


@pytest.mark.parametrize("name", ["random", "power_entropy", "power_bald", "foreground_random"])
def test_what_a_case_draws_does_not_depend_on_the_others(bench, name):
    whole = bench.query(name, budget=9)
    part = bench.query(name, pool=bench.pool[4:], budget=5)
    assert list(part.units) == [unit for unit in whole.units if unit in part.units]
    scores = dict(zip(whole.units, whole.scores, strict=True))
    np.testing.assert_allclose(part.scores, [scores[unit] for unit in part.units], rtol=1e-5)


def test_seeds_beyond_32_bits_are_seeds_of_their_own():
    seeds = (0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**40, 2**40 + 1)
    assert len({tuple(jax.random.key_data(key_of(seed)).tolist()) for seed in seeds}) == len(seeds)
    for seed in seeds[:3]:  # as they always were
        assert (jax.random.key_data(key_of(seed)) == jax.random.key_data(jax.random.key(seed))).all()


def test_stratified_random_evens_out_the_labels(bench):
    """Labelled are two of group A and one of B, so the first is of B, and then they take turns."""
    groups = {case.id: case.group for case in bench.pool}
    labelled = [case.group for case in bench.dataset.cases[LABELLED]]
    assert (labelled.count("A"), labelled.count("B")) == (2, 1)
    query = bench.query("stratified_random", budget=5)
    picked = [groups[unit] for unit in query.units]
    assert picked[0] == "B"
    assert abs((2 + picked.count("A")) - (1 + picked.count("B"))) <= 1


def test_foreground_random_goes_by_the_predicted_share(bench):
    share = bench.collect(("foreground",), bench.pool)["foreground"]
    probability = bench.collect(("regions",), bench.pool)["regions"].candidates.probability
    assert share.shape == (9,)
    assert ((share > 0) & (share < 1)).all()
    assert probability.shape[0] == 9
    query = bench.query("foreground_random", budget=9)
    scores = dict(zip(query.units, query.scores, strict=True))
    noise = [scores[case.id] - np.log(share[place]) for place, case in enumerate(sorted(bench.pool))]
    key = jax.random.fold_in(KEY, 1)
    again = [float(jax.random.gumbel(jax.random.fold_in(key, zlib.crc32(case.id.encode())))) for case in sorted(bench.pool)]
    np.testing.assert_allclose(noise, again, rtol=1e-4)


def test_weights_come_from_the_group_dice_that_was_asked_for(bench):
    # A fresh network sees no foreground, so every Dice is zero; without its bias it sees some.
    params = {**bench.params, "bias": jnp.zeros_like(bench.params["bias"])}
    entropy = dict(zip(*bench.query("masked_entropy", budget=9, params=params)[:2], strict=True))
    for source, part in (("labelled", LABELLED), ("evaluation", EVALUATION)):
        cases = bench.dataset.cases[part]
        counts = bench.collect(("overlap",), cases, params=params)["overlap"]
        performance = fairness.group_performance(metrics.mean_foreground_dice(counts), [case.group for case in cases])
        weights = fairness.group_weights(performance.by_group, ("A", "B"), gamma=3.0)
        assert weights["A"] != weights["B"]
        query = bench.query(f"weighted_entropy,gamma=3,weight_source={source}", budget=9, params=params)
        groups = {case.id: case.group for case in bench.pool}
        for unit, score in zip(query.units, query.scores, strict=True):
            assert score == pytest.approx(weights[groups[unit]] * entropy[unit], rel=1e-6)


def test_without_exponent_the_weights_are_gone(bench):
    plain = bench.query("weighted_entropy,gamma=0", budget=9)
    assert plain.units == bench.query("masked_entropy", budget=9).units


def test_information_gain_is_the_mean_over_the_regions_in_use(bench):
    statistics = bench.collect(("regions",), bench.pool)["regions"]
    sample = bench.collect(("evaluation_sample",), bench.dataset.cases[EVALUATION])["evaluation_sample"]
    features = np.concatenate(list(sample.features), axis=-1)
    reference = information.make_reference(
        jnp.asarray(features),
        *bench.model.head(bench.params),
        jnp.asarray(np.concatenate(list(sample.weights))),
        jnp.asarray(sample.class_counts.sum(0), jnp.float32),
    )
    gain_of = jax.jit(functools.partial(information.information_gain, long_steps=False), static_argnames="variant")
    for variant in ("eig", "aeig", "uig", "cfig"):
        query = bench.query(variant, budget=9)
        scores = dict(zip(query.units, query.scores, strict=True))
        for index, case in enumerate(bench.pool):
            candidates = jax.tree.map(lambda part, index=index: jnp.asarray(part[index]), statistics.candidates)
            gain = gain_of(candidates, reference, variant, 3e-3)
            values = np.asarray(gain.mass + gain.gain)[statistics.used[index]]
            assert scores[case.id] == pytest.approx(values.mean(), rel=1e-3, abs=2e-4 * max(map(abs, query.scores)))


@pytest.mark.parametrize(("name", "compiled"), [("aeig", "_compiled_gain"), ("aeig,method=linear", "_compiled_linear_gain")])
def test_the_gain_compiles_once_for_any_pool(bench, name, compiled):
    program = getattr(informative, compiled)
    program.clear_cache()
    for count in (9, 5, 2):
        bench.query(name, pool=bench.pool[:count])
    assert program._cache_size() == 1


def returning(strategy):
    def make():
        return strategy

    return make


def test_options_of_a_strategy_follow_its_name(bench, image_bench):
    for name, strategy in (
        ("power_entropy,power_beta=3", at_random.power_entropy(power_beta=3.0)),
        ("aeig,renormalise=true,step=sign", informative.aeig(renormalise=True, step="sign")),
        ("eig,step_rate=normalised", informative.eig(step_rate="normalised")),
        ("eig,step_rate=0.5,method=linear", informative.eig(step_rate=0.5, method="linear")),
    ):
        base = name.split(",")[0]
        there = copy.copy(bench)  # with the passes that were run for it
        there.kind = bench.kind._replace(strategies={"made": returning(strategy)})
        assert bench.query(name) == there.query("made")
        assert bench.query(name).scores != bench.query(base).scores
    bench.query("weighted_entropy,gamma=3,weight_source=evaluation")
    assert image_bench.query("batchbald,joint_samples=500").units


def test_the_rate_of_the_step_is_the_trainings_unless_given(bench):
    statistics = bench.collect(("regions",), bench.pool)
    evaluation = bench.dataset.cases[EVALUATION]
    seen = Seen(evaluation, bench.collect(("evaluation_sample",), evaluation))
    units = [Unit(case) for case in bench.pool]

    def scores(name, rate):
        context = Context(KEY, units, learning_rate=rate)
        return decide(bench.strategy(name), context, bench.model.head(bench.params), statistics, Seen((), {}), seen, 2).scores

    np.testing.assert_array_equal(scores("eig", 0.5), scores("eig,step_rate=0.5", 0.1))
    assert (scores("eig", 0.5) != scores("eig", 0.1)).any()
