"""Logs of certificates: one line for each image, written so that a killed run goes on where it stopped.

The first six columns are those of the published logs (idx label predict radius correct time, tab separated), so other
people's scripts read ours; behind them stand the counts, the seed and what the certificate rests on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medadv._atomic import write_text
from medadv.certify._lines import frame


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
    if not whole and tuple(lines[0].split("\t")) == _header():
        raise ValueError(
            f"Line {len(lines)} of {path.name} is torn: the run was killed there. Let it resume, then read."
        )
    return frame(lines, path, _kinds())


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
        return pd.DataFrame({name: [] for name in _header()})
    log = frame(lines, path, _kinds())
    for name, value in settings.items():
        if name not in log:
            raise ValueError(
                f"The settings of resume_log must be columns of a log; got {name!r}. Use {', '.join(_header())}."
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
    header, found = "\t".join(_header()), dict[int, tuple[int, str]]()
    first, *lines = path.read_bytes().decode("utf-8", "replace").split("\n")[:-1] or [""]
    for cells in (line.split("\t") for line in lines if first == header):
        if len(cells) == len(_header()) and cells[0].isdecimal() and cells[1].isdecimal():
            found[int(cells[0])] = int(cells[1]), cells[-1].partition(".")[2]
    return found


def append_log(path: str | Path, records: Iterable[Record]) -> Path:
    """Add finished images to a log; whatever happens, every line before them stays whole.

    Shapes   any number of records.
    Units    as Record.
    Returns  the path.
    Raises   ValueError if the file is no log of ours, or a text holds a tab or a new line.
    Source   none: a torn last line is taken away, the new lines go out in one write and are flushed to the disk.
    """
    path, text = Path(path), "".join(_line(record) for record in records)
    lines = _mend(path)
    if not lines:
        return write_text(path, "\t".join(_header()) + "\n" + text)
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
        if tuple(part.columns) != _header():
            raise ValueError(f"{Path(path).name} is not a log of this package: its header is other. Merge only ours.")
    log = pd.concat(parts, ignore_index=True)
    log = log.loc[~log.drop(columns="time").duplicated()].sort_values(key, kind="stable", ignore_index=True)
    if (twice := log.duplicated(key)).any():
        raise ValueError(
            f"The logs hold two different certificates for image {log['idx'][twice].iloc[0]}. "
            "Merge logs of one run only: same plan, weights and settings."
        )
    records = (Record(**row) for row in log.to_dict("records"))
    write_text(file, "\t".join(_header()) + "\n" + "".join(_line(record) for record in records))
    return log


def _header() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Record))


def _line(record: Record) -> str:
    values = {name: int(v) if isinstance(v, bool | np.bool_) else v for name, v in asdict(record).items()}
    cells = [repr(float(v)) if isinstance(v, float | np.floating) else str(v) for v in values.values()]
    for name, cell in zip(values, cells, strict=True):
        if re.search(r"[\t\r\n]", cell):
            raise ValueError(f"The {name!r} of a record must not hold a tab or a new line; got {cell!r}. Rename it.")
    return "\t".join(cells) + "\n"


def _kinds() -> dict[str, str]:
    return {field.name: str(field.type) for field in fields(Record)}


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
    content, header = path.read_bytes(), ("\t".join(_header()) + "\n").encode()
    if not content.startswith(header) and not header.startswith(content):  # a torn header is still ours
        raise ValueError(f"{path.name} is not a log of this package: its header is other. Give a file of its own.")
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return _lines(path)[0]


@dataclass(frozen=True)
class Record:
    """One certificate. Radius and sigma in pixel units, time in seconds (fitting on the image included)."""

    idx: int
    label: int
    predict: int
    """-1 abstains."""
    radius: float
    correct: bool
    time: float
    sigma: float
    alpha: float
    n0: int
    """Votes that chose the class, and how many named it."""
    count0: int
    n: int
    """Fresh votes that were drawn, and how many named the class."""
    count: int
    p_lower: float
    """Lower bound on the class's probability; nan where it abstains."""
    plan: str
    reason: str
    guarantee: str
    head: str
    seed: int
    weights: str = ""
