"""Questions that the first chapter puts to a number: in which kind of image, for whom, under noise, under a push?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medadv._quiet import quiet
from medadv.data.pairs import Pairs
from medadv.data.phantoms import ATTRIBUTES
from medadv.evaluate.metrics import Estimate, accuracy
from medadv.objective import classify
from medadv.reports.report import Report
from medadv.threat import Threat
from medadv.types import Score


def within_modality(output: Tensor, pairs: Pairs) -> Tensor:
    """Leave only the classes of each image's own modality, as though it were known what kind of image it is.

    Shapes   output (N, K) logits; result the same.
    Units    logits; -inf for the classes of other modalities.
    Returns  float tensor.
    Raises   nothing.
    Source   ours.
    """
    names = sorted(set(pairs.domains))
    of_class = torch.tensor([names.index(name) for name in pairs.domains])
    return output.masked_fill(of_class != of_class[pairs.labels][:, None], -torch.inf)


def elsewhere(output: Tensor, pairs: Pairs) -> float:
    """Count how many images are taken for one of another modality.

    Shapes   output (N, K), one row for each image.
    Units    a proportion.
    Returns  float.
    Raises   nothing.
    Source   ours.
    """
    own = within_modality(torch.zeros_like(output), pairs).isfinite()
    return 1 - float(own.gather(1, output.argmax(1)[:, None]).float().mean())


def by_modality(output: Tensor, pairs: Pairs) -> dict[str, Estimate]:
    """Estimate the accuracy on the images of each modality.

    Shapes   output (N, K), one row for each image.
    Units    proportions.
    Returns  {modality: Estimate}.
    Raises   nothing.
    Source   ours.
    """
    own = np.array([pairs.domains[k] for k in pairs.labels.tolist()])
    return {name: accuracy(output[own == name], pairs.labels[own == name]) for name in dict.fromkeys(pairs.domains)}


def group_report(output: Tensor, pairs: Pairs, *, attributes: Sequence[str] = tuple(ATTRIBUTES)) -> Report:
    """Estimate the accuracy for each value of each attribute.

    Shapes   output (N, K), one row for each image.
    Units    proportions; patients are resampled as a whole.
    Returns  Report with one row for each group.
    Raises   ValueError for an attribute that no image carries.
    Source   ours.
    """
    rows, who = [], np.asarray(pairs.patients)
    for by in attributes:
        number, names = pairs.groups(by)
        for g, name in enumerate(names):
            part = number == g
            found = accuracy(output[part], pairs.labels[part], groups=who[part.numpy()])
            rows.append({"attribute": by.replace("_", " "), "group": name.replace("_", " "), "estimate": found})
    return Report(tuple(rows), {"task": "accuracy by group"})


def noisy(image: Tensor, sigma: float, *, seed: int = 0) -> Tensor:
    """Add Gaussian noise to pixels and cut at black and white, as a file would.

    Shapes   image (B, 3, H, W); result the same.
    Units    sigma in pixel units: 0.1 is 25 grey levels.
    Returns  pixels in [0, 1]; the same seed draws the same noise.
    Raises   nothing.
    Source   the corruption of Hendrycks and Dietterich 2019, arXiv 1903.12261.
    """
    draw = torch.Generator().manual_seed(seed)
    return (image + sigma * torch.randn(image.shape, generator=draw)).clamp(0, 1)


def climb(
    want: Callable[[Tensor], Score], image: Tensor, threat: Threat, *, steps: int = 5, step: float | None = None
) -> Tensor:
    """Take a few gradient steps inside a threat: the loop that the chapter on attacks makes an attack of.

    Shapes   image (B, 3, H, W); result the same.
    Units    step in pixel units, half of eps unless told.
    Returns  pixels in ball and box. It starts at the image, never stops early and keeps the last point.
    Raises   ValueError if image is no batch of pixels.
    Source   Madry et al. 2018, eq. 2.1, arXiv 1706.06083, without random start.
    """
    threat.check(image)
    step, x = threat.eps / 2 if step is None else step, image
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(want(x).loss.sum(), x)
        x = threat.project(x + step * threat.ascend(gradient), image)
    return x.detach()


def attacked(
    head: nn.Module, image: Tensor, label: Tensor, threats: Sequence[str], *, batch_size: int = 128
) -> dict[str, tuple[Tensor, Tensor]]:
    """Climb the loss of the true class under several threats.

    Shapes   image (N, 3, H, W), label (N,); for each threat pixels (N, 3, H, W) and logits (N, K).
    Units    threats as text, "linf:1/255".
    Returns  {threat: (pixels, logits)}.
    Raises   ValueError for a threat that cannot be read.
    Source   as `climb`.
    """
    found = {}
    with quiet(head):
        for text in threats:
            threat, parts = Threat.parse(text), []
            for rows in torch.arange(len(image)).split(batch_size):
                parts.append(climb(classify(head, label[rows]), image[rows], threat))
            moved = torch.cat(parts)
            with torch.no_grad():
                found[text] = moved, torch.cat([head(part) for part in moved.split(batch_size)])
    return found
