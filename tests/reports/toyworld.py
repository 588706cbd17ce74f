"""A linear head on small images, where the optimum of every attack is known, and data for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medadv.data import Pairs, Row

SIDE = 8


class Linear(nn.Module):
    """Class k likes channel k bright: logits are the channel means, times a scale."""

    def __init__(self, classes: int = 3, scale: float = 20.0):
        super().__init__()
        self.classes = tuple("abc"[:classes])
        weight = torch.eye(3)[:classes].repeat_interleave(SIDE * SIDE, 1) * scale / SIDE**2
        self.weight = nn.Parameter(weight)

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1) @ self.weight.T


def toy_images(n: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images away from the edges of the box, the brightest channel mostly that of the label."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % classes
    image = 0.4 + 0.1 * torch.rand(n, 3, SIDE, SIDE, generator=generator)
    lead = 0.1 * torch.rand(n, generator=generator) - 0.01
    image[torch.arange(n), label] += lead[:, None, None]
    return image, label


def toy_pairs(n: int = 30, classes: int = 3, *, unknown: int = 0, patients: int | None = None) -> Pairs:
    """Images with labels; the first `unknown` have none."""
    image, label = toy_images(n, classes)
    rows = tuple(
        Row(-1 if i < unknown else int(label[i]), ("a picture",), f"p{i % (patients or n)}", {"sex": "fm"[i % 2]})
        for i in range(n)
    )
    return Pairs("toy", tuple("abc"[:classes]), rows, lambda i: (image[i], None), group_by="sex")
