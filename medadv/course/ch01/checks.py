"""Checks of chapter 1: one function for each exercise, called as `checks.q1(your_function)`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medadv.course.checks import Verdict, ask, judge


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


def q4(answer: Callable) -> Verdict:
    """Check `pixel_levels(eps, std)`: how many grey levels a step in normalised space really is.

    Shapes   eps a float; std (3,); result (3,).
    Units    eps in units of the normalised tensor; result in grey levels of 0..255.
    Returns  a Verdict.
    Raises   nothing.
    Source   ours; normalised = (pixel - mean) / std.
    """
    wrong = {
        "you divide by std: normalising divides by it, so going back multiplies.": lambda e, s: e / s * 255,
        "that is in units of [0, 1]; multiply by 255 for grey levels.": lambda e, s: e * s,
        "std is not used: a step taken in normalised space has another size in every channel.": lambda e, s: (
            torch.full_like(s, e * 255)
        ),
        "255 is the white level; there are 256 levels, but 255 steps between black and white.": lambda e, s: (
            e * s * 256
        ),
        "one std for all channels: every channel has its own.": lambda e, s: e * s.mean() * 255 + 0 * s,
    }
    clip = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    cases = [(eps, std, eps * std * 255) for eps, std in ((0.03, clip), (0.5, torch.tensor([0.229, 0.224, 0.225])))]
    return judge("q4", answer, cases, wrong, help="Ask how far a pixel moves when its normalised value moves by eps.")


def q5(answer: Callable) -> Verdict:
    """Check `balanced(predicted, label)`, the mean of the recalls of the classes.

    Shapes   predicted (B,), label (B,); result a scalar.
    Units    a share.
    Returns  a Verdict.
    Raises   nothing.
    Source   the definition of scikit-learn's balanced_accuracy_score.
    """

    def right(predicted, label):
        return torch.stack([(predicted[label == k] == k).float().mean() for k in label.unique()]).mean()

    def all_classes(predicted, label):
        count = int(torch.cat([predicted, label]).max()) + 1
        return (
            sum((predicted[label == k] == k).float().sum() / max(1, int((label == k).sum())) for k in range(count))
            / count
        )

    wrong = {
        "that is plain accuracy: always saying the commonest class scores well.": lambda p, y: (p == y).float().mean(),
        "that is the mean precision: divide by how often a class is true, not said.": lambda p, y: torch.stack(
            [(y[p == k] == k).float().mean() if (p == k).any() else torch.tensor(0.0) for k in y.unique()]
        ).mean(),
        "classes that no image has are counted as zero; leave them out.": all_classes,
        "classes that are never said are left out; their recall is zero.": lambda p, y: torch.stack(
            [(p[y == k] == k).float().mean() for k in y.unique() if (p == k).any()]
        ).mean(),
        "the classes are weighted by their size, which is accuracy again: give each the same weight.": lambda p, y: (
            torch.stack([(p[y == k] == k).float().sum() for k in y.unique()]).sum() / len(y)
        ),
    }
    label = torch.tensor([0] * 16 + [1] * 3 + [3])
    cases = []
    for predicted in (
        torch.zeros(20, dtype=torch.int64),
        torch.tensor([0] * 12 + [1] * 4 + [1, 1, 0] + [3]),
        torch.tensor([0] * 15 + [2] + [1, 0, 3] + [0]),
    ):
        cases.append((predicted, label, right(predicted, label)))
    return judge(
        "q5",
        answer,
        cases,
        wrong,
        help="For each class: of the images that have it, how many are found? Average.",
    )


def q6(answer: Callable) -> Verdict:
    """Check `held_out(patients, share)`: which images to hold out.

    Shapes   patients is a list of B names; share a float; result (B,) bool.
    Units    share in [0, 1] of the patients, rounded to a whole number of them.
    Returns  a Verdict; any choice of patients is right.
    Raises   nothing.
    Source   ours.
    """
    patients = [f"p{n:02d}" for n in (0, 0, 0, 1, 2, 2, 3, 4, 4, 4, 4, 5, 6, 6, 7, 8, 9, 9, 0, 2)]
    others = ["eve", "adam", "eve", "ida", "noa", "adam", "ida", "eve", "leo"]
    cases = [(patients, 0.3), (patients, 0.27), (patients, 0.32), (patients, 0.6), (others, 0.4)]
    counts = []
    for number, (names, share) in enumerate(cases):
        got, problem = ask("q6", answer, (names, share), number=number)
        if problem is not None:
            return problem
        held = _mask(got, len(names))
        if held is None:
            return Verdict("q6", "wrong", _no_mask(got, names))
        out = {name for name, yes in zip(names, held, strict=True) if yes}
        both = out & {name for name, yes in zip(names, held, strict=True) if not yes}
        if both:
            told = f"patient {min(both)} is on both sides: the model would meet an old friend."
            return Verdict("q6", "wrong", told)
        counts.append(len(out))
    total = [len(set(names)) for names, _ in cases]
    if counts == [round(share * n) for n, (_, share) in zip(total, cases, strict=True)]:
        return Verdict("q6", "right", "right: no patient is on both sides.")
    return Verdict("q6", "wrong", _miscounted(counts, total, [share for _, share in cases]))


def _mask(got: Any, length: int) -> list[bool] | None:
    """Return the answer as a list of truth values, or None if it is no such list."""
    try:
        held = torch.as_tensor(got)
    except Exception:  # any object may be returned
        return None
    return held.tolist() if held.shape == (length,) and held.dtype == torch.bool else None


def _no_mask(got: Any, names: list[str]) -> str:
    """Say what was returned instead of one truth value for each image."""
    wanted = f"one True or False for each image is wanted: a bool tensor of {len(names)}."
    if isinstance(got, str):
        return f"you return a single name; {wanted}"
    try:
        items = list(got)
    except Exception:  # not a collection
        return f"you return a {type(got).__name__}; {wanted}"
    if items and all(isinstance(one, str) for one in items):
        return f"you return the names of patients; {wanted}"
    try:
        values = torch.as_tensor(got)
    except Exception:
        return wanted
    if values.shape == (len(names),) and bool(((values == 0) | (values == 1)).all()):
        return f"you return numbers that are 0 or 1; compare, so that they are True or False: {wanted}"
    if values.dim() == 1 and not values.is_floating_point() and values.dtype != torch.bool:
        return f"you return the places of the images; {wanted}"
    return wanted


def _miscounted(counts: list[int], total: list[int], shares: list[float]) -> str:
    """Name the mistake behind the numbers of patients that are held out."""
    exact = [share * n for share, n in zip(shares, total, strict=True)]
    if counts == [int(one) for one in exact]:
        return "you round down: 0.27 of 10 patients is 3 when rounded, not 2."
    if counts == [math.ceil(one - 1e-9) for one in exact]:
        return "you round up: 0.32 of 10 patients is 3 when rounded, not 4."
    if counts == [n - round(one) for one, n in zip(exact, total, strict=True)]:
        return "the two sides are the wrong way round: True is for the images that are held out."
    if len(set(counts[:4])) == 1:
        return f"you hold out {counts[0]} patients whatever the share is."
    case = next(i for i, one in enumerate(exact) if counts[i] != round(one))
    return (
        f"{counts[case]} of {total[case]} patients are held out; {round(exact[case])} are wanted "
        f"({shares[case]:.0%} of the patients, not of the images)."
    )


def _unit(rows: int, width: int, *, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=-1)
