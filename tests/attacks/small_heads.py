"""Heads that cost nothing, and the images, labels and named attacks that the tests of attacks share."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from medadv.attacks import ATTACKS
from medadv.threat import Threat

# Little of everything: enough for the contract, which asks for manners and not for strength.
OPTIONS = {
    "fgsm": {},
    "pgd": {"steps": 4},
    "mifgsm": {"steps": 4},
    "apgd": {"steps": 8},
    "apgd-margin": {"steps": 8},
    "apgd-targeted": {"steps": 4, "targets": 3},
    "square": {"queries": 12},
    "ddn": {"steps": 8},
    "hopskipjump": {"queries": 70, "directions": 10},
    "suite": {
        "attacks": {"apgd": partial(ATTACKS.get("apgd"), steps=4), "square": partial(ATTACKS.get("square"), queries=6)}
    },
}


class Small(nn.Module):
    """A convolution, a batch norm, a pool, a linear layer: modes, statistics and weights that must not change."""

    def __init__(self, k: int, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv, self.norm, self.out = nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Linear(6 * 6, k)
        self.norm.running_mean.fill_(0.1)
        # The classes share the images, and small steps cross from one to another.
        with torch.no_grad():
            self.out.bias -= self.eval()(images(16)).mean(0) / 8

    def forward(self, image: Tensor) -> Tensor:
        hidden = torch.tanh(self.norm(self.conv(image)))
        return 8 * self.out(nn.functional.adaptive_avg_pool2d(hidden, (2, 3)).flatten(1))


class Linear(nn.Module):
    """Logits linear in the pixels: the optimum of every attack is known."""

    def __init__(self, k: int, shape: tuple[int, int] = (16, 16), seed: int = 0, scale: float = 1.0):
        super().__init__()
        draw = torch.randn(k, 3 * shape[0] * shape[1], generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter(scale * draw)

    def forward(self, image: Tensor) -> Tensor:
        return (image - 0.5).flatten(1) @ self.weight.to(image.dtype).T


def images(n: int, shape: tuple[int, int] = (16, 16), seed: int = 3, grey: bool = False) -> Tensor:
    """Random pixels, a fifth of them at the walls of the box."""
    stream = torch.Generator().manual_seed(seed)
    image = torch.rand(n, 1 if grey else 3, *shape, generator=stream)
    image = torch.where(torch.rand(image.shape, generator=stream) < 0.2, image.round(), image)
    return image.expand(-1, 3, -1, -1).contiguous()


@torch.no_grad()
def read(head: nn.Module, image: Tensor) -> Tensor:
    """What the head says, in eval mode."""
    modes = [(part, part.training) for part in head.modules()]
    said = head.eval()(image).argmax(1)
    for part, mode in modes:
        part.training = mode
    return said


def attack(name: str, head, image: Tensor, label: Tensor, threat: str | Threat, seed: int = 0, **options):
    """Run a registered attack with a generator of its own."""
    threat = Threat.parse(threat) if isinstance(threat, str) else threat
    options = {**OPTIONS[name], **options}
    return ATTACKS.get(name)(head, image, label, threat, generator=torch.Generator().manual_seed(seed), **options)
