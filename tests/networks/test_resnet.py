"""Residual networks against PyTorch's forward, and weights from files."""

import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxal.arrays import logits_of
from jaxal.errors import UserError
from jaxal.networks.layers import PRelu, draw_params
from jaxal.networks.resnet import SHAPES, ResNetConfig, Shape, _Block, enter, resnet
from jaxal.networks.weights import network_of, read_weights, with_weights
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import Batch, Recipe
from jaxal.training.step import TrainState, fresh_state, take_step
from jaxal.types import Example

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "resnet.json").read_text())
IMAGES = np.random.default_rng(1).normal(size=(2, 64, 48, 3)).astype(np.float32)


def draw(shapes):
    """The weights that `fixtures/make_resnet.py` drew."""
    rng, state = np.random.default_rng(0), {}
    for name, shape in shapes.items():
        values = rng.normal(size=shape)
        if name.endswith("running_var"):
            values = 0.5 + np.square(values)
        elif len(shape) > 1:
            values = values * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("weight"):
            values = 1 + 0.2 * values
        state[name] = values.astype(np.float32)
    return state


def config(architecture="resnet18", **more):
    return ResNetConfig(**{"classes": 5, "architecture": architecture, "width": 8, "groups": 4, "norm": "frozen", **more})


def state_of(architecture="resnet18"):
    return draw(FIXTURE[architecture]["shapes"])


def logits(model, params, images):
    output = model.tail(params, model.stem(params, images), None)
    assert output.features.shape == output.embedding.shape == (len(images), params["kernel"].shape[0])
    return logits_of(output.features[:, None], *model.head(params))[..., 0]


@pytest.mark.parametrize(("architecture", "ending"), [("resnet18", "safetensors"), ("resnet50", "npz")])
def test_weights_of_torchvision_give_pytorchs_logits(tmp_path, architecture, ending):
    path = tmp_path / f"weights.{ending}"
    state = state_of(architecture) | {"bn1.num_batches_tracked": np.array(3)}
    save_file(state, path) if ending == "safetensors" else np.savez(path, **state)
    settings = config(architecture)
    model = with_weights(resnet(settings), settings, read_weights(path), path)
    params = model.init(jax.random.key(0), jnp.asarray(IMAGES[:1]))
    expected = np.array(FIXTURE[architecture]["logits"])
    ours = np.asarray(jax.jit(lambda params, images: logits(model, params, images))(params, IMAGES))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_last_layer_of_other_classes_stays_fresh():
    settings = config(classes=3)
    model = with_weights(resnet(settings), settings, state_of(), Path("weights.npz"))
    params, fresh = (part.init(jax.random.key(0), jnp.asarray(IMAGES[:1])) for part in (model, resnet(settings)))
    np.testing.assert_array_equal(params["kernel"], fresh["kernel"])
    np.testing.assert_array_equal(params["conv1"]["kernel"], state_of()["conv1.weight"].transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("layer2.0.conv1.weight"), "layer2.0.conv1.weight: missing"),
        (lambda state: state.update({"conv1.weight": np.zeros((8, 1, 7, 7), np.float32)}), "conv1.weight: (8, 1, 7, 7) in the file, (8, 3, 7, 7) here"),
        (lambda state: state.update({"layer9.weight": np.zeros(3, np.float32)}), "layer9.weight: not part of this network"),
        (lambda state: state.pop("bn1.running_mean"), "the batch norm bn1 lacks running_mean"),
        (lambda state: state.update({"bn1.bias": np.zeros(3, np.float32)}), "the parts of the batch norm bn1 have different shapes"),
        (lambda state: [state.pop(f"layer2.0.downsample.1.{part}") for part in ("weight", "bias", "running_mean", "running_var")],
         "layer2.0.downsample.1.weight: missing"),
        (lambda state: state.update({"fc.weight": np.zeros((9, 63), np.float32), "fc.bias": np.zeros(9, np.float32)}),
         "fc.weight: (63,) in the file, (64,) here"),
        (lambda state: state.pop("fc.bias"), "fc.bias: missing"),
        (lambda state: state["layer1.0.conv1.weight"].fill(np.nan), "layer1.0.conv1.weight: not all numbers are finite"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named(change, message):
    state, settings = state_of(), config()
    change(state)
    with pytest.raises(UserError) as error:
        with_weights(resnet(settings), settings, state, Path("weights.npz"))
    assert message in str(error.value)
    assert "weights.npz" in str(error.value)


def test_grey_images_see_what_three_equal_colours_would():
    settings, grey = config(), IMAGES[..., :1]
    models = [with_weights(resnet(settings), settings, state_of(), Path("weights.npz"), channels) for channels in (1, 3)]
    outputs = []
    for model, images in zip(models, (grey, np.repeat(grey, 3, -1)), strict=True):
        params = model.init(jax.random.key(0), jnp.asarray(images[:1]))
        outputs.append(np.asarray(jax.jit(lambda params, images, model=model: logits(model, params, images))(params, images)))
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-4 * np.abs(outputs[1]).max())


def test_the_network_follows_the_file():
    small = config("small", entry="narrow")
    for architecture in ("resnet18", "resnet50"):
        network = network_of(state_of(architecture), small)
        assert (network.architecture, network.width, network.entry, network.norm) == (architecture, 64, "wide", "frozen")
        assert network.classes == small.classes


def test_files_that_could_run_code_or_are_broken_are_refused(tmp_path):
    for name, content, message in (
        ("weights.pth", b"anything", "may run code"),
        ("weights.safetensors", b"not at all", "cannot be read"),
        ("weights.npz", b"not at all", "cannot be read"),
        ("empty.npz", b"", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_weights(tmp_path / name)
    np.savez(tmp_path / "pickled.npz", weight=np.array([{"a": 1}], object))
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / "pickled.npz")
    with pytest.raises(UserError, match="no such file"):
        read_weights(tmp_path / "nowhere.npz")


def test_frozen_norms_are_not_trained_and_the_rest_is():
    model = resnet(config("small", entry="narrow"))
    images = jnp.asarray(IMAGES[:, :8, :8])
    params = jax.jit(model.init)(jax.random.key(0), images)
    training = TrainingConfig(dice=False, weight_decay=0.1, rotation_degrees=10.0, flips=(0, 1))
    batch = Example(images, jnp.array([1, 4], jnp.uint8), jnp.ones(2, bool), jnp.ones(2, bool))
    recipe = Recipe(model, training, CLASSIFICATION.loss, CLASSIFICATION.dense)
    step = jax.jit(lambda state: take_step(recipe, state, jax.random.key(1), Batch(batch), jnp.int32(10), jnp.float32(0.1)))
    stepped: TrainState = step(step(fresh_state(training, params)))  # the first step's rate is zero
    for (path, before), after in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(stepped.params), strict=True):
        same = bool((np.asarray(before) == np.asarray(after)).all())
        assert same == path[-1].key.startswith("frozen_"), path


def test_version_two_puts_its_norms_first():
    """A block whose last kernel is zero hands its input on, untouched by norm or rectifier; in version one it is rectified."""
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 32)), jnp.float32)
    for architecture, expected in (("resnet50_v2", inputs), ("resnet50", jax.nn.relu(inputs))):
        block = _Block(8, 1, config(architecture, norm="group"))
        params = draw_params(jax.random.key(0), jax.eval_shape(block.init, jax.random.key(0), inputs)["params"])
        assert set(params) == {"conv1", "conv2", "conv3", "norm1", "norm2", "norm3"}
        assert params["norm1"]["scale"].shape == ((32,) if architecture == "resnet50_v2" else (8,))
        without = {**params, "conv3": jax.tree.map(jnp.zeros_like, params["conv3"])}
        np.testing.assert_array_equal(np.asarray(block.apply({"params": without}, inputs)), np.asarray(expected))
    model = resnet(config("resnet50_v2", norm="group"))
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(IMAGES[:1]))
    assert "norm_last" in params and "norm1" not in params
    assert params["kernel"].shape == (8 * 8 * 4, 5)
    assert set(params["layer2_0"]) == {"conv1", "conv2", "conv3", "norm1", "norm2", "norm3", "shortcut_conv"}


def test_masks_drop_features_before_the_last_layer():
    settings = config(norm="group", architecture="small", entry="narrow")
    model = resnet(settings)
    images = jnp.asarray(IMAGES[:, :16, :16])
    params = model.init(jax.random.key(0), images)
    masks = model.draw_masks(jax.random.key(2))
    assert set(np.unique(np.asarray(masks["head"]))) <= {0.0, np.float32(1 / 0.8)}
    assert masks["head"].shape == (settings.features,)
    features = model.tail(params, model.stem(params, images), None).features
    kernel, bias = model.head(params, masks)
    by_features = (features * masks["head"][None]) @ params["kernel"] + params["bias"][None]
    np.testing.assert_allclose(np.asarray(features @ kernel + bias[None]), np.asarray(by_features), rtol=1e-5, atol=1e-5)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="not a multiple"):
        ResNetConfig(width=30, groups=4)
    with pytest.raises(ValueError, match="dropout_rate"):
        ResNetConfig(dropout_rate=1.0)
    with pytest.raises(ValueError, match="space_rank is 4"):
        ResNetConfig(space_rank=4)
    settings = config(norm="group")
    with pytest.raises(ValueError, match="frozen"):
        with_weights(resnet(settings), settings, {}, Path("weights.npz"))
    for others in (config(space_rank=3), config(activation="prelu")):
        with pytest.raises(ValueError, match="leave space_rank and activation"):
            with_weights(resnet(others), others, {}, Path("weights.npz"))


def of_volumes(architecture="resnet18", **more):
    """The network of Mehta, Shui & Arbel, by default narrower."""
    return ResNetConfig(
        **{
            "classes": 4,
            "architecture": architecture,
            "width": 4,
            "space_rank": 3,
            "norm": "instance",
            "activation": "prelu",
            **more,
        }
    )


def plain_features(params, volumes, blocks):
    """Pooled features of a residual network of volumes, as He et al. write it, in the platform's own operations."""

    def convolved(values, layer, stride):
        kernel = layer["kernel"]
        padding = [(size // 2, size // 2) for size in kernel.shape[:3]]
        return jax.lax.conv_general_dilated(values, kernel, (stride,) * 3, padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))

    def norm(values, layer):
        away = values - values.mean((1, 2, 3), keepdims=True)
        scaled = away / jnp.sqrt(jnp.square(away).mean((1, 2, 3), keepdims=True) + 1e-5)
        return scaled * layer["scale"].reshape(1, 1, 1, 1, -1) + layer["bias"].reshape(1, 1, 1, 1, -1)

    def prelu(values, layer):
        return jnp.maximum(values, 0) + layer["slope"].reshape(1, 1, 1, 1, -1) * jnp.minimum(values, 0)

    hidden = prelu(norm(convolved(volumes, params["conv1"], 2), params["norm1"]), params["prelu1"])
    padding = ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0))
    hidden = jax.lax.reduce_window(hidden, -jnp.inf, jax.lax.max, (1, 3, 3, 3, 1), (1, 2, 2, 2, 1), padding)
    for name, stride in blocks:
        layers = params[name]
        inner = prelu(norm(convolved(hidden, layers["conv1"], stride), layers["norm1"]), layers["prelu1"])
        inner = norm(convolved(inner, layers["conv2"], 1), layers["norm2"])
        if "shortcut_conv" in layers:
            hidden = norm(convolved(hidden, layers["shortcut_conv"], stride), layers["shortcut_norm"])
        hidden = prelu(inner + hidden, layers["prelu2"])
    return hidden.mean((1, 2, 3))


def test_volumes_are_seen_as_plain_operations_see_them(rng, monkeypatch):
    """Odd sides, weights that are not those of a beginning, and the gradient of all weights."""
    monkeypatch.setitem(SHAPES, "small", Shape((1, 1), bottleneck=False))
    model = resnet(of_volumes("small", groups=3))  # of instance norm groups say nothing
    volumes = jnp.asarray(rng.normal(size=(2, 17, 14, 11, 2)), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), volumes)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.3, 0.3, leaf.shape), jnp.float32), shapes)

    def ours(params):
        output = model.tail(params, model.stem(params, volumes), None)
        return jnp.sin(output.features).sum(), output.features

    def theirs(params):
        features = plain_features(params, volumes, [("layer1_0", 1), ("layer2_0", 2)])
        return jnp.sin(features).sum(), features

    (_, features), gradient = jax.jit(jax.value_and_grad(ours, has_aux=True))(params)
    (_, expected), plain_gradient = jax.jit(jax.value_and_grad(theirs, has_aux=True))(params)
    np.testing.assert_allclose(np.asarray(features), np.asarray(expected), rtol=1e-4, atol=1e-5)
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(plain_gradient), strict=True):
        np.testing.assert_allclose(
            np.asarray(one), np.asarray(other), rtol=0, atol=2e-4 * max(np.abs(other).max(), 1e-3), err_msg=str(path)
        )
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["layer2_0"]))


def test_the_papers_network_has_the_layers_of_he_et_al():
    """Weights by hand: 343 + 4 blocks of 27 x 64 x 64 at first, and a shortcut of one voxel wherever channels double."""
    model = resnet(of_volumes(width=64, dropout_rate=0.2))
    params = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 40, 40, 32, 1), np.float32))
    kernels = 343 * 64 + 4 * 27 * 64**2
    kernels += sum(27 * (wide // 2) * wide + 3 * 27 * wide**2 + (wide // 2) * wide for wide in (128, 256, 512))
    rectified = [64, *(wide for wide in (64, 128, 256, 512) for _ in range(4))]  # 17 layers, each with a norm and slopes
    counted = kernels + 2 * sum([*rectified, 128, 256, 512]) + sum(rectified) + 512 * 4 + 4
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == counted
    assert params["conv1"]["kernel"].shape == (7, 7, 7, 1, 64)
    assert params["layer4_1"]["prelu2"]["slope"].shape == (512,)
    assert model.draw_masks(jax.random.key(0))["head"].shape == (512,)


def test_a_learnt_slope_begins_at_a_quarter():
    values = jnp.array([[-2.0, -2.0, 3.0]])
    params = draw_params(jax.random.key(0), jax.eval_shape(PRelu().init, jax.random.key(0), values)["params"])
    np.testing.assert_array_equal(np.asarray(PRelu().apply({"params": params}, values)), [[-0.5, -0.5, 3.0]])
    learnt = {"slope": jnp.array([0.0, 2.0, 9.0])}
    np.testing.assert_array_equal(np.asarray(PRelu().apply({"params": learnt}, values)), [[0.0, -4.0, 3.0]])


def test_what_is_outside_of_a_volume_reaches_nothing(rng):
    """The first layers of a volume, and of the same one beside padding that holds anything."""
    small = jnp.asarray(rng.normal(size=(1, 4, 5, 6, 2)), jnp.float32)
    padded = jnp.full((1, 8, 8, 8, 2), 7.0).at[:, :4, :5, :6].set(small)
    inside = jnp.zeros((1, 8, 8, 8, 1), bool).at[:, :4, :5, :6].set(True)
    settings = of_volumes("small", entry="narrow")

    class First(nn.Module):
        @nn.compact
        def __call__(self, volumes, inside=None):
            hidden, inside = enter(settings, volumes, inside)
            return _Block(8, 2, settings)(hidden, inside)

    params = draw_params(jax.random.key(0), jax.eval_shape(First().init, jax.random.key(0), small)["params"])
    see = jax.jit(lambda params: [First().apply({"params": params}, *images) for images in ((small,), (padded, inside))])
    alone, beside = see(params)
    np.testing.assert_allclose(np.asarray(beside[:, :2, :3, :3]), np.asarray(alone), atol=1e-5)
    assert (np.asarray(beside[:, 2:]) == 0).all()


def test_volumes_that_a_network_cannot_see_are_refused():
    model = resnet(of_volumes())
    with pytest.raises(ValueError, match="32 x 32 x 20 leave one element to the last stage"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 20, 1)))
    with pytest.raises(ValueError, match="expected 3 space axes"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 33, 32, 20, 1)))


def test_settings_that_say_nothing_are_written_as_before_there_was_a_choice():
    """Folders and projects of earlier versions go on, and versions that know no volumes read what is of images."""
    assert not {"space_rank", "activation"} & ResNetConfig().described.keys()
    assert ResNetConfig(**config(norm="group").described) == config(norm="group")
    assert of_volumes().described["space_rank"] == 3 and ResNetConfig(**of_volumes().described) == of_volumes()
