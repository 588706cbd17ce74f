"""One step up the gradient, for every norm."""

from __future__ import annotations

import torch
from torch import Tensor

from medadv._l1 import strongest
from medadv.threat import Threat

SHARE = 0.01


def climb(
    threat: Threat, x: Tensor, image: Tensor, gradient: Tensor, step: Tensor | float, *, share: Tensor | float = SHARE
) -> Tensor:
    """Step from x along the gradient and come back into ball and box around image.

    L-inf and L2 take the steepest step. The steepest step of L1 moves one pixel value, which soon stands at a wall of
    the box; so the strongest `share` of the values that the box lets move go together (Tramer and Boneh 2019, arXiv
    1904.13000, SLIDE; they look at the box only afterwards).
    """
    if threat.norm != "l1":
        unit = threat.ascend(gradient)
        there = torch.addcmul(x, unit, step) if isinstance(step, Tensor) else torch.add(x, unit, alpha=step)
        return threat.project(there, image)
    gradient = gradient.masked_fill(((x >= 1) & (gradient > 0)) | ((x <= 0) & (gradient < 0)), 0)
    if threat.grey:
        gradient = gradient.mean(1, keepdim=True)
    unit = strongest(gradient.flatten(1), share).view_as(gradient)
    return threat.project(x + step * unit, image)
