"""Does an image find its report, and a report its image? Right for several captions per image and for
captions that mean the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from medadv._alike import reads_like_own
from medadv._finite import check_finite
from medadv.evaluate.intervals import Estimate, weighted, wilson


def recall_at_k(
    similarity: ArrayLike | Tensor,
    owner: ArrayLike | Tensor | None = None,
    *,
    k: Sequence[int] = (1, 5, 10),
    direction: str = "i2t",
    equivalent: ArrayLike | Tensor | None = None,
    groups: ArrayLike | None = None,
    n: int = 1000,
    seed: int = 0,
) -> dict[int, Estimate]:
    """Count the queries that find something right among their k nearest neighbours.

    Shapes   similarity (N, M) images by texts; owner (M,) the image each text was written for; equivalent (N,
             M) bool, true where text m is true of image n; groups (N,) or (M,), one for each query.
    Units    proportions.
    Returns  {k: Estimate}; "i2t" asks with images, "t2i" with texts. Several captions of one image are
             resampled together, unless `groups` says otherwise; otherwise Wilson. Equal similarities count
             against the model, so that a constant one scores nothing. Queries without any right answer are
             left out.
    Raises   ValueError for a wrong shape or direction, similarities that are NaN or infinite, or if neither owner
             nor equivalent is given.
    Source   Karpathy and Fei-Fei 2015 (image-text recall@k); `equivalent` as in ECCV Caption, Chun et al.
             2022.
    """
    check_ranks(k, "recall_at_k")
    ahead, asked = _ahead(similarity, owner, direction, equivalent)
    if direction == "t2i" and groups is None and owner is not None:
        groups = np.asarray(owner)
    who = None if groups is None else np.asarray(groups)[asked]
    return {int(many): _share(ahead < many, who, n, seed) for many in k}


def check_ranks(k: Sequence[int], where: str) -> None:
    """Refuse anything but ranks from 1 on, one at least.

    Shapes   none.
    Units    none.
    Returns  nothing.
    Raises   ValueError.
    Source   ours.
    """
    right = isinstance(k, (Sequence, np.ndarray)) and len(k) > 0
    if not (right and all(isinstance(one, (int, np.integer)) and one >= 1 for one in k)):
        raise ValueError(f"The 'k' parameter of {where} must hold ranks of at least 1; got {k}. Write (1, 5, 10).")


def same_meaning(
    texts: Sequence[str], owner: ArrayLike, images: int, *, tokenizer: Callable[[list[str]], Any] | None = None
) -> np.ndarray:
    """Say which texts are true of which images because one of the image's own captions reads the same.

    Shapes   M texts, owner (M,); result (images, M).
    Units    none.
    Returns  bool array for the `equivalent` parameter of recall_at_k; case and white space do not matter. With the
             model's tokenizer (vlm.tokenizer), texts of the same tokens are the same too: such as differ only behind
             the context length.
    Raises   ValueError if texts and owner differ in length, or an owner is no image.
    Source   ours: template captions repeat, and finding a twin's caption is no mistake.
    """
    owner = np.asarray(owner)
    if len(owner) != len(texts):
        raise ValueError(
            f"The 'owner' parameter of same_meaning must be ({len(texts)},), one for each text; got shape "
            f"{owner.shape}. "
            "Pass the number of the image each text belongs to."
        )
    if len(owner) and not (np.issubdtype(owner.dtype, np.integer) and 0 <= owner.min() <= owner.max() < images):
        raise ValueError(
            f"The 'owner' parameter of same_meaning must hold image numbers below {images}; got {owner.dtype} from "
            f"{owner.min()} to {owner.max()}. Pass the number of the image each text belongs to."
        )
    return reads_like_own(texts, torch.as_tensor(owner).long(), images, tokenizer).numpy()


def _ahead(similarity, owner, direction: str, equivalent) -> tuple[np.ndarray, np.ndarray]:
    """How many wrong ones come before the first right one, for the queries that are asked; and which those are."""
    similarity = np.asarray(
        similarity.detach().cpu() if isinstance(similarity, Tensor) else similarity, dtype=np.float64
    )
    if similarity.ndim != 2:
        raise ValueError(
            "The 'similarity' parameter of recall_at_k must be (N images, M texts); got shape "
            f"{similarity.shape}. "
            "Multiply the embeddings: image @ text.T."
        )
    check_finite(
        torch.from_numpy(similarity),
        "The 'similarity' parameter of recall_at_k",
        rows="images",
        remedy="Check the embeddings it was made of: a model that says NaN finds nothing.",
    )
    if direction not in ("i2t", "t2i"):
        raise ValueError(
            f"The 'direction' parameter of recall_at_k must be i2t or t2i; got {direction!r}. Use i2t for images."
        )
    right = _right(similarity.shape, owner, equivalent)
    if direction == "t2i":
        similarity, right = similarity.T, right.T
    asked = np.asarray(right.any(1))
    similarity, right = similarity[asked], right[asked]
    best = np.where(right, similarity, -np.inf).max(1, initial=-np.inf, keepdims=True)
    return ((similarity >= best) & ~right).sum(1), asked


def _right(shape: tuple[int, ...], owner, equivalent) -> np.ndarray:
    right = np.zeros(shape, dtype=bool)
    if owner is None and equivalent is None:
        raise ValueError(
            "The 'owner' parameter of recall_at_k must be given where 'equivalent' is not; got None. Pass (M,)."
        )
    if owner is not None:
        owner = np.asarray(owner)
        if owner.shape != shape[1:] or (len(owner) and not 0 <= owner.min() <= owner.max() < shape[0]):
            raise ValueError(
                f"The 'owner' parameter of recall_at_k must be ({shape[1]},) image numbers below "
                f"{shape[0]}; got shape "
                f"{owner.shape}. Pass one for each text."
            )
        right[owner, np.arange(shape[1])] = True
    if equivalent is not None:
        equivalent = np.asarray(equivalent, dtype=bool)
        if equivalent.shape != shape:
            raise ValueError(
                f"The 'equivalent' parameter of recall_at_k must be of shape {shape}; got "
                f"{equivalent.shape}. "
                "Use same_meaning."
            )
        right |= equivalent
    return right


def _share(hit: np.ndarray, groups: np.ndarray | None, n: int, seed: int) -> Estimate:
    many = len(hit) if groups is None else len(np.unique(groups))
    if many == len(hit):
        return wilson(int(hit.sum()), len(hit))
    if hit.all() or not hit.any():
        edge = wilson(many if hit.all() else 0, many)  # the bootstrap would claim certainty
        return Estimate(edge.value, edge.low, edge.high, len(hit), edge.level, f"wilson over {many} groups")
    share = hit.astype(float)
    return weighted(lambda counts: counts @ share / counts.sum(1), len(hit), groups=groups, n=n, seed=seed)
