"""What the notebooks of the second chapter compute and would be too long to show."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medadv.course import plots
from medadv.course.ch02.pitfalls import logits_of
from medadv.data.pairs import Pairs
from medadv.objective import Objective
from medadv.threat import Threat


def of_classes(pairs: Pairs, names: Sequence[str]) -> Pairs:
    """Keep the images of some classes.

    Shapes   pairs of N images; result of those whose class is named. The classes themselves stay K.
    Units    none.
    Returns  Pairs.
    Raises   ValueError for a class that is not there.
    Source   ours.
    """
    unknown = [name for name in names if name not in pairs.classes]
    if unknown:
        raise ValueError(
            f"The 'names' parameter of of_classes must be among the classes; got {unknown}. See pairs.classes."
        )
    wanted = {pairs.classes.index(name) for name in names}
    return pairs.select([i for i, row in enumerate(pairs.rows) if row.label in wanted])


def trace(want: Objective, image: Tensor, threat: Threat, *, steps: int, step: float) -> list[Tensor]:
    """Keep every point of a climb by projected gradient steps.

    Shapes   image (B, 3, H, W); every point the same.
    Units    step in pixel units.
    Returns  steps + 1 points, the clean image first.
    Raises   ValueError if image is no batch of pixels.
    Source   Madry et al. 2018, eq. 2.1, arXiv 1706.06083, without random start.
    """
    threat.check(image)
    points = [image]
    for _ in range(steps):
        x = points[-1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(want(x).loss.sum(), x)
        points.append(threat.project(x.detach() + step * threat.ascend(gradient), image))
    return points


def plane(want: Objective, points: Sequence[Tensor], eps: float, *, seed: int = 0, size: int = 13):
    """Measure the loss of one image over a plane: along the first step of an attack, and across it towards its end.

    Shapes   points (1, 3, H, W) each, the clean one first.
    Units    coordinates in multiples of eps.
    Returns  (loss (size, size), coordinates, path (S, 2)): the path is the shadow of the points on the plane.
    Raises   nothing.
    Source   ours.
    """
    clean = points[0]
    along = (points[1] - clean).flatten()
    along = along / along.norm()
    last = (points[-1] - clean).flatten()
    across = last - (last @ along) * along
    across = across / across.norm().clamp_min(1e-12)
    unit = eps * clean[0].numel() ** 0.5
    where = torch.linspace(-0.25, 1.1, size).tolist()
    spots = torch.stack([clean.flatten() + unit * (a * along + c * across) for a in where for c in where])
    with torch.no_grad():
        wide = Objective(want.judge, tuple(r.expand(len(spots), *r.shape[1:]) for r in want.rows), want.models)
        loss = wide(spots.view(-1, *clean.shape[1:]).clamp(0, 1)).loss.view(size, size)
    path = torch.stack([torch.stack([(p - clean).flatten() @ v / unit for v in (along, across)]) for p in points])
    return loss, where, path


def frames(head: nn.Module, image: Tensor, moved: Sequence[Tensor], pairs: Pairs, true: int, *, times: float = 10):
    """Draw one image under several attacks: what is seen, the change amplified, the answer.

    Shapes   image (3, H, W), every moved one the same.
    Units    the change is shown `times` as large around mid-grey.
    Returns  (figures, descriptions), one of each for every moved image, for `figures.slider`.
    Raises   nothing.
    Source   ours.
    """
    output = logits_of(head, torch.stack(list(moved)))
    titles = ["what the reader sees", f"change x {times:g}"]
    shown = [
        plots.reading([x, plots.amplified(x, image, times=times)], titles, logits, pairs.classes, true=true)
        for x, logits in zip(moved, output, strict=True)
    ]
    return shown, [plots.read_aloud(logits, pairs.classes, true=true) for logits in output]


def levels(image: Tensor) -> Tensor:
    """Round pixels to 8 bits, as a PNG file does.

    Shapes   image (B, 3, H, W); result the same.
    Units    multiples of 1/255.
    Returns  pixels.
    Raises   nothing.
    Source   ours.
    """
    return (image * 255).round() / 255


def gains(want: Objective, image: Tensor, sizes: Sequence[float]) -> tuple[list[float], list[float]]:
    """Compare what one step of full size gains with what a linear loss would gain.

    Shapes   image (B, 3, H, W).
    Units    sizes in levels of 255; gains in those of the objective, mean over the images.
    Returns  (measured, predicted), one number of each for every size.
    Raises   ValueError if image is no batch of pixels.
    Source   predicted: eps times the L1 norm of the gradient, the box left out.
    """
    x = image.clone().requires_grad_()
    before = want(x).loss
    (gradient,) = torch.autograd.grad(before.sum(), x)
    slope = gradient.abs().sum((1, 2, 3)).mean()
    measured = []
    for size in sizes:
        moved = trace(want, image, Threat("linf", size / 255), steps=1, step=size / 255)[1]
        with torch.no_grad():
            measured.append(float((want(moved).loss - before).mean()))
    return measured, [float(slope * size / 255) for size in sizes]
