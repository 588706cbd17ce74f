"""Checks of chapter 10, exercises 4 to 7: votes, radii, audits and what they cost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import softmax
from scipy.stats import beta, norm

from medadv.course.checks import Verdict, judge


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
