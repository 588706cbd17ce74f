"""Many images or many sentences at once: batches in, one table of unit vectors out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm.auto import tqdm

from medadv._finite import check_finite
from medadv._quiet import quiet
from medadv.models.vlm import VLM, check_text


class _Walk(Protocol):
    def batches(self, size: int, *, progress: bool) -> Iterator[Any]: ...


def image_features(vlm: VLM, pairs: _Walk | Tensor, *, batch_size: int = 128, progress: bool = True) -> Tensor:
    """Embed every image of a data set, or of one large tensor of pixels.

    Shapes   pairs N images (Pairs, or pixels (N, 3, H, W)); result (N, D).
    Units    embeddings of unit length.
    Returns  float32 on the CPU, in the order of the rows, without gradient.
    Raises   ValueError for anything but pixels, or embeddings that are NaN or infinite.
    Source   ours.
    """
    with torch.no_grad(), quiet(vlm):
        if isinstance(pairs, Tensor):
            parts = [vlm.encode_image(part).cpu() for part in pairs.split(batch_size)]
        else:
            walk = pairs.batches(batch_size, progress=progress)
            parts = [vlm.encode_image(batch.image).cpu() for batch in walk]
    name = getattr(vlm, "name", "the model")
    return check_finite(torch.cat(parts).float(), f"The image embeddings of {name}", rows="images")


def text_features(vlm: VLM, text: Sequence[str], *, batch_size: int = 256, progress: bool = False) -> Tensor:
    """Embed many sentences.

    Shapes   N sentences; result (N, D).
    Units    embeddings of unit length.
    Returns  float32 on the CPU, without gradient.
    Raises   ValueError for an empty list, anything but strings, or embeddings that are NaN or infinite.
    Source   ours.
    """
    text = check_text(text, "text_features")
    starts: Any = range(0, len(text), batch_size)
    if progress:
        starts = tqdm(starts, desc="text", leave=False)
    with torch.no_grad(), quiet(vlm):
        found = torch.cat([vlm.encode_text(text[i : i + batch_size]).cpu() for i in starts]).float()
    return check_finite(found, f"The text embeddings of {getattr(vlm, 'name', 'the model')}", rows="texts")
