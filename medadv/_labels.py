"""Labels and logits at every door: each form that can mean one thing only is read, anything else is one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BINARY = "The head gives one logit for each image, which is read as class 1 against class 0, so labels must be 0 or 1"


def as_labels(label: Any, count: int | None, where: str, *, head: Any = None, name: str = "label") -> Tensor:
    """Read class numbers: a tensor, array or list of any integer type, True and False counting as 1 and 0.

    Shapes   label (B,), B being `count` unless that is None; result (B,) int64 on the device of the label.
    Units    none; errors call the label by `name`.
    Returns  int64 tensor; the same one where it was int64 already. With `head` the classes are checked against those
             that it names; without, -1 (unknown) passes.
    Raises   ValueError for floats, names, another rank or length, and classes that the head does not have.
    Source   ours.
    """
    found = _integers(label, where, name)
    if count is not None and len(found) != count:
        raise ValueError(
            f"The '{name}' parameter of {where} must have one row for each of the {count} images; got {len(found)}. "
            "Give every image its own label."
        )
    if head is not None:
        _in_range(found, len(getattr(head, "classes", ())) or None)
    return found


def _integers(label: Any, where: str, name: str = "label") -> Tensor:
    said = f"The '{name}' parameter of {where} must be (B,) int64, or any other integers; got"
    hint = "Whole numbers become classes with label.long(), one-hot rows with label.argmax(1)."
    if not isinstance(label, Tensor):
        try:
            array = np.asarray(label)
        except ValueError as error:  # rows of different lengths
            raise ValueError(f"{said} a ragged {type(label).__name__}. {hint}") from error
        if array.dtype.kind not in "iub" and array.size:
            if array.dtype.kind not in "f":
                raise ValueError(f"{said} {array.dtype}. Turn names into numbers: pairs.classes.index(name).")
            raise ValueError(f"{said} {array.dtype} {array.shape}. {hint}")
        label = torch.from_numpy(array.astype(np.int64))
    if label.ndim != 1 or label.is_floating_point() or label.is_complex():
        more = " Findings that may hold together belong to multilabel." if label.ndim == 2 else ""
        raise ValueError(f"{said} {label.dtype} {tuple(label.shape)}. {hint}{more}")
    return label.long()


def _in_range(label: Tensor, classes: int | None, *, single: bool = False) -> None:
    low, high = (int(label.min()), int(label.max())) if len(label) else (0, 0)
    if low >= 0 and (classes is None or high < classes):
        return
    got = low if low < 0 else high
    if single and high > 1:
        raise ValueError(f"{_BINARY}; got {got}. For findings that may hold together use multilabel, labels (B, K).")
    limit = "" if classes is None else f" and below the {classes} classes of the head"
    raise ValueError(
        f"The 'label' parameter of an objective must be at least 0{limit}; got {got}. "
        "Drop unknown labels (-1) first: pairs.select(pairs.labels >= 0)."
    )


def as_logits(output: Any, count: int, where: str = "an objective") -> Tensor:
    """Read what a head returned: logits (B, K), or one logit for each image, which becomes the two logits 0 and z.

    Shapes   output (B, K), (B, 1) or (B,); result (B, K) with K at least 2.
    Units    none.
    Returns  float32 tensor; the gradient goes through.
    Raises   ValueError for a tuple, a dict, a dataclass or another shape, with what to write instead.
    Source   ours: softmax of (0, z) is the sigmoid of z, so a single logit is a classifier of two classes.
    """
    said = f"The 'head' parameter of {where} must return a tensor of logits (B, K);"
    if not isinstance(output, Tensor):
        raise ValueError(f"{said} got {type(output).__name__}. {_way_out(output)}")
    if not output.is_floating_point():
        raise ValueError(f"{said} got {output.dtype}. Return the logits, not the classes they choose.")
    if output.ndim not in (1, 2) or len(output) != count:
        raise ValueError(
            f"{said} got shape {tuple(output.shape)} for {count} images. Return one row of logits for each image."
        )
    output = output.float()
    if output.ndim == 2 and output.shape[1] > 1:
        return output
    if output.ndim == 2 and output.shape[1] == 0:
        raise ValueError(f"{said} got no logit at all. Return one for each class.")
    single = output.reshape(-1)
    return torch.stack([torch.zeros_like(single), single], dim=1)


def findings_of(output: Any, shape: Sequence[int], where: str = "multilabel") -> Tensor:
    """Read what a head returned as one logit for each finding, (B, K) in float32; (B,) is one finding."""
    said = f"The 'head' parameter of {where} must return a tensor of logits {tuple(shape)}, one for each finding;"
    if not isinstance(output, Tensor):
        raise ValueError(f"{said} got {type(output).__name__}. {_way_out(output)}")
    output = output.float()
    output = output[:, None] if output.ndim == 1 else output
    if output.shape != tuple(shape):
        raise ValueError(f"{said} got shape {tuple(output.shape)}. Give labels and logits for the same findings.")
    return output


def _way_out(output: Any) -> str:
    """What to write so that a head returns its logits alone."""
    if hasattr(output, "logits"):
        return "Wrap it: lambda image: head(image).logits."
    if isinstance(output, Mapping):
        name = "logits" if "logits" in output or not output else next(iter(output))
        return f"Wrap it: lambda image: head(image)[{name!r}]."
    if isinstance(output, Sequence) and not isinstance(output, str):
        place = next((k for k, one in enumerate(output) if isinstance(one, Tensor) and one.ndim == 2), 0)
        return f"Wrap it: lambda image: head(image)[{place}]."
    if is_dataclass(output) and fields(output):
        return f"Wrap it: lambda image: head(image).{fields(output)[0].name}."
    return "Return a torch tensor."


def logits_of(head: Callable[[Tensor], Tensor], image: Tensor, label: Tensor) -> Tensor:
    """Run a head; logits (B, K) in float32, K large enough for the labels.

    Shapes   image (B, 3, H, W), label (B,); result (B, K).
    Units    none.
    Returns  float32 tensor.
    Raises   ValueError as `as_logits`, for labels of another length, and for a label that the head has no logit for.
    Source   ours.
    """
    output = head(image)
    logits = as_logits(output, len(image))
    if len(label) != len(logits):
        raise ValueError(
            f"The 'label' parameter of an objective must have one row for each of the {len(logits)} images; got "
            f"{len(label)}. Give every image its own label."
        )
    single = output.ndim == 1 or output.shape[1] == 1
    if single and len(getattr(head, "classes", ())) == 1:
        raise ValueError(
            f"The 'head' parameter of an objective must choose among two classes or more; got the one class "
            f"{head.classes[0]!r}. Name what it stands against."  # type: ignore[attr-defined]
        )
    if not label.is_cuda:  # on a card this would make it wait; there a head with `classes` was checked at the door
        _in_range(label, logits.shape[1], single=single)
    return logits


def check_scores(scores: Tensor | np.ndarray, said: str, *, rows: Sequence[int] | None = None) -> None:
    """Refuse scores that are no numbers. Minus infinity is legal where it masks a class, not for all classes at once.

    Shapes   scores (B,) or (B, K); rows (B,) how the rows are called, by default 0 to B - 1.
    Units    none.
    Returns  nothing. `said` begins the sentence: "The 'output' parameter of accuracy".
    Raises   ValueError that names the rows.
    Source   ours: argmax takes NaN for the largest, and a comparison with it for a wrong answer.
    """
    array = scores.detach().float().cpu().numpy() if isinstance(scores, Tensor) else np.asarray(scores)
    if array.dtype.kind not in "fc" or not array.size:
        return
    table = array.reshape(len(array), -1)
    bad = [("NaN", np.isnan(table).any(1))]
    if array.ndim > 1:
        bad += [("+inf", np.isposinf(table).any(1)), ("-inf for every class", np.isneginf(table).all(1))]
    for name, rows_of_it in bad:
        if not rows_of_it.any():
            continue
        places = np.flatnonzero(rows_of_it)
        named = [str(place if rows is None else rows[place]) for place in places[:5]]
        more = ", ..." if len(places) > 5 else ""
        raise ValueError(
            f"{said} must hold no {name}; got {name} in rows {', '.join(named)}{more} ({len(places)} of {len(table)}). "
            "Find the layer that overflows, or load with dtype float32."
        )
