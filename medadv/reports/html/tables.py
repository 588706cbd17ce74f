"""Tables of estimates for a web page: the interval and a small bar below each share, sizes and costs in one cell."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import pandas as pd

from medadv.evaluate.intervals import Estimate


def table(frame: pd.DataFrame) -> str:
    """Turn a table of estimates and words into HTML, with the interval and a small bar below each share.

    Shapes   none.
    Units    those of the cells.
    Returns  one <table>; header cells have their scope, empty columns are left out.
    Raises   nothing.
    Source   W3C, tables tutorial.
    """
    names = [name for name in frame.columns if not frame[name].map(_empty).all()]
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in names)
    body = ""
    for _, line in frame.iterrows():
        first, *rest = (line[name] for name in names)
        body += f'<tr><th scope="row">{escape(str(first))}</th>{"".join(map(_cell, rest))}</tr>\n'
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"


def short(wide: pd.DataFrame) -> pd.DataFrame:
    """Put sizes and costs of a wide table into one cell each, in words.

    Shapes   one line for each threat and attack.
    Units    sizes in L-inf as n/255, others in pixel units.
    Returns  the table with the columns `moved, mean (most)`, `passes per image` and `seconds per image`.
    Raises   nothing.
    Source   ours.
    """
    parts = ["mean size", "largest size", "forwards per image", "backwards per image", "seconds per image"]
    frame = wide.drop(columns=[name for name in parts if name in wide.columns])
    if parts[0] not in wide.columns:
        return frame
    lines = [
        [line[name] for name in parts] if isinstance(line[parts[0]], Estimate) else None for _, line in wide.iterrows()
    ]
    unit = [255 if str(threat).startswith("linf") else 1 for threat in wide["threat"]]
    frame["moved, mean (most)"] = [
        f"{x[0].value * u:.2f} ({x[1].value * u:.2f})" + "/255" * (u == 255) if x else ""
        for x, u in zip(lines, unit, strict=True)
    ]
    frame["passes per image"] = [f"{x[2].value:.1f} + {x[3].value:.1f}" if x else "" for x in lines]
    frame["seconds per image"] = [f"{x[4].value:.2g}" if x else "" for x in lines]
    return frame


def _cell(value: Any) -> str:
    if isinstance(value, str) or not isinstance(value, Estimate) or math.isnan(value.value):
        return f"<td>{escape(value) if isinstance(value, str) else ''}</td>"
    if math.isnan(value.low):
        return f"<td>{value.value:.3f}</td>"
    told = f"{value.value:.3f}<br><small>{value.low:.3f} to {value.high:.3f}</small>"
    if value.low < 0 or value.high > 1:
        return f"<td>{told}</td>"
    place = f"--v:{100 * value.value:.1f}%;--l:{100 * value.low:.1f}%;--h:{100 * value.high:.1f}%"
    return f'<td>{told}<span class=bar style="{place}" aria-hidden=true></span></td>'


def _empty(value: Any) -> bool:
    return value == "" or (isinstance(value, float) and math.isnan(value))
