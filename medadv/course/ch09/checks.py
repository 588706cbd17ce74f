"""Checks of chapter 9: one function for each exercise, called as `checks.q1(your_function)`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import beta, binom, norm

from medadv.course.checks import Verdict, judge


def q1(answer: Callable) -> Verdict:
    """Check `radius(count, n, sigma, alpha)`, the certified radius of votes.

    Shapes   numbers.
    Units    sigma and the radius in pixel units.
    Returns  a Verdict.
    Raises   nothing.
    Source   Cohen et al. 2019, arXiv 1902.02918, CERTIFY.
    """

    def low(k: int, n: int, a: float) -> float:
        return float(beta.ppf(a, k, n - k + 1)) if k else 0.0

    def right(k: int, n: int, s: float, a: float) -> float:
        return max(0.0, s * float(norm.ppf(low(k, n, a)))) if k else 0.0

    wrong = {
        "you read the radius off the share of votes: that is an estimate, too large half of the time. Bound it.": (
            lambda k, n, s, a: max(0.0, s * float(norm.ppf(k / n)))
        ),
        "your bound is two-sided: alpha / 2 goes to a side nobody asks about.": lambda k, n, s, a: right(
            k, n, s, a / 2
        ),
        "that is the normal limit: for equal votes its standard error is zero and the radius has no end.": (
            lambda k, n, s, a: max(
                0.0, s * float(norm.ppf(min(1.0, max(0.0, k / n - norm.isf(a) * (k / n * (1 - k / n) / n) ** 0.5))))
            )
        ),
        "where the bound is below one half the classifier abstains: return 0, not a negative radius.": (
            lambda k, n, s, a: s * float(norm.ppf(low(k, n, a))) if k else 0.0
        ),
        "that is the upper end of the interval: alpha, not 1 - alpha.": (
            lambda k, n, s, a: max(0.0, s * float(norm.ppf(beta.ppf(1 - a, k + 1, n - k)))) if k < n else np.inf
        ),
        "sigma is missing: the inverse of Phi counts in standard deviations of the noise.": (
            lambda k, n, s, a: right(k, n, 1.0, a)
        ),
    }
    cases = [
        (k, n, s, a, right(k, n, s, a))
        for k, n, s, a in ((90, 100, 0.5, 0.001), (100, 100, 0.25, 0.001), (20, 100, 0.25, 0.01), (0, 10, 0.5, 0.001))
    ]
    return judge(
        "q1",
        answer,
        cases,
        wrong,
        help="Which probability do these votes still allow at level alpha, and how far does it reach?",
    )


def q2(answer: Callable) -> Verdict:
    """Check `votes_needed(r, sigma, alpha)`, the smallest n that can certify a radius.

    Shapes   numbers.
    Units    r and sigma in pixel units.
    Returns  a Verdict.
    Raises   nothing.
    Source   the bound at count n: alpha ** (1 / n).
    """

    def exact(r: float, s: float, a: float) -> float:
        return float(np.log(a) / norm.logcdf(r / s))

    wrong = {
        "that is one vote too few (or not a whole number): round up.": lambda r, s, a: int(exact(r, s, a)),
        "a number of votes is whole: round up.": exact,
        "you round to the nearest; a vote too few does not certify: round up.": lambda r, s, a: round(exact(r, s, a)),
        "your bound is two-sided: alpha / 2 goes to a side nobody asks about.": lambda r, s, a: int(
            np.ceil(exact(r, s, a / 2))
        ),
        "divide the radius by sigma before Phi.": lambda r, s, a: int(np.ceil(exact(r, 1.0, a))),
        "alpha, not 1 - alpha: n equal votes must be as rare as alpha.": lambda r, s, a: int(
            np.ceil(exact(r, s, 1 - a))
        ),
    }
    cases = [
        (r, s, a, int(np.ceil(exact(r, s, a))))
        for r, s, a in ((0.5, 0.5, 0.001), (0.5, 0.25, 0.001), (0.75, 0.25, 0.01), (0.1, 0.2, 0.05))
    ]
    return judge(
        "q2",
        answer,
        cases,
        wrong,
        help="If all n votes are equal, how large is their bound? It must be large enough for r.",
    )


def q3(answer: Callable) -> Verdict:
    """Check `certified_accuracy(label, predict, radius, r)`.

    Shapes   label, predict, radius (N,); result a scalar.
    Units    r in pixel units; a share.
    Returns  a Verdict.
    Raises   nothing.
    Source   Cohen et al. 2019, section 4.
    """

    def right(y, k, d, r):
        return np.mean((k == y) & (d >= r))

    wrong = {
        "abstained images are left out of the count: they are images too, and count as wrong.": lambda y, k, d, r: (
            ((k == y) & (d >= r)).sum() / (k >= 0).sum()
        ),
        "only the right images are counted over: divide by all of them.": lambda y, k, d, r: (d[k == y] >= r).mean(),
        "a certificate for a wrong class counts nothing: compare predict with label.": lambda y, k, d, r: (
            d >= r
        ).mean(),
        "a radius of exactly r is enough (r or more).": lambda y, k, d, r: np.mean((k == y) & (d > r)),
        "that is the accuracy, whatever the radius.": lambda y, k, d, r: np.mean(k == y),
    }
    label = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    predict = np.array([0, 1, 2, -1, 1, 0, 0, -1, 2, 2])
    radius = np.array([0.5, 0.25, 0.0, 0.0, 0.7, 0.6, 0.25, 0.0, 0.1, 0.9])
    cases = [(label, predict, radius, r, right(label, predict, radius, r)) for r in (0.0, 0.25, 0.5)]
    return judge("q3", answer, cases, wrong, help="Which images count at r, and out of how many?")


def q4(answer: Callable) -> Verdict:
    """Check `grey_levels(r, size)`, an L2 radius spread over all numbers of an image.

    Shapes   numbers.
    Units    r in pixel units; result in grey levels of 0..255.
    Returns  a Verdict.
    Raises   nothing.
    Source   ours.
    """
    wrong = {
        "an image has three channels.": lambda r, m: 255 * r / m,
        "the root is missing: L2 is the root of a sum of squares.": lambda r, m: 255 * r / (3 * m * m),
        "that is in units of [0, 1]; multiply by 255.": lambda r, m: r / np.sqrt(3 * m * m),
        "that multiplies by the root of d: many small changes add up, so each must be smaller.": (
            lambda r, m: 255 * r * np.sqrt(3 * m * m)
        ),
    }
    cases = [(r, m, 255 * r / np.sqrt(3 * m * m)) for r, m in ((0.25, 64), (0.25, 224), (1.0, 32))]
    return judge(
        "q4", answer, cases, wrong, help="How long is a perturbation that moves every number of the image equally far?"
    )


def q5(answer: Callable) -> Verdict:
    """Check `two_looks(n1, c1, n2, c2)`, the error of testing twice on growing votes.

    Shapes   numbers.
    Units    counts; a probability.
    Returns  a Verdict.
    Raises   nothing.
    Source   the recursion of Jennison and Turnbull 2000, section 12.1, for two looks.
    """

    def right(n1, c1, n2, c2):
        k = np.arange(c1)
        return binom.sf(c1 - 1, n1, 0.5) + (binom.pmf(k, n1, 0.5) * binom.sf(c2 - k - 1, n2 - n1, 0.5)).sum()

    def late(n1, c1, n2, c2):  # the first look certifies only above c1
        k = np.arange(c1 + 1)
        return binom.sf(c1, n1, 0.5) + (binom.pmf(k, n1, 0.5) * binom.sf(c2 - k, n2 - n1, 0.5)).sum()

    wrong = {
        "that counts only the second look.": lambda n1, c1, n2, c2: binom.sf(c2 - 1, n2, 0.5),
        "that counts only the first look.": lambda n1, c1, n2, c2: binom.sf(c1 - 1, n1, 0.5),
        "streams that pass twice are counted twice: after the first look only counts below c1 go on.": (
            lambda n1, c1, n2, c2: binom.sf(c1 - 1, n1, 0.5) + binom.sf(c2 - 1, n2, 0.5)
        ),
        "the second look is not independent of the first: it counts the same votes again.": (
            lambda n1, c1, n2, c2: 1 - binom.cdf(c1 - 1, n1, 0.5) * binom.cdf(c2 - 1, n2, 0.5)
        ),
        "exactly c votes certify already; your tail begins one vote later.": late,
    }
    cases = [(*case, right(*case)) for case in ((20, 14, 40, 26), (50, 32, 200, 113), (10, 11, 30, 20))]
    return judge(
        "q5",
        answer,
        cases,
        wrong,
        help="A stream that passes at the first look is done; which streams reach the second, and with how many votes?",
    )


def q6(answer: Callable) -> Verdict:
    """Check `real_alpha(top, sigma, n)`, alpha read from the largest radius.

    Shapes   numbers.
    Units    top and sigma in pixel units.
    Returns  a Verdict.
    Raises   nothing.
    Source   the bound at count n, solved for alpha.
    """
    wrong = {
        "divide the radius by sigma first.": lambda t, s, n: norm.cdf(t) ** n,
        "that is the bound itself; alpha is its n-th power.": lambda t, s, n: norm.cdf(t / s),
        "the n-th root undoes nothing: the bound is the root of alpha, so take the power.": (
            lambda t, s, n: norm.cdf(t / s) ** (1 / n)
        ),
        "that is 1 - alpha.": lambda t, s, n: 1 - norm.cdf(t / s) ** n,
        "that is twice alpha (a two-sided interval).": lambda t, s, n: 2 * norm.cdf(t / s) ** n,
    }
    cases = [
        (float(s * norm.ppf(a ** (1 / n))), s, n, a)
        for a, s, n in ((0.05, 0.25, 100), (0.2, 0.5, 1000), (0.01, 0.25, 10_000))
    ]
    return judge(
        "q6", answer, cases, wrong, help="The largest radius is that of n equal votes: which alpha makes it so long?"
    )


def q7(answer: Callable) -> Verdict:
    """Check `in_pixels(told, std)`, the pixel radius behind one told in normalised units.

    Shapes   told a number, std (3,); result a scalar.
    Units    told in units of the normalised image; result in pixel units.
    Returns  a Verdict.
    Raises   nothing.
    Source   ours; normalised = (pixel - mean) / std.
    """
    wrong = {
        "you divide by std, which makes the overclaim larger still: multiply.": (lambda t, s: t / np.min(s)),
        "that divides by the largest std; multiply, and take the smallest.": lambda t, s: t / np.max(s),
        "the mean over the channels is not safe: a perturbation may sit in the channel of the smallest std.": (
            lambda t, s: t * np.mean(s)
        ),
        "the largest std is not safe: take the channel in which a pixel step counts most.": lambda t, s: t * np.max(s),
    }
    stds = (np.array([0.26862954, 0.26130258, 0.27577711]), np.array([0.229, 0.224, 0.225]), np.array([0.5, 0.3, 0.1]))
    cases = [(told, std, told * std.min()) for told, std in zip((1.0, 2.0, 0.5), stds, strict=True)]
    return judge(
        "q7", answer, cases, wrong, help="How long can a pixel step become by normalising, in the worst channel?"
    )
