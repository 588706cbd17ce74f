"""Heads whose smoothed answer is known exactly: the probability of the linear one is Phi(distance / sigma)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHAPE = (3, 4, 4)


class Linear(nn.Module):
    """Two classes, split by a plane; `calls` counts noisy copies."""

    fingerprint = "its buffers"  # not its count

    def __init__(self, seed: int = 0, shift: float = 0.0):
        super().__init__()
        weight = torch.randn(48, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("weight", weight / weight.norm())
        self.register_buffer("bias", -(self.weight.sum() * 0.5) + shift)
        self.calls = 0

    def distance(self, image: Tensor) -> Tensor:
        return image.flatten(1) @ self.weight + self.bias

    def forward(self, image: Tensor) -> Tensor:
        self.calls += len(image)
        side = self.distance(image)
        return torch.stack([-side, side], 1)


class Tower(nn.Module):
    """Stands in for a VLM: pixels to unit vectors."""

    fingerprint = "its buffers"

    def __init__(self, seed: int = 0, width: int = 6):
        super().__init__()
        made = torch.randn(48, width, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("weight", made)
        self.calls = 0

    def encode_image(self, image: Tensor) -> Tensor:
        self.calls += len(image)
        return nn.functional.normalize(torch.tanh((image.flatten(1) - 0.5) @ self.weight), dim=-1)


class Prototypes(nn.Module):
    """A head on shared features."""

    def __init__(self, vlm: Tower, seed: int, classes: int = 3):
        super().__init__()
        self.vlm = vlm
        made = torch.randn(classes, vlm.weight.shape[1], generator=torch.Generator().manual_seed(seed))
        self.register_buffer("weight", nn.functional.normalize(made, dim=-1))

    def from_features(self, feature: Tensor) -> Tensor:
        return 5 * feature @ self.weight.T

    def forward(self, image: Tensor) -> Tensor:
        return self.from_features(self.vlm.encode_image(image))


def images(n: int = 8, seed: int = 1) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))
