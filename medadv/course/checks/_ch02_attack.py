"""Checks of chapter 2, exercises 1 to 3: the linear optimum, one projected step, limits after normalising."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
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
