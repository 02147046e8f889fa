"""Simulated atrophy: what grows and what thins, how scores follow, and the folder that is written."""

import csv
import dataclasses
import json

import nibabel
import numpy as np
import pytest

from jaxal.data.scans.folder import FolderConfig
from jaxal.data.scans.targets import make_targets_ready
from jaxal.data.simulated import atrophy, brain
from jaxal.data.simulated.atrophy import AtrophyConfig, adas13_of, draw_person, is_young, mmse_of, simulate

CONFIG = AtrophyConfig(cases=4, spacing_mm=4.0)
QUIET = dataclasses.replace(CONFIG, noise=0.0, shading=0.0)
PEOPLE = [draw_person(CONFIG, index) for index in range(4000)]
COLUMNS = {
    name: np.array([getattr(person, name) for person in PEOPLE]) for name in ("age", "disease", "ageing", "adas13", "mmse")
}


def simulated(monkeypatch, disease, ageing, index=3):
    """A subject that has these effects and is the same in all else, without noise."""
    person = draw_person(QUIET, index)._replace(disease=disease, ageing=ageing)
    monkeypatch.setattr(atrophy, "draw_person", lambda config, index: person)
    return simulate(QUIET, index)


def fluid_cm3(image, where):
    dark = image < 0.55 * np.percentile(image, 95)
    return dark[where].sum() * QUIET.spacing_mm**3 / 1000


def test_disease_widens_ventricles_and_thins_the_caudate_and_age_widens_fissures(monkeypatch):
    """In the box the ventricles lie in the middle, and before and above them the fissure between the hemispheres."""
    inner, outer = (slice(4, 18), slice(3, 15), slice(4, 13)), (slice(9, 13), slice(16, 20), slice(0, 16))
    healthy, ill, old = (simulated(monkeypatch, *effects) for effects in ((0.0, 0.0), (4.0, 0.0), (0.0, 4.0)))
    ventricles, fissure = ([fluid_cm3(subject.image, where) for subject in (healthy, ill, old)] for where in (inner, outer))
    assert ventricles[1] > 1.7 * ventricles[0] and 1.2 * ventricles[0] < ventricles[2] < ventricles[1]
    assert fissure[2] > 1.3 * fissure[0] and fissure[1] == pytest.approx(fissure[0], rel=0.1)
    volumes = [np.count_nonzero(subject.caudate) for subject in (healthy, ill, old)]
    assert volumes[1] < 0.95 * volumes[0]
    assert min(subject.jacobian_min for subject in (healthy, ill, old)) > 0
    assert ill.jacobian_min < healthy.jacobian_min


def test_the_worst_that_is_drawn_does_not_fold():
    worst = max(range(len(PEOPLE)), key=lambda index: 1.3 * PEOPLE[index].disease + 1.9 * PEOPLE[index].ageing)
    assert PEOPLE[worst].disease > 4
    assert simulate(QUIET, worst).jacobian_min > 0


def test_the_ventricles_are_one_body_of_plausible_size_beside_the_caudate():
    template = brain.load_template()
    mask = atrophy.ventricles(template.image, template.origin_mm)
    assert mask.sum() / 1000 == pytest.approx(16.5, abs=0.2)
    x, y, z = (np.argwhere(mask) + template.origin_mm).T
    assert abs(x.mean()) < 3 and y.max() < 40 and z.min() > -2
    assert (mask & (template.label > 0)).sum() < 0.1 * template.label.sum()
    with pytest.raises(ValueError, match="MNI152"):
        atrophy.ventricles(np.ones((40, 40, 40)), np.array([-20.0, -10.0, 0.0]))


def test_velocities_lead_into_fluid():
    """Of a slab of fluid they point at it from both sides, along its normal alone, and the longest is one."""
    fluid = np.zeros((21, 9, 9), bool)
    fluid[9:12] = True
    field = atrophy.expansion_field(fluid, 2.0)
    assert (field[0, 3:9] > 0).all() and (field[0, 12:18] < 0).all()
    np.testing.assert_allclose(field[0, 10], 0.0, atol=1e-6)
    np.testing.assert_allclose(field[1:], 0.0, atol=1e-6)
    assert np.linalg.norm(field, axis=0).max() == pytest.approx(1.0)
    assert (atrophy.expansion_field(np.zeros((4, 4, 4)), 2.0) == 0).all()


def test_scores_by_hand():
    assert adas13_of(0.0, 72.0, 0.0) == 6.0
    assert adas13_of(2.0, 82.0, 0.5) == pytest.approx(20.0)
    assert adas13_of(0.0, 55.0, -9.0) == 0.0 and adas13_of(5.0, 90.0, 99.0) == 85.0
    assert adas13_of(0.05, 72.0, 0.0) == pytest.approx(6 + 1 / 3)
    assert mmse_of(2.0, 82.0, 0.1) == 26.0  # 29.6 - 1.6 - 1.4 - 0.3 + 0.1 = 26.4
    assert mmse_of(0.0, 60.0, 3.0) == 30.0 and mmse_of(5.0, 90.0, -99.0) == 0.0


def test_the_cohort_is_about_that_of_the_paper():
    age, adas13, mmse = COLUMNS["age"], COLUMNS["adas13"], COLUMNS["mmse"]
    assert age.min() >= 55 and age.max() < 90
    assert np.mean(age < 70) == pytest.approx(163 / 603, abs=0.001)
    assert [person.group for person in PEOPLE[:2]] == [">=70", ">=70"] and PEOPLE[3].group == "<70"
    assert adas13.mean() == pytest.approx(15, abs=1) and adas13.std() == pytest.approx(8.5, abs=0.7)
    assert mmse.mean() == pytest.approx(27, abs=0.5) and mmse.std() == pytest.approx(3, abs=0.4)
    assert -0.85 < np.corrcoef(adas13, mmse)[0, 1] < -0.6
    assert np.corrcoef(COLUMNS["disease"], age)[0, 1] == pytest.approx(0, abs=0.06)
    assert {person.sex for person in PEOPLE} == {"F", "M"} and {person.site for person in PEOPLE} == set(atrophy.SITES)


def test_a_quarter_of_young_is_every_fourth_subject():
    assert [is_young(index, 0.25) for index in range(8)] == [False, False, False, True] * 2
    assert not any(is_young(index, 0.0) for index in range(9)) and all(is_young(index, 1.0) for index in range(9))
    with pytest.raises(ValueError, match="share_young"):
        AtrophyConfig(4, 4.0, share_young=1.5)


def errors_of(columns, scores):
    """Of a quadratic regression on some columns, learnt from the first half of the people, for the second half."""
    terms = [np.ones(len(scores)), *columns, *(left * right for left in columns for right in columns)]
    learnt, told = np.split(np.stack(terms, axis=1), 2)
    known, unknown = np.split(scores, 2)
    return unknown - told @ np.linalg.lstsq(learnt, known, rcond=None)[0]


@pytest.mark.parametrize(("name", "explained"), [("adas13", 0.66), ("mmse", 0.78)])
def test_who_knows_the_atrophy_predicts_far_better_than_the_mean(name, explained):
    scores, disease, ageing = COLUMNS[name], COLUMNS["disease"], COLUMNS["ageing"]
    ventricles = CONFIG.disease_mm * disease + CONFIG.ageing_mm * ageing
    mean, of_ventricles, of_both = (errors_of(columns, scores) for columns in ([], [ventricles], [disease, ageing]))
    spread = [np.sqrt(np.mean(np.square(errors))) for errors in (mean, of_ventricles, of_both)]
    assert spread[2] < spread[1] < 0.65 * spread[0]
    assert 1 - spread[2] ** 2 / spread[0] ** 2 == pytest.approx(explained, abs=0.04)
    sign = 1 if name == "adas13" else -1
    young = np.split(COLUMNS["age"] < 70, 2)[1]
    assert sign * (of_ventricles[young].mean() - of_ventricles[~young].mean()) > 0.3  # the young seem healthier than they are


def test_a_subject_does_not_depend_on_the_cohort_size():
    first, again = (simulate(dataclasses.replace(CONFIG, cases=cases), 1) for cases in (4, 400))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.person == again.person
    other = dataclasses.replace(CONFIG, seed=1)
    assert draw_person(other, 1) != first.person
    assert (simulate(other, 1).image != first.image).any()


def test_what_is_written_is_what_was_simulated(tmp_path):
    done = []
    atrophy.write_atrophy(CONFIG, tmp_path / "cohort", lambda count, total: done.append((count, total)))
    assert done == [(count, 4) for count in range(1, 5)]
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
    with (tmp_path / "cohort" / "participants.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0]) == ["participant_id", "image", "ADAS13", "MMSE", "age", "sex", "site"]
    assert [row["image"] for row in rows] == [f"images/ADNI_{number:04d}_T1.nii.gz" for number in range(1, 5)]
    subject, row = simulate(CONFIG, 2), rows[2]
    image = nibabel.load(tmp_path / "cohort" / row["image"])
    np.testing.assert_array_equal(np.asarray(image.dataobj), subject.image)
    np.testing.assert_array_equal(image.affine[:3, 3], brain.BOX_ORIGIN_MM)
    person = subject.person
    assert (float(row["MMSE"]), float(row["age"]), row["sex"], row["site"]) == (person.mmse, person.age, person.sex, person.site)
    assert float(row["ADAS13"]) == pytest.approx(person.adas13, abs=0.005)
    config = FolderConfig(group_column="age", bins=(70.0,))
    made = make_targets_ready(tmp_path / "cohort" / "participants.tsv", ("MMSE", "ADAS13"), tmp_path / "prepared", config)
    assert [case.group for case in made.dataset.cases] == [person.group for person in PEOPLE[:4]]
    assert made.dataset.cases[2].label.values == (person.mmse, float(row["ADAS13"]))
    assert made.dataset.shape == CONFIG.brain.shape == (20, 20, 16)
    assert json.loads((tmp_path / "cohort" / "simulated.json").read_text())["share_young"] == 0.27


def test_a_cohort_that_stops_or_folds_leaves_nothing(tmp_path, monkeypatch):
    def stop(count, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atrophy.write_atrophy(CONFIG, tmp_path / "cohort", stop)
    folded = simulate(CONFIG, 0)._replace(jacobian_min=-0.1)
    monkeypatch.setattr(atrophy, "simulate", lambda config, index: folded)
    with pytest.raises(ValueError, match="folds"):
        atrophy.write_atrophy(CONFIG, tmp_path / "cohort")
    assert list(tmp_path.iterdir()) == []
