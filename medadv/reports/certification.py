"""Certificates in a table: how many images are certified how far, with intervals, and what that rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medadv.certify.curves import average_certified_radius, certified_accuracy, compare_accuracy, compare_radius
from medadv.evaluate.intervals import Estimate, weighted, wilson
from medadv.reports.report import Report, provenance

__all__ = ["CONDITIONAL", "SHARES", "Certified", "certified_report", "compare_heads", "heads_of"]

SHARES = (0.0, 0.25, 0.5, 1.0)
"""Radii of a table where none are asked for, in units of sigma."""
CONDITIONAL = "prompt-frozen-at-x"
"""The one guarantee that does not speak of the system in use; it never stands in a table or a picture unmarked."""


def certified_report(
    log: pd.DataFrame,
    *,
    radii: Sequence[float] | None = None,
    sigma: float | None = None,
    strict: bool = False,
    settings: dict[str, Any] | None = None,
    made: dict[str, Any] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> Certified:
    """Say of every head in a log how many images it certifies at each radius, how far on average, and on what grounds.

    Shapes   one row of the log for each image, head and noise level, as `read_log` gives it; a published log is one
             head, whose guarantee is not stated.
    Units    radii and sigma in pixel units; 0, 0.25, 0.5 and 1 sigma where none are given.
    Returns  Certified with rows of certified accuracy and its mean over the classes (abstaining is wrong), the average
             certified radius over all images (ACR), abstentions and votes per image. Wilson, stratified bootstrap and
             normal intervals; they speak of new images, not of the chance alpha that a certificate is false.
    Raises   ValueError for an empty log, and for one without a column sigma where neither sigma nor radii are given.
    Source   Cohen et al. 2019, arXiv 1902.02918; Zhai et al. 2020, arXiv 2001.02378 (ACR).
    """
    rows: list[dict[str, Any]] = []
    for cells, part in heads_of(log):
        level = sigma if cells["sigma"] is None else cells["sigma"]
        if level is None and radii is None:
            raise ValueError("The 'sigma' parameter of certified_report must be given: the log does not say it.")
        asked = [share * level for share in SHARES] if radii is None and level is not None else list(radii or ())
        head = {"head": cells["head"], "guarantee": cells["guarantee"], "sigma": "" if level is None else f"{level:g}"}

        def add(metric: str, estimate: Estimate, radius: str = "", head: dict = head) -> None:
            rows.append({"metric": metric, **head, "radius": radius, "estimate": estimate})

        for line in certified_accuracy(part, radii=asked, strict=strict).to_dict("records"):
            value, low, high = (float(line[name]) for name in ("accuracy", "low", "high"))
            share = Estimate(value, low, high, int(line["n"]), method="wilson")
            add("certified accuracy", share, f"{line['radius']:.6g}")
        if part["label"].nunique() > 1:
            for r in asked:
                add("balanced certified accuracy", _balanced(part, r, strict, n=n, seed=seed), f"{r:.6g}")
        mean = average_certified_radius(part)
        add("ACR", Estimate(mean.value, mean.low, mean.high, mean.n, method="normal"))
        add("abstained", wilson(int((part["predict"] < 0).sum()), len(part)))
        if {"n", "n0"} <= set(part):
            votes = float((part["n"] + part["n0"]).mean())
            add("votes per image", Estimate(votes, float("nan"), float("nan"), len(part), method="mean"))
    names = [name for name in ("alpha", "plan", "seed") if name in log]
    told = {name: ", ".join(f"{one}" for one in pd.unique(log[name])) for name in names}
    facts = {"task": "certification", "images": int(log["idx"].nunique()), **told, **(settings or {})}
    return Certified(tuple(rows), facts, made or provenance(seed=seed))


def compare_heads(
    log: pd.DataFrame, *, base: str, radii: Sequence[float] | None = None, strict: bool = False
) -> Report:
    """Compare every head of a log with one of them, on the same images and the same noise.

    Shapes   as certified_report.
    Units    differences of proportions, and of mean radii in pixel units: the other head minus the base.
    Returns  Report with the cells head, guarantee, sigma, radius and p (McNemar's exact test; for the mean radius the
             paired z test). A head whose guarantee is another one than the base's claims another thing.
    Raises   ValueError if the base is not in the log.
    Source   McNemar 1947; Bonett and Price 2012 for the interval.
    """
    parts = {(cells["head"], cells["sigma"]): (cells, part) for cells, part in heads_of(log)}
    levels = [level for name, level in parts if name == base]
    if not levels:
        known = ", ".join(sorted({name for name, _ in parts}))
        raise ValueError(f"The 'base' parameter of compare_heads must be one of {known}; got {base!r}. Copy one.")
    rows = []
    for level in levels:
        first = parts[base, level][1]
        asked = list(radii) if radii is not None else [share * (level or 1.0) for share in SHARES]
        for (name, other), (cells, part) in parts.items():
            if other != level or name == base:
                continue
            own = {"head": f"{name} - {base}", "guarantee": cells["guarantee"], "sigma": f"{level or 0:g}"}
            for r in asked:
                made = compare_accuracy(first, part, radius=r, strict=strict)
                rows.append(_change("certified accuracy", own, f"{r:.6g}", made, "adjusted Wald, paired"))
            rows.append(_change("ACR", own, "", compare_radius(first, part), "normal, paired"))
    return Report(tuple(rows), {"task": "certification compared", "base": base, "images": int(log["idx"].nunique())})


def heads_of(log: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Walk through the heads of a log, one noise level each.

    Shapes   one row for each image.
    Units    sigma in pixel units, None where the log does not say it.
    Returns  an iterator of ({"head", "guarantee", "sigma"}, rows); a published log is one head, "log".
    Raises   ValueError for an empty log.
    Source   ours.
    """
    if not len(log):
        raise ValueError("The 'log' parameter must hold certificates; got none. Certify some images first.")
    known = log.assign(**{k: v for k, v in {"head": "log", "guarantee": "not stated"}.items() if k not in log})
    by = ["head", "guarantee", *(["sigma"] if "sigma" in log else [])]
    for key, part in known.groupby(by, sort=False):
        yield {"sigma": None, **dict(zip(by, key, strict=True))}, part


@dataclass(frozen=True, repr=False)
class Certified(Report):
    """A report of certificates: long in its rows, one line for each head where it is shown."""

    def wide(self, *, balanced: bool = False) -> pd.DataFrame:
        """Return one line for each head and noise level, estimates in the cells."""
        lines: dict[tuple[str, str], dict[str, Any]] = {}
        left_out = "certified accuracy" if balanced else "balanced certified accuracy"
        for row in self.rows:
            line = lines.setdefault((row["head"], row["sigma"]), {k: row[k] for k in ("head", "guarantee", "sigma")})
            if row["metric"] == "votes per image":
                line["votes per image"] = f"{row['estimate'].value:,.0f}"
            elif row["metric"] != left_out:
                line[f"r >= {row['radius']}" if row["radius"] else row["metric"]] = row["estimate"]
        return pd.DataFrame(list(lines.values())).astype(object)


def _balanced(part: pd.DataFrame, radius: float, strict: bool, *, n: int, seed: int) -> Estimate:
    far = part["radius"] > radius if strict else part["radius"] >= radius
    hit, label = (part["correct"].astype(bool) & far).to_numpy(float), part["label"].to_numpy()
    kinds = [label == k for k in np.unique(label)]

    def mean(counts: np.ndarray) -> np.ndarray:
        return np.mean([counts[:, one] @ hit[one] / counts[:, one].sum(1) for one in kinds], axis=0)

    return weighted(mean, len(label), stratify=label, n=n, seed=seed)


def _change(metric: str, cells: dict[str, Any], radius: str, made: Any, method: str) -> dict[str, Any]:
    found = Estimate(made.difference, made.low, made.high, made.n, method=method)
    return {"metric": metric, **cells, "radius": radius, "p": f"{made.pvalue:.2g}", "estimate": found}
