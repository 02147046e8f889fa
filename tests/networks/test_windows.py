"""Sliding windows against one forward where both can be had, and against plain loops."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import uncertainty
from jaxal.acquisition.uncertainty import CLASS_MOMENTS
from jaxal.arrays import flat, logits_of
from jaxal.networks import windows
from jaxal.networks.unet import UNetConfig, unet
from jaxal.networks.windows import gaussian_weights, window_starts, windowed
from jaxal.scoring.members import MembersConfig, Stream, stream_members
from jaxal.types import Model, Output

PATCH = (4, 6, 4)


def pointwise(gain=1.0):
    """A network that looks at each element alone: windows must not change it at all."""

    def stem(params, inputs, inside=None):
        return inputs

    def tail(params, hidden, masks):
        return Output(gain * hidden, hidden.mean((1, 2, 3)), {})

    return Model(lambda key, example: {}, stem, tail, lambda params, masks=None: None, lambda key: {}, False, lambda params: {})


def test_windows_of_the_identity_give_the_volume_back(rng):
    volume = jnp.asarray(rng.normal(size=(2, 9, 11, 4, 3)), jnp.float32)
    for overlap in (0.0, 0.25, 0.5, 0.75):
        model = windowed(pointwise(), PATCH, overlap)
        output = jax.jit(lambda inputs, model=model: model.tail({}, model.stem({}, inputs), None))(volume)
        np.testing.assert_allclose(np.asarray(output.features), np.asarray(volume), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("network", ["identity", "ramped"])
@pytest.mark.parametrize("overlap", ["0.25", "0.5", "0.6"])
def test_windows_are_blended_as_monai_blends_them(network, overlap):
    known = json.loads((Path(__file__).parents[1] / "fixtures" / "windows.json").read_text())
    patch, volume = tuple(known["patch"]), jnp.asarray(known["volume"], jnp.float32)[None, ..., None]
    ramp = jnp.asarray(known["ramp"], jnp.float32)[None, ..., None] if network == "ramped" else 1.0
    model = pointwise()
    model = model._replace(tail=lambda params, hidden, masks: Output(hidden * ramp, hidden.mean((1, 2, 3)), {}))
    whole = windowed(model, patch, float(overlap))
    features = whole.tail({}, whole.stem({}, volume), None).features
    np.testing.assert_allclose(np.asarray(features)[0, ..., 0], known[network][overlap], atol=2e-6)


def test_blending_is_the_weighted_mean_of_windows(rng):
    """A network that knows its place in the window only: blended by hand."""
    ramp = jnp.asarray(rng.normal(size=(*PATCH, 1)), jnp.float32)
    model = pointwise()
    model = model._replace(tail=lambda params, hidden, masks: Output(hidden * 0 + ramp[None], hidden.mean((1, 2, 3)), {}))
    whole = windowed(model, PATCH, 0.5)
    space = (9, 11, 4)
    output = whole.tail({}, whole.stem({}, jnp.zeros((1, *space, 1))), None)
    total, weights = np.zeros(space), np.zeros(space)
    weight = gaussian_weights(PATCH)
    for start in window_starts(space, PATCH, 0.5):
        place = tuple(slice(first, first + length) for first, length in zip(start, PATCH, strict=True))
        total[place] += weight * np.asarray(ramp[..., 0])
        weights[place] += weight
    np.testing.assert_allclose(np.asarray(output.features[0, ..., 0]), total / weights, atol=1e-6)


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("filled", [3, 7, 20])
def test_windows_lie_within_the_case_however_it_is_padded(filled, at_the_end, rng):
    """Each is run once, padding costs none, and features and embedding are those of the case alone."""
    runs = []
    slope = jnp.asarray(rng.normal(size=(*PATCH, 1)), jnp.float32)

    def tail(params, hidden, masks):
        jax.debug.callback(lambda: runs.append(1))
        return Output(hidden * slope[None] + slope[None], 1 + hidden.mean((1, 2, 3)), {})

    at = slice(20 - filled, None) if at_the_end else slice(filled)
    volume, inside = np.zeros((2, 20, 9, 4, 1), np.float32), np.zeros((2, 20, 9, 4), bool)
    volume[:, at, :8], inside[:, at, :8] = rng.normal(size=volume[:, at, :8].shape), True
    whole = windowed(pointwise()._replace(tail=tail), PATCH, 0.5)
    seen = jax.jit(lambda inputs, inside: whole.tail({}, whole.stem({}, inputs, inside), None))
    output = seen(volume, inside)
    jax.effects_barrier()
    shortest = volume[:, -max(filled, 4) :, :8] if at_the_end else volume[:, : max(filled, 4), :8]
    assert len(runs) == 2 * len(window_starts(shortest.shape[1:-1], PATCH, 0.5))
    alone = seen(shortest, np.ones(shortest.shape[:-1], bool))
    np.testing.assert_array_equal(output.features[:, at, :8], alone.features[:, -filled if at_the_end else 0 :][:, :filled])
    np.testing.assert_array_equal(output.embedding, alone.embedding)


@pytest.mark.parametrize(("at_once", "broken"), [(2, [0, 9]), (3, []), (3, [5]), (50, [0, 9])])
def test_several_windows_at_once_add_up_to_what_each_adds(at_once, broken, rng):
    """Whichever are needed, however full the last turn is; and what the network makes of the others is NaN."""
    plain, patch, space = unet(UNetConfig(width=2, levels=2)), (4, 4, 4), (16, 6, 4)
    volume = rng.normal(size=(*space, 1)).astype(np.float32)
    params = jax.jit(plain.init)(jax.random.key(0), volume[None, :4, :4])
    volume[broken] = np.nan
    starts = window_starts(space, patch, 0.5)
    needed = np.array([np.isfinite(volume[x : x + 4, y : y + 4]).all() for x, y, _ in starts])
    assert len(needed) == 14 and needed.sum() == (14, 10, 8)[len(broken)]

    def see(seen, inside):
        return plain.tail(params, plain.stem(params, seen, inside), None)

    def added(form):
        case, weight = windows._Volume(jnp.asarray(volume), jnp.ones(space, bool)), jnp.asarray(gaussian_weights(patch))
        start_with = windows._Sums(jnp.zeros((*space, 2)), jnp.zeros(space), jnp.zeros(4))
        return jax.jit(lambda: form(see, weight, case, jnp.asarray(starts), jnp.asarray(needed), start_with))()

    together = added(functools.partial(windows._add_several, at_once))
    for part, whole in zip(together, added(windows._add_each), strict=True):
        assert np.abs(whole).max() > 0.1
        np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("elements", "together"), [(2 * 96, [2]), (5 * 96, [4]), (96, []), (1, [])])
def test_windows_at_once_are_bounded_by_their_elements_and_shared_evenly(elements, together, monkeypatch):
    """Seven windows in turns of as equal a size as can be; where one alone is as much as may be, nothing else is compiled."""
    sizes = []
    monkeypatch.setattr(
        windows, "_add_several", lambda at_once, see, weight, case, starts, needed, total: sizes.append(at_once) or total
    )
    case = windows._Volume(jnp.zeros((1, 16, 6, 4, 1)), None)

    def see(seen, inside):
        return Output(seen, seen.mean((1, 2, 3)), {})

    jax.eval_shape(lambda: windows._blend(see, case, PATCH, 0.5, elements))
    assert sizes == together


@pytest.mark.parametrize(
    ("length", "patch", "overlap", "expected"),
    [(8, 8, 0.5, [0]), (9, 8, 0.5, [0, 1]), (16, 8, 0.5, [0, 4, 8]), (17, 8, 0.25, [0, 6, 9]), (16, 8, 0.0, [0, 8])],
)
def test_window_starts(length, patch, overlap, expected):
    assert window_starts((length,), (patch,), overlap)[:, 0].tolist() == expected


def test_volumes_smaller_than_the_patch_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 8, 8\) are smaller than the patch"):
        window_starts((3, 8, 8), (4, 8, 8), 0.5)
    with pytest.raises(ValueError, match="overlap is 1"):
        windowed(pointwise(), PATCH, 1.0)


@pytest.mark.parametrize("dropout", ["head", "decoder"])
def test_dropout_samples_see_the_blend(dropout, rng):
    """Moments of the members are those of logits blended sample by sample."""
    patch = (4, 4, 4)
    plain = unet(UNetConfig(width=2, levels=2, dropout=dropout, dropout_rate=0.5))
    model = windowed(plain, patch)
    volume = jnp.asarray(rng.normal(size=(1, 6, 4, 4, 1)), jnp.float32)
    params = jax.jit(plain.init)(jax.random.key(0), volume[:, :4])
    moments = jax.jit(
        lambda params, volume: stream_members(
            Stream(model, MembersConfig(dropout=3), CLASS_MOMENTS, True),
            params,
            volume,
            model.stem(params, volume),
            jax.random.key(1),
            jnp.full((1, 2, 6 * 4 * 4), 0.5),
        )[0]
    )(params, volume)
    weight = gaussian_weights(patch)
    total, run = 0.0, jax.jit(lambda params, seen, masks: plain.tail(params, plain.stem(params, seen), masks))
    for number in range(3):
        masks = plain.draw_masks(jax.random.fold_in(jax.random.fold_in(jax.random.key(1), 0), number))
        blended, weights = np.zeros((2, 6, 4, 4)), np.zeros((6, 4, 4))
        for start in window_starts((6, 4, 4), patch, 0.5):
            first = int(start[0])
            output = run(params, volume[:, first : first + 4], masks)
            logits = np.asarray(logits_of(flat(output), *plain.head(params, masks)))[0].reshape(2, *patch)
            blended[:, first : first + 4] += weight * logits
            weights[first : first + 4] += weight
        logits = (blended / weights).reshape(2, -1)
        total = total + np.exp(logits) / np.exp(logits).sum(0)
    np.testing.assert_allclose(np.asarray(uncertainty.mean_probability(moments))[0], total / 3, atol=3e-5)


def test_a_patch_goes_straight_through(rng):
    plain = unet(UNetConfig(width=2, levels=2))
    model = windowed(plain, PATCH)
    inputs = jnp.asarray(rng.normal(size=(2, *PATCH, 1)), jnp.float32)
    params = jax.jit(plain.init)(jax.random.key(0), inputs)
    ours, theirs = (network.tail(params, network.stem(params, inputs), None).features for network in (model, plain))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
