import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from jaxal.assessment import minutes


def readings(count, rng, readers=3, noise=0.3):
    """Features, readers and minutes that follow the model; the first reader takes half as long again."""
    volume, components = np.exp(rng.normal(2, 1, count)), rng.poisson(2, count)
    features = minutes.features(volume, components, rng.integers(5, 60, count), rng.random(count) < 0.7)
    of_reader = rng.integers(readers, size=count)
    effect = features @ [0.3, 0.2, 0.2, -0.4] + np.where(of_reader == 0, 0.4, 0.0)
    return features, [f"reader {number}" for number in of_reader], np.exp(1.5 + effect + noise * rng.normal(size=count))


def test_idle_gaps_are_cut_by_hand():
    times = [60.0 * minute for minute in (0, 1, 4, 9, 15, 16)]  # a gap of five minutes counts, one of six does not
    assert minutes.active_minutes(times) == pytest.approx(1 + 3 + 5 + 1)
    assert minutes.active_minutes(times[::-1]) == minutes.active_minutes(times)
    assert minutes.active_minutes(times, idle=2.0) == pytest.approx(2.0)
    assert minutes.active_minutes([]) == minutes.active_minutes([3.0]) == 0.0


def test_elapsed_minutes_drop_nights_and_clocks_that_run_backwards():
    assert minutes.elapsed_minutes(100.0, 700.0) == pytest.approx(10.0)
    assert np.isnan([minutes.elapsed_minutes(0.0, 60 * 241.0), minutes.elapsed_minutes(700.0, 100.0)]).all()


def test_median_with_order_statistics_by_hand():
    """Of ten values the second and the ninth hold the median in 97.9 %, the third and the eighth in 89.1 %."""
    values = np.array([7, 1, 10, 2, 9, 3, 8, 4, 6, np.nan, 5])
    assert minutes.median_minutes(values) == (5.5, 2.0, 9.0, 10)
    assert 1 - 2 * stats.binom.cdf(1, 10, 0.5) > 0.95 > 1 - 2 * stats.binom.cdf(2, 10, 0.5)
    assert minutes.median_minutes(np.arange(6.0))[:3] == (2.5, 0.0, 5.0)
    assert np.isnan(minutes.median_minutes(np.arange(5.0)).low)
    assert np.isnan(minutes.median_minutes(np.array([np.nan])).value)


def test_features_by_hand():
    result = minutes.features(np.array([0.9, 0.0]), np.array([0, 2]), np.array([9, 0]), np.array([True, False]))
    assert result == pytest.approx(np.array([[0.0, 0.0, np.log(10), 1.0], [np.log(0.1), np.log(3), 0.0, 0.0]]))


def test_ridge_is_that_of_scikit_learn():
    rng = np.random.default_rng(2)
    columns, targets, penalties = rng.normal(size=(20, 4)), rng.normal(size=20), np.array([0.5, 0.5, 2.0, 3.0])
    design = np.concatenate([np.ones((20, 1)), columns], axis=1)
    coefficients, inverse = minutes.ridge(design, targets, np.append(0.0, penalties))
    oracle = Ridge(alpha=1.0).fit(columns / np.sqrt(penalties), targets)
    assert coefficients == pytest.approx(np.append(oracle.intercept_, oracle.coef_ / np.sqrt(penalties)))
    assert inverse @ (design.T @ design + np.diag([0, *penalties])) == pytest.approx(np.eye(5))


def test_readers_are_shrunk_to_the_mean_by_hand():
    """Of equal features a reader with four readings d above the others' mean counts as though two more had been average."""
    features = np.tile([2.0, 1.0, 3.0, 1.0], (12, 1))
    readers = ["slow"] * 4 + ["fast"] * 4 + ["steady"] * 4
    took = np.exp(np.repeat([3.0, 1.0, 2.0], 4))
    model = minutes.fit(features, readers, took)
    assert dict(zip(model.readers, model.coefficients[5:], strict=True)) == pytest.approx(
        {"slow": 4 / 6, "fast": -4 / 6, "steady": 0.0}, abs=1e-9
    )
    assert model.coefficients[0] == pytest.approx(2.0)


def test_until_ten_readings_the_guess_counts():
    features, readers, took = readings(10, np.random.default_rng(0))
    assert minutes.fit(features[:9], readers[:9], took[:9]) is None
    assert minutes.fit(features, readers, np.where(np.arange(10) == 3, np.nan, took)) is None
    assert minutes.fit(features, readers, np.where(np.arange(10) == 3, 0.0, took)) is None
    assert minutes.fit(features, readers, took) is not None
    each, total = minutes.predict(None, features[:4], readers[:4], 15.0)
    assert [estimate.value for estimate in each] == [15.0] * 4 and total.value == 60.0
    assert np.isnan([each[0].low, total.low]).all()


def test_no_case_takes_no_time():
    assert minutes.predict(None, np.zeros((0, 4)), [], 15.0) == ([], (0.0, 0.0, 0.0, 0))


def test_predictions_find_the_truth():
    rng = np.random.default_rng(0)
    model = minutes.fit(*readings(2000, rng, noise=0.1))
    features, readers, took = readings(50, rng, noise=0.0)
    each, total = minutes.predict(model, features, readers, 15.0)
    assert [estimate.value for estimate in each] == pytest.approx(took, rel=0.03)
    assert total.value == pytest.approx(took.sum(), rel=0.02)


def test_minutes_in_seconds_would_be_sixty_times_as_long():
    rng = np.random.default_rng(0)
    features, readers, took = readings(20, rng)
    plain, _ = minutes.predict(minutes.fit(features, readers, took), features, readers, 1.0)
    scaled, _ = minutes.predict(minutes.fit(features, readers, 60 * took), features, readers, 1.0)
    assert np.array(scaled)[:, :3] == pytest.approx(60 * np.array(plain)[:, :3])


def test_intervals_hold():
    """95 % are expected; of 1200 readings and 100 sums they hold within three standard errors of 92 %."""
    rng, held, sums = np.random.default_rng(0), 0, 0
    for _ in range(100):
        features, readers, took = readings(32, rng)
        model = minutes.fit(features[:20], readers[:20], took[:20])
        each, total = minutes.predict(model, features[20:], readers[20:], 15.0)
        held += sum(estimate.low <= truth <= estimate.high for estimate, truth in zip(each, took[20:], strict=True))
        sums += total.low <= took[20:].sum() <= total.high
    assert 0.92 <= held / 1200 <= 0.98
    assert sums / 100 >= 0.84


def test_a_reader_without_readings_is_average_and_less_known():
    rng = np.random.default_rng(0)
    features, readers, took = readings(30, rng)
    model = minutes.fit(features, readers, took)
    (known,), _ = minutes.predict(model, features[:1], ["reader 1"], 15.0)
    (new,), _ = minutes.predict(model, features[:1], ["somebody"], 15.0)
    assert new.high / new.low > known.high / known.low
    _, same = minutes.predict(model, features[:9], ["somebody"] * 9, 15.0)
    _, different = minutes.predict(model, features[:9], [f"reader {number}" for number in range(10, 19)], 15.0)
    assert same.high - same.low > different.high - different.low, "what one reader adds does not average out"


def test_equal_readings_claim_no_certainty():
    model = minutes.fit(np.ones((12, 4)), ["anna"] * 12, np.full(12, 15.0))
    (each,), total = minutes.predict(model, np.ones((1, 4)), ["anna"], 20.0)
    assert each.value == pytest.approx(15.0) and total.value == pytest.approx(15.0)
    assert np.isnan([each.low, total.low]).all()


def test_the_sum_is_the_mean_of_a_lognormal_number_by_hand():
    """Of one reading exp(mu + variance / 2), while its own estimate is the median exp(mu)."""
    features, readers, took = readings(20, np.random.default_rng(0), noise=0.8)
    model = minutes.fit(features, readers, took)
    (each,), total = minutes.predict(model, features[:1], readers[:1], 15.0)
    variance = (np.log(each.high / each.value) / stats.t.ppf(0.975, model.degrees)) ** 2
    assert total.value == pytest.approx(each.value * np.exp(variance / 2))
    assert (total.low, total.high) == pytest.approx((each.low, each.high))
