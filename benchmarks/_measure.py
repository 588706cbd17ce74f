"""How runs are counted, timed and judged: the same for every library."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medadv.threat import Threat


class Counted(nn.Module):
    """A classifier that counts the images that pass it, forwards and backwards."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.forwards, self.backwards = model, 0, 0

    def forward(self, image: Tensor) -> Tensor:
        logits = self.model(image)
        self.forwards += len(image)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def timed(run: Callable[[], Any], device: torch.device) -> tuple[Any, float, float]:
    """Run and return (result, seconds, wall seconds).

    On the CPU, seconds are those of the processor, all threads together: others on the machine do not count. On a
    card, they are wall seconds, synchronised.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall, used = time.perf_counter(), time.process_time()
    result = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    used, wall = time.process_time() - used, time.perf_counter() - wall
    return result, wall if device.type == "cuda" else used, wall


def reset_peak(device: torch.device) -> int | None:
    """Start watching the memory; return what is held now, in bytes, or None where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _resident("VmRSS")


def peak(device: torch.device) -> int | None:
    """The most memory held since `reset_peak`, in bytes."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")


def _resident(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), None)


def judge(model: nn.Module, adversarial: Tensor, image: Tensor, label: Tensor, threat: Threat) -> tuple[Tensor, int]:
    """Say which images the model still gets right, and how many adversarial images leave the ball or the box."""
    with torch.no_grad():
        robust = model(adversarial).argmax(1) == label
    outside = ~torch.isfinite(adversarial).flatten(1).all(1)
    outside |= ((adversarial < 0) | (adversarial > 1)).flatten(1).any(1)
    outside |= threat.size(adversarial, image) > threat.eps + 1e-6  # rounding of image + eps
    return robust.cpu(), int(outside.sum())


def paired(ours: Tensor, theirs: Tensor) -> tuple[float, float, float]:
    """Difference of two robust accuracies on the same images, with its 95 % interval.

    Agresti and Min 2005, the adjusted Wald interval of McNemar's table: half an image is added to each cell.
    """
    n = len(ours) + 2
    more, less = float((ours & ~theirs).sum()) + 0.5, float((~ours & theirs).sum()) + 0.5
    middle = (more - less) / n
    half = 1.959964 * math.sqrt(more + less - (more - less) ** 2 / n) / n
    return float(ours.float().mean() - theirs.float().mean()), middle - half, middle + half
