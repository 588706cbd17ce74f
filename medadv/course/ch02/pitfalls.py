"""Evaluations of robustness that lie, each small enough to run, and the honest counts beside them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medadv._quiet import quiet
from medadv.attacks.gradient import pgd
from medadv.data.pairs import Pairs
from medadv.evaluate.metrics import Estimate, accuracy, wilson
from medadv.models.vlm import VLM
from medadv.objective import classify, targeted
from medadv.threat import Threat


def kept(won: Tensor, pairs: Pairs) -> Estimate:
    """Estimate robust accuracy: the share of all images that the attacker did not win.

    Shapes   won (N,) bool, one for each image.
    Units    a proportion; patients are resampled as a whole.
    Returns  Estimate.
    Raises   ValueError if lengths differ.
    Source   definition; images that were wrong before count as won.
    """
    return accuracy((~won).long(), torch.ones(len(won), dtype=torch.int64), groups=pairs.patients)


def logits_of(head: nn.Module, image: Tensor, *, batch_size: int = 128) -> Tensor:
    """Score images without a gradient.

    Shapes   image (N, 3, H, W); result (N, K).
    Units    logits.
    Returns  float tensor.
    Raises   whatever the head raises.
    Source   ours.
    """
    with torch.no_grad(), quiet(head):
        return torch.cat([head(part) for part in image.split(batch_size)])


class Scaled(nn.Module):
    """A head whose logits are multiplied: the answers stay, the softmax runs into the end of float32."""

    def __init__(self, head: nn.Module, factor: float):
        super().__init__()
        self.head, self.factor = head, factor

    def forward(self, image: Tensor) -> Tensor:
        return self.factor * self.head(image)


class Rounded(nn.Module):
    """A head that first rounds pixels to so many grey levels, as a file does: its gradient is zero everywhere."""

    def __init__(self, head: nn.Module, levels: int = 64):
        super().__init__()
        self.head, self.levels = head, levels

    def forward(self, image: Tensor) -> Tensor:
        return self.head((image * (self.levels - 1)).round() / (self.levels - 1))


class StraightThrough(Rounded):
    """The same head for an attacker who pretends, on the way back only, that rounding does nothing."""

    def forward(self, image: Tensor) -> Tensor:
        rounded = (image * (self.levels - 1)).round() / (self.levels - 1)
        return self.head(image + (rounded - image).detach())


class Probabilities(nn.Module):
    """A head that gives probabilities where logits are wanted."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        return self.head(image).softmax(1)


class Shaky(nn.Module):
    """A head that adds fresh noise to every image it sees; no two calls agree."""

    def __init__(self, head: nn.Module, sigma: float, *, seed: int = 0):
        super().__init__()
        self.head, self.sigma = head, sigma
        self.draw = torch.Generator().manual_seed(seed)

    def forward(self, image: Tensor) -> Tensor:
        noise = self.sigma * torch.randn(image.shape, generator=self.draw)
        return self.head((image + noise).clamp(0, 1))


def normalised_pgd(
    head: nn.Module, vlm: VLM, image: Tensor, label: Tensor, eps: float, *, right: bool = False, steps: int = 10
) -> Tensor:
    """Attack in the space after normalisation, as libraries do that take a model with its preprocessing outside.

    Shapes   image (B, 3, H, W), label (B,); result pixels of the same shape.
    Units    eps in units of the normalised tensor, or with `right` in pixel units, divided by std for each channel.
    Returns  pixels; the last point of so many steps of 2.5 eps / steps without a random start.
    Raises   nothing.
    Source   the loop of Madry et al. 2018, arXiv 1706.06083, in the wrong place and (right=True) repaired.
    """
    mean, std = vlm.mean.view(1, 3, 1, 1), vlm.std.view(1, 3, 1, 1)
    size = eps / std if right else torch.full_like(std, eps)
    clean = (image - mean) / std
    black, white = (0 - mean) / std, (1 - mean) / std
    z = clean
    for _ in range(steps):
        z = z.detach().requires_grad_()
        pixels = z * std + mean
        # Rounding puts black a hair below zero; a plain clamp would cut the gradient there.
        pixels = pixels + (pixels.clamp(0, 1) - pixels).detach()
        loss = classify(head, label)(pixels).loss.sum()
        (gradient,) = torch.autograd.grad(loss, z)
        z = z + 2.5 * size / steps * gradient.sign()
        z = torch.minimum(torch.maximum(z, clean - size), clean + size)
        z = torch.minimum(torch.maximum(z, black), white)
    return (z.detach() * std + mean).clamp(0, 1)


def success_rates(right: Tensor, won: Tensor) -> dict[str, Estimate]:
    """Divide the same wins by three denominators, all of which papers call attack success rate.

    Shapes   right (N,) bool before the attack; won (N,) bool after it.
    Units    proportions.
    Returns  {what was divided by what: Estimate}.
    Raises   nothing.
    Source   ours.
    """
    lost = int((right & won).sum())
    return {
        "wrong after, of all images": wilson(int(won.sum()), len(won)),
        "newly wrong, of all images": wilson(lost, len(won)),
        "newly wrong, of those right before": wilson(lost, int(right.sum())),
    }


class Reading(NamedTuple):
    """Sensitivity and specificity for one finding."""

    sensitivity: Estimate
    specificity: Estimate


def per_finding(
    head: nn.Module, pairs: Pairs, positive: int, *, threat: Threat | None = None, steps: int = 10, seed: int = 0
) -> Reading:
    """Ask what an attacker makes of one finding: hide it where it is, or invent it where it is not.

    Shapes   pairs hold N images of K classes, some of class `positive`.
    Units    proportions; without a threat, of the images as they are.
    Returns  Reading: diseased images are pushed away from their class, all others towards it.
    Raises   ValueError if the finding is in none of the images, or in all of them.
    Source   ours: an attack that only wants "another class" says little of false alarms.
    """
    ill = pairs.labels == positive
    if not 0 < int(ill.sum()) < len(ill):
        raise ValueError(
            f"The 'positive' parameter of per_finding must be in some of the images; got {pairs.classes[positive]}, "
            f"which is in {int(ill.sum())} of {len(ill)}. Take other images."
        )
    said = torch.zeros(len(ill), dtype=torch.bool)
    for mine, wish in ((ill, classify), (~ill, targeted)):
        rows = mine.nonzero().flatten()
        image = pairs.batch(rows).image
        if threat is not None:
            aim = pairs.labels[rows] if wish is classify else torch.full((len(rows),), positive)
            draw = torch.Generator().manual_seed(seed)
            image = pgd(wish(head, aim), image, threat, steps=steps, generator=draw).image
        said[rows] = logits_of(head, image).argmax(1) == positive
    found, spared = int((said & ill).sum()), int((~said & ~ill).sum())
    return Reading(wilson(found, int(ill.sum())), wilson(spared, int((~ill).sum())))


def common_class(label: Tensor, *, share: float, common: int, seed: int = 0) -> Tensor:
    """Choose rows of which so large a share is of one class, as in a screening population.

    Shapes   label (N,); result row numbers.
    Units    share in [0, 1).
    Returns  all rows of the common class and as many others as fit the share, drawn by the seed.
    Raises   nothing.
    Source   ours.
    """
    many, rest = (label == common).nonzero().flatten(), (label != common).nonzero().flatten()
    number = min(len(rest), round(len(many) * (1 - share) / share))
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
    return torch.cat([many, rest[order[:number]]]).sort().values


def doubtful(flags: Sequence) -> list[str]:
    """Name the flags of the doctor that were found.

    Shapes   none.
    Units    none.
    Returns  list of names in the doctor's order.
    Raises   nothing.
    Source   ours.
    """
    return list(itertools.compress((flag.name for flag in flags), (flag.found for flag in flags)))
