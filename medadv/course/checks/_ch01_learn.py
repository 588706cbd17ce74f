"""Checks of chapter 1, exercises 1 to 3: the loss, the classifier made of sentences, retrieval."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from medadv.course.checks import Verdict, judge


def q1(answer: Callable) -> Verdict:
    """Check `loss(image, text, scale)`, the symmetric contrastive loss.

    Shapes   image (B, D), text (B, D) unit length; scale a float; result a scalar.
    Units    nats.
    Returns  a Verdict.
    Raises   nothing.
    Source   Radford et al. 2021, figure 3, arXiv 2103.00020.
    """

    def both(image, text, scale, reduction="mean"):
        logits = scale * image @ text.T
        own = torch.arange(len(image))
        rows = F.cross_entropy(logits, own, reduction=reduction)
        return rows, F.cross_entropy(logits.T, own, reduction=reduction)

    def right(image, text, scale):
        rows, columns = both(image, text, scale)
        return (rows + columns) / 2

    def no_softmax(image, text, scale):
        return -(scale * image * text).sum(1).mean()

    wrong = {
        "only image to text is there: add the softmax over the images for each text.": lambda i, t, s: both(i, t, s)[0],
        "only text to image is there: add the softmax over the texts for each image.": lambda i, t, s: both(i, t, s)[1],
        "the two directions are added; their mean is wanted.": lambda i, t, s: sum(both(i, t, s)),
        "the scale is not used: cosines alone give an almost flat softmax.": lambda i, t, s: right(i, t, 1.0),
        "you divide by the scale: it is the inverse of the temperature, so multiply.": lambda i, t, s: right(
            i, t, 1 / s
        ),
        "the loss is summed over the batch; the mean is wanted.": lambda i, t, s: sum(both(i, t, s, "sum")) / 2,
        "only matching pairs appear: without the others, everything may collapse to one point.": (no_softmax),
    }
    cases = []
    for size, width, scale in ((6, 8, 10.0), (4, 5, 2.0)):
        image, text = _unit(size, width, seed=size), _unit(size, width, seed=size + 1)
        cases.append((image, text, scale, right(image, text, scale)))
    return judge(
        "q1",
        answer,
        cases,
        wrong,
        help="Every image should choose its own text among all texts, and every text its own image.",
    )


def q2(answer: Callable) -> Verdict:
    """Check `classify(image, prompts)`, zero-shot classification with several prompts for each class.

    Shapes   image (B, D) and prompts (K, T, D) unit length; result (B,) int.
    Units    none.
    Returns  a Verdict.
    Raises   nothing.
    Source   Radford et al. 2021, section 3.1.4, arXiv 2103.00020.
    """

    def right(image, prompts):
        return (image @ F.normalize(prompts.mean(1), dim=-1).T).argmax(1)

    wrong = {
        "the mean is not brought back to unit length, so classes with scattered prompts lose.": (
            lambda i, p: (i @ p.mean(1).T).argmax(1)
        ),
        "the best single prompt decides; average the prompts of a class first.": lambda i, p: (
            torch.einsum("bd,ktd->bkt", i, p).amax(2).argmax(1)
        ),
        "only the first prompt of each class is used.": lambda i, p: (i @ p[:, 0].T).argmax(1),
        "you pick the class that fits least: argmax, not argmin.": lambda i, p: (
            i @ F.normalize(p.mean(1), dim=-1).T
        ).argmin(1),
    }
    cases = []
    for seed in (3, 4):
        centre = _unit(5, 6, seed=seed)
        spread = torch.tensor([0.1, 0.6, 1.2, 0.3, 0.9]).view(5, 1, 1)
        noise = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(seed))
        prompts = F.normalize(centre[:, None] + spread * noise, dim=-1)
        image = _unit(40, 6, seed=seed + 10)
        cases.append((image, prompts, right(image, prompts)))
    return judge(
        "q2", answer, cases, wrong, help="A class is one direction: how do its prompts become one, and how long is it?"
    )


def q3(answer: Callable) -> Verdict:
    """Check `recall(similarity, match, k)`, recall at k where an image has several true captions.

    Shapes   similarity (B, N); match (B, N) bool; k an int; result a scalar in [0, 1].
    Units    a share of the images.
    Returns  a Verdict.
    Raises   nothing.
    Source   the usual image-to-text recall of one-to-many retrieval.
    """

    def right(similarity, match, k):
        return match.gather(1, similarity.topk(k, dim=1).indices).any(1).float().mean()

    def own(similarity, match, k):
        first = match.float().argmax(1, keepdim=True)
        return (similarity.topk(k, dim=1).indices == first).any(1).float().mean()

    wrong = {
        "that is text-to-image recall: rank the texts of each image, not the reverse.": lambda s, m, k: right(
            s.T, m.T, min(k, len(s))
        ),
        "only the first true caption counts as a hit; any of them should.": own,
        "that is recall at 1 whatever k is.": lambda s, m, k: right(s, m, 1),
        "you keep the k lowest similarities; the highest are wanted.": lambda s, m, k: right(-s, m, k),
        "that is precision: the share of the k retrieved that is true. Ask whether any is.": lambda s, m, k: (
            m.gather(1, s.topk(k, dim=1).indices).float().mean()
        ),
        "that is the share of all true captions found; here an image counts once.": (
            lambda s, m, k: m.gather(1, s.topk(k, dim=1).indices).sum() / m.sum()
        ),
    }
    cases = []
    for seed, k in ((5, 2), (6, 3), (7, 5)):
        draw = torch.Generator().manual_seed(seed)
        match = torch.eye(20, dtype=torch.bool).repeat_interleave(3, dim=1)
        similarity = torch.randn(20, 60, generator=draw) + 1.5 * match
        cases.append((similarity, match, k, right(similarity, match, k)))
    return judge("q3", answer, cases, wrong, help="An image scores 1 if one of its k most similar texts is true.")


def _unit(rows: int, width: int, *, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=-1)
