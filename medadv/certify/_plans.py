"""How long to draw: the plans of bounds, sequential and ladder, run on one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import norm

from medadv.certify.bounds import lower_bound
from medadv.certify.ladder import Estimation, TwoStage, estimate, radius_ladder, two_stage
from medadv.certify.sequential import group_sequential

METHODS = ("fixed", "target", "ladder", "two-stage")


def make_plan(method: str, radii: Sequence[float] | float, *, sigma: float, n0: int, n: int, alpha: float) -> Plan:
    """Make the plan that `certify` was asked for; sigma is what the votes of the head are worth."""
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
    """Put a plan into words: what a log must agree on to be gone on with."""
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
                "why": "hopeless by the pilot",
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
        return {"certified": certified, "radius": radius, "p_lower": p, "n": n, "count": counts[-1], "why": why}
