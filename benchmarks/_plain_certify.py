"""CERTIFY as the field writes it: one image, one head, one loop. For comparison only; the package does it otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from math import ceil
from typing import Any

import numpy as np
import torch
from scipy.stats import beta, norm
from torch import Tensor, nn
from torch.nn import functional as F

from medadv._images import noisy_pixels

Draw = Callable[[int], Iterator[Tensor]]
"""Noise in batches: how many copies -> batches of at most the batch size."""


def plain_certify(
    classify: Callable[[Tensor], Tensor], image: Tensor, *, select: Draw, estimate: Draw, classes: int, n0: int, n: int,
    alpha: float, sigma: float,
) -> tuple[int, float, int]:  # fmt: skip
    """Run the loop of locuslab/smoothing's core.py: choose on n0 votes, count n, Clopper and Pearson, abstain."""
    first = _count(classify, image, select(n0), classes).argmax().item()
    votes = int(_count(classify, image, estimate(n), classes)[first].item())
    lower = float(beta.ppf(alpha, votes, n - votes + 1)) if votes else 0.0
    return (-1, 0.0, votes) if lower < 0.5 else (int(first), sigma * float(norm.ppf(lower)), votes)


def _count(classify: Callable[[Tensor], Tensor], image: Tensor, noise: Iterator[Tensor], classes: int) -> np.ndarray:
    counts = np.zeros(classes, dtype=int)
    with torch.no_grad():
        for eps in noise:
            batch = image.repeat((len(eps), 1, 1, 1))
            for label in classify(batch + eps).argmax(1).cpu().numpy():  # one at a time, as there
                counts[label] += 1
    return counts


def fresh_noise(image: Tensor, sigma: float, batch: int, seed: int) -> Draw:
    """Draw as the published programs do: torch's stream, used up as it goes."""
    generator = torch.Generator(image.device).manual_seed(seed)

    def draw(many: int) -> Iterator[Tensor]:
        for start in range(0, many, batch):
            size = (min(batch, many - start), *image.shape)
            yield torch.randn(size, generator=generator, device=image.device) * sigma

    return draw


def text_each_batch(vlm: nn.Module, words: list[str]) -> Callable[[Tensor], Tensor]:
    """Classify as PromptSmooth's program does: the text tower runs again in every batch, though nothing changed."""

    def classify(image: Tensor) -> Tensor:
        feature = vlm.encode_image(image)
        return vlm.scale * feature @ vlm.encode_text(words).T

    return classify


def art_runner(
    head: Any, classes: int, *, sigma: float, alpha: float, n0: int, n: int, batch: int
) -> Callable[[Tensor], list[tuple[int, float, int]]] | None:
    """Wrap ART's smoothing, or return None where it is not installed."""
    try:
        from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing
    except ImportError:
        return None
    smoothed = PyTorchRandomizedSmoothing(
        model=head, loss=torch.nn.CrossEntropyLoss(), input_shape=(3, 64, 64), nb_classes=classes, clip_values=None,
        sample_size=n0, scale=sigma, alpha=alpha, device_type="cpu",
    )  # fmt: skip

    def run(image: Tensor) -> list[tuple[int, float, int]]:
        with noisy_pixels():
            label, radius = smoothed.certify(x=image.numpy(), n=n, batch_size=batch)
        return [(int(k), float(r), -1) for k, r in zip(label, radius, strict=True)]

    return run


def art_version() -> dict[str, str]:
    """Name ART's version, where it is installed."""
    try:
        return {"adversarial-robustness-toolbox": version("adversarial-robustness-toolbox")}
    except PackageNotFoundError:
        return {}


def coop_steps(
    prompt: nn.Module, image: Tensor, label: Tensor, *, sigmas: tuple[float, ...], batch: int, steps: int, seed: int
) -> Tensor:
    """Take steps of CoOp on noisy images as published: both towers in every step, text padded to its full length.

    SGD of 0.002 on batches of 32; each image gets one of the noise levels. Returns the context.
    """
    vlm, context = prompt.vlm, prompt.context.detach().clone().requires_grad_(True)
    optimiser = torch.optim.SGD([context], lr=0.002, momentum=0.9, weight_decay=5e-4)
    draw = torch.Generator().manual_seed(seed)
    levels = torch.tensor(sigmas)
    for _ in range(steps):
        rows = torch.randint(len(image), (batch,), generator=draw)
        level = levels[torch.randint(len(levels), (batch,), generator=draw)][:, None, None, None]
        with torch.no_grad():
            feature = vlm.encode_image(image[rows] + level * torch.randn(image[rows].shape, generator=draw))
        logits = vlm.scale.detach() * feature @ _full_text(vlm, prompt.tokens, context).T
        loss = F.cross_entropy(logits, label[rows])
        optimiser.zero_grad()
        loss.backward(inputs=[context])
        optimiser.step()
    return context.detach()


def steps_as_published(images: int, *, epochs: int = 50, batch: int = 32) -> int:
    """Count the steps of a whole published training."""
    return epochs * ceil(images / batch)


def _full_text(vlm: nn.Module, tokens: Tensor, context: Tensor) -> Tensor:
    def swap(_module: nn.Module, _given: tuple, out: Tensor) -> Tensor:
        return torch.cat([out[:, :1], context.expand(len(out), -1, -1), out[:, 1 + len(context) :]], 1)

    hook = vlm.token_embedding().register_forward_hook(swap)
    try:
        return vlm.encode_text(tokens)
    finally:
        hook.remove()
