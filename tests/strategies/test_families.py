"""What strategies of coverage, clusters, diversity and the last layer ask for, on statistics made by hand: their rules written out."""

from pathlib import Path

import jax
import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering

from jaxal.acquisition import fisher
from jaxal.acquisition.clusters import k_means
from jaxal.acquisition.competence import competence, dense_and_unsure, inside_any, pure_balls
from jaxal.acquisition.coverage import unit_rows
from jaxal.acquisition.information import Items
from jaxal.assessment.temperature import TEMPERATURES, TemperatureSums, best_temperature
from jaxal.scoring.statistics import MemberRegions, Regions
from jaxal.strategies.contract import Context, decide, given_by
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, STRATEGIES
from jaxal.types import Case, Seen, Unit

COUNT, KEY = 30, jax.random.key(2)
POOL = [Unit(Case(f"case_{place:02d}", "", Path())) for place in range(COUNT)]


def seen(rng, count, classes=3):
    p = rng.dirichlet(np.ones(classes), count)
    features = rng.normal(size=(count, 4)).astype(np.float32)
    return {
        "embedding": features,
        "entropy": -(p * np.log(p)).sum(-1),
        "least_confidence": 1 - p.max(-1),
        "margin": 1 - np.diff(np.sort(p, -1)[:, -2:])[:, 0],
        "tempered_margin": rng.uniform(size=count),
        "tempered_entropy": rng.uniform(size=count),
        "variance": rng.uniform(size=count),
        "dissent": rng.choice([0.0, 0.2, 0.4, 0.6, 0.8], count),
        "class_shares": p,
        "class_counts": np.eye(classes, dtype=int)[rng.integers(0, classes, count)],
        "member_probability": rng.dirichlet(np.ones(classes), (count, 6)).astype(np.float32),
        "regions": Regions(Items(features[:, None], p[:, None].astype(np.float32)), np.ones((count, 1), bool)),
    }


def test_duc_takes_the_least_known_class_of_those_whose_distribution_is_least_known(splits, rng):
    of_distribution, of_data = rng.uniform(size=(2, COUNT))
    pool = {**splits[0], "evidential_uncertainties": (of_distribution, of_data)}
    first = np.argsort(-of_distribution)[:15]
    expected = first[np.argsort(-of_data[first])][:5]
    assert places("duc,factor=3", (pool, *splits[1:])) == expected.tolist()


HEAD = (np.random.default_rng(5).normal(size=(4, 3)), np.zeros(3))


@pytest.fixture
def splits(rng):
    pool, labelled, evaluation = (seen(rng, count) for count in (COUNT, 6, 5))
    evaluation["temperature"] = TemperatureSums(
        *(rng.uniform(0.1, 1, (5, *shape)) for shape in ((), *[(len(TEMPERATURES),)] * 3))
    )
    return pool, labelled, evaluation


def decision(name, splits, budget=5):
    strategy = named_strategy(name, CLASSIFICATION_STRATEGIES).strategy
    pool, *others = splits
    known = [
        Seen(
            [Case(f"k{place}", "", Path()) for place in range(len(next(iter(split.values()))))] if needs else [],
            {need: split[need] for need in needs},
        )
        for split, needs in zip(others, strategy.needs[1:3], strict=True)
    ]
    return decide(strategy, Context(KEY, POOL), HEAD, {need: pool[need] for need in strategy.needs.pool}, *known, budget)


def places(name, splits, budget=5):
    return [int(unit[-2:]) for unit in decision(name, splits, budget).query.units]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def cover(alike, weight, covered, budget, available=None):
    left, chosen = np.ones(len(alike), bool) if available is None else available.copy(), []
    for _ in range(budget):
        gain = np.where(left, (weight * np.maximum(alike - covered, 0)).sum(1), -1)
        chosen.append(int(gain.argmax()))
        left[chosen[-1]] = False
        covered = np.maximum(covered, alike[chosen[-1]])
    return chosen


def squares(first, second):
    return np.square(first[:, None] - second[None]).sum(-1)


def test_coverage_with_what_is_labelled_covered_already(splits):
    points, labelled = unit(splits[0]["embedding"].astype(float)), unit(splits[1]["embedding"].astype(float))
    gaussian, ones = lambda square, width: np.exp(-square / width**2), np.ones(COUNT)
    near, known = squares(points, points), squares(points, labelled)
    for name, expected in {
        "maxherding,sigma=0.7": cover(gaussian(near, 0.7), ones, gaussian(known, 0.7).max(1), 5),
        "facility_location": cover(1 - near / 4, ones, (1 - known / 4).max(1), 5),
        "probcover,delta=0.6": cover((near < 0.36) * 1.0, ones, (known < 0.36).max(1) * 1.0, 5),
    }.items():
        assert places(name, splits) == expected, name
    width = np.sqrt(squares(labelled, labelled)[~np.eye(6, dtype=bool)].min())
    weighted = cover(gaussian(near, width), splits[0]["tempered_margin"], gaussian(known, width).max(1), 5)
    assert places("uherding", splits) == weighted
    first = decision("facility_location", splits).scores
    np.testing.assert_allclose(first, np.maximum(1 - near / 4 - (1 - known / 4).max(1), 0).sum(1), rtol=1e-4)


def test_a_temperature_is_that_of_the_evaluation_set_unless_it_is_a_number(splits):
    evaluation = Seen((), {"temperature": splits[2]["temperature"]})
    for name, statistic, expected in (
        ("uherding", "tempered_margin", best_temperature(splits[2]["temperature"])),
        ("uherding,temperature=2", "tempered_margin", 2.0),
        ("clue", "tempered_entropy", 1.0),
        ("clue,temperature=evaluation", "tempered_entropy", best_temperature(splits[2]["temperature"])),
    ):
        strategy = named_strategy(name, CLASSIFICATION_STRATEGIES).strategy
        assert given_by([strategy], Context(KEY, POOL), HEAD, evaluation) == {statistic: expected}


def test_the_automatic_radius_makes_most_balls_pure(splits):
    points = unit(splits[0]["embedding"].astype(float))
    of = k_means(KEY, points.astype(np.float32), np.ones(COUNT), 3).of
    other = np.where(of[:, None] != of, np.sqrt(squares(points, points)), 9).min(1)
    radius = float(np.sort(other)[int(0.2 * COUNT)] * (1 - 1e-6))
    assert places("probcover,purity=0.8", splits) == places(f"probcover,delta={radius!r}", splits)


def test_density_and_doubt_are_mixed_by_what_labels_cover(splits, rng):
    by_side = [
        {"class_shares": np.eye(3)[side], "class_counts": np.eye(3, dtype=int)[side]}
        for side in (1 * (split["embedding"][:, 0] > 0.8 * rng.normal(size=len(split["embedding"]))) for split in splits[:2])
    ]
    pool, known = ({**split, **classes} for split, classes in zip(splits[:2], by_side, strict=True))
    splits = (pool, known, splits[2])
    points, centres = (unit_rows(split["embedding"]).astype(np.float64) for split in (pool, known))
    of = np.concatenate([pool["class_shares"].argmax(-1), known["class_counts"].argmax(-1)])
    everything, purity = np.concatenate([points, centres]), 0.4
    for _ in range(2):
        radii = pure_balls(everything, of, centres, of[COUNT:], purity)
        share = float(inside_any(everything, centres, radii).mean())
        purity = 0.4 + 0.2 * share
    covered = inside_any(points, centres, radii)
    assert 0 < covered.sum() < COUNT and len(set(radii)) > 1
    assert not np.array_equal(radii, pure_balls(everything, of, centres, of[COUNT:], 0.4))
    for options, doubt in (("", competence(share)), (",centre=0.2,steepness=4", competence(share, 0.2, 4.0))):
        expected, scores = dense_and_unsure(points, covered, radii.mean(), pool["margin"], doubt, 5)
        assert places(f"dcom{options}", splits) == expected.tolist()
        assert decision(f"dcom{options}", splits).scores[expected[0]] == pytest.approx(scores[0])
    assert places("dcom,centre=0.01", splits) == np.argsort(-pool["margin"], kind="stable")[:5].tolist()


def test_suggestive_annotation_looks_at_the_most_unsure(splits):
    points = unit(splits[0]["embedding"].astype(float))
    unsure = np.isin(np.arange(COUNT), np.argsort(-splits[0]["variance"])[:10])
    assert places("suggestive_annotation", splits) == cover(
        1 - squares(points, points) / 4, np.ones(COUNT), np.zeros(COUNT), 5, unsure
    )


def nearest(points, available, weight, budget):
    """The nearest available points to the centres, the heaviest first."""
    found = k_means(jax.random.fold_in(KEY, 1), points[available], weight[available], budget)
    left, chosen = available.copy(), []
    for cluster in np.argsort(-found.weight, kind="stable"):
        chosen.append(int(np.where(left, squares(points, found.centres[cluster][None])[:, 0], np.inf).argmin()))
        left[chosen[-1]] = False
    return chosen


def test_clusters_of_all_of_the_unsure_and_by_weight(splits):
    pool, everybody = splits[0], np.ones(COUNT, bool)
    points, ones = unit_rows(pool["embedding"]), np.ones(COUNT)
    assert places("kmeans", splits) == nearest(points, everybody, ones, 5)
    assert places("clue", splits) == nearest(pool["embedding"], everybody, pool["tempered_entropy"], 5)
    share = pool["dissent"]
    assert 5 <= (share > 0.5).sum() < 15 < (share >= 0.4).sum() < 25
    assert places("dropquery,candidates=1", splits) == nearest(points, share > 0.5, ones, 5)
    assert places("dropquery,candidates=3", splits) == nearest(points, share >= 0.4, ones, 5)  # fifteen are wanted
    assert places("dropquery", splits) == nearest(points, share > 0, ones, 5)  # all that anybody votes against
    assert len(places("dropquery", splits, budget=COUNT)) == COUNT


def test_typical_cases_of_clusters_without_labels(splits):
    """Of blobs, those of which none is labelled come first, and of each the point in the middle."""
    pool, labelled, _ = splits
    middles = 10 * np.eye(4)[[0, 1, 2]]
    offsets = np.vstack([np.zeros(4), np.repeat(np.eye(4), 2, 0) * np.tile([[1.0], [-1.0]], (4, 1)), 3 * np.ones((1, 4))])
    pool["embedding"] = (middles[:, None] + offsets[None] * 0.5).reshape(-1, 4).astype(np.float32)
    labelled["embedding"] = pool["embedding"][:6] + 0.01
    chosen = places("typiclust", splits, budget=2)
    assert {place // 10 for place in chosen} <= {1, 2}


def test_margins_take_turns_among_clusters(splits):
    pool = splits[0]
    of = AgglomerativeClustering(3, linkage="average").fit_predict(pool["embedding"].astype(float))
    unsure = np.argsort(-pool["margin"], kind="stable")[:10]
    chosen = places("cluster_margin,candidates=2", splits)
    assert set(chosen) <= set(unsure)
    present = set(of[unsure])
    assert len({of[place] for place in chosen[: len(present)]}) == len(present)
    sizes = np.bincount(of[unsure], minlength=3)
    assert [sizes[of[place]] for place in chosen[: len(present)]] == sorted(sizes[list(present)])


@pytest.mark.parametrize("without", [None, 2])
def test_images_that_flip_early_are_clustered(splits, without):
    """A class that no labelled image has lies where all of them do."""
    pool, labelled, _ = splits
    if without is not None:
        counts = labelled["class_counts"]
        labelled["class_counts"] = np.where(counts[:, [without]] > 0, np.eye(3, dtype=counts.dtype)[0], counts)
    scores = decision("alfa_mix", splits).scores
    of_class = [labelled["class_counts"][:, c] > 0 for c in range(3)]
    means = np.stack([labelled["embedding"][known if known.any() else slice(None)].mean(0) for known in of_class])
    p = pool["class_shares"]
    g = (p - np.eye(3)[p.argmax(1)]) @ HEAD[0].T
    reach = np.sqrt(squares(pool["embedding"], means)).max(1) / 2  # the root of four features
    for place in range(COUNT):
        share, way = -scores[place], g[place] / np.linalg.norm(g[place])
        moved = np.log(p[place]) + np.outer([share * 0.99, share * 1.01], reach[place] * way @ HEAD[0])
        assert moved[0].argmax() == p[place].argmax()
        assert (moved[1].argmax() != p[place].argmax()) == (share < 1000)
    enough = next(share for share in (0.2, 0.4, 0.6, 0.8, 1.0) if (-scores < share).sum() > 5)
    assert (-scores[places("alfa_mix", splits)] < enough).all()
    assert len(places("alfa_mix", splits, budget=COUNT)) == COUNT


def test_a_determinant_weighs_by_entropy(splits):
    pool = splits[0]
    points, worth = unit(pool["embedding"].astype(float)), pool["entropy"] ** 0.2
    kernel = worth[:, None] * np.exp(-squares(points, points) / 4) * worth
    chosen = []
    for _ in range(5):
        values = [
            -np.inf if j in chosen else np.linalg.slogdet(kernel[np.ix_([*chosen, j], [*chosen, j])])[1] for j in range(COUNT)
        ]
        chosen.append(int(np.argmax(values)))
    assert places("dpp,gamma=0.2,sigma=2", splits) == chosen


def test_scores_that_compare_with_the_pool_and_with_labels(splits):
    pool, labelled, _ = splits
    points, known = unit(pool["embedding"].astype(float)), unit(labelled["embedding"].astype(float))
    np.testing.assert_allclose(
        decision("similarity_discrepancy", splits).scores, (points @ points.T).mean(1) - (points @ known.T).mean(1), atol=1e-6
    )
    closeness = (1 / (1 + np.sqrt(squares(pool["embedding"].astype(float), pool["embedding"].astype(float))))).mean(1)
    np.testing.assert_allclose(decision("information_density,beta=2", splits).scores, pool["entropy"] * closeness**2, rtol=1e-5)
    first = places("ranked_batch", splits, budget=1)[0]
    near = np.sqrt(squares(pool["embedding"], labelled["embedding"])).min(1)
    assert first == (COUNT / (COUNT + 6) * (1 - 1 / (1 + near)) + 6 / (COUNT + 6) * pool["least_confidence"]).argmax()


def test_the_rare_class_is_the_one_with_fewest_labels(splits):
    pool, labelled, _ = splits
    rare = labelled["class_counts"].sum(0).argmin()
    share = pool["class_shares"][:, rare]
    np.testing.assert_array_equal(decision("minority,threshold=0.4", splits).scores, np.where(share > 0.4, share, 0))


def test_the_last_layers_information(splits):
    pool, labelled, evaluation = (
        fisher.Seen(np.pad(split["embedding"], ((0, 0), (0, 1)), constant_values=1), split["class_shares"]) for split in splits
    )
    everybody = np.ones(COUNT, bool)
    for name, rule, weights in (
        ("bait", fisher.bait, (1 / 11, 1 / 11)),
        ("bait,weights=published", fisher.bait, (1 / 11, 5 / 11)),
        ("bait,form=binary", fisher.bait_of_best_class, (1 / 11, 1 / 11)),
    ):
        assert places(name, splits) == rule(pool, labelled, everybody, 5, weights)[0].tolist()
    labels = splits[2]["class_counts"].argmax(1)
    np.testing.assert_allclose(
        decision("isal", splits).scores, fisher.influence(pool, labelled, evaluation, labels), rtol=1e-4, atol=1e-6
    )


def informations(pool, others):
    """Of each of `[items, members, classes]` with each of others, pair by pair."""
    joint = np.einsum("nkc,mkd->nmcd", pool.astype(float), others.astype(float)) / pool.shape[1]
    product = pool.mean(1)[:, None, :, None] * others.mean(1)[None, :, None, :]
    return (joint * np.log(joint / product)).sum((2, 3))


def test_epig_compares_members_of_both(splits):
    expected = informations(splits[0]["member_probability"], splits[2]["member_probability"]).mean(1)
    np.testing.assert_allclose(decision("epig", splits).scores, expected, rtol=1e-3)


def test_epig_of_scans_is_the_mean_over_their_regions(rng):
    pool, others = (
        MemberRegions(rng.dirichlet(np.ones(3), (count, 5, 6)).astype(np.float32), rng.uniform(size=(count, 5)) < 0.6)
        for count in (COUNT, 7)
    )
    pool.used[:, 0] = others.used[:, 0] = True
    evaluation = Seen([Case(f"e{place}", "", Path()) for place in range(7)], {"member_regions": others})
    strategy = named_strategy("epig", STRATEGIES).strategy
    found = decide(strategy, Context(KEY, POOL), HEAD, {"member_regions": pool}, Seen((), {}), evaluation, 5).scores
    targets = others.probability[others.used]
    assert len(targets) & (len(targets) - 1), "some rows are filled up"
    expected = [informations(rows[used], targets).mean() for rows, used in zip(*pool, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
