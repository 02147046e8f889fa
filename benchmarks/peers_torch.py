"""The contestants of `against_peers` that run on PyTorch, in a process of their own.

Reads one JSON request a line, `{"call": name, ...}`, and answers with one JSON line. Needs torch, and for some calls
baal, scikit-activeml; knows nothing of jaxal. Its networks are in `peers_torch_networks.py` beside it.
"""

import copy
import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from peers_torch_networks import Features, Network, ResNet, take_resnet, take_unet
from peers_torch_training import training_agreement, training_round, training_setup, training_steps
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(os.cpu_count() or 1)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Images(torch.utils.data.Dataset):
    """The rows of an array of bytes, normalised when asked for."""

    def __init__(self, path: str, mean: list[float], deviation: list[float], images: int):
        self.pixels, self.images = np.load(path, mmap_mode="r"), images
        self.mean, self.deviation = (np.array(part, np.float32) for part in (mean, deviation))

    def __len__(self):
        return self.images

    def __getitem__(self, index):
        values = (self.pixels[index].astype(np.float32) - self.mean) / self.deviation
        return torch.from_numpy(values).permute(2, 0, 1), 0


class Scans(torch.utils.data.Dataset):
    """The pool's cases as jaxal prepared them, read when asked for."""

    def __init__(self, folder: str, cases: int):
        self.paths = sorted(Path(folder).glob("*.image.npy"))[:cases]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return torch.from_numpy(np.load(self.paths[index])[..., 0])[None], 0


class State:
    """What was set up."""


state = State()


def about():
    return {"torch": torch.__version__, "device": DEVICE, "threads": torch.get_num_threads()}


def setup(folder: str, weights: str, width: int, classes: int, batch_size: int):
    """Takes over the weights of the JAX network, by the paths of its parameters."""
    arrays = {name: torch.from_numpy(values) for name, values in np.load(weights).items()}
    features, head = Features(width), nn.Linear(width, classes)

    take_unet(features, head, arrays)
    state.network = Network(features, head).eval().to(DEVICE, memory_format=torch.channels_last_3d)
    state.folder, state.batch_size = folder, batch_size
    state.loaders = {}


def batches(cases: int):
    """Batches of the pool, read ahead by one worker that stays."""
    if cases not in state.loaders:
        state.loaders[cases] = torch.utils.data.DataLoader(
            Scans(state.folder, cases), state.batch_size, num_workers=1, persistent_workers=True
        )
    for images, _ in state.loaders[cases]:
        yield images.to(DEVICE, memory_format=torch.channels_last_3d)


@torch.inference_mode()
def logits(path: str):
    """Logits of the first case, written to a file, to compare the two networks."""
    images = Scans(state.folder, 1)[0][0][None].to(DEVICE)
    np.save(path, state.network(images)[0].cpu().numpy())


@torch.inference_mode()
def forward(cases: int):
    for images in batches(cases):
        state.network(images).mean((1, 2, 3, 4)).tolist()


def _bald_of_features(features, weight, bias, members: int):
    """BALD from features that were computed once: only the masked head runs for each sample."""
    flat = features.flatten(2)
    probability, member_entropy = 0.0, 0.0
    for _ in range(members):
        mask = (torch.rand(weight.shape[1], device=weight.device) < 0.8).float() / 0.8
        log_p = torch.log_softmax(torch.matmul(weight * mask, flat) + bias[:, None], 1)
        p = log_p.exp()
        probability, member_entropy = probability + p, member_entropy - (p * log_p).sum(1)
    probability = probability / members
    return (-(probability * probability.clamp_min(1e-12).log()).sum(1) - member_entropy / members).mean(-1)


@torch.inference_mode()
def bald_by_hand(cases: int, members: int, compiled: bool = False):
    if compiled and not hasattr(state, "compiled"):
        state.compiled = torch.compile(
            lambda x: _bald_of_features(state.network.features(x), *state.network.head.parameters(), members)
        )
    scores = []
    for images in batches(cases):
        if compiled:
            scores += state.compiled(images).tolist()
        else:
            scores += _bald_of_features(state.network.features(images), *state.network.head.parameters(), members).tolist()
    return scores


def bald_by_baal(cases: int, members: int):
    from baal.active.heuristics import BALD
    from baal.bayesian.dropout import patch_module
    from baal.modelwrapper import ModelWrapper, TrainingArgs

    _quiet()
    if not hasattr(state, "baal"):
        patched = patch_module(copy.deepcopy(state.network), inplace=False)
        settings = TrainingArgs(batch_size=state.batch_size, workers=1, use_cuda=DEVICE == "cuda")
        state.baal = ModelWrapper(patched, settings)
        images = next(batches(cases))
        with torch.inference_mode():
            first, second = patched(images), patched(images)
        if torch.equal(first, second):
            raise RuntimeError("BaaL's patching left the dropout off.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictions = state.baal.predict_on_dataset(Scans(state.folder, cases), members, verbose=False)
    return BALD(reduction="mean").get_uncertainties(_softmax(predictions)).tolist()


def _quiet():
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def _softmax(values):
    exponential = np.exp(values - values.max(1, keepdims=True))
    return exponential / exponential.sum(1, keepdims=True)


def images_setup(weights: str, path: str, mean: list[float], deviation: list[float], classes: int, batch_size: int):
    """Takes over the weights of the JAX network, whose norms are scales and offsets, as batch norms that are done learning."""
    arrays = {name: torch.from_numpy(values) for name, values in np.load(weights).items()}
    network = ResNet(classes)

    take_resnet(network, arrays)
    state.image_network = network.eval().to(DEVICE, memory_format=torch.channels_last)
    state.images, state.image_batch, state.image_loaders = (path, mean, deviation), batch_size, {}


def image_batches(images: int):
    if images not in state.image_loaders:
        state.image_loaders[images] = torch.utils.data.DataLoader(
            Images(*state.images, images), state.image_batch, num_workers=1, persistent_workers=True
        )
    for batch, _ in state.image_loaders[images]:
        yield batch.to(DEVICE, memory_format=torch.channels_last)


@torch.inference_mode()
def images_entropy(images: int):
    scores = []
    for batch in image_batches(images):
        log_p = torch.log_softmax(state.image_network(batch), -1)
        scores += (-(log_p.exp() * log_p).sum(-1)).tolist()
    return scores


@torch.inference_mode()
def images_bald_by_hand(images: int, members: int):
    network, scores = state.image_network, []
    for batch in image_batches(images):
        features = network.features(batch)[:, :, None]
        scores += _bald_of_features(features, network.head.weight, network.head.bias, members).tolist()
    return scores


def images_bald_by_baal(images: int, members: int):
    from baal.active.heuristics import BALD
    from baal.bayesian.dropout import patch_module
    from baal.modelwrapper import ModelWrapper, TrainingArgs

    _quiet()
    if not hasattr(state, "image_baal"):
        settings = TrainingArgs(batch_size=state.image_batch, workers=1, use_cuda=DEVICE == "cuda")
        state.image_baal = ModelWrapper(patch_module(copy.deepcopy(state.image_network), inplace=False), settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictions = state.image_baal.predict_on_dataset(Images(*state.images, images), members, verbose=False)
    return BALD().get_uncertainties(_softmax(predictions)).tolist()


def aeig_setup(path: str, rate: float):
    arrays = {name: torch.from_numpy(values).to(DEVICE) for name, values in np.load(path).items()}
    state.aeig, state.rate = arrays, rate


def aeig_by_loop(candidates: int):
    """The paper's way: for each image and label copy the head, take one step on it, look at the evaluation set again."""
    data = state.aeig
    features, evaluation, frequency = data["pool"][:candidates], data["evaluation"], data["frequency"]
    head = nn.Linear(features.shape[1], len(frequency)).to(DEVICE)
    head.weight.data, head.bias.data = data["kernel"].T.contiguous(), data["bias"].clone()

    def mean_entropy(layer):
        log_p = torch.log_softmax(layer(evaluation), -1)
        return -(log_p.exp() * log_p).sum(-1).mean()

    with torch.no_grad():
        before, probability = mean_entropy(head), torch.softmax(head(features), -1)
    scores = torch.empty(len(features))
    for index in range(len(features)):
        score = before.clone()
        for label in range(len(frequency)):
            stepped = copy.deepcopy(head)
            optimizer = torch.optim.SGD(stepped.parameters(), lr=state.rate)
            F.cross_entropy(stepped(features[index : index + 1]), torch.tensor([label], device=DEVICE)).backward()
            optimizer.step()
            with torch.no_grad():
                score -= probability[index, label] * frequency[label] * mean_entropy(stepped)
        scores[index] = score
    return scores.tolist()


@torch.inference_mode()
def aeig_batched(candidates: int, chunk: int = 100):
    """The closed form with PyTorch's batched operations."""
    data = state.aeig
    features, evaluation, frequency = data["pool"][:candidates], data["evaluation"], data["frequency"]
    logits = evaluation @ data["kernel"] + data["bias"]
    log_p = torch.log_softmax(logits, -1)
    before = -(log_p.exp() * log_p).sum(-1).mean()
    probability = torch.softmax(features @ data["kernel"] + data["bias"], -1)
    labels = torch.eye(len(frequency), device=DEVICE)
    scores = []
    for start in range(0, len(features), chunk):
        p = probability[start : start + chunk]
        gram = features[start : start + chunk] @ evaluation.T + 1
        errors = p[:, None, :] - labels[None]  # [candidates, labels, classes]
        stepped = logits[None, None] - state.rate * gram[:, None, :, None] * errors[:, :, None, :]
        log_q = torch.log_softmax(stepped, -1)
        after = -(log_q.exp() * log_q).sum(-1).mean(-1)
        scores.append(before - (p * frequency * after).sum(-1))
    return torch.cat(scores).tolist()


def badge_setup(path: str):
    arrays = np.load(path)
    state.badge = torch.from_numpy(arrays["features"]).to(DEVICE), torch.from_numpy(arrays["error"]).to(DEVICE)


@torch.inference_mode()
def badge_factorised(budget: int):
    """k-means++ on gradients as BADGE's reference draws, distances from inner products of the two sides."""
    features, error = state.badge
    feature_norm, error_norm = features.square().sum(-1), error.square().sum(-1)
    norm = feature_norm * error_norm
    chosen = [int(norm.argmax())]
    nearest = None
    while len(chosen) < budget:
        last = chosen[-1]
        products = (features @ features[last]) * (error @ error[last])
        distance = (norm + norm[last] - 2 * products).clamp_min(0)
        nearest = distance if nearest is None else torch.minimum(nearest, distance)
        nearest[chosen] = 0
        chosen.append(int(torch.multinomial(nearest, 1)))
    return chosen


def k_center_by_skactiveml(path: str, budget: int):
    from skactiveml.pool import CoreSet

    arrays = np.load(path)
    return CoreSet(random_state=0).query(arrays["points"], arrays["labels"], batch_size=budget).tolist()


CALLS = {
    call.__name__: call
    for call in (
        about, setup, logits, forward, bald_by_hand, bald_by_baal, images_setup, images_entropy, images_bald_by_hand, images_bald_by_baal, aeig_setup, aeig_by_loop, aeig_batched, badge_setup, badge_factorised,
        k_center_by_skactiveml, training_setup, training_agreement, training_steps, training_round,
    )
}  # fmt: skip


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print must not mix with the answers
    for line in sys.stdin:
        request = json.loads(line)
        call = CALLS[request.pop("call")]
        start = time.perf_counter()
        try:
            result = {"result": call(**request)}
            if DEVICE == "cuda":
                torch.cuda.synchronize()
        except Exception as error:  # the other side decides what to do about it
            result = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps({"seconds": time.perf_counter() - start, **result}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
