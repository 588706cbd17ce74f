"""Certificates and their logs: one line for each image, written so that a killed run goes on where it stopped.

The first six columns are those of the published logs (idx label predict radius correct time, tab separated), so other
people's scripts read ours; behind them stand the counts, the seed and what the certificate rests on.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from medadv._atomic import write_text

PUBLISHED = ("idx", "label", "predict", "radius", "correct", "time")
"""The columns of published logs."""
COLUMNS = (
    *PUBLISHED,
    *("sigma", "alpha", "n0", "count0", "n", "count", "p_lower"),
    *("plan", "reason", "guarantee", "head", "seed", "weights"),
)
_FIELDS = {"idx": "index", "predict": "predicted", "time": "seconds"}
"""Where a column is not named as the field of `Certificate`."""
_CLOCK = re.compile(r"(?:(\d+) days?, )?(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")


def read_log(path: str | Path) -> pd.DataFrame:
    """Read a log of certificates, ours or a published one, and count again what is correct.

    Shapes   one row for each line.
    Units    radius in pixel units, as printed; time in seconds, whatever the log holds (seconds or h:mm:ss).
    Returns  DataFrame with idx, label, predict (-1 abstained), radius (0 there), correct (bool) and time (nan where
             missing), and the log's further columns. Warns if the log's own `correct` says otherwise.
    Raises   ValueError for a log without rows or header, and for a corrupt line, by its number.
    Source   the format of locuslab/smoothing, as PromptSmooth, SmoothAdv and ARS write it too.
    """
    path = Path(path)
    lines, whole = _lines(path)
    if not whole and tuple(lines[0].split("\t")) == COLUMNS:
        raise ValueError(
            f"Line {len(lines)} of {path.name} is torn: the run was killed there. Let it resume, then read."
        )
    return _frame(lines, path)


def resume_log(path: str | Path, **settings: Any) -> pd.DataFrame:
    """Read what an interrupted run has finished; a line that was torn when it was killed is taken away.

    Shapes   one row for each finished image; none if there is no file.
    Units    as read_log.
    Returns  DataFrame: skip its rows, then append_log.
    Raises   ValueError if the log was written with other settings (sigma=0.25, seed=3, ...), or is corrupt.
    Source   none: bookkeeping.
    """
    path = Path(path)
    lines = _mend(path)
    if len(lines) < 2:
        return pd.DataFrame({name: [] for name in COLUMNS})
    log = _frame(lines, path)
    for name, value in settings.items():
        if name not in log:
            raise ValueError(
                f"The settings of resume_log must be columns of a log; got {name!r}. Use {', '.join(COLUMNS)}."
            )
        other = log[name][log[name] != value]
        if len(other):
            raise ValueError(
                f"{path.name} was written with {name} = {other.iloc[0]!s:.60}; this run has {name} = {value}. "
                "Give the run a file of its own, or the settings it was started with."
            )
    return log


def marks_of(path: Path) -> dict[int, tuple[int, str]]:
    """Read label and content of each image from a log of ours that another process may be writing.

    Shapes   none.
    Units    none.
    Returns  {number of the image: (label, mark of its content)} of the whole lines; nothing of a file that is not ours.
    Raises   nothing.
    Source   none: bookkeeping.
    """
    header, found = "\t".join(COLUMNS), dict[int, tuple[int, str]]()
    first, *lines = path.read_bytes().decode("utf-8", "replace").split("\n")[:-1] or [""]
    for cells in (line.split("\t") for line in lines if first == header):
        if len(cells) == len(COLUMNS) and cells[0].isdecimal() and cells[1].isdecimal():
            found[int(cells[0])] = int(cells[1]), cells[-1].partition(".")[2]
    return found


def append_log(path: str | Path, certificates: Iterable[Certificate]) -> Path:
    """Add finished images to a log; whatever happens, every line before them stays whole.

    Shapes   any number of certificates, their `label` known.
    Units    as Certificate.
    Returns  the path.
    Raises   ValueError if the file is no log of ours, or a text holds a tab or a new line.
    Source   none: a torn last line is taken away, the new lines go out in one write and are flushed to the disk.
    """
    path, text = Path(path), "".join(_line(one) for one in certificates)
    lines = _mend(path)
    if not lines:
        return write_text(path, "\t".join(COLUMNS) + "\n" + text)
    with path.open("ab") as file:
        file.write(text.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
    return path


def merge_logs(paths: Sequence[str | Path], *, file: str | Path) -> pd.DataFrame:
    """Put the logs of several processes together, in the order of the images, whoever wrote which.

    Shapes   one row for each image, head and noise level.
    Units    as read_log.
    Returns  DataFrame, which also goes to `file` in one step.
    Raises   ValueError for no logs, logs that are not ours, or two certificates of one image that differ.
    Source   none: bookkeeping.
    """
    if not paths:
        raise ValueError("The 'paths' parameter of merge_logs must name a log; got none. Give one for each process.")
    key = ["head", "sigma", "seed", "idx"]
    parts = [read_log(path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if tuple(part.columns) != COLUMNS:
            raise ValueError(f"{Path(path).name} is not a log of this package: its header is other. Merge only ours.")
    log = pd.concat(parts, ignore_index=True)
    log = log.loc[~log.drop(columns="time").duplicated()].sort_values(key, kind="stable", ignore_index=True)
    if (twice := log.duplicated(key)).any():
        raise ValueError(
            f"The logs hold two different certificates for image {log['idx'][twice].iloc[0]}. "
            "Merge logs of one run only: same plan, weights and settings."
        )
    certificates = (Certificate.from_row(row) for row in log.to_dict("records"))
    write_text(file, "\t".join(COLUMNS) + "\n" + "".join(_line(one) for one in certificates))
    return log


def as_log(certificates: Sequence[Certificate], labels: Sequence[int] | Tensor) -> pd.DataFrame:
    """Turn certificates into the log they would have been written to, for reports on a run without a file.

    Shapes   labels (N,); one row for each certificate.
    Units    as read_log.
    Returns  DataFrame with the columns of a log, the weights' hash left empty.
    Raises   nothing.
    Source   ours.
    """
    truth = [int(label) for label in labels]
    rows = [replace(one, label=truth[one.index], weights="").to_row() for one in certificates]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _line(one: Certificate) -> str:
    values = {name: int(v) if isinstance(v, bool | np.bool_) else v for name, v in one.to_row().items()}
    cells = [repr(float(v)) if isinstance(v, float | np.floating) else str(v) for v in values.values()]
    for name, cell in zip(values, cells, strict=True):
        if re.search(r"[\t\r\n]", cell):
            raise ValueError(f"The {name!r} of a record must not hold a tab or a new line; got {cell!r}. Rename it.")
    return "\t".join(cells) + "\n"


def _lines(path: Path) -> tuple[list[str], bool]:
    """The lines, and whether the last one ends as lines do."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not text. Give the log of a certification, tab separated.") from None
    whole = text.endswith("\n") or not text
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else [], whole


def _mend(path: Path) -> list[str]:
    """The whole lines of a file of ours. What stands behind the last new line was torn, and goes."""
    if not path.is_file():
        return []
    content, header = path.read_bytes(), ("\t".join(COLUMNS) + "\n").encode()
    if not content.startswith(header) and not header.startswith(content):  # a torn header is still ours
        raise ValueError(f"{path.name} is not a log of this package: its header is other. Give a file of its own.")
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return _lines(path)[0]


def _frame(lines: list[str], path: Path) -> pd.DataFrame:
    """Make a table of a header and lines; a column that is none of ours holds text."""
    types = {one.name: str(one.type) for one in fields(Certificate)}
    kinds = {name: types.get(_FIELDS.get(name, name), "str") for name in COLUMNS}
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


@dataclass(frozen=True)
class Certificate:
    """What the votes on one image prove of one head. Two are equal if they prove the same of the same image."""

    index: int
    """Number of the image."""
    head: str
    predicted: int
    """The class that is certified, -1 where it abstains."""
    radius: float
    """L2, pixel units: no smaller perturbation changes the smoothed head's answer. 0 where it abstains."""
    p_lower: float
    """Lower bound on the probability of the class; of the worse part where the head has two."""
    n: int
    count: int
    """Votes that certify, and how many of them named the class."""
    n0: int
    count0: int
    """Votes that chose the class, which are not used again, and how many of them named it."""
    sigma: float
    """Pixel units."""
    alpha: float
    seed: int
    plan: str
    guarantee: str
    """What it rests on: see `medadv.certify.votes.GUARANTEES`."""
    reason: str
    """Why it ended as it did."""
    seconds: float = field(default=0.0, compare=False)
    """Time of this image, all heads together, tuning included."""
    label: int = field(default=-1, compare=False)
    """The true class, -1 unknown."""
    weights: str = field(default="", compare=False)
    """Hashes of the head and of the image, which a log notes."""

    @property
    def abstained(self) -> bool:
        """Whether nothing is certified."""
        return self.predicted < 0

    @property
    def correct(self) -> bool:
        """Whether the true class is known and is the one that is certified."""
        return self.label >= 0 and self.predicted == self.label

    def to_row(self) -> dict[str, Any]:
        """Return it as the row of a log: a value for each of COLUMNS."""
        return {name: getattr(self, _FIELDS.get(name, name)) for name in COLUMNS}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Certificate:
        """Read it from the row of a log."""
        return cls(**{_FIELDS.get(name, name): row[name] for name in COLUMNS if name != "correct"})
