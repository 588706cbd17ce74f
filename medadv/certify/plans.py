"""How long to draw, and what is the radius? All votes at once, a ladder of radii, a pilot that plans, one radius.

Every rule has `looks`, the accumulated votes after which it wants to judge, and `judge(path) -> Verdict`, as
`StoppingRule` has; `TwoStage` first says how many votes an image deserves. A `Plan` is such a rule for all images of a
run, and `Running` is the plan at work on one image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import beta, norm

from medadv.certify._validate import check_alpha, check_draws, check_sigma, whole
from medadv.certify.bounds import certified_radius, lower_bound, smallest_n, upper_bound
from medadv.certify.sequential import StoppingRule, Verdict, check_path, doubling_looks, group_sequential

METHODS = ("fixed", "target", "ladder", "two-stage")


def radius_ladder(
    radii: Sequence[float],
    *,
    sigma: float,
    n: int = 10_000,
    alpha: float = 0.001,
    test: Callable[..., StoppingRule] = group_sequential,
    **options: Any,
) -> Ladder:
    """Find the largest of some radii that can be certified: a whole curve of certified accuracy at one level alpha.

    Shapes   radii (J,), increasing.
    Units    radii and sigma in pixel units; alpha per image, for all rungs together.
    Returns  Ladder; rungs that n votes cannot reach are left out, at least the first must be reachable. `options` go
             to the test of each rung.
    Raises   ValueError for radii that do not increase, none that n can reach, and a bad sigma or alpha.
    Source   Marcus, Peritz and Gabriel 1976: "the radius is r or less" grows with r, so climbing from the lowest rung
             and stopping at the first failure needs no correction for the number of rungs.
    """
    radii = [float(one) for one in radii]
    if not radii or any(b <= a for a, b in pairwise(radii)):
        raise ValueError(f"The 'radii' parameter of radius_ladder must increase; got {radii}. Sort them, each once.")
    reachable = [one for one in radii if smallest_n(one, sigma=sigma, alpha=alpha) <= check_draws(n, "radius_ladder")]
    # With none in reach the first one's test says which n would do.
    rungs = [test(one, sigma=sigma, n=n, alpha=alpha, **options) for one in reachable or radii[:1]]
    return Ladder(tuple(rungs))


def estimate(*, sigma: float, n: int = 10_000, alpha: float = 0.001) -> Estimation:
    """Take all n votes and state the exact radius they certify: CERTIFY as published.

    Shapes   none.
    Units    sigma in pixel units; alpha per image.
    Returns  Estimation with one look.
    Raises   ValueError for n < 1, sigma <= 0, or alpha outside (0, 0.5).
    Source   Cohen et al. 2019, arXiv 1902.02918.
    """
    return Estimation(check_sigma(sigma, "estimate"), check_alpha(alpha, "estimate"), (check_draws(n, "estimate"),))


def two_stage(
    *,
    sigma: float,
    n: int = 10_000,
    alpha: float = 0.001,
    pilot: int = 100,
    tolerance: float = 0.1,
    level: float = 0.01,
) -> TwoStage:
    """Let a pilot decide how many fresh votes an image deserves: hopeless ones none, most a fraction of n.

    Shapes   none.
    Units    sigma in pixel units; tolerance, the radius one is ready to lose against n votes, in sigma; level is the
             chance that the pilot misjudges an image, which costs draws or radius, never soundness.
    Returns  TwoStage: draws for each pilot count. The pilot may be the votes that chose the class; they are not used
             again, so the certificate is that of CERTIFY with the planned n.
    Raises   ValueError for n or pilot < 1, a negative tolerance, and a bad sigma, alpha or level.
    Source   Chen et al. 2022, Input-Specific Robustness Certification, arXiv 2112.12084. Differs: theirs counts the
             pilot in the final bound, which breaks the level; here the certifying votes are fresh.
    """
    sigma, alpha = check_sigma(sigma, "two_stage"), check_alpha(alpha, "two_stage")
    n, pilot = check_draws(n, "two_stage"), check_draws(pilot, "two_stage", "pilot")
    check_alpha(level, "two_stage (as 'level')")
    if not tolerance >= 0:
        raise ValueError(
            f"The 'tolerance' parameter of two_stage must be 0 or more; got {tolerance}. 0.1 loses 0.1 sigma."
        )
    counts = np.arange(pilot + 1)
    best = np.asarray(upper_bound(counts, pilot, alpha=level))
    worst = np.maximum(np.asarray(lower_bound(counts, pilot, alpha=level)), 0.5)
    # The loss grows with p above a half, but the ends of the interval are both asked, and the worse counts.
    goal = [_expected(p, np.asarray([n]), alpha) for p in (worst, best)]
    sizes = np.asarray(doubling_looks(n, first=min(n, 50), growth=1.1))
    loss = np.maximum(*(full - _expected(p, sizes, alpha) for p, full in zip((worst, best), goal, strict=True)))
    enough = sizes[np.argmax(loss <= tolerance + 1e-12, axis=1)]  # the last column is n itself: it loses nothing
    hopeless = goal[1][:, 0] <= 0  # even at the upper end n votes would abstain
    return TwoStage(sigma, alpha, pilot, tuple(np.where(hopeless, 0, enough).tolist()))


def _expected(p: np.ndarray, n: np.ndarray, alpha: float) -> np.ndarray:
    """The radius, in sigma, that a share p of n votes certifies: (P,), (N,) to (P, N). Counts need not be whole."""
    count = p[:, None] * n
    return np.maximum(norm.ppf(beta.ppf(alpha, count, n - count + 1)), 0.0)


@dataclass(frozen=True)
class Ladder:
    """Tests of growing radii on the same votes; the verdict is the highest rung with none failed below it."""

    rungs: tuple[StoppingRule, ...]

    @property
    def looks(self) -> tuple[int, ...]:
        return self.rungs[0].looks

    @property
    def radii(self) -> tuple[float, ...]:
        return tuple(rung.radius for rung in self.rungs)

    def judge(self, path: Any) -> Verdict:
        """Judge images by their votes so far: path (B, l), accumulated counts at the first l looks."""
        stops = [rung.stops(path) for rung in self.rungs]
        won, lost = np.stack([one for one, _ in stops], 1), np.stack([one for _, one in stops], 1)
        passed = won < lost
        climbed = np.logical_and.accumulate(passed, axis=1).sum(1)  # rungs passed without a gap
        rows, top = np.arange(len(won)), np.minimum(climbed, len(self.rungs) - 1)
        # Done when every rung up to the highest is decided, and the next one, if there is one, is lost.
        below = np.arange(len(self.rungs)) < climbed[:, None]
        decided = np.where(below, won, 0).max(1)
        decided = np.where(climbed == len(self.rungs), decided, np.maximum(decided, lost[rows, top]))
        last = np.shape(path)[1] - 1
        radius = np.where(climbed > 0, np.asarray(self.radii)[climbed - 1], 0.0)
        draws = np.asarray(self.looks)[np.minimum(decided, last).astype(np.int64)]
        return Verdict(climbed > 0, radius, np.isfinite(decided), draws)


@dataclass(frozen=True)
class Estimation:
    """All votes, one look, the exact radius; no vote fewer can be used."""

    sigma: float
    alpha: float
    looks: tuple[int, ...]

    def judge(self, path: Any) -> Verdict:
        """Judge images by all their votes: path (B, 1)."""
        counts = check_path(path, self.looks, "judge")[:, 0]
        radius = np.asarray(certified_radius(counts, self.looks[0], sigma=self.sigma, alpha=self.alpha))
        return Verdict(radius > 0, radius, np.ones(len(counts), bool), np.full(len(counts), self.looks[0]))


@dataclass(frozen=True)
class TwoStage:
    """How many fresh votes each pilot count deserves; 0 means abstain at once."""

    sigma: float
    alpha: float
    pilot: int
    draws: tuple[int, ...]
    """pilot + 1 numbers: for 0, 1, ..., pilot votes."""

    def plan(self, count: Any) -> np.ndarray:
        """Say how many fresh votes to draw for each image, from its pilot count."""
        counts = whole(count, "count", "plan")
        if ((counts < 0) | (counts > self.pilot)).any():
            raise ValueError(
                f"The 'count' parameter of plan must be from 0 to {self.pilot}; got {count}. Use pilot votes."
            )
        return np.asarray(self.draws)[counts]

    def judge(self, count: Any, n: Any) -> Verdict:
        """Judge images by their fresh votes: count (B,) of n (B,), as planned; abstain where n is 0."""
        n = whole(n, "n", "judge")
        radius = np.asarray(certified_radius(count, np.maximum(n, 1), sigma=self.sigma, alpha=self.alpha))
        radius = np.where(n > 0, radius, 0.0)
        return Verdict(radius > 0, radius, np.ones(len(n), bool), n)


def make_plan(method: str, radii: Sequence[float] | float, *, sigma: float, n0: int, n: int, alpha: float) -> Plan:
    """Make the plan that `certify` was asked for.

    Shapes   radii: one number for method target, some for ladder, none for fixed and two-stage.
    Units    radii and sigma in pixel units; sigma is what the votes of the head are worth; alpha per vote part.
    Returns  Plan.
    Raises   ValueError for an unknown method, radii that do not fit it, and whatever its rule refuses.
    Source   see `estimate`, `two_stage`, `radius_ladder` and `medadv.certify.sequential.group_sequential`.
    """
    if method not in METHODS:
        raise ValueError(f"The 'method' parameter of certify must be one of {', '.join(METHODS)}; got {method!r}.")
    many = (float(radii),) if isinstance(radii, (int, float)) else tuple(float(r) for r in radii)
    if (method in ("target", "ladder")) != bool(many) or (method == "target" and len(many) != 1):
        wants = {"target": "be one radius", "ladder": "hold the radii to climb"}.get(method, "be left out")
        raise ValueError(f"The 'radii' parameter of certify must {wants} for method {method!r}; got {radii!r}.")
    common: dict[str, Any] = {"sigma": sigma, "n": n, "alpha": alpha}
    if method == "target":
        return Plan(group_sequential(many[0], **common), sigma, alpha)
    if method == "ladder":
        return Plan(radius_ladder(many, **common), sigma, alpha)
    return Plan(estimate(**common) if method == "fixed" else two_stage(pilot=n0, **common), sigma, alpha)


def describe(method: str, radii: Sequence[float] | float, n: int) -> str:
    """Put a plan into words: what a log must agree on to be gone on with.

    Shapes   radii: one number, or some.
    Units    radii in pixel units.
    Returns  the text of the log's column plan.
    Raises   nothing.
    Source   ours.
    """
    many = [radii] if isinstance(radii, (int, float)) else list(radii)
    words = [short if float(short := f"{r:g}") == float(r) else repr(float(r)) for r in many]  # equal only if they are
    return f"{method}{' r=' if many else ''}{','.join(words)} n={n}"


@dataclass(frozen=True)
class Plan:
    """A plan for all images; sigma and alpha are those of one vote part."""

    rule: Any
    sigma: float
    alpha: float

    def start(self, count0: int, parts: int) -> Running:
        """Begin an image: two-stage plans hang on the votes that chose the class."""
        if not isinstance(self.rule, TwoStage):
            return Running(self, self.rule, parts)
        n = int(self.rule.plan(count0))
        return Running(self, estimate(sigma=self.sigma, n=n, alpha=self.alpha) if n else None, parts)


@dataclass
class Running:
    """A plan at work on one image: P parts (mostly one) that must all be certified, their votes so far."""

    plan: Plan
    rule: Any
    """None where not a single vote is worth drawing."""
    parts: int
    path: list[list[int]] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    verdict: Any = None

    @property
    def done(self) -> bool:
        """Whether further votes would change nothing: all parts are decided, or one is lost."""
        if self.rule is None or self.verdict is None:
            return self.rule is None
        lost = self.verdict.done & ~self.verdict.certified
        return bool(lost.any() or self.verdict.done.all())

    @property
    def next_look(self) -> int:
        """After how many votes it wants to judge."""
        return self.rule.looks[len(self.path)]

    def add(self, seen: int, counts: list[int]) -> None:
        """Take in new votes, one count for each part; at a look, judge."""
        self.held = [a + b for a, b in zip(self.held or [0] * self.parts, counts, strict=True)]
        if seen == self.next_look:
            self.path.append(self.held)
            self.verdict = self.rule.judge(np.asarray(self.path).T)

    def outcome(self) -> dict[str, Any]:
        """Say what is certified; the radius and the bound are those of the worse part."""
        if self.rule is None:
            return {
                "certified": False,
                "radius": 0.0,
                "p_lower": 0.0,
                "n": 0,
                "count": 0,
                "reason": "hopeless by the pilot",
            }
        n, counts = self.rule.looks[len(self.path) - 1], self.path[-1]
        certified = bool(self.verdict.certified.all())
        radius = float(self.verdict.radius.min()) if certified else 0.0
        if isinstance(self.rule, Estimation):
            p = min(float(lower_bound(k, n, alpha=self.plan.alpha)) for k in counts)
            why = "certified" if certified else "the bound is not above one half"
        else:
            p = float(norm.cdf(radius / self.plan.sigma)) if certified else 0.0
            why = "certified" if certified else "given up" if n < self.rule.looks[-1] else "not certified by all votes"
        return {"certified": certified, "radius": radius, "p_lower": p, "n": n, "count": counts[-1], "reason": why}
