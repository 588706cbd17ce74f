"""Checks of chapter 2: one function for each exercise, called as `checks.q1(your_function)`."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from medadv.course.checks import Verdict, judge


def q1(answer: Callable) -> Verdict:
    """Check `strongest(weight, eps, norm)`, the perturbation that raises a linear score most.

    Shapes   weight (D,), eps a float, norm "linf", "l2" or "l1"; result (D,).
    Units    eps in pixel units of the norm.
    Returns  a Verdict.
    Raises   nothing.
    Source   where Hoelder's inequality is an equality.
    """

    def right(w: Tensor, eps: float, norm: str) -> Tensor:
        if norm == "linf":
            return eps * w.sign()
        if norm == "l2":
            return eps * w / w.norm()
        one = torch.zeros_like(w)
        one[w.abs().argmax()] = eps * w[w.abs().argmax()].sign()
        return one

    def always(norm):
        return lambda w, eps, _: right(w, eps, norm)

    def other(changed: dict[str, Callable]):
        return lambda w, eps, n: changed[n](w, eps) if n in changed else right(w, eps, n)

    wrong = {
        "the score falls: you walk against the weight.": lambda w, e, n: -right(w, e, n),
        "eps is not used: the perturbation has size one.": lambda w, e, n: right(w, 1.0, n),
        "all three norms get the sign; only in L-inf may every pixel move by eps.": always("linf"),
        "all three norms get the direction of the weight; that is the L2 answer.": always("l2"),
        "L2: divide by the length of the weight, or the step is not eps long.": other({"l2": lambda w, e: e * w}),
        "L-inf: the sign, not the weight; a pixel with a small weight may move as far.": other(
            {"linf": lambda w, e: e * w / w.abs().max()}
        ),
        "L1: spend the whole budget on the one strongest pixel; you spread it.": other(
            {"l1": lambda w, e: e * w / w.abs().sum()}
        ),
        "L1: the strongest pixel is that of the largest size; a negative weight counts too.": other(
            {"l1": lambda w, e: e * (torch.arange(len(w)) == w.argmax()).float()}
        ),
    }
    cases = []
    for seed, eps in ((0, 0.1), (1, 0.7)):
        w = torch.randn(9, generator=torch.Generator().manual_seed(seed))
        w[3] = -4.0
        cases += [(w, eps, norm, right(w, eps, norm)) for norm in ("linf", "l2", "l1")]
    return judge("q1", answer, cases, wrong, help="Among all perturbations of that size, which raises the score most?")


def q2(answer: Callable) -> Verdict:
    """Check `step(x, clean, gradient, eps, size)`, one projected step in L-inf.

    Shapes   x, clean, gradient (B, 3, H, W); result the same.
    Units    eps and size in pixel units.
    Returns  a Verdict.
    Raises   nothing.
    Source   Madry et al. 2018, eq. 2.1, arXiv 1706.06083.
    """

    def right(x, clean, g, eps, size):
        return (clean + (x + size * g.sign() - clean).clamp(-eps, eps)).clamp(0, 1)

    wrong = {
        "downhill: the attacker wants the loss to grow.": lambda x, c, g, e, s: right(x, c, -g, e, s),
        "no box: some pixels leave [0, 1], which no file can hold.": lambda x, c, g, e, s: (
            c + (x + s * g.sign() - c).clamp(-e, e)
        ),
        "no ball: nothing keeps the point within eps of the clean image.": lambda x, c, g, e, s: (
            x + s * g.sign()
        ).clamp(0, 1),
        "the ball is around x; it must be around the clean image, or many steps wander off.": lambda x, c, g, e, s: (
            x + (s * g.sign()).clamp(-e, e)
        ).clamp(0, 1),
        "you start again from the clean image at each step; start from x.": lambda x, c, g, e, s: right(c, c, g, e, s),
        "that steps along the gradient itself; take its sign, or the step shrinks with the loss.": (
            lambda x, c, g, e, s: (c + (x + s * g - c).clamp(-e, e)).clamp(0, 1)
        ),
        "the step has size eps; `size` is the size of one step.": lambda x, c, g, e, s: right(x, c, g, e, e),
    }
    cases = []
    for seed, eps, size in ((2, 0.1, 0.04), (3, 0.05, 0.08)):
        draw = torch.Generator().manual_seed(seed)
        clean = torch.rand(2, 3, 4, 4, generator=draw)
        clean.flatten()[:6] = torch.tensor([0.0, 1.0, 0.01, 0.99, 0.0, 1.0])
        x = (clean + eps * (2 * torch.rand(clean.shape, generator=draw) - 1)).clamp(0, 1)
        g = 0.3 * torch.randn(clean.shape, generator=draw)
        cases.append((x, clean, g, eps, size, right(x, clean, g, eps, size)))
    return judge(
        "q2", answer, cases, wrong, help="Which two constraints must the new point satisfy, and around which image?"
    )


def q3(answer: Callable) -> Verdict:
    """Check `limits(image, eps, mean, std)`: how far each normalised value may go.

    Shapes   image (B, 3, H, W) pixels; mean, std (3,); result (2, B, 3, H, W), lowest and highest.
    Units    eps in pixel units; the result in units of the normalised tensor.
    Returns  a Verdict.
    Raises   nothing.
    Source   ours; normalised = (pixel - mean) / std.
    """

    def make(size, box, cut=False):
        def limits(image, eps, mean, std):
            m, s = mean.view(3, 1, 1), std.view(3, 1, 1)
            z, reach = (image - m) / s, size(eps, s)
            low, high = box(m, s)
            if cut:
                return torch.stack([(z - reach).clamp(low, high), (z + reach).clamp(low, high)])
            return torch.stack([torch.maximum(z - reach, low), torch.minimum(z + reach, high)])

        return limits

    def edges(m, s):
        return (0 - m) / s, (1 - m) / s

    def none(m, s):
        return torch.full_like(s, -torch.inf), torch.full_like(s, torch.inf)

    right = make(lambda e, s: e / s, edges)
    wrong = {
        "eps is used as it is: in normalised space it must be divided by std.": make(
            lambda e, s: torch.full_like(s, e), edges
        ),
        "you multiply eps by std; going into normalised space divides.": make(lambda e, s: e * s, edges),
        "one std for all channels: each channel has its own.": make(lambda e, s: e / s.mean() + 0 * s, edges),
        "the box is missing: black and white have normalised values too.": make(lambda e, s: e / s, none),
        "the box is [0, 1]; after normalising, black and white have other values.": make(
            lambda e, s: e / s, lambda m, s: (0 * s, 1 + 0 * s)
        ),
        "those are limits in pixels; normalise them.": lambda x, e, m, s: torch.stack(
            [(x - e).clamp(min=0), (x + e).clamp(max=1)]
        ),
        "lowest first, then highest.": lambda x, e, m, s: right(x, e, m, s).flip(0),
    }
    sizes = {
        "eps is used as it is, though it must be divided by std": lambda e, s: torch.full_like(s, e),
        "eps is multiplied by std, though going into normalised space divides": lambda e, s: e * s,
        "one std serves all channels": lambda e, s: e / s.mean() + 0 * s,
        "eps is right": lambda e, s: e / s,
    }
    boxes = {
        "the box is missing": none,
        "the box is [0, 1], which after normalising is neither black nor white": lambda m, s: (0 * s, 1 + 0 * s),
    }
    for (size_said, size), (box_said, box) in itertools.product(sizes.items(), boxes.items()):
        wrong.setdefault(f"{size_said}, and {box_said}.", make(size, box))
        wrong.setdefault(f"{size_said}, and {box_said}; both limits are cut to it.", make(size, box, cut=True))
    clip = torch.tensor([0.4815, 0.4578, 0.4082]), torch.tensor([0.2686, 0.2613, 0.2758])
    other = torch.tensor([0.3, 0.5, 0.6]), torch.tensor([0.1, 0.2, 0.4])
    cases = []
    for seed, eps, (mean, std) in ((4, 4 / 255, clip), (5, 0.1, other)):
        image = torch.rand(2, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
        image.flatten()[:4] = torch.tensor([0.0, 1.0, 0.01, 0.99])
        cases.append((image, eps, mean, std, right(image, eps, mean, std)))
    return judge(
        "q3",
        answer,
        cases,
        wrong,
        help="Where do black and white lie after normalising, and how far there is a step of eps?",
    )


def q4(answer: Callable) -> Verdict:
    """Check `margin(logits, label)`, the best wrong logit minus the true one.

    Shapes   logits (B, K), label (B,); result (B,).
    Units    those of the logits; positive where the attacker has won.
    Returns  a Verdict.
    Raises   nothing.
    Source   Carlini and Wagner 2017, arXiv 1608.04644, the difference without its hinge.
    """

    def true(z, y):
        return z.gather(1, y[:, None])[:, 0]

    def other(z, y):
        return z.scatter(1, y[:, None], -torch.inf).amax(1)

    wrong = {
        "the sign is the wrong way round: positive should mean that the attacker has won.": lambda z, y: (
            true(z, y) - other(z, y)
        ),
        "the best of all classes includes the true one, so it is never below zero.": lambda z, y: (
            z.amax(1) - true(z, y)
        ),
        "that is the cross-entropy; it saturates where the model is sure.": lambda z, y: F.cross_entropy(
            z, y, reduction="none"
        ),
        "that is averaged over the batch; one number for each image is wanted.": lambda z, y: (
            (other(z, y) - true(z, y)).mean().expand(len(y))
        ),
        "you set the true logit to zero before the maximum; wrong logits may all be negative.": lambda z, y: (
            z.scatter(1, y[:, None], 0.0).amax(1) - true(z, y)
        ),
        "you average the wrong classes; the best of them decides.": lambda z, y: (
            (z.sum(1) - true(z, y)) / (z.shape[1] - 1) - true(z, y)
        ),
    }
    cases = []
    for seed, many in ((6, 5), (7, 2)):
        draw = torch.Generator().manual_seed(seed)
        z, y = 3 * torch.randn(8, many, generator=draw) - 4, torch.arange(8) % many
        cases.append((z, y, other(z, y) - true(z, y)))
    return judge(
        "q4", answer, cases, wrong, help="Which wrong class comes closest, and by how much does it lead or trail?"
    )


def q5(answer: Callable) -> Verdict:
    """Check `count(right, won)`: robust accuracy and attack success rate of several attacks together.

    Shapes   right (B,) bool before any attack; won (A, B) bool, each attack's wins; result (2,).
    Units    shares: robust accuracy of all images, success of those that were right before.
    Returns  a Verdict.
    Raises   nothing.
    Source   the worst case image by image, as in Croce and Hein 2020, arXiv 2003.01690.
    """

    def both(standing, right):
        return torch.stack([standing.float().mean(), 1 - standing.float().sum() / right.float().sum()])

    def right_one(right, won):
        return both(right & ~won.any(0), right)

    wrong = {
        "you average over the attacks; an image is lost if any of them wins.": lambda r, w: torch.stack(
            [both(r & ~one, r) for one in w]
        ).mean(0),
        "that is the best single attack; different attacks break different images.": lambda r, w: min(
            (both(r & ~one, r) for one in w), key=lambda pair: float(pair[0])
        ),
        "an image counts as lost only if all attacks win; one is enough.": lambda r, w: both(r & ~w.all(0), r),
        "images that were wrong before count as robust: a wrong answer needs no attack.": lambda r, w: torch.stack(
            [1 - w.any(0).float().mean(), right_one(r, w)[1]]
        ),
        "the success rate is divided by all images; divide by those that were right before.": lambda r, w: torch.stack(
            [right_one(r, w)[0], (r & w.any(0)).float().mean()]
        ),
        "the success rate counts images that were wrong before; nothing was won there.": lambda r, w: torch.stack(
            [right_one(r, w)[0], w.any(0).float().mean()]
        ),
        "robust accuracy is a share of all images, not of those right before.": lambda r, w: torch.stack(
            [1 - right_one(r, w)[1], right_one(r, w)[1]]
        ),
    }
    cases = []
    for seed in (8, 9):
        draw = torch.Generator().manual_seed(seed)
        right = torch.rand(40, generator=draw) < 0.8
        won = torch.rand(3, 40, generator=draw) < torch.tensor([[0.25], [0.35], [0.2]])
        won[:, :2] = True  # something all attacks break
        right[:2] = True
        cases.append((right, won, right_one(right, won)))
    return judge(
        "q5", answer, cases, wrong, help="Follow one image through all attacks: when does it still count as right?"
    )


def q6(answer: Callable) -> Verdict:
    """Check `reading(label, away, toward, positive)`: sensitivity and specificity for one finding under attack.

    Shapes   label, away, toward (B,) int: the truth, the answer after a push away from the truth, the answer after a
             push towards the finding; result (2,).
    Units    shares.
    Returns  a Verdict.
    Raises   nothing.
    Source   ours: the worst case for the ill is to be missed, for the others to be called ill.
    """

    def shares(label, hidden, invented, k):
        ill = label == k
        return torch.stack([(hidden[ill] == k).float().mean(), (invented[~ill] != k).float().mean()])

    wrong = {
        "both are taken after the push away; healthy images must be pushed towards the finding.": lambda y, a, t, k: (
            shares(y, a, a, k)
        ),
        "both are taken after the push towards; the ill must be pushed away.": lambda y, a, t, k: shares(y, t, t, k),
        "the two pushes are swapped.": lambda y, a, t, k: shares(y, t, a, k),
        "the order is sensitivity, specificity.": lambda y, a, t, k: shares(y, a, t, k).flip(0),
        "specificity asks only that the finding is not named; another wrong answer is no false alarm.": (
            lambda y, a, t, k: torch.stack([shares(y, a, t, k)[0], (t == y)[y != k].float().mean()])
        ),
        "that is predictive value: divide by how many are ill, not by how many are called so.": lambda y, a, t, k: (
            torch.stack([(y[a == k] == k).float().mean(), (y[t != k] != k).float().mean()])
        ),
    }
    cases = []
    for seed, k in ((10, 1), (11, 0)):
        draw = torch.Generator().manual_seed(seed)
        label = torch.arange(60) % 4
        away = torch.where(torch.rand(60, generator=draw) < 0.5, label, torch.randint(0, 4, (60,), generator=draw))
        push = torch.rand(60, generator=draw)
        toward = torch.where(push < 0.3, torch.full_like(label, k), label)
        toward = torch.where(push > 0.8, (label + 1) % 4, toward)
        cases.append((label, away, toward, k, shares(label, away, toward, k)))
    return judge("q6", answer, cases, wrong, help="Ill: how many are still found? Others: how many are not called ill?")
