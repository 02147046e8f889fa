"""The networks of `peers_torch`, as people write them in PyTorch: the same layers and parameters as those of jaxal."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


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


class ResidualBlock(nn.Module):
    def __init__(self, entering: int, channels: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(entering, channels, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.first_norm, self.second_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.shortcut = None
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(entering, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        hidden = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)), inplace=True)))
        return F.relu(hidden + (x if self.shortcut is None else self.shortcut(x)), inplace=True)


class ResNet(nn.Module):
    """ResNet-18 with dropout before its last layer."""

    def __init__(self, classes: int, width: int = 64):
        super().__init__()
        self.entry, self.entry_norm = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        blocks, entering = [], width
        for stage in range(4):
            for number in range(2):
                blocks.append(ResidualBlock(entering, width * 2**stage, 2 if stage and not number else 1))
                entering = width * 2**stage
        self.blocks, self.dropout, self.head = nn.Sequential(*blocks), nn.Dropout(0.2), nn.Linear(entering, classes)

    def features(self, x):
        x = F.max_pool2d(F.relu(self.entry_norm(self.entry(x)), inplace=True), 3, 2, 1)
        return self.blocks(x).mean((2, 3))

    def forward(self, x):
        return self.head(self.dropout(self.features(x)))


def take_unet(features: Features, head: nn.Linear, arrays: dict[str, torch.Tensor]) -> None:
    """Takes over the weights of the JAX network, by the paths of its parameters."""

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


def take_resnet(network: ResNet, arrays: dict[str, torch.Tensor]) -> None:
    """Takes over the weights of the JAX network, whose norms are scales and offsets, as batch norms that are done learning."""

    def fill(conv: nn.Conv2d, norm: nn.BatchNorm2d, conv_name: str, norm_name: str):
        conv.weight.data = arrays[f"{conv_name}/kernel"].permute(3, 2, 0, 1).contiguous()
        norm.weight.data = arrays[f"{norm_name}/frozen_scale"] * np.sqrt(1 + norm.eps)
        norm.bias.data = arrays[f"{norm_name}/frozen_bias"]

    fill(network.entry, network.entry_norm, "conv1", "norm1")
    for place, block in enumerate(network.blocks):
        name = f"layer{place // 2 + 1}_{place % 2}"
        fill(block.first, block.first_norm, f"{name}/conv1", f"{name}/norm1")
        fill(block.second, block.second_norm, f"{name}/conv2", f"{name}/norm2")
        if block.shortcut:
            fill(*block.shortcut, f"{name}/shortcut_conv", f"{name}/shortcut_norm")
    network.head.weight.data, network.head.bias.data = arrays["kernel"].T.contiguous(), arrays["bias"]
