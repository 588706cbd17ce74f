"""Checks of chapter 2, exercises 4 to 6: the margin, the worst case of several attacks, one finding under attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from medadv.course.checks import Verdict, judge


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
