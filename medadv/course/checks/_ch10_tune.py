"""Checks of chapter 10, exercises 1 to 3: what tuning on the image at hand does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import entr, softmax

from medadv.course.checks import Verdict, judge


def q1(answer: Callable) -> Verdict:
    """Check `marginal_entropy(logits)`, the loss of the zero-shot variant.

    Shapes   logits (T, K); result a scalar.
    Units    nats.
    Returns  a Verdict.
    Raises   nothing.
    Source   MEMO, Zhang et al. 2022, arXiv 2110.09506.
    """

    def right(t):
        return entr(softmax(t, axis=1).mean(0)).sum()

    wrong = {
        "that is the mean of the entropies: views that are sure and contradict each other go unseen.": lambda t: (
            entr(softmax(t, axis=1)).sum(1).mean()
        ),
        "you average the logits: average the probabilities, or one loud view outvotes the others.": lambda t: entr(
            softmax(t.mean(0))
        ).sum(),
        "that is in bits; nats are wanted, so take the natural logarithm.": lambda t: right(t) / np.log(2),
        "the sign is missing: an entropy is never negative.": lambda t: -right(t),
        "your softmax runs over the views; it belongs over the classes, axis 1.": lambda t: entr(
            softmax(t, axis=0).mean(0)
        ).sum(),
        "take the sum over the classes, not the mean.": lambda t: entr(softmax(t, axis=1).mean(0)).mean(),
    }
    rng = np.random.default_rng(0)
    logits = (rng.normal(0, 2, (5, 3)), np.array([[9.0, 0, 0], [0, 9.0, 0]]), np.array([[900.0, 0], [700.0, 0]]))
    cases = [(t, right(t)) for t in logits]
    return judge("q1", answer, cases, wrong, help="What is averaged over the views, and when is the entropy taken?")


def q2(answer: Callable) -> Verdict:
    """Check `first_step(context, gradient, lr, decay)`, AdamW from a fresh start.

    Shapes   context, gradient and result (M, D).
    Units    lr in units of the context.
    Returns  a Verdict.
    Raises   nothing.
    Source   Adam with decoupled weight decay, as in torch.optim.AdamW.
    """

    def right(c, g, lr, d):
        return c * (1 - lr * d) - lr * g / (np.abs(g) + 1e-8)

    wrong = {
        "that is a plain gradient step: Adam divides by the size of the gradient.": lambda c, g, lr, d: (
            c * (1 - lr * d) - lr * g
        ),
        "that is a plain gradient step, and without decay: Adam divides by the size of the gradient.": (
            lambda c, g, lr, d: c - lr * g
        ),
        "the weight decay is missing: the context should shrink a little, too.": lambda c, g, lr, d: (
            c - lr * np.sign(g)
        ),
        "the decay is decoupled: it does not go into the gradient, where the sign would swallow it.": (
            lambda c, g, lr, d: c - lr * np.sign(g + d * c)
        ),
        "the decay takes its share of lr, too: yours shrinks the context too much.": lambda c, g, lr, d: (
            c * (1 - d) - lr * np.sign(g)
        ),
        "the averages start at zero and must be corrected: yours makes the first step 3.16 times too long.": (
            lambda c, g, lr, d: c * (1 - lr * d) - lr * 0.1 * g / (np.sqrt(0.001 * g**2) + 1e-8)
        ),
        "that climbs: a loss is to fall, so subtract.": lambda c, g, lr, d: c * (1 - lr * d) + lr * np.sign(g),
        "you divide by the length of the whole gradient; Adam does it number by number.": lambda c, g, lr, d: (
            c * (1 - lr * d) - lr * g / np.linalg.norm(g)
        ),
    }
    rng, cases = np.random.default_rng(1), []
    for lr, d in ((0.1, 0.5), (0.5, 0.2), (0.005, 0.01)):
        context, gradient = rng.normal(size=(2, 4)), rng.normal(size=(2, 4)) * 10.0 ** rng.integers(-2, 3, (2, 4))
        gradient[0, 0] = 0.0
        cases.append((context, gradient, lr, d, right(context, gradient, lr, d)))
    return judge(
        "q2",
        answer,
        cases,
        wrong,
        help="How long is Adam's first step in each number, and what does a decoupled decay act on?",
    )


def q3(answer: Callable) -> Verdict:
    """Check `overclaim(x, step, sigma)`, the claimed and the true radius of a threshold that flees.

    Shapes   numbers; result (2,).
    Units    of x.
    Returns  a Verdict.
    Raises   nothing.
    Source   ours: PromptSmooth's zero-shot step (Hussein et al. 2024, arXiv 2408.16769) in one dimension.
    """
    wrong = {
        "you claim with the threshold before tuning; the system certifies with the one it has moved.": (
            lambda x, t, s: (abs(x), abs(x))
        ),
        "that is true of the threshold frozen at x; the system, shown another image, moves it anew.": (
            lambda x, t, s: (abs(x) + t, abs(x) + t)
        ),
        "your threshold moves towards x; the vote becomes clear when it moves away.": lambda x, t, s: (
            abs(abs(x) - t),
            abs(x),
        ),
        "a radius is a distance: for negative x, too, the threshold moves away.": lambda x, t, s: (x + t, x),
        "first the claimed radius, then the true one.": lambda x, t, s: (abs(x), abs(x) + t),
        "sigma cancels: z(p) is the distance divided by sigma.": lambda x, t, s: (s * (abs(x) + t), s * abs(x)),
        "multiply by sigma: z(p) counts in standard deviations of the noise.": lambda x, t, s: (
            (abs(x) + t) / s,
            abs(x) / s,
        ),
        "at x' beyond 0 the threshold flees to the other side, so the class changes at 0, not nearer.": (
            lambda x, t, s: (abs(x) + t, max(0.0, abs(x) - t))
        ),
    }
    cases = [
        (x, t, s, np.array([abs(x) + t, abs(x)]))
        for x, t, s in ((0.6, 0.1, 0.5), (-0.3, 0.05, 0.25), (0.1, 0.4, 0.5), (-1.0, 0.5, 2.0))
    ]
    return judge(
        "q3", answer, cases, wrong, help="Claim from the moved threshold; find where the class really changes."
    )
