"""A report of certificates as one web page: curves, tables, and what each certificate rests on; nothing is loaded."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from medadv._atomic import write_text
from medadv.reports.certification import CONDITIONAL, Certified, heads_of
from medadv.reports.html._page import document, made, scroll, section
from medadv.reports.html.tables import table
from medadv.reports.report import Report

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c564b", "#bcbd22")
_WIDE, _HIGH, _LEFT, _BELOW = 640, 300, 48, 44
_MEANING = {
    "fixed": "one head for all images: the theorem as it stands",
    "random-base": "the head tunes itself on each noisy copy alone: the theorem as it stands",
    "composed": "tuning copies are fresh for every vote, and the radius pays for them",
    "routed": "a smoothed choice among fixed heads, certified too",
    CONDITIONAL: "the radius holds for the prompt tuned on the clean image; the system in use tunes itself anew on "
    "what an attacker shows it, and nothing is proved of that",
    "not stated": "the log does not say",
}


def save_certified(report: Certified, log: pd.DataFrame, path: str | Path, *, compared: Report | None = None) -> Path:
    """Write a report of certificates as a page that stands alone.

    Shapes   the log as `certified_report` took it.
    Units    radius in pixel units.
    Returns  the path.
    Raises   OSError if it cannot be written.
    Source   ours.
    """
    facts = report.settings
    title = f"Certified: {facts.get('model', '')} on {facts.get('data', '')}".replace(":  on", ":")
    grounds = dict.fromkeys(cells["guarantee"] for cells, _ in heads_of(log))
    terms = "".join(f"<dt>{escape(one)}</dt><dd>{escape(_MEANING.get(one, ''))}</dd>" for one in grounds)
    parts = [f"<h1>{escape(title)}</h1>", section("Certified accuracy", curves(log)), scroll(table(report.wide()))]
    parts.append(section("What the certificates rest on", f"<dl>{terms}</dl>"))
    balanced = report.wide(balanced=True)
    if any(name.startswith("r >= ") for name in balanced):
        parts.append(section("Averaged over the classes", scroll(table(balanced))))
    if compared is not None:
        parts.append(section("Against one head, on the same images", scroll(compared.html())))
    return write_text(path, document(title, [*parts, made(report)]))


def curves(log: pd.DataFrame) -> str:
    """Draw certified accuracy over the radius, one line for each head; the legend says what it rests on.

    Shapes   one row of the log for each image and head.
    Units    radius in pixel units.
    Returns  an <svg>; certificates of a prompt frozen at the image are dashed.
    Raises   ValueError for an empty log.
    Source   Cohen et al. 2019, figure 6.
    """
    most = max(float(log["radius"].max()) * 1.05, 1e-6)
    grid, lines, names = np.linspace(0, most, 201), "", ""
    across, up = _LEFT + (_WIDE - _LEFT) * grid / most, _HIGH - _BELOW
    parts = list(heads_of(log))
    for k, (cells, part) in enumerate(parts):
        radius = np.where(part["correct"].to_numpy(bool), part["radius"], -1.0)
        share = (radius[None] >= grid[:, None]).mean(1)
        points = " ".join(f"{x:.1f},{up - (up - 10) * y:.1f}" for x, y in zip(across, share, strict=True))
        dash = ' stroke-dasharray="5 4"' if cells["guarantee"] == CONDITIONAL else ""
        style = f'fill="none" stroke="{_COLOURS[k % len(_COLOURS)]}" stroke-width="2"{dash}'
        lines += f'<polyline points="{points}" {style}/>'
        name = f"{cells['head']} ({cells['guarantee']})" + ("" if cells["sigma"] is None else f", {cells['sigma']:g}")
        low = _HIGH + 18 * k + 12
        names += f'<line x1="{_LEFT}" x2="{_LEFT + 28}" y1="{low}" y2="{low}" {style}/>'
        names += f'<text x="{_LEFT + 36}" y="{low + 4}">{escape(name)}</text>'
    axes = f'<path d="M{_LEFT} 10V{up}H{_WIDE}" fill="none" stroke="currentColor"/>'
    for t in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _LEFT + (_WIDE - _LEFT) * t, up - (up - 10) * t
        axes += f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{t:g}</text>'
        anchor = "end" if t == 1 else "middle"
        axes += f'<text x="{x:.0f}" y="{up + 16}" text-anchor="{anchor}">{most * t:.3g}</text>'
    axes += f'<text x="{(_LEFT + _WIDE) / 2}" y="{up + 34}" text-anchor="middle">L2 radius, pixel units</text>'
    told = "Certified accuracy over the radius, one line for each head."
    size = f'viewBox="0 0 {_WIDE + 10} {_HIGH + 18 * len(parts) + 12}"'
    look = 'fill="currentColor" font-size="12" style="max-width:100%;height:auto"'
    return f'<svg {size} width="{_WIDE}" role="img" aria-label="{told}" {look}>{axes}{lines}{names}</svg>'
