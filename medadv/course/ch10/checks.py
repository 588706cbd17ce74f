"""Checks of chapter 10: one function for each exercise, called as `checks.q1(your_function)`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import entr, softmax
from scipy.stats import beta, norm

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


def q4(answer: Callable) -> Verdict:
    """Check `count_votes(features, weights)`, the votes of many heads on one bank.

    Shapes   features (n, D), weights (V, K, D); result (V, K).
    Units    counts.
    Returns  a Verdict.
    Raises   nothing.
    Source   shared embeddings as in Nirala et al. 2024, arXiv 2311.09024.
    """

    def count(labels, k):
        return np.stack([np.bincount(own, minlength=k) for own in labels])

    def logits(f, w):
        return np.einsum("nd,vkd->vnk", f, w)

    def right(f, w):
        return count(logits(f, w).argmax(2), w.shape[1])

    wrong = {
        "you average the logits and vote once: every copy has a vote of its own.": lambda f, w: (
            len(f) * np.eye(w.shape[1])[logits(f, w).mean(1).argmax(1)]
        ),
        "you average the logits and vote once, and give that a single vote: count over the copies.": (
            lambda f, w: np.eye(w.shape[1])[logits(f, w).mean(1).argmax(1)]
        ),
        "those are sums of softmax; a vote is 0 or 1, or the binomial bound does not hold.": lambda f, w: softmax(
            logits(f, w), axis=2
        ).sum(1),
        "those are shares; the bound asks for counts.": lambda f, w: right(f, w) / len(f),
        "your argmax runs over the heads; it belongs over the classes.": lambda f, w: (
            count(logits(f, w).argmax(0).T, len(w)).T
        ),
        "you averaged the heads: each votes alone.": lambda f, w: np.repeat(right(f, w.mean(0)[None]), len(w), axis=0),
    }
    rng, cases = np.random.default_rng(2), []
    for n, v, k, d in ((60, 2, 3, 8), (40, 4, 2, 5), (25, 1, 4, 6)):
        features, weights = rng.normal(size=(n, d)) + 0.3, rng.normal(size=(v, k, d))
        cases.append((features, weights, right(features, weights)))
    return judge("q4", answer, cases, wrong, help="Each copy casts one whole vote for each head.")


def q5(answer: Callable) -> Verdict:
    """Check `composed_radius(low, sigma, further, copies)`, the radius of a head that sees several copies a vote.

    Shapes   numbers.
    Units    sigma, further and the radius in pixel units.
    Returns  a Verdict.
    Raises   nothing.
    Source   composition of Gaussian mechanisms, as in Lyu et al. 2024, arXiv 2406.10427.
    """

    def scaled(total: Callable) -> Callable:
        return lambda p, s, f, t: max(0.0, float(total(s, f, t) * norm.ppf(p)))

    def sound(s, f, t):
        return (s**-2 + t * f**-2) ** -0.5

    wrong = {
        "you add variances, as if more copies gave less away; it is the precision that adds up.": scaled(
            lambda s, f, t: np.sqrt(s**2 + t * f**2)
        ),
        "the radius shrinks: clearer votes are in `low` already, so do not multiply by sqrt(T + 1).": scaled(
            lambda s, f, t: s * np.sqrt(t + 1)
        ),
        "that takes all copies for copies of noise sigma; the further ones have noise of their own.": scaled(
            lambda s, f, t: s / np.sqrt(t + 1)
        ),
        "the further copies are not paid for: the vote depends on them too.": scaled(lambda s, f, t: s),
        "squares are missing: precision is that of the variance, not of sigma.": scaled(
            lambda s, f, t: 1 / (1 / s + t / f)
        ),
        "that pays for one further copy; there are `copies` of them.": scaled(
            lambda s, f, t: (s**-2 + min(t, 1) * f**-2) ** -0.5
        ),
        "that pays for one further copy even where there is none; there are `copies` of them.": scaled(
            lambda s, f, t: (s**-2 + f**-2) ** -0.5
        ),
        "below one half abstain: return 0, not a negative radius.": lambda p, s, f, t: sound(s, f, t) * norm.ppf(p),
    }
    asked = (
        (0.9, 0.25, 0.5, 1),
        (0.99, 0.25, 0.25, 8),
        (0.999, 0.5, 1.0, 100),
        (0.4, 0.5, 1.0, 2),
        (0.9, 0.5, 0.25, 0),
    )
    cases = [(*one, scaled(sound)(*one)) for one in asked]
    return judge(
        "q5",
        answer,
        cases,
        wrong,
        help="Every copy that a vote sees tells something about the image: as if there were less noise in all.",
    )


def q6(answer: Callable) -> Verdict:
    """Check `at_most(broken, attacked, alpha)`, what an audit says at the most.

    Shapes   numbers.
    Units    counts; a share.
    Returns  a Verdict.
    Raises   nothing.
    Source   Clopper and Pearson 1934, the upper limit, one-sided.
    """

    def right(k, m, a):
        return float(beta.ppf(1 - a, k + 1, m - k)) if k < m else 1.0

    wrong = {
        "that is the share you saw: none of 14 does not mean never.": lambda k, m, a: k / m,
        "your limit is two-sided: alpha / 2 goes to a side nobody asks about.": lambda k, m, a: right(k, m, a / 2),
        "the rule of three is a shortcut for none of many at 5 %: 3 / 14 is 21 %, the exact limit 19 %.": (
            lambda k, m, a: 3 / m if k == 0 else right(k, m, a)
        ),
        "the rule of three is for none broken, of many, at 5 %: take the exact limit.": lambda k, m, a: 3 / m,
        "that holds where nothing was broken only; else take the quantile of the beta law.": lambda k, m, a: (
            1 - a ** (1 / m)
        ),
        "that is the normal limit: after none broken it says 0.": lambda k, m, a: min(
            1.0, k / m + norm.isf(a) * (k / m * (1 - k / m) / m) ** 0.5
        ),
        "that is the lower limit: the attack breaks at least so many.": lambda k, m, a: (
            float(beta.ppf(a, k, m - k + 1)) if k else 0.0
        ),
        "alpha, not 1 - alpha: your limit lies on the wrong side.": lambda k, m, a: right(k, m, 1 - a),
    }
    cases = [
        (*one, right(*one)) for one in ((0, 14, 0.05), (0, 299, 0.05), (3, 97, 0.05), (26, 97, 0.01), (5, 5, 0.05))
    ]
    return judge(
        "q6",
        answer,
        cases,
        wrong,
        help="How large may the true share be so that so few would still be broken? Mind the case of all.",
    )


def q7(answer: Callable) -> Verdict:
    """Check `passes(n0, n, heads, views, copies)`, what a run costs on one image.

    Shapes   numbers.
    Units    passes of one noisy image through the image tower.
    Returns  a Verdict.
    Raises   nothing.
    Source   ours: how `certify` shares embeddings.
    """
    wrong = {
        "fixed heads share the embeddings: their number costs nothing.": lambda n0, n, h, v, c: (
            h * (n0 + n) + v + (n0 + n) * c
        ),
        "no head shares anything with another in your count; all see the same n0 + n copies.": lambda n0, n, h, v, c: (
            (h + (v > 0) + (c > 0)) * (n0 + n) + v + (n0 + n) * c
        ),
        "the n0 votes that choose the class are missing.": lambda n0, n, h, v, c: n + v + n * c,
        "votes that choose the class tune themselves too: they need fresh copies.": lambda n0, n, h, v, c: (
            n0 + n + v + n * c
        ),
        "the views are missing: the clock runs while the prompt is tuned.": lambda n0, n, h, v, c: (n0 + n) * (1 + c),
        "one set of copies for all votes is not covered by any theorem: they are fresh in each.": (
            lambda n0, n, h, v, c: n0 + n + v + c
        ),
        "the views are used once for the image, not in every vote.": lambda n0, n, h, v, c: (n0 + n) * (1 + v + c),
        "the copy that is voted on is missing: a vote sees one more than it tunes itself on.": (
            lambda n0, n, h, v, c: v + (n0 + n) * max(c, 1)
        ),
    }
    asked = ((100, 10_000, 4, 100, 0), (100, 1000, 1, 0, 1), (50, 150, 8, 20, 2), (100, 1000, 3, 0, 0))
    cases = [(n0, n, h, v, c, n0 + n + v + (n0 + n) * c) for n0, n, h, v, c in asked]
    return judge(
        "q7", answer, cases, wrong, help="What do all heads share, what is needed once, and what anew in each vote?"
    )
