"""What the lines of a log of certificates mean, and which of them mean nothing."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PUBLISHED = ("idx", "label", "predict", "radius", "correct", "time")
_CLOCK = re.compile(r"(?:(\d+) days?, )?(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")


def frame(lines: list[str], path: Path, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Make a table of a header and lines; `kinds` says which columns hold int and float, others are text."""
    header = [cell.strip() for cell in lines[0].split("\t")] if lines else []
    if lacking := [name for name in PUBLISHED[:4] if name not in header]:
        raise ValueError(
            f"{path.name} has no column {', '.join(lacking)}. A log starts with the line: {' '.join(PUBLISHED)}."
        )
    rows, said, seen = [], [], dict[tuple[Any, ...], int]()
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        try:
            if len(cells) != len(header):
                raise ValueError(f"it has {len(cells)} fields where the header has {len(header)}")
            row = {name: _cell(cell, name, kinds.get(name, "str")) for name, cell in zip(header, cells, strict=True)}
            said.append(row.get("correct"))
            rows.append(_checked(row))
            key = tuple(row.get(name) for name in ("idx", "head", "sigma", "seed"))
            if key in seen:
                raise ValueError(f"image {row['idx']} was in line {seen[key]} already")
        except ValueError as error:
            raise ValueError(
                f"Line {number} of {path.name} is corrupt: {error}. Mend the line or take it out."
            ) from None
        seen[key] = number
    if not rows:
        raise ValueError(
            f"{path.name} holds no certificate, only a header. Was the run stopped before its first image?"
        )
    log = pd.DataFrame(rows)
    wrong = sum(a != b for a, b in zip(said, log["correct"], strict=True))
    if "correct" in header and wrong:
        told = f"{path.name}: `correct` is not `predict == label` in {wrong} of {len(log)} lines; counted again."
        warnings.warn(told, stacklevel=3)
    return log


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    """One line's meaning: abstained rows have radius 0, correct is counted, time is there."""
    if row["idx"] < 0:
        raise ValueError(f"images count from 0; idx is {row['idx']}")
    if row["predict"] < -1 or row["label"] < 0:
        raise ValueError(f"classes count from 0, -1 abstains; label is {row['label']}, predict {row['predict']}")
    if row["predict"] == -1:
        if row["radius"] > 0:
            raise ValueError(f"it abstains, yet has radius {row['radius']}")
        row["radius"] = 0.0  # some programs print the negative radius they abstained for
    if not 0 <= row["radius"] < np.inf:
        raise ValueError(f"radius must be 0 or more; got {row['radius']}")
    right = row["predict"] >= 0 and row["predict"] == row["label"]
    ours = {"correct": right, "time": row.get("time", float("nan"))}
    first = {name: (row | ours)[name] for name in PUBLISHED}
    return first | {name: value for name, value in row.items() if name not in first}


def _cell(cell: str, name: str, kind: str) -> Any:
    if name == "correct":  # what it says is only compared: some programs write a running total
        return float(cell) if re.fullmatch(r"\d+(\.\d+)?", cell) else cell == "True"
    if kind == "str":
        return cell
    if name == "time" and (clock := _CLOCK.fullmatch(cell)):
        days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    try:
        if kind == "int" and not re.fullmatch(r"-?\d{1,18}", cell):
            raise ValueError
        return int(cell) if kind == "int" else float(cell)
    except ValueError:
        kept = cell if len(cell) <= 40 else f"{cell[:40]}..."
        raise ValueError(f"{name} must be {'a whole number' if kind == 'int' else 'a number'}; got {kept!r}") from None
