"""Training in PyTorch as people write it, for `training.py`; called by `peers_torch.py` beside it and knows nothing of jaxal."""

from pathlib import Path

import numpy as np
import torch
from peers_torch_networks import Features, Network, ResNet, take_resnet, take_unet
from torch import nn
from torch.nn import functional as F


class State:
    """What was set up, by name."""


state = State()
state.trainings = {}


class Training:
    """A network with its optimizer and a batch in memory."""

    def __init__(self, arrays: dict[str, np.ndarray], width: int, classes: int, channels_last: bool):
        images, weights = (
            arrays["images"],
            {name[2:]: torch.from_numpy(values) for name, values in arrays.items() if name[:2] == "w:"},
        )
        if images.ndim == 5:
            features, head = Features(width), nn.Linear(width, classes)
            take_unet(features, head, weights)
            self.network, form = Network(features, head), torch.channels_last_3d
        else:
            self.network, form = ResNet(classes), torch.channels_last
            take_resnet(self.network, weights)
        self.form, self.dice = form if channels_last else torch.contiguous_format, images.ndim == 5
        self.network.to(memory_format=self.form)
        self.train()
        self.images = torch.from_numpy(np.moveaxis(images, -1, 1).copy()).contiguous(memory_format=self.form)
        self.labels = torch.from_numpy(arrays["labels"].astype(np.int64))
        trained = [part for part in self.network.parameters() if part.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=1e-4, fused=True)

    def train(self) -> None:
        """With dropout; batch norms keep what they have learned, as those that jaxal takes over."""
        self.network.train()
        for part in self.network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval().requires_grad_(False)

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        if self.dice:
            space = tuple(range(1, labels.ndim))
            predicted, true = torch.softmax(logits, 1)[:, 1], (labels == 1).float()
            overlap = (predicted * true).sum(space)
            loss = loss + (1 - (2 * overlap + 1) / (predicted.sum(space) + true.sum(space) + 1)).mean()
        return loss

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Contrast, brightness and noise, forward, backward, AdamW."""
        self.optimizer.zero_grad(set_to_none=True)
        ones = (len(images), *(1,) * (images.ndim - 1))
        varied = images * torch.exp(0.15 * torch.randn(ones)) + 0.15 * torch.randn(ones)
        varied = varied + 0.1 * torch.randn(ones).abs() * torch.randn_like(images)
        loss = self.loss(varied, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()


def training_setup(name: str, arrays: str, width: int, classes: int, channels_last: bool) -> None:
    """A U-Net for volumes, a ResNet-18 for images, with weights and a batch from a file."""
    state.trainings[name] = Training(dict(np.load(arrays)), width, classes, channels_last)


def training_agreement(name: str) -> list[float]:
    """The loss without dropout and variation, and the gradient's norm."""
    training = state.trainings[name]
    training.network.eval()
    loss = training.loss(training.images, training.labels)
    loss.backward()
    squares = [part.grad.square().sum() for part in training.network.parameters() if part.grad is not None]
    training.train()
    return [loss.item(), torch.stack(squares).sum().sqrt().item()]


def training_steps(name: str, count: int) -> None:
    training = state.trainings[name]
    for _ in range(count):
        training.step(training.images, training.labels)


class Cases(torch.utils.data.Dataset):
    """Cases as jaxal prepared them, read when asked for."""

    def __init__(self, folder: str, first: int, last: int):
        self.images, self.labels = (sorted(Path(folder).glob(f"*.{what}.npy"))[first:last] for what in ("image", "label"))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image, label = np.load(self.images[index]).astype(np.float32), np.load(self.labels[index]).astype(np.int64)
        return torch.from_numpy(image[..., 0])[None], torch.from_numpy(label)


def training_round(name: str, folder: str, labelled: int, pool: int, test: int, steps: int, batch: int) -> float:
    """A round: trains on the first cases, scores the pool by entropy, predicts the test set; the mean loss of the last steps."""
    training, losses = state.trainings[name], []
    training.train()
    loader = torch.utils.data.DataLoader(
        Cases(folder, 0, labelled), batch, shuffle=True, num_workers=1, persistent_workers=True, drop_last=True
    )
    while len(losses) < steps:
        for images, labels in loader:
            losses.append(training.step(images.to(memory_format=training.form), labels))
            if len(losses) == steps:
                break
    training.network.eval()
    with torch.inference_mode():
        for first, last in ((labelled, labelled + pool), (labelled + pool, labelled + pool + test)):
            for images, labels in torch.utils.data.DataLoader(Cases(folder, first, last), batch, num_workers=1):
                log_p = torch.log_softmax(training.network(images.to(memory_format=training.form)), 1)
                (-(log_p.exp() * log_p).sum(1)).mean((1, 2, 3)).tolist()
                (log_p.argmax(1) == labels).float().mean().item()
    return float(np.mean(losses[-10:]))
