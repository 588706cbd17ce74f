"""Tables that know how they were made: rows of estimates, the settings behind them, versions, and raw scores
for later questions."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from medadv._atomic import write_text
from medadv._provenance import provenance
from medadv.evaluate.intervals import Estimate
from medadv.evaluate.metrics import STATISTICS, paired_difference

__all__ = ["Report", "provenance"]

_KIND = "medadv report 1"
_MASKED = -1e30


@dataclass(frozen=True)
class Report:
    """Rows such as {"metric": "accuracy", "class": "all", "estimate": Estimate}, and how they came about."""

    rows: tuple[dict[str, Any], ...]
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    """What `provenance` returns."""
    raw: dict[str, list] = field(default_factory=dict)
    """output (B, K), label (B,) and group (B,) as lists, where paired questions shall be possible later."""

    def __getitem__(self, metric: str | tuple[str, ...]) -> Estimate:
        """Return the estimate of a metric, or of (metric, second cell, ...)."""
        wanted = (metric,) if isinstance(metric, str) else metric
        for row in self.rows:
            if _cells(row)[: len(wanted)] == [str(cell) for cell in wanted]:
                return row["estimate"]
        raise KeyError(f"no row {wanted}; there are {sorted({tuple(_cells(row)) for row in self.rows})}")

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table.

        Shapes   one line for each row.
        Units    those of the metrics.
        Returns  pandas DataFrame: the cells of the row, then value, low, high, n.
        Raises   nothing.
        Source   ours.
        """
        lines = [{**{k: v for k, v in row.items() if k != "estimate"}, **asdict(row["estimate"])} for row in self.rows]
        return pd.DataFrame(lines).drop(columns=["level", "method"], errors="ignore")

    def html(self, *, caption: str = "", digits: int = 3) -> str:
        """Return the rows as a table for a web page.

        Shapes   none.
        Units    none.
        Returns  one <table> with a caption and header cells that screen readers understand; nothing is loaded
                 from outside.
        Raises   nothing.
        Source   W3C, tables tutorial (scope of header cells).
        """
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self._columns())
        body = ""
        for row in self.rows:
            first, *rest = [*_cells(row), *_numbers(row["estimate"], digits)]
            cells = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
            body += f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>\n'
        title = escape(caption or self._title())
        top = f"<caption>{title}</caption>\n<thead><tr>{head}</tr></thead>"
        return f"<table>\n{top}\n<tbody>\n{body}</tbody>\n</table>"

    def save(self, path: str | Path) -> Path:
        """Write the report as JSON, whole or not at all.

        Shapes   none.
        Units    none.
        Returns  the path.
        Raises   OSError if it cannot be written.
        Source   ours.
        """
        rows = [{**row, "estimate": asdict(row["estimate"])} for row in self.rows]
        whole = {
            "kind": _KIND,
            "settings": self.settings,
            "versions": self.versions,
            "rows": rows,
            "raw": self.raw,
        }
        return write_text(path, json.dumps(_plain(whole), indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a report that `save` wrote.

        Shapes   none.
        Units    none.
        Returns  Report.
        Raises   ValueError if the file is no report, FileNotFoundError if it is not there.
        Source   ours.
        """
        try:
            whole = json.loads(Path(path).read_text(encoding="utf-8"))
            if whole["kind"] != _KIND:
                raise ValueError(whole["kind"])
            rows = tuple({**row, "estimate": _estimate(row["estimate"])} for row in whole["rows"])
            return cls(rows, whole["settings"], whole["versions"], whole["raw"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"The 'path' parameter of Report.load must be a file written by Report.save; got {path}. Make it again."
            ) from error

    def compare(self, other: Report, *, n: int = 1000, seed: int = 0) -> Report:
        """Say how much the other report is better, row by row.

        Shapes   none.
        Units    those of the metrics, other minus this.
        Returns  Report with the cells `before` and `after`; where both carry raw scores of the same images
                 the difference has a paired bootstrap interval, elsewhere none.
        Raises   ValueError if no row is in both.
        Source   Efron and Tibshirani 1993, section 8.3.
        """
        mine = {tuple(_cells(row)): row for row in self.rows}
        theirs = {tuple(_cells(row)): row for row in other.rows}
        both = [key for key in mine if key in theirs]
        if not both:
            raise ValueError(
                "The 'other' parameter of compare must share rows with this report; got none. Use the same metrics."
            )
        paired = bool(self.raw) and all(self.raw.get(k) == other.raw.get(k) for k in ("label", "group"))
        rows = []
        for key in both:
            a, b = mine[key]["estimate"], theirs[key]["estimate"]
            change = Estimate(b.value - a.value, math.nan, math.nan, min(a.n, b.n), a.level, "difference")
            metric, outputs = key[0].removeprefix("robust "), (self._outputs(key[1:]), other._outputs(key[1:]))
            if paired and metric in STATISTICS and all(map(len, outputs)):
                label, group = self.raw["label"], self.raw.get("group") or None
                change = paired_difference(metric, *outputs, label, groups=group, n=n, seed=seed)
            cells = {k: v for k, v in mine[key].items() if k != "estimate"}
            rows.append({**cells, "before": f"{a.value:.3f}", "after": f"{b.value:.3f}", "estimate": change})
        return Report(tuple(rows), {"before": self.settings, "after": other.settings}, other.versions)

    def _outputs(self, cells: tuple[str, ...]) -> np.ndarray:
        """The raw scores behind a row of all images: without an attacker, or under the threat and attack it names."""
        found = self.raw.get("output", []) if set(cells) <= {"all", "none"} else []
        if len(cells) > 1 and set(cells[2:]) <= {"all"} and cells[0] != "none":
            found = dict(self.raw.get("under", {})).get(" ".join(cells[:2]), [])
        return np.array(found)

    def __repr__(self) -> str:
        table = [self._columns(), *([*_cells(row), *_numbers(row["estimate"], 3)] for row in self.rows)]
        wide = [max(len(line[c]) for line in table) for c in range(len(table[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)).rstrip() for line in table]
        return "\n".join([self._title(), lines[0], "-" * len(lines[0]), *lines[1:]])

    def _repr_html_(self) -> str:
        return self.html()

    def _columns(self) -> list[str]:
        names = [name for name in (self.rows[0] if self.rows else {"metric": 0}) if name != "estimate"]
        return [*names, "value", "95% interval" if self._level() == 0.95 else "interval", "n"]

    def _level(self) -> float:
        return self.rows[0]["estimate"].level if self.rows else 0.95

    def _title(self) -> str:
        named = [str(self.settings[k]) for k in ("task", "model", "data", "split") if self.settings.get(k)]
        return ", ".join(named) or "report"


def stored(output: np.ndarray) -> list[list[float]]:
    """Round raw scores for the file; JSON has no infinity, so a masked class gets a score below all others.

    Shapes   output (B, K).
    Units    those of the scores.
    Returns  nested lists with five decimals.
    Raises   nothing.
    Source   ours.
    """
    return np.round(np.maximum(np.asarray(output, dtype=np.float64), _MASKED), 5).tolist()


def _cells(row: dict[str, Any]) -> list[str]:
    return [str(value) for name, value in row.items() if name not in ("estimate", "before", "after")]


def _numbers(estimate: Estimate, digits: int) -> list[str]:
    value, low, high = (
        ("nan" if math.isnan(x) else f"{x:.{digits}f}") for x in (estimate.value, estimate.low, estimate.high)
    )
    return [value, "" if low == "nan" else f"[{low}, {high}]", str(estimate.n)]


def _estimate(stored: dict[str, Any]) -> Estimate:
    empty = [name for name in ("value", "low", "high") if stored[name] is None]
    return Estimate(**{**stored, **dict.fromkeys(empty, math.nan)})


def _plain(value):
    """Turn arrays, tensors and nan into what JSON knows; nan becomes null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool)) or value is None else str(value)
