"""A second reader that owes nothing to the tiny Med-VLM: pixels, letter triples and linear algebra."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from medadv.data.pairs import Pairs


class LinearReader:
    """An image-text model without a network: canonical correlations of small pictures and letter triples.

    It has the calls of a VLM that retrieval needs. It is a weak reader, and a *weak substitute* for a second Med-VLM
    in questions of transfer: what carries over to it, carries over between very different models.
    """

    name, truncated, device = "linear reader", 0, torch.device("cpu")

    def __init__(self, train: Pairs, *, width: int = 48, ridge: float = 0.05, each: int = 4):
        view, words = [], []
        for batch, rows in zip(train.batches(250), torch.arange(len(train)).split(250), strict=True):
            captions = [train.rows[i].captions[:each] for i in rows.tolist()]
            view.append(_small(batch.image).repeat_interleave(each, 0))
            words.append(_triples([one for many in captions for one in many]))
        x, y = torch.cat(view), torch.cat(words)
        self.means = x.mean(0), y.mean(0)
        x, y = x - self.means[0], y - self.means[1]
        a, b = _whitener(x, ridge), _whitener(y, ridge)
        left, strength, right = torch.linalg.svd(a @ (x.T @ y / len(x)) @ b)
        scale = strength[:width].sqrt()
        self.maps = a @ left[:, :width] * scale, b @ right[:width].T * scale

    def encode_image(self, image: Tensor) -> Tensor:
        """Embed pixels (B, 3, H, W) as (B, width), unit length."""
        return F.normalize((_small(image) - self.means[0]) @ self.maps[0], dim=1).float()

    def encode_text(self, text: Sequence[str]) -> Tensor:
        """Embed M sentences as (M, width), unit length."""
        return F.normalize((_triples(text) - self.means[1]) @ self.maps[1], dim=1).float()


def _small(image: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(image, 16).flatten(1).double()


def _triples(text: Sequence[str], many: int = 512) -> Tensor:
    """Count the letter triples of each text, by the remainder of a checksum, and take the root."""
    found = torch.zeros(len(text), many, dtype=torch.float64)
    for row, one in enumerate(text):
        said = f"  {one.lower()}  "
        for i in range(len(said) - 2):
            found[row, zlib.crc32(said[i : i + 3].encode()) % many] += 1
    return found.sqrt()


def _whitener(x: Tensor, ridge: float) -> Tensor:
    value, vector = torch.linalg.eigh(x.T @ x / len(x))
    return vector @ ((value + ridge * value.mean()).rsqrt()[:, None] * vector.T)
