"""Linear readers, whose strongest perturbation is known in closed form: the worlds of the chapter on attacks."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

NORMS = ("linf", "l2", "l1")


class Reader(NamedTuple):
    """A linear reader of grey images: it calls an image ill where `score` is above zero."""

    weight: Tensor
    """(H, W)."""
    bias: float

    def score(self, image: Tensor) -> Tensor:
        """Return the score (B,) of images (B, 3, H, W)."""
        return (image.mean(1) * self.weight).sum((1, 2)) + self.bias


def learn_reader(image: Tensor, ill: Tensor, *, penalty: float = 30.0) -> Reader:
    """Fit a linear reader by ridge regression on plus and minus one, solved exactly.

    Shapes   image (N, 3, H, W), ill (N,) bool.
    Units    penalty on the squared weights, in squared pixel values.
    Returns  a Reader.
    Raises   nothing.
    Source   ridge regression in its dual form: N unknowns instead of H * W.
    """
    flat = image.mean(1).flatten(1).double()
    middle = flat.mean(0)
    centred, target = flat - middle, torch.where(ill, 1.0, -1.0).double()
    kernel = centred @ centred.T + penalty * torch.eye(len(flat), dtype=torch.float64)
    weight = centred.T @ torch.linalg.solve(kernel, target - target.mean())
    bias = float(target.mean() - middle @ weight)
    return Reader(weight.view(image.shape[-2:]).float(), bias)


def dual(weight: Tensor, norm: str) -> float:
    """Measure how far a step of size one in a norm can move a linear score.

    Shapes   weight of any shape.
    Units    score for each unit of the norm.
    Returns  the dual norm: L1 for L-inf, L2 for L2, the largest value for L1.
    Raises   ValueError for an unknown norm.
    Source   Hoelder's inequality.
    """
    if norm not in NORMS:
        raise ValueError(f"The 'norm' parameter of dual must be one of {NORMS}; got {norm!r}.")
    size = weight.abs()
    return float(size.sum() if norm == "linf" else size.square().sum().sqrt() if norm == "l2" else size.max())


def strongest(weight: Tensor, eps: float, norm: str) -> Tensor:
    """Give the perturbation of size eps that raises a linear score most, the box left out.

    Shapes   weight of any shape; result the same.
    Units    eps in pixel units of the norm.
    Returns  eps times the sign, the unit vector, or the one strongest pixel.
    Raises   ValueError for an unknown norm.
    Source   where Hoelder's inequality is an equality.
    """
    reach = dual(weight, norm)
    if norm == "linf":
        return eps * weight.sign()
    if norm == "l2":
        return eps * weight / reach
    top = torch.zeros_like(weight).flatten()
    place = int(weight.abs().argmax())
    top[place] = eps * weight.flatten()[place].sign()
    return top.view_as(weight)


def strongest_in_box(weight: Tensor, image: Tensor, eps: float) -> Tensor:
    """Give the image in the L-inf ball and the pixel box whose linear score is highest.

    Shapes   weight (H, W), image (B, 3, H, W); result the same.
    Units    eps in pixel units.
    Returns  pixels; each pixel can be chosen by itself, so cutting to the box is exact.
    Raises   nothing.
    Source   ours.
    """
    return (image + strongest(weight, eps, "linf")).clamp(0, 1)


def needed(reader: Reader, image: Tensor, norm: str) -> Tensor:
    """Compute the smallest perturbation that brings each score to zero, the box left out.

    Shapes   image (B, 3, H, W); result (B,).
    Units    pixel units of the norm.
    Returns  the size of the score over the dual norm of the weight.
    Raises   ValueError for an unknown norm.
    Source   the distance of a point from a plane.
    """
    return reader.score(image).abs() / dual(reader.weight, norm)


def fog_accuracy(eps: float | Tensor, *, pixels: int, separation: float = 4.0, sigma: float = 0.05) -> Tensor:
    """Give the accuracy of the best reader of the fog world when every pixel may be moved by eps against it.

    In the fog world the pixels of an image carry independent noise, and the ill are brighter in every pixel by the
    same amount, which is chosen so that the two groups lie `separation` standard deviations apart for the best reader.

    Shapes   eps a number or tensor; result the same shape.
    Units    eps and sigma in pixel units.
    Returns  Phi(separation / 2 - eps sqrt(pixels) / sigma).
    Raises   nothing.
    Source   two Gaussians, as in Tsipras et al. 2019, arXiv 1805.12152, without their robust feature.
    """
    eps = torch.as_tensor(eps, dtype=torch.float64)
    return torch.special.ndtr(separation / 2 - eps * math.sqrt(pixels) / sigma)


def fog_noise_accuracy(eps: float | Tensor, *, separation: float = 4.0, sigma: float = 0.05) -> Tensor:
    """Give the accuracy of the same reader when every pixel moves by eps up or down by the toss of a coin.

    Shapes   eps a number or tensor; result the same shape.
    Units    eps and sigma in pixel units.
    Returns  as though the noise had grown to the root of sigma^2 + eps^2; it does not depend on the pixels.
    Raises   nothing.
    Source   the central limit theorem.
    """
    eps = torch.as_tensor(eps, dtype=torch.float64)
    return torch.special.ndtr(separation / 2 / (1 + (eps / sigma) ** 2).sqrt())


def fog_images(n: int, *, pixels: int, separation: float = 4.0, sigma: float = 0.05, seed: int = 0):
    """Draw images of the fog world, the bare pixels around mid-grey.

    Shapes   image (n, pixels), ill (n,) bool.
    Units    pixel units.
    Returns  (image, ill); the best reader asks whether the mean lies above one half.
    Raises   nothing.
    Source   ours.
    """
    draw = torch.Generator().manual_seed(seed)
    ill = torch.arange(n) % 2 == 1
    shift = separation * sigma / math.sqrt(pixels) / 2
    noise = sigma * torch.randn(n, pixels, generator=draw)
    return 0.5 + torch.where(ill, shift, -shift)[:, None] + noise, ill


def random_signs(like: Tensor, many: int, *, seed: int = 0) -> Tensor:
    """Toss a coin for every pixel.

    Shapes   like of any shape; result (many, *like.shape).
    Units    plus or minus one.
    Returns  float tensor; the same seed tosses the same.
    Raises   nothing.
    Source   ours.
    """
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (many, *like.shape), generator=draw).float() * 2 - 1
