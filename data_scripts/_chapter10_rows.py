"""Rows of the studies of the chapter on PromptSmooth, and what they say of papers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from medadv.certify.bounds import radius
from medadv.certify.curves import compare_accuracy, compare_radius, paired_power
from medadv.evaluate.intervals import Estimate, wilson
from medadv.reports.certification import CONDITIONAL, SHARES, certified_report, compare_heads
from medadv.reports.report import Report


def soundness_rows(hits: pd.DataFrame, log: pd.DataFrame) -> list[dict[str, Any]]:
    """Say of each head what it claims, and how many of its certificates were broken inside their radius."""
    rows = []
    for name, part in log.groupby("head", sort=False):
        cells = {"subject": name, "guarantee": part["guarantee"].iloc[0]}
        tried = hits[hits["head"] == name]
        rows.append({**cells, "metric": "broken inside the claimed radius",
                     "estimate": wilson(int(tried["broken"].sum()), len(tried))})  # fmt: skip
        if tried["broken"].any():
            rows.append({**cells, "metric": "broken, and again with ten times the votes",
                         "estimate": wilson(int((tried["confirmed"] == 1).sum()), len(tried))})  # fmt: skip
        if tried["moved"].notna().any():
            moved = wilson(int((tried["moved"] == 1).sum()), len(tried))
            rows.append({**cells, "metric": "another answer on the unperturbed image", "estimate": moved})
    return rows + table_rows(log)


def table_rows(log: pd.DataFrame, *, balanced: bool = False) -> list[dict[str, Any]]:
    """Turn the report of a log into rows with radii in units of sigma."""
    rows = []
    for row in certified_report(log).rows:
        if row["metric"].startswith("balanced") and not balanced:
            continue
        level, made = float(row["sigma"]), row["estimate"]
        name = row["metric"] + (f" at {float(row['radius']) / level:g} sigma" if row["radius"] else "")
        if row["metric"] == "ACR":
            name, made = "mean radius in sigma", scaled(made, 1 / level)
        rows.append({"subject": row["head"], "guarantee": row["guarantee"], "metric": name, "estimate": made})
    return rows


def paired_rows(log: pd.DataFrame, *, base: str) -> list[dict[str, Any]]:
    """Compare every head with one of them, radii in units of sigma."""
    rows = []
    for row in compare_heads(log, base=base).rows:
        level, made = float(row["sigma"]), row["estimate"]
        name = row["metric"] + (f" at {float(row['radius']) / level:g} sigma" if row["radius"] else "")
        if row["metric"] == "ACR":
            name, made = "mean radius in sigma", scaled(made, 1 / level)
        rows.append({"subject": row["head"], "guarantee": row["guarantee"], "metric": name, "p": row["p"],
                     "estimate": made})  # fmt: skip
    return rows


def power_rows(images: int) -> list[dict[str, Any]]:
    """Say what so many images could see at all, before anybody reads a difference."""
    rows = []
    for gap in (0.02, 0.04, 0.05, 0.1):
        chance = paired_power(images, difference=gap, discordance=max(0.1, gap))
        made = Estimate(chance, float("nan"), float("nan"), images, method="exact")
        rows.append({"subject": f"a difference of {gap:g}", "guarantee": "", "metric": "chance to be seen",
                     "estimate": made})  # fmt: skip
    return rows


def scaled(made: Any, factor: float) -> Estimate:
    """Change the unit of an estimate."""
    return Estimate(made.value * factor, made.low * factor, made.high * factor, made.n, method=made.method)


def of(log: pd.DataFrame, head: str) -> pd.DataFrame:
    """Take one head's rows."""
    return log[log["head"] == head]


def together(log: pd.DataFrame, heads: str | Sequence[str]) -> pd.DataFrame:
    """Take one head's rows, or those of several with the mean radius each image was given; a wrong one counts zero."""
    if isinstance(heads, str):
        return of(log, heads)
    part = log[log["head"].isin(heads)]
    mean = part["radius"].where(part["correct"].astype(bool), 0.0).groupby(part["idx"]).mean()
    rows = of(log, heads[0])
    return rows.assign(radius=rows["idx"].map(mean), correct=True)


def gain(log: pd.DataFrame, first: str | Sequence[str], second: str | Sequence[str]) -> Estimate:
    """Estimate the gain in mean radius in sigma, second minus first; several heads count by their mean per image."""
    level = float(log["sigma"].iloc[0])
    made = compare_radius(together(log, first), together(log, second))
    return Estimate(made.difference / level, made.low / level, made.high / level, made.n, method="normal, paired")


def toy_rows(steps: Sequence[float] = (0.0, 0.1, 0.5), *, sigma: float = 0.5) -> list[dict[str, Any]]:
    """Solve the smallest case exactly: f(z) = [z > P] in one dimension, P moved by -step * sign(x) from 0.

    The vote at x has probability Phi((|x| + step) / sigma), so the radius claimed is |x| + step. The system in use
    answers sign(x): it turns at distance |x|. What is overclaimed is the step, whatever x.
    """
    rows = []
    for step in steps:
        x = torch.linspace(-2, 2, 40, dtype=torch.float64)
        p = torch.distributions.Normal(0.0, 1.0).cdf((x.abs() + step) / sigma)
        over = radius(p, sigma=sigma) - x.abs()
        made = Estimate(float(over.mean()), float(over.min()), float(over.max()), len(x), method="exact, all x")
        rows.append({"subject": f"one dimension, step {step:g}", "guarantee": CONDITIONAL,
                     "metric": "claimed minus true radius", "estimate": made})  # fmt: skip
    return rows


PAPERS = {"tuned inside": "lyu2024adaptive", "routed": "lyu2024adaptive", "probe": "lecuyer2019pixeldp",
          "tower": "cohen2019smoothing", "denoiser": "salman2020denoised"}  # fmt: skip
OURS = ("calibrated zero-shot", "tuned inside each vote", "routed")
"""Not in a paper in this form: sound ways to do what the paper's zero-shot variant is for."""


def radius_rows(log: pd.DataFrame, heads: Sequence[str], *, base: str, data: str) -> list[dict[str, Any]]:
    """Say of each head what it gains in certified accuracy at four radii, image by image, in points."""
    rows, level = [], float(log["sigma"].iloc[0])
    for head in heads:
        gains = [compare_accuracy(of(log, base), of(log, head), radius=share * level) for share in SHARES]
        above = sum(one.low > 0 for one in gains)
        tag = f"; {CONDITIONAL}" if of(log, head)["guarantee"].iloc[0] == CONDITIONAL else "; ours" * (head in OURS)
        paper = next((key for start, key in PAPERS.items() if head.startswith(start)), "hussein2024promptsmooth")
        said = f"{head} over {base}: points of certified accuracy at 0, 0.25, 0.5 and 1 sigma ({data}{tag})"
        told = ", ".join(f"{100 * g.difference:+.1f} [{100 * g.low:.1f}, {100 * g.high:.1f}]" for g in gains)
        verdict = "holds" if above == len(gains) else "holds in part" if above else "does not hold"
        rows.append({"paper": paper, "finding": said, "measured": told, "verdict": verdict})
    return rows


def difference_row(name: str, made: Estimate) -> dict[str, Any]:
    """Put a difference that no paper spoke of into the table."""
    return {"subject": name, "guarantee": "", "metric": "mean radius in sigma", "estimate": made}


def counted(paper: str, said: str, hits: Any, *, proved: bool) -> dict[str, Any]:
    """Hold attacked certificates against a rule: none may break. Where nothing proves that, none broken is no proof."""
    broken, n = int(hits["broken"].sum()), len(hits)
    verdict = "not tested" if not n else "does not hold" if broken else "holds" if proved else "not refuted"
    share = wilson(broken, n) if n else None
    numbers = {"low": round(share.low, 4), "high": round(share.high, 4)} if share else {}
    return {"paper": paper, "finding": said, "measured": f"{broken} of {n} attacked certificates broken", **numbers,
            "verdict": verdict}  # fmt: skip


def measured(paper: str, said: str, made: Estimate, *, above: float = 0.0) -> dict[str, Any]:
    """Say whether an interval lies above a number that was fixed beforehand; one that covers it does not show it."""
    verdict = "holds" if made.low > above else "does not hold"
    numbers = {"measured": round(made.value, 4), "low": round(made.low, 4), "high": round(made.high, 4)}
    return {"paper": paper, "finding": said, **numbers, "verdict": verdict}


def report_of(rows: list[dict[str, Any]], options: argparse.Namespace, **more: Any) -> Report:
    """Put rows together with what made them."""
    names = ("part", "images", "train", "shots", "n0", "n", "votes", "strikes")
    settings = {name: getattr(options, name) for name in names} | {"alpha": 0.001, **more}
    cells = ("subject", "guarantee", "metric", "p", "estimate")  # one set for all, or they make no table
    return Report(tuple({name: row.get(name, "") for name in cells} for row in rows), settings, options.made)


def narrowed(options: argparse.Namespace, n: int) -> argparse.Namespace:
    """Say how many images to open."""
    return argparse.Namespace(limit=n, seed=options.seed)
