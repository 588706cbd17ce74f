"""Ways in which a number about attacks on pairs lies, each small enough to run, and the honest count beside it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medadv._words import Group, cores
from medadv.attacks.candidates import Edit, Source, synonyms
from medadv.attacks.text import TextResult
from medadv.data.text_labels import phantom_meaning
from medadv.evaluate.metrics import Estimate, wilson
from medadv.evaluate.retrieval import recall_at_k, same_meaning

OPPOSITES = (
    Group(("left", "right")),
    Group(("upper", "lower")),
    Group(("mild", "moderate", "severe")),
    Group(("small", "medium-sized", "large")),
    Group(("no", "one")),
    Group(("with", "without")),
    Group(("benign", "malignant")),
    Group(("normal", "abnormal")),
    Group(("two", "three", "four")),
    Group(("opacity", "effusion", "nodule")),
)
"""Words of another diagnosis, which a language model finds as likely as the right one."""


def opposites() -> Source:
    """Propose words that fit as well and say something else: the other side, another degree, the denial.

    Shapes   none.
    Units    single words for single words.
    Returns  a source.
    Raises   nothing.
    Source   ours; it stands for an unfiltered language model (Li et al. 2020, arXiv 2004.09984, filter antonyms; copies
             of their code in image-text attacks left the filter out).
    """
    return synonyms(OPPOSITES)


def off_by_one(*sources: Source) -> Source:
    """Put the candidates of each word into the place of the next one, as a wrong index does.

    Shapes   none.
    Units    words.
    Returns  a source.
    Raises   nothing.
    Source   ours, written from the description of the fault: a language model answers in rows of which row 0 belongs to
             the start token; whoever reads row j for word j gets the candidates of word j - 1.
    """

    def source(texts: list[str]) -> list[list[Edit]]:
        found: list[list[Edit]] = [[] for _ in texts]
        for one in sources:
            for mine, edits, text in zip(found, one(texts), texts, strict=True):
                last = len(cores(text)) - 1
                mine += [Edit(edit.position + 1, edit.word) for edit in edits if edit.position < last]
        return found

    return source


def changed_meaning(
    clean: Sequence[str], result: TextResult, *, meaning: Callable[[str], Hashable] = phantom_meaning
) -> Tensor:
    """Say which changed texts mean something else than the clean ones.

    Shapes   N texts; result (N,) bool.
    Units    none.
    Returns  bool tensor.
    Raises   ValueError if there are not as many of both.
    Source   ours.
    """
    return torch.tensor([meaning(a) != meaning(b) for a, b in zip(clean, result.text, strict=True)])


def success(clean: Tensor, attacked: Tensor) -> dict[str, float]:
    """Count the success of one attack by both formulas that go by one name.

    Shapes   clean, attacked (Q,) bool: which queries found something right.
    Units    proportions.
    Returns  {"drop": clean recall minus recall under attack, "lost": share of the queries right before, wrong after}.
    Raises   nothing; "lost" is nan where nothing was right.
    Source   Zhang et al. 2022, arXiv 2206.09391, and Lu et al. 2023, arXiv 2307.14061.
    """
    drop = clean.double().mean() - attacked.double().mean()
    return {"drop": float(drop), "lost": float((~attacked[clean]).double().mean())}


def hits(
    image: Tensor,
    text: Tensor,
    owner: Tensor,
    *,
    wording: Sequence[str] | None = None,
    k: int = 1,
) -> dict[str, Tensor]:
    """Say which queries find something right, in both directions.

    Shapes   image (B, D), text (M, D), owner (M,); {"i2t": (B,) bool, "t2i": (M,) bool}.
    Units    cosine; ties count against the model.
    Returns  with the `wording` of the texts, those that read like one of an image's own are right for it too;
             without it just the own ones are.
    Raises   whatever `recall_at_k` raises.
    Source   Karpathy and Fei-Fei 2015; wordings as in ECCV Caption, Chun et al. 2022.
    """
    similarity, own = image @ text.T, torch.zeros(len(image), len(text), dtype=torch.bool)
    own[owner, torch.arange(len(text))] = True
    if wording is not None:
        own |= torch.from_numpy(same_meaning(wording, owner.numpy(), len(image)))
    found = {}
    for direction, table, right in (("i2t", similarity, own), ("t2i", similarity.T, own.T)):
        best = table.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
        found[direction] = ((table >= best) & ~right).sum(1) < k
    return found


def counted(image: Tensor, text: Tensor, owner: Tensor, wording: Sequence[str], *, k: int = 1) -> dict[str, Estimate]:
    """Count recall from texts to images twice: by wording, and as if every twin were a mistake.

    Shapes   image (B, D), text (M, D), owner (M,), M wordings.
    Units    proportions.
    Returns  {"any image of this wording": Estimate, "the own image alone": Estimate}.
    Raises   whatever `recall_at_k` raises.
    Source   ours.
    """
    table: Any = image @ text.T
    twins = same_meaning(wording, owner.numpy(), len(image))
    how: dict[str, Any] = {"k": (k,), "direction": "t2i"}
    return {
        "any image of this wording": recall_at_k(table, owner, equivalent=twins, **how)[k],
        "the own image alone": recall_at_k(table, owner, **how)[k],
    }


def worst(*cases: Tensor) -> Estimate:
    """Count the queries that are right in every case.

    Shapes   each case (Q,) bool.
    Units    a proportion, with Wilson's interval.
    Returns  Estimate.
    Raises   whatever numpy raises for cases of different lengths.
    Source   ours: the attacker picks the case query by query.
    """
    right = np.logical_and.reduce([case.numpy() for case in cases])
    return wilson(int(right.sum()), len(right))
