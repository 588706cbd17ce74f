"""Models that are used to noise, for smoothing: tuned on noisy images, or behind a denoiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medadv._images import noisy_pixels
from medadv._labels import as_labels, as_logits
from medadv.models.head import Head
from medadv.train.loop import Step
from medadv.types import Batch


def noisy_step(sigma: float | Sequence[float]) -> Step:
    """Make the step that trains a classifier on noisy images, the noise neither clamped nor normalised.

    Shapes   the model maps pixels (B, 3, H, W) to logits (B, K).
    Units    sigma in pixel units; of several one is drawn for each image.
    Returns  a step for `fit`; tune an image tower with fit(head, data, noisy_step(0.25), norm=False,
             params=head.vlm.model.visual.parameters()), on a copy of the model if the clean one is still wanted.
    Raises   ValueError for a sigma that is not positive.
    Source   Gaussian augmentation, Lecuyer et al. 2019, arXiv 1802.03471, and Cohen et al. 2019, arXiv 1902.02918.
    """
    levels = _levels(sigma, "noisy_step")

    def step(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        assert batch.label is not None
        with noisy_pixels():
            logits = as_logits(model(_noised(batch.image, levels)), len(batch), "noisy_step")
        label = as_labels(batch.label, len(batch), "noisy_step").to(logits.device)
        return {"loss": F.cross_entropy(logits, label, ignore_index=-1)}

    return step


def denoise_step(sigma: float | Sequence[float], *, head: nn.Module | None = None, stability: float = 0.0) -> Step:
    """Make the step that trains a denoiser: give back the clean image, or one that a classifier takes for it.

    Shapes   the model maps noisy pixels (B, 3, H, W) to pixels.
    Units    sigma in pixel units; stability weighs the classifier's term in nats against the mean squared error.
    Returns  a step for `fit`.
    Raises   ValueError for a sigma that is not positive, or a weight without a head.
    Source   Salman et al. 2020 (denoised smoothing), arXiv 2003.01908, MSE and STAB. Differs: STAB takes the head's
             whole answer to the clean image as the target, not its first class.
    """
    levels = _levels(sigma, "denoise_step")
    if stability and head is None:
        raise ValueError("The 'head' parameter of denoise_step must be given with a stability weight; got none.")

    def step(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        clean = model(_noised(batch.image, levels))
        terms = {"error": F.mse_loss(clean, batch.image)}
        terms["loss"] = terms["error"]
        if head is not None and stability:
            with torch.no_grad():
                target = head(batch.image).softmax(1)
            terms["stability"] = F.cross_entropy(head(clean.clamp(0, 1)), target)
            terms["loss"] = terms["loss"] + stability * terms["stability"]
        return terms

    return step


class Denoiser(nn.Module):
    """A small convolutional network that predicts the noise and takes it away.

    Shapes   pixels (B, 3, H, W) of any size to the same.
    Units    pixels in [0, 1], noisy ones beyond.
    Returns  a module that starts as the identity.
    Raises   nothing.
    Source   DnCNN, Zhang et al. 2017, arXiv 1608.03981. Differs: five layers, dilated for sight, the last
             of which sees the image too; no batch normalisation, so that no result hangs on the rest of its batch.
    """

    def __init__(self, *, width: int = 24, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = []
            for before, reach in ((3, 1), (width, 2), (width, 4), (width, 2)):
                conv = nn.Conv2d(before, width, 3, padding=reach, dilation=reach, padding_mode="replicate")
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                layers += [conv, nn.ReLU()]
            last = nn.Conv2d(width + 3, 3, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
        self.inner, self.last = nn.Sequential(*layers), last

    def forward(self, image: Tensor) -> Tensor:
        """Map noisy pixels to cleaner ones."""
        return image - self.last(torch.cat([self.inner(image), image], dim=1))


class Denoised(Head):
    """A denoiser before a classifier that has never seen noise: together one classifier to be smoothed.

    Shapes   pixels (B, 3, H, W) -> logits (B, K).
    Units    pixels in [0, 1], noisy ones beyond; what the denoiser gives back is clamped.
    Returns  a head for `medadv.certify.smooth.certify`.
    Raises   nothing.
    Source   Salman et al. 2020, arXiv 2003.01908.
    """

    def __init__(self, denoiser: nn.Module, head: nn.Module):
        super().__init__()
        self.denoiser, self.head = denoiser, head

    def forward(self, image: Tensor) -> Tensor:
        """Map noisy pixels to logits."""
        return self.head(self.denoiser(image).clamp(0, 1))


def _levels(sigma: float | Sequence[float], where: str) -> Tensor:
    levels = torch.tensor([sigma] if isinstance(sigma, (int, float)) else list(sigma), dtype=torch.float32)
    if not len(levels) or not (levels > 0).all():
        raise ValueError(f"The 'sigma' parameter of {where} must be positive; got {sigma}. Use 0.25 for example.")
    return levels


def _noised(image: Tensor, levels: Tensor) -> Tensor:
    """Noise of the global stream, which `fit` keys by its seed and step."""
    drawn = levels[torch.randint(len(levels), (len(image),))].to(image.device)
    return image + drawn[:, None, None, None] * torch.randn_like(image)
