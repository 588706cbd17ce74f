"""Which texts say the same to a model: retrieval must not count them against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from medadv._words import plain


def reads_like_own(
    text: Sequence[str], owner: Tensor, images: int, tokenizer: Callable[[list[str]], Any] | None = None
) -> Tensor:
    """Say which texts read like one of an image's own: same words in any case and spacing, or the same tokens.

    Shapes   M texts, owner (M,) on the CPU; result (images, M) bool.
    Units    tokens as the model gets them: what lies behind its context length is not compared.
    Returns  bool tensor on the CPU.
    Raises   nothing.
    Source   ours: texts with the same tokens have the same embedding, so no model can tell them apart.
    """
    found = _has(_numbers([" ".join(plain(one).split()).lower() for one in text]), owner, images)
    if tokenizer is not None and len(text):
        tokens = torch.as_tensor(tokenizer(list(text)))
        found |= _has(_numbers(list(map(tuple, tokens.tolist()))), owner, images)
    return found


def _numbers(keys: list[Any]) -> Tensor:
    number: dict[Any, int] = {}
    return torch.tensor([number.setdefault(key, len(number)) for key in keys]).long()


def _has(wording: Tensor, owner: Tensor, images: int) -> Tensor:
    has = torch.zeros(images, int(wording.max()) + 1 if len(wording) else 0, dtype=torch.bool)
    has[owner, wording] = True
    return has[:, wording]
