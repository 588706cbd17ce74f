"""The same lesion seen once more: turned, mirrored, nearer, in another light."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(
    image: Tensor,
    *,
    generator: torch.Generator,
    upright: bool = False,
    zoom: float = 0.25,
    colour: float = 0.15,
) -> Tensor:
    """Draw a random view of each image.

    Shapes   image (B, 3, H, W); result the same.
    Units    image in [0, 1]; zoom and colour are the largest relative change.
    Returns  pixels in [0, 1]. Skin and tissue have no up: every angle and both mirror images. With `upright`
             (radiographs, where left and right and up mean something) at most ten degrees and no mirror.
    Raises   nothing.
    Source   the usual recipe of dermoscopy challenges; one bilinear resampling for turn, mirror and zoom
             together.
    """
    many, device = len(image), image.device

    def uniform(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float32).to(device) * 2 - 1

    angle = uniform(many) * (math.radians(10) if upright else math.pi)
    size = torch.exp(uniform(many) * zoom)
    mirror = torch.where((uniform(many) < 0) & (not upright), -1.0, 1.0).to(torch.float32)
    cos, sin, none = (
        torch.cos(angle) * size,
        torch.sin(angle) * size,
        torch.zeros(many, device=device, dtype=torch.float32),
    )
    turn = torch.stack([torch.stack([cos * mirror, -sin, none], 1), torch.stack([sin * mirror, cos, none], 1)], 1)
    grid = F.affine_grid(turn, list(image.shape), align_corners=False)
    seen = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
    light = 1 + colour * uniform(many, 1, 1, 1) + 0.5 * colour * uniform(many, 3, 1, 1)
    return (seen * light).clamp(0, 1)
