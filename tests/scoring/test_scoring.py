import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxal.acquisition import aggregate, information, uncertainty
from jaxal.data.scans.prepare import load_case
from jaxal.errors import OutOfMemory
from jaxal.networks.unet import UNetConfig, unet
from jaxal.scoring.journal import Journal
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.tasks.segmentation import SEGMENTATION

KEY = jax.random.key(7)
MEMBERS = MembersConfig(dropout=4)
# What is of the labels themselves.
OF_LABELS = {"overlap", "calibration", "class_counts", "error", "evaluation_sample", "temperature", "filtered"}


@pytest.fixture(scope="module")
def load(tiny_dataset):
    return lambda case: load_case(case, tiny_dataset)


@pytest.fixture(scope="module")
def model():
    return unet(tiny.NETWORK)


@pytest.fixture(scope="module")
def params(model):
    return jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *tiny.SHAPE, 1)))


@pytest.fixture(scope="module")
def everything(model, params, load, tiny_dataset):
    """All statistics of six cases, from one pass."""
    return Pass(SEGMENTATION, model, tiny.OF_LABEL_MAPS, MEMBERS, 2, tiny.STATISTICS)(params, KEY, tiny_dataset.cases[:6], load)


def assert_equal(tree, other, tolerance=0.0):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        if tolerance:
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(a, b)


@functools.partial(jax.jit, static_argnums=0)
def whole(model, params, image, masks=None):
    return model.tail(params, model.stem(params, image[None]), masks)


def plain_logits(model, params, image, masks=None):
    """Logits `[classes, elements]` of one image, the whole network run again for every member."""
    output = whole(model, params, image, masks)
    kernel, bias = model.head(params, masks)
    return np.moveaxis(np.asarray(output.features[0] @ kernel + bias.reshape(1, 1, 1, -1), np.float64), -1, 0).reshape(
        len(bias), -1
    )


def keys_of_members(member, network=0):
    return jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(KEY, 0), network), member)


def softmax(logits):
    e = np.exp(logits - logits.max(0))
    return e / e.sum(0)


def entropy(p):
    return -(p * np.log(p)).sum(0)


@pytest.mark.parametrize("dropout", ["head", "decoder", "bottleneck"])
def test_the_pass_equals_whole_forwards_for_every_member(dropout, load, tiny_dataset):
    model = unet(UNetConfig(width=4, levels=2, dropout=dropout, dropout_rate=0.5))
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *tiny.SHAPE, 1)))
    names = ["entropy", "least_confidence", "margin", "mc_entropy", "variation_ratio", "bald"]
    cases = tiny_dataset.cases[:3]
    scores = Pass(SEGMENTATION, model, names, MEMBERS, 2, tiny.STATISTICS)(params, KEY, cases, load)
    member_keys = [keys_of_members(member) for member in range(MEMBERS.dropout)]
    for index, case in enumerate(cases):
        image = load(case).image
        p = softmax(plain_logits(model, params, image))
        members = np.stack([softmax(plain_logits(model, params, image, model.draw_masks(key))) for key in member_keys])
        mean, ordered = members.mean(0), np.sort(p, axis=0)
        votes = (members.argmax(1) == 1).mean(0)
        expected = {
            "entropy": entropy(p).mean(),
            "least_confidence": (1 - p.max(0)).mean(),
            "margin": (1 - ordered[-1] + ordered[-2]).mean(),
            "mc_entropy": entropy(mean).mean(),
            "variation_ratio": np.minimum(votes, 1 - votes).mean(),
            "bald": (entropy(mean) - np.mean([entropy(member) for member in members], axis=0)).mean(),
        }
        for name in names:
            np.testing.assert_allclose(scores[name][index], expected[name], rtol=2e-4, atol=1e-6, err_msg=name)


def test_statistics_come_out_as_in_a_pass_of_few(everything, model, params, load, tiny_dataset):
    one_device = jax.local_devices()[:1]  # compiles faster, and gives the same bits
    passes = 4
    for place in range(passes):
        names = tiny.OF_LABEL_MAPS[place::passes]
        pass_ = Pass(SEGMENTATION, model, names, MEMBERS, 2, tiny.STATISTICS, one_device)
        few = pass_(params, KEY, tiny_dataset.cases[:6], load)
        assert_equal(few, {name: everything[name] for name in names}, tolerance=1e-5)


def test_neighbours_order_and_number_of_cases_do_not_matter(everything, model, params, load, tiny_dataset):
    pass_ = Pass(SEGMENTATION, model, tiny.OF_LABEL_MAPS, MEMBERS, 2, tiny.STATISTICS)
    cases = tiny_dataset.cases
    some = pass_(params, KEY, [cases[4], cases[1], cases[0]], load)
    assert_equal(some, jax.tree.map(lambda part: part[[4, 1, 0]], everything))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_sizes_agree_closely(batch_size, everything, model, params, load, tiny_dataset):
    scores = Pass(SEGMENTATION, model, tiny.OF_LABEL_MAPS, MEMBERS, batch_size, tiny.STATISTICS)(
        params, KEY, tiny_dataset.cases[:6], load
    )
    assert_equal(scores, everything, tolerance=1e-4)


def test_one_compilation_for_any_number_of_cases(model, params, load, tiny_dataset):
    pass_ = Pass(SEGMENTATION, model, ["entropy"], MEMBERS, 2, tiny.STATISTICS)
    for count in (1, 2, 5):
        assert pass_(params, KEY, tiny_dataset.cases[:count], load)["entropy"].shape == (count,)
    assert pass_._run._cache_size() == 1


def test_members_are_drawn_only_when_asked_for(model, params, load, tiny_dataset):
    def draw(key):
        raise AssertionError("no statistic needs members")

    quiet = model._replace(draw_masks=draw)
    Pass(SEGMENTATION, quiet, ["entropy", "regions"], MEMBERS, 2, tiny.STATISTICS)(params, KEY, tiny_dataset.cases[:2], load)
    with pytest.raises(AssertionError):
        Pass(SEGMENTATION, quiet, ["bald"], MEMBERS, 2, tiny.STATISTICS)(params, KEY, tiny_dataset.cases[:2], load)


def test_the_pool_hides_its_labels(model, params, load, tiny_dataset):
    """A case that nobody labelled is scored like any other, and its label map is not read."""
    cases = tiny_dataset.cases[:4]
    unlabelled = [case._replace(label=None) for case in cases]
    assert load(unlabelled[0]).label.sum() == 0 and not load(unlabelled[0]).labelled.any()
    names = [name for name in tiny.OF_LABEL_MAPS if name not in OF_LABELS]
    pass_ = Pass(SEGMENTATION, model, names, MEMBERS, 2, tiny.STATISTICS)
    assert_equal(pass_(params, KEY, cases, load), pass_(params, KEY, unlabelled, load))
    counts = Pass(SEGMENTATION, model, ["overlap"], MEMBERS, 2, tiny.STATISTICS)(params, KEY, unlabelled, load)["overlap"]
    assert not np.any(counts)


def test_elements_without_a_label_are_scored_like_all_others(everything, model, params, load, tiny_dataset):
    """And are neither measured nor counted as the structure."""

    def half_labelled(case):
        example = load(case)
        labelled = example.labelled.copy()
        labelled[4:] = False
        return example._replace(labelled=labelled)

    pass_ = Pass(SEGMENTATION, model, tiny.OF_LABEL_MAPS, MEMBERS, 2, tiny.STATISTICS)
    statistics = pass_(params, KEY, tiny_dataset.cases[:6], half_labelled)
    for name in set(tiny.OF_LABEL_MAPS) - OF_LABELS:
        assert_equal(statistics[name], everything[name])
    assert statistics["calibration"].table.sum((-2, -1)).tolist() == [4 * 64] * 6
    assert statistics["evaluation_sample"].weights.sum(-1) == pytest.approx([8 * 64] * 6)
    for index, case in enumerate(tiny_dataset.cases[:6]):
        truth = load(case).label
        counted_truth = statistics["overlap"].true_positive[index] + statistics["overlap"].false_negative[index]
        assert counted_truth[1] == truth[:4].sum()
        assert statistics["evaluation_sample"].class_counts[index, 1] == truth[:4].sum()


def test_scaled_entropies_are_sums_over_the_predicted_volume(everything, model, params, load, tiny_dataset):
    for index, case in enumerate(tiny_dataset.cases[:6]):
        p = softmax(plain_logits(model, params, load(case).image))
        mask = aggregate.region_of_interest(jnp.asarray(p, jnp.float32), jnp.ones(512, bool), tiny.SHAPE, 1, 0.1, 8)
        nats, volume = entropy(p), max((p.argmax(0) > 0).sum(), 8)
        np.testing.assert_allclose(everything["scaled_entropy"][index], nats.sum() / volume, rtol=1e-4)
        np.testing.assert_allclose(everything["scaled_region_entropy"][index], nats[np.asarray(mask)].sum() / volume, rtol=1e-4)


def test_masked_entropy_is_the_scaled_mean_over_the_region(everything, model, params, load, tiny_dataset):
    for index, case in enumerate(tiny_dataset.cases[:6]):
        p = softmax(plain_logits(model, params, load(case).image))
        mask = aggregate.region_of_interest(jnp.asarray(p, jnp.float32), jnp.ones(512, bool), tiny.SHAPE, 1, 0.1, 8)
        np.testing.assert_allclose(
            everything["masked_entropy"][index], entropy(p)[np.asarray(mask)].mean() / np.log(2), rtol=1e-4
        )
    assert (everything["masked_entropy"] <= 1).all()


def test_padding_does_not_count(model, params, load, tiny_dataset):
    """Scores are means over what is inside; the padded part may only be seen through the convolutions."""

    def with_marks(label):
        def read(case):
            example = load(case)
            inside = example.inside.copy()
            inside[5:] = False
            marked = example.label.copy()
            marked[5:] = label
            return example._replace(inside=inside, labelled=inside, label=marked)

        return read

    pass_ = Pass(SEGMENTATION, model, tiny.OF_LABEL_MAPS, MEMBERS, 2, tiny.STATISTICS)
    cases = tiny_dataset.cases[:2]
    with_zeros, with_ones = (pass_(params, KEY, cases, with_marks(label)) for label in (0, 1))
    assert_equal(with_zeros, with_ones)
    p = softmax(plain_logits(model, params, load(cases[0]).image)).reshape(2, *tiny.SHAPE)[:, :5]
    np.testing.assert_allclose(with_zeros["entropy"][0], entropy(p).mean(), rtol=1e-4)
    assert with_zeros["calibration"].table.sum((-2, -1)).tolist() == [5 * 64, 5 * 64]
    assert with_zeros["evaluation_sample"].weights.sum(-1) == pytest.approx([5 * 64, 5 * 64])


def test_regions_hold_the_block_moments_and_what_each_member_predicts(everything, model, params, load, tiny_dataset):
    image = load(tiny_dataset.cases[0]).image
    p = softmax(plain_logits(model, params, image))
    features = np.asarray(whole(model, params, image).features[0]).reshape(-1, 4)
    every = information.region_candidates(
        jnp.asarray(features), jnp.asarray(p, jnp.float32), jnp.ones(512, bool), tiny.SHAPE, 2, jnp.arange(64)
    )
    regions, kept = (jax.tree.map(lambda part: part[0], everything[name]) for name in ("regions", "member_regions"))
    drawn = [model.draw_masks(keys_of_members(member)) for member in range(MEMBERS.dropout)]
    members = np.array([softmax(plain_logits(model, params, image, masks)) for masks in drawn], np.float32)
    blocks = information.block_mean(jnp.asarray(members), jnp.ones(512, bool), tiny.SHAPE, 2)
    for slot in np.flatnonzero(regions.used):
        distance = np.abs(np.asarray(every.mean) - regions.candidates.mean[slot]).max(-1)
        match = distance.argmin()
        assert distance[match] < 1e-5
        np.testing.assert_allclose(regions.candidates.joint[slot], np.asarray(every.joint)[match], atol=1e-5)
        np.testing.assert_allclose(kept.probability[slot], np.asarray(blocks)[:, :, match], atol=2e-5)
    assert 0 < regions.used.sum() <= 16 and (kept.used == regions.used).all()


def test_evaluation_sample_is_unbiased(model, params, load, tiny_dataset):
    """Averaged over many draws, weighted sums over the sample equal sums over the volume."""
    pass_, case = Pass(SEGMENTATION, model, ["evaluation_sample"], MEMBERS, 1, tiny.STATISTICS), tiny_dataset.cases[0]
    samples = [pass_(params, jax.random.key(seed), [case], load)["evaluation_sample"] for seed in range(60)]
    estimates = np.array([(sample.features[0] * sample.weights[0]).sum(-1) for sample in samples])
    output = whole(model, params, load(case).image)
    truth = np.asarray(output.features[0]).reshape(-1, 4).sum(0)
    standard_error = estimates.std(0) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(0) - truth) < 4 * standard_error + 1e-3).all()
    assert samples[0].weights[0].sum() == pytest.approx(512)
    label = load(case).label.reshape(-1)
    near = np.asarray(aggregate.dilate_mask(jnp.asarray(label > 0), tiny.SHAPE, 1))
    assert samples[0].class_counts[0].tolist() == [int((near & (label == 0)).sum()), int(label.sum())]


def test_an_unknown_statistic_is_refused(model):
    with pytest.raises(ValueError, match="Unknown statistics \\['confusion'\\]"):
        Pass(SEGMENTATION, model, ["confusion"], MEMBERS, 1, tiny.STATISTICS)


def test_moments_are_those_of_the_members():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5)), jnp.float32)
    moments = uncertainty.add_member(uncertainty.no_moments(jnp.full((2, 5), 0.5)), logits)
    np.testing.assert_allclose(np.asarray(uncertainty.mean_probability(moments)), softmax(np.asarray(logits)), rtol=1e-5)
    assert float(moments.members) == 1


def counting(load):
    """A reader that keeps the ids of the cases it read."""
    seen = []

    def read(case):
        seen.append(case.id)
        return load(case)

    return read, seen


def test_one_device_and_two_give_the_same_bits(model, params, load, tiny_dataset, in_a_hurry):
    assert len(jax.local_devices()) == 2
    passes = [
        Pass(SEGMENTATION, model, tiny.OF_LABEL_MAPS, MEMBERS, 2, tiny.STATISTICS, jax.local_devices()[:count])
        for count in (1, 2)
    ]
    cases = tiny_dataset.cases[:7]  # a ragged last batch on either
    assert_equal(*(pass_(params, KEY, cases, load) for pass_ in passes), 1e-6 if in_a_hurry else 0.0)


class _Later:
    """A batch's results on a device; whoever asks for them waits."""

    shape, dtype = (2,), np.dtype(np.float32)

    def __init__(self, number, events):
        self._number, self._events = number, events

    def copy_to_host_async(self):
        self._events.append(("copy", self._number))

    def __array__(self, dtype=None, copy=None):
        self._events.append(("wait", self._number))
        return np.full(2, self._number, np.float32)


def test_a_device_always_has_a_batch_to_go_on_with(model, params, load, tiny_dataset):
    """What comes back is waited for only after the two next batches were sent."""
    events = []

    def program(params, key, examples, numbers):
        events.append(("run", sum(event == "run" for event, _ in events)))
        return {"entropy": _Later(events[-1][1], events)}

    pass_ = Pass(SEGMENTATION, model, ["entropy"], MembersConfig(), 2, tiny.STATISTICS, jax.local_devices()[:1])
    pass_._run = program
    results = pass_(params, KEY, tiny_dataset.cases[:7], load)
    assert results["entropy"].tolist() == [0, 0, 1, 1, 2, 2, 3]
    sent = [number for event, number in events if event == "run"]
    waits = {number: place for place, (event, number) in enumerate(events) if event == "wait"}
    assert sent == [0, 1, 2, 3] and list(waits) == sent
    assert all(events.index(("copy", number)) == events.index(("run", number)) + 1 for number in sent)
    assert events.index(("run", 2)) < waits[0] < events.index(("run", 3)) < waits[1]


def test_a_stopped_pass_scores_only_what_is_missing(model, params, load, tiny_dataset, tmp_path):
    cases, names = tiny_dataset.cases[:7], ["bald", "regions"]
    pass_ = Pass(SEGMENTATION, model, names, MEMBERS, 2, tiny.STATISTICS, jax.local_devices()[:1])
    expected = pass_(params, KEY, cases, load)

    def failing(case):
        if case == cases[6]:
            raise InterruptedError
        return load(case)

    journal = Journal(tmp_path, "config")
    with pytest.raises(InterruptedError):
        pass_(params, KEY, cases, failing, None, journal)
    read, seen = counting(load)
    reports = []
    again = pass_(params, KEY, cases, read, lambda done, total: reports.append((done, total)), journal)
    assert_equal(again, expected)
    assert set(seen) == {cases[0].id, *(case.id for case in cases[2:])}  # the first one tells the results' shapes
    assert reports[-1] == (7, 7) and reports[0] != (2, 7)
    read, seen = counting(load)
    assert_equal(pass_(params, KEY, cases[::-1], read, None, journal), jax.tree.map(lambda part: part[::-1], expected))
    assert len(set(seen)) == 1


def test_the_journal_is_deaf_to_other_params_keys_data_and_settings(model, params, load, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "data")
    dataset = tiny.read(folder)
    cases = dataset.cases[:2]

    def missed(params=params, key=KEY, identity="config", batch_size=2, members=MEMBERS, names=("bald",), cases=cases):
        """Cases that had to be scored anew."""
        read, seen = counting(lambda case: load_case(case, dataset))
        pass_ = Pass(SEGMENTATION, model, list(names), members, batch_size, tiny.STATISTICS, jax.local_devices()[:1])
        pass_(params, key, cases, read, None, Journal(tmp_path / "scores", identity))
        return set(seen) - {cases[0].id}

    assert missed() == {cases[1].id}
    assert missed() == set()
    assert missed(params=jax.tree.map(lambda leaf: leaf * 1.0001, params))
    assert missed(key=jax.random.key(8))
    assert missed(identity="another config")
    assert missed(batch_size=1)
    assert missed(members=MembersConfig(dropout=3))
    assert missed(names=("bald", "entropy"))
    assert missed() == set()
    pool = [case._replace(label=None) for case in cases]
    assert missed(cases=pool) == {cases[1].id}
    label = tmp_path / "data" / "labelsTr" / f"{cases[1].id}.nii.gz"
    shutil.copy(
        label.with_name(f"{cases[0].id}.nii.gz"), label
    )  # a new label: what was trained on it counts anew, the pool does not
    relabelled = tiny.read(folder).cases[:2]
    assert missed(cases=relabelled) == {cases[1].id}
    assert missed(cases=[case._replace(label=None) for case in relabelled]) == set()
    cases = relabelled
    tiny.write_dataset(tmp_path / "other", shape=tiny.SHAPE, cases=4)
    source = tmp_path / "other" / "imagesTr" / f"{cases[0].id[:-1]}3_0000.nii.gz"
    shutil.copy(source, folder / "imagesTr" / f"{cases[1].id}_0000.nii.gz")  # the same name, another content
    assert missed(cases=tiny.read(folder).cases[:2]) == {cases[1].id}


def test_a_pass_that_is_too_large_for_the_device_is_told_of(model, params, load, tiny_dataset):
    pass_ = Pass(SEGMENTATION, tiny.too_large(model), ["entropy"], MEMBERS, 2, tiny.STATISTICS)
    told = r"^Scoring 2 cases at once on each device \(entropy\) needs more memory than the device has \(.*7\d{13} bytes.*A smaller batch_size"
    with pytest.raises(OutOfMemory, match=told):
        pass_(params, KEY, tiny_dataset.cases[:3], load)


def test_disagreement_of_a_single_member_is_refused(model):
    with pytest.raises(ValueError, match="only one"):
        Pass(SEGMENTATION, model, ["bald"], MembersConfig(dropout=0), 2, tiny.STATISTICS)
    Pass(SEGMENTATION, model, ["entropy"], MembersConfig(dropout=0), 2, tiny.STATISTICS)
