"""AUC against scikit-learn and by hand, the ledger's entries, and curves that are resampled."""

import by_hand
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from jaxal.acquisition.selection import Query
from jaxal.assessment import learning_curves, metrics
from jaxal.strategies.contract import Decision
from jaxal.tasks.classification import CLASSIFICATION, AucCurve, Prediction, curve_of, success
from jaxal.tasks.table import kind_of
from jaxal.types import Case, Label, Seen

CLASSES = ("a", "b", "c")


def predictions(rng, cases=60, digits=None):
    label = rng.permutation(np.repeat(range(3), (cases - 20, 12, 8)))
    probability = rng.dirichlet(np.ones(3), cases) + 0.5 * np.eye(3)[label]
    probability = probability / probability.sum(-1, keepdims=True)
    return label, probability if digits is None else probability.round(digits)


@pytest.mark.parametrize("digits", [None, 1])
def test_auc_is_scikit_learns(rng, digits):
    """With one digit there are many ties."""
    label, probability = predictions(rng, digits=digits)
    expected = [roc_auc_score(label == number, probability[:, number]) for number in range(3)]
    np.testing.assert_allclose(metrics.one_vs_rest_auc(probability, label), expected, rtol=1e-12)
    assert metrics.balanced_accuracy(probability, label) == pytest.approx(balanced_accuracy_score(label, probability.argmax(-1)))


def test_auc_of_a_class_that_none_or_all_have_is_undefined(rng):
    _, probability = predictions(rng)
    auc = metrics.one_vs_rest_auc(probability, np.repeat([0, 1], 30))
    assert np.isnan(auc[2]) and not np.isnan(auc[:2]).any()
    assert np.isnan(metrics.one_vs_rest_auc(probability, np.zeros(60, int))).all()


def known(label, probability):
    """What a network makes of images whose classes are known."""
    return Prediction(label, probability, np.ones(len(label), bool))


def seen(rng, groups=("A", "B")):
    label, probability = predictions(rng)
    cases = [
        Case(f"i{place:02d}", groups[place % len(groups)], None, Label("", category=CLASSES[number]))
        for place, number in enumerate(label)
    ]
    return Seen(cases, {"prediction": known(label, probability), "calibration": np.log(probability)})


def record(rng, groups=("A", "B"), round_=0, labelled=None):
    test, train = seen(rng, groups), seen(rng, groups)
    train = Seen(
        train.cases[:labelled], {"prediction": Prediction(*(part[:labelled] for part in train.statistics["prediction"]))}
    )
    query = Query(("x",), (0.5,), None)
    queried = [Case("x", "A", None, Label("", category="b"))]
    line = by_hand.record(CLASSIFICATION, queried, CLASSES, train, test, Decision(np.zeros(1), query, {}, {}), round_)
    return test, {**line, **CLASSIFICATION.assessment.answered(queried)}


def test_a_line_of_the_ledger(rng):
    test, line = record(rng)
    label, probability, _ = test.statistics["prediction"]
    by_class = metrics.one_vs_rest_auc(probability, label)
    assert line["auc"]["overall"] == pytest.approx(by_class.mean())
    assert line["auc"]["by_class"] == pytest.approx(dict(zip(CLASSES, by_class, strict=True)))
    of_a = metrics.one_vs_rest_auc(probability[::2], label[::2]).mean()
    assert line["auc"]["by_group"]["A"] == pytest.approx(of_a)
    assert line["disparity"] == pytest.approx(sum(abs(value - by_class.mean()) for value in line["auc"]["by_group"].values()))
    assert line["accuracy"] == pytest.approx((probability.argmax(-1) == label).mean())
    assert (line["queried_by_class"], line["queried_classes"]) == ({"b": 1}, {"x": "b"})
    assert line["labelled_by_class"] == {"a": 40, "b": 12, "c": 8}
    assert line["nll"] == pytest.approx(log_loss(label, probability))
    assert line["brier"] == pytest.approx(np.mean((probability - np.eye(3)[label]) ** 2))
    assert kind_of([line]) is CLASSIFICATION


def test_groups_are_compared_over_the_classes_that_all_of_them_have(rng):
    """Group B has no case of class c, so A's AUC of c does not count for A either."""
    test, _ = record(rng)
    label, probability, _ = test.statistics["prediction"]
    cases = [case._replace(group="A" if number == 2 else case.group) for case, number in zip(test.cases, label, strict=True)]
    by_group = CLASSIFICATION.assessment.entries(test, Seen(cases, test.statistics), CLASSES)["auc"]["by_group"]
    groups = np.array([case.group for case in cases])
    for group in "AB":
        by_class = metrics.one_vs_rest_auc(probability[groups == group], label[groups == group])
        assert by_group[group] == pytest.approx(by_class[:2].mean())


def test_very_sure_predictions_keep_their_order_in_the_ledger(rng):
    test, _ = record(rng)
    tiny = np.array([1e-12, 2e-12, 3e-12] * 20)
    probability = np.stack([1 - 2 * tiny, tiny, tiny], -1)
    test.statistics["prediction"] = known(test.statistics["prediction"].label, probability)
    entries = CLASSIFICATION.assessment.entries(test, test, CLASSES)
    assert len({entry["probability"][1] for entry in entries["test"].values()}) == 3


def test_success_is_measured_against_a_constant_answer(rng):
    label, probability = np.array([0, 0, 0, 1]), np.eye(2)[[0, 0, 0, 1]]
    cases = [None] * 4
    assert success(Seen(cases, {"prediction": known(label, probability)})) == pytest.approx(0.25)
    assert success(Seen(cases, {"prediction": known(label, probability[::-1])})) == pytest.approx(-0.25)
    assert success(Seen(cases, {"prediction": known(np.zeros(4, int), probability)})) is None


def curve(rng, rounds=3):
    label, _ = predictions(rng)
    probability = np.stack([rng.dirichlet(np.ones(3), 60) + 0.3 * step * np.eye(3)[label] for step in range(rounds)])
    return AucCurve(np.array([10, 20, 40])[:rounds], 60, probability, label, {"nll": 0.4, "ece": 0.1}, {"auc": {}})


def test_a_curve_is_what_metrics_say(rng):
    auc_curve = curve(rng)
    overall = np.array([metrics.one_vs_rest_auc(round_, auc_curve.label).mean() for round_ in auc_curve.probability])
    assert auc_curve.levels() == pytest.approx(overall)
    measures = auc_curve.measures()
    assert measures["auc"] == pytest.approx(overall[-1])
    assert measures["area"] == pytest.approx(learning_curves.area_under(auc_curve.labelled, overall))
    assert measures["accuracy"] == pytest.approx((auc_curve.probability[-1].argmax(-1) == auc_curve.label).mean())
    assert measures["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy(auc_curve.probability[-1], auc_curve.label))
    assert "worst_group" not in measures
    grouped = auc_curve._replace(last={"auc": {"by_group": {"a": 0.8, "b": 0.7}}, "disparity": 0.1}).measures()
    assert {name: grouped[name] for name in ("auc_a", "auc_b", "worst_group", "disparity")} == {
        "auc_a": 0.8, "auc_b": 0.7, "worst_group": 0.7, "disparity": 0.1,
    }  # fmt: skip


def test_ledgers_become_curves(rng):
    _, first = record(rng, round_=0, labelled=10)
    _, second = record(rng, round_=1, labelled=20)
    second["test"] = {id_: {**second["test"][id_], "class": first["test"][id_]["class"]} for id_ in first["test"]}
    auc_curve = curve_of([first, second])
    assert (auc_curve.labelled.tolist(), auc_curve.pool) == ([10, 20], 15)
    assert auc_curve.probability.shape == (2, 60, 3)
    assert auc_curve.probability[1, 3].tolist() == second["test"]["i03"]["probability"]
    assert [CLASSES[label] for label in auc_curve.label[:4]] == [
        CLASSES[first["test"][f"i{place:02d}"]["class"]] for place in range(4)
    ]


def test_images_without_a_class_are_neither_right_nor_wrong(rng):
    """They count for nothing, although their number reads as the first class."""
    test = seen(rng)
    plain = CLASSIFICATION.assessment.entries(test, test, CLASSES)
    more = Case("unknown", "C", None)
    whole = test.statistics["prediction"]
    parts = (np.append(whole.label, 0), np.append(whole.probability, [[0.0, 0.0, 1.0]], 0), np.append(whole.labelled, False))
    calibration = np.append(test.statistics["calibration"], [[-9.0, -9.0, 0.0]], 0)
    spoiled = Seen([*test.cases, more], {"prediction": Prediction(*parts), "calibration": calibration})
    assert CLASSIFICATION.assessment.entries(spoiled, spoiled, CLASSES) == {
        **plain,
        "labelled_by_class": {**plain["labelled_by_class"], "": 1},
    }
    assert success(spoiled) == success(test)
