"""Queries of as many cases as some minutes of reading allow."""

import json
import types

import numpy as np
import pytest

from jaxal.acquisition.uncertainty import moments_of
from jaxal.errors import UserError
from jaxal.projects import assignment, within_minutes
from jaxal.projects.kind import Size
from jaxal.projects.kinds import kind_of
from jaxal.projects.scans.measures import foreseen_sizes
from jaxal.tasks.segmentation import STATISTICS


def minutes(round_):
    return sum(entry["minutes"] for entry in round_.asked["readings"])


def cases(round_):
    return sorted({entry["case"] for entry in round_.asked["readings"]})


@pytest.fixture
def tell_minutes(monkeypatch):
    """Makes cases take other minutes: `tell_minutes({case: minutes})`; returns the sizes that these were worked out from, by case."""

    def tell(known):
        seen, plain = {}, assignment.predicted_minutes

        def predicted(project, state, sizes, ids):
            seen.update(sizes)
            return {id_: known[id_] for id_ in ids} if sizes else plain(project, state, sizes, ids)

        monkeypatch.setattr(assignment, "predicted_minutes", predicted)
        monkeypatch.setattr(within_minutes, "predicted_minutes", predicted)
        return seen

    return tell


def test_a_first_query_has_as_many_cases_as_the_guess_allows(begin):
    made = begin(double_share=0.0)
    round_ = made.ask(minutes=64)
    assert len(cases(round_)) == 4 and minutes(round_) == 60
    assert made.state.rounds[0].fields["minutes"] == 64


def test_second_readings_count(begin):
    """Two cases are read twice at least."""
    round_ = begin().ask(minutes=75)
    assert len(cases(round_)) == 3 and minutes(round_) == 75


def test_images_take_equally_long(begin_images):
    round_ = begin_images(double_share=0.0).ask(minutes=3.1)
    assert len(cases(round_)) == 12


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"minutes": 10}, "--within-minutes is 10, and a single case takes about 30 minutes"),
        ({"minutes": -1}, "--within-minutes is -1, and"),
        ({"minutes": 90, "size": 3}, "--size and --within-minutes each say how long a query is"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(begin, more, message):
    made = begin()
    with pytest.raises(UserError, match=message):
        made.ask(**more)
    assert not made.state.rounds


@pytest.mark.parametrize("strategy", ["entropy", "entropy+within_cost", "coreset", "typiclust"])
def test_later_queries_fill_the_minutes_that_their_cases_will_take(begin, tell_minutes, strategy):
    """Strategies that choose a set do not look at minutes, so what does not fit of it is passed over."""
    made = begin(strategy=strategy, double_share=0.0)
    made.ask()
    made.answer()
    known = {id_: 4.0 + place for place, id_ in enumerate(sorted(made.state.cases))}
    seen = tell_minutes(known)
    round_ = made.ask(minutes=60)
    chosen = [entry["case"] for entry in round_.asked["readings"] if entry["part"] == "strategy"]
    begun = made.state.rounds[-1].fields
    assert (begun["size"], begun["at_random"], begun["chosen"]) == (4, 1, 3)
    assert 45 - max(known.values()) < sum(known[id_] for id_ in chosen) <= 45  # three quarters are the strategy's
    assert minutes(round_) == sum(known[id_] for id_ in cases(round_)) <= 60
    # The network's own look at a case tells what its proposal shows: here both are on the same grid.
    proposed = kind_of(made.project).sizes(made.project, chosen, round_.number)
    assert {id_: seen[id_] for id_ in chosen} == proposed and any(size.volume_ml > 0 for size in proposed.values())


def test_a_knapsack_of_minutes_has_the_largest_scores_in_all(begin, tell_minutes, monkeypatch):
    """Against every set of cases that the minutes allow."""
    made = begin(strategy="entropy+within_cost", double_share=0.0, random_share=0.0)
    made.ask()
    made.answer()
    pool = sorted(made.state.unasked())
    known = {id_: 5.0 + 3 * (place % 4) for place, id_ in enumerate(sorted(made.state.cases))}
    tell_minutes(known)
    entropy, plain = {}, within_minutes._minutes

    def costs(project, state, statistics, ids):
        entropy.update(zip(ids, statistics["entropy"].tolist(), strict=True))
        return plain(project, state, statistics, ids)

    monkeypatch.setattr(within_minutes, "_minutes", costs)
    round_ = made.ask(minutes=40)
    best = 0.0
    for bits in range(2 ** len(pool)):
        chosen = [id_ for place, id_ in enumerate(pool) if bits >> place & 1]
        if sum(known[id_] for id_ in chosen) <= 40:
            best = max(best, sum(entropy[id_] for id_ in chosen))
    assert sum(entropy[id_] for id_ in cases(round_)) == pytest.approx(best, rel=1e-6)


def test_where_nothing_fits_one_case_is_asked_for(begin, tell_minutes):
    made = begin(double_share=0.0, random_share=0.0)
    made.ask()
    made.answer()
    tell_minutes({id_: 100.0 + place for place, id_ in enumerate(sorted(made.state.cases))})
    shortest = min(made.state.unasked())
    assert cases(made.ask(minutes=60)) == [shortest]


def test_too_long_second_readings_shorten_the_query(begin, tell_minutes):
    made = begin(double_share=0.5)
    made.ask()
    made.answer()
    known = {id_: 10.0 + 3 * place for place, id_ in enumerate(sorted(made.state.cases))}
    tell_minutes(known)
    round_ = made.ask(minutes=100)
    record = json.loads((made.project.round_folder(round_.number) / "query.json").read_text())
    assert minutes(round_) <= 100 and record["chosen"]
    assert sorted([*record["chosen"], *record["at_random"]]) == cases(round_)
    assert np.isfinite(list(record["scores"].values())).all()


def test_what_is_drawn_is_counted_within_the_image_and_along_each_axis():
    """A box of 2 x 3 x 1 elements of class 2, an element of class 1 apart from it, and one outside of the image."""
    best = np.zeros((4, 4, 4), int)
    best[1:3, 0:3, 2], best[0, 0, 0], best[3, 3, 3] = 2, 1, 1
    inside = np.ones(best.shape, bool)
    inside[3] = False
    logits = 5.0 * (best.reshape(1, -1) == np.arange(3)[:, None]).astype(np.float32)
    view = types.SimpleNamespace(single=moments_of(logits[None]), inside=inside.reshape(-1), shape=best.shape)
    assert np.asarray(STATISTICS["drawn"].evaluate(view, None)).tolist() == [7, 3, 3, 2]


def test_slices_are_counted_along_the_files_own_third_axis():
    """The file's axes are y, z and x, whose voxels are 0.5, 2 and 4 mm long; prepared voxels 1 x 2 x 3 mm, in the order of RAS."""
    affine = ((0.0, 0.0, 4.0, 7.0), (0.5, 0.0, 0.0, 0.0), (0.0, -2.0, 0.0, 0.0))
    case = types.SimpleNamespace(shape=(9, 9, 9), affine=affine)
    plan = types.SimpleNamespace(spacing_mm=(1.0, 2.0, 3.0))
    project = types.SimpleNamespace(cases={"a": case}, settings=types.SimpleNamespace(scans=types.SimpleNamespace(plan=plan)))
    found = foreseen_sizes(project, ["a"], {"drawn": np.array([[50, 12, 5, 6]])})
    assert found == {"a": Size(50 * 6 / 1000, 3)}  # 12 mm along x
