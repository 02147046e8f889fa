"""The contestants of `against_peers` that run on PyTorch, in a process of their own.

Reads one JSON request a line, `{"call": name, ...}`, and answers with one JSON line. Needs torch, and for some calls
baal, scikit-activeml; knows nothing of jaxal.
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
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(os.cpu_count() or 1)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Block(nn.Module):
    def __init__(self, entering: int, channels: int):
        super().__init__()
        self.first = nn.Conv3d(entering, channels, 3, padding=1, bias=False)
        self.second = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.InstanceNorm3d(channels, affine=True)
        self.second_norm = nn.InstanceNorm3d(channels, affine=True)

    def forward(self, x):
        x = F.leaky_relu(self.first_norm(self.first(x)), 0.01, inplace=True)
        return F.leaky_relu(self.second_norm(self.second(x)), 0.01, inplace=True)


class Features(nn.Module):
    """Everything before the head."""

    def __init__(self, width: int, levels: int = 3):
        super().__init__()
        channels = [width * 2**level for level in range(levels)]
        self.encoders = nn.ModuleList(Block(1 if level == 0 else channels[level - 1], channels[level]) for level in range(levels))
        self.decoders = nn.ModuleList(Block(2 * channel, channel) for channel in channels[:-1])
        self.upsamples = nn.ModuleList(nn.ConvTranspose3d(2 * channel, channel, 2, 2, bias=False) for channel in channels[:-1])

    def forward(self, x):
        levels = []
        for level, encoder in enumerate(self.encoders):
            levels.append(encoder(F.max_pool3d(levels[-1], 2) if level else x))
        x = levels.pop()
        for level in reversed(range(len(levels))):
            x = self.decoders[level](torch.cat([levels[level], self.upsamples[level](x)], 1))
        return x


class Network(nn.Module):
    """The same network with its dropout as a layer, as BaaL wants it."""

    def __init__(self, features: Features, head: nn.Linear):
        super().__init__()
        self.features, self.head = features, head
        # BaaL 2.1.0 replaces Dropout and Dropout2d only: with Dropout3d its samples would all be alike. Dropout2d over
        # [items, channels, depth * height, width] drops the same whole channels.
        self.dropout = nn.Dropout2d(0.2)

    def forward(self, x):
        features = self.features(x)
        shape = features.shape
        dropped = self.dropout(features.flatten(2, 3)).reshape(shape)
        return torch.einsum("bfdhw,cf->bcdhw", dropped, self.head.weight) + self.head.bias.view(1, -1, 1, 1, 1)


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


def setup(folder: str, weights: str, width: int, classes: int, batch_size: int):
    """Takes over the weights of the JAX network, by the paths of its parameters."""
    arrays = {name: torch.from_numpy(values) for name, values in np.load(weights).items()}
    features, head = Features(width), nn.Linear(width, classes)

    def fill(block: Block, name: str):
        for index, (conv, norm) in enumerate(((block.first, block.first_norm), (block.second, block.second_norm))):
            conv.weight.data = arrays[f"{name}/Conv_{index}/kernel"].permute(4, 3, 0, 1, 2).contiguous()
            norm.weight.data = arrays[f"{name}/Norm_{index}/scale"]
            norm.bias.data = arrays[f"{name}/Norm_{index}/bias"]

    for level, block in enumerate(features.encoders):
        fill(block, f"encoders_{level}")
    for level, block in enumerate(features.decoders):
        fill(block, f"decoders_{level}")
    for level, upsample in enumerate(features.upsamples):
        upsample.weight.data = arrays[f"upsamples_{level}/corners"].permute(3, 4, 0, 1, 2).contiguous()
    head.weight.data, head.bias.data = arrays["kernel"].T.contiguous(), arrays["bias"]
    state.network = Network(features, head).eval().to(DEVICE, memory_format=torch.channels_last_3d)
    state.folder, state.batch_size = folder, batch_size
    state.loaders = {}
    return {"torch": torch.__version__, "device": DEVICE, "threads": torch.get_num_threads()}


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
    probability, own = 0.0, 0.0
    for _ in range(members):
        mask = (torch.rand(weight.shape[1], device=weight.device) < 0.8).float() / 0.8
        log_p = torch.log_softmax(torch.matmul(weight * mask, flat) + bias[:, None], 1)
        p = log_p.exp()
        probability, own = probability + p, own - (p * log_p).sum(1)
    probability = probability / members
    return (-(probability * probability.clamp_min(1e-12).log()).sum(1) - own / members).mean(-1)


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
    import structlog
    from baal.active.heuristics import BALD
    from baal.bayesian.dropout import patch_module
    from baal.modelwrapper import ModelWrapper, TrainingArgs

    if not hasattr(state, "baal"):
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        patched = patch_module(copy.deepcopy(state.network), inplace=False)
        settings = TrainingArgs(batch_size=state.batch_size, workers=1, use_cuda=DEVICE == "cuda")
        state.baal = ModelWrapper(patched, settings)
        images = next(batches(cases))
        with torch.inference_mode():
            one, two = patched(images), patched(images)
        if torch.equal(one, two):
            raise RuntimeError("BaaL's patching left the dropout off.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictions = state.baal.predict_on_dataset(Scans(state.folder, cases), members, verbose=False)
    return BALD(reduction="mean").get_uncertainties(_softmax(predictions)).tolist()


def _softmax(values):
    exponential = np.exp(values - values.max(1, keepdims=True))
    return exponential / exponential.sum(1, keepdims=True)


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
        setup, logits, forward, bald_by_hand, bald_by_baal, aeig_setup, aeig_by_loop, aeig_batched, badge_setup, badge_factorised,
        k_center_by_skactiveml,
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
