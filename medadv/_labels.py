"""Labels against the classes of a head: one clear sentence instead of an index error inside a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def check_labels(label: Tensor, name: str, head: Any) -> None:
    """Refuse anything but a row of classes, and classes that the head does not have where it says which it has.

    Shapes   label (B,) int64.
    Units    none.
    Returns  nothing.
    Raises   ValueError with the remedy.
    Source   ours.
    """
    if label.ndim != 1 or label.is_floating_point():
        raise ValueError(
            f"The 'label' parameter of {name} must be (B,) int64; got {label.dtype} {tuple(label.shape)}. "
            "One-hot rows become classes with label.argmax(1)."
        )
    _in_range(label, len(getattr(head, "classes", ())) or None)


def _in_range(label: Tensor, classes: int | None) -> None:
    low, high = (int(label.min()), int(label.max())) if len(label) else (0, 0)
    if low < 0 or (classes is not None and high >= classes):
        limit = "" if classes is None else f" and below the {classes} classes of the head"
        raise ValueError(
            f"The 'label' parameter of an objective must be at least 0{limit}; got {low if low < 0 else high}. "
            "Drop unknown labels (-1) first: pairs.select(pairs.labels >= 0)."
        )


def logits_of(head: Callable[[Tensor], Tensor], image: Tensor, label: Tensor) -> Tensor:
    """Run a head; logits (B, K) in float32, K large enough for the labels.

    Shapes   image (B, 3, H, W), label (B,); result (B, K).
    Units    none.
    Returns  float32 tensor.
    Raises   ValueError for a label that the head has no logit for.
    Source   ours.
    """
    logits = head(image).float()
    if not label.is_cuda:  # on a card this would make it wait; there a head with `classes` was checked at the door
        _in_range(label, logits.shape[1])
    return logits
