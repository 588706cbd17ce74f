"""The rows of a metadata.csv: read as text and checked against the folder."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from medadv._registry import nearest

Rows = list[dict[str, str]]

# Columns that are never an attribute: files, texts, sources and measurements.
_NOT_ATTRIBUTES = {"image", "mask", "split", "label_id", "age", "note", "md5", "licence", "license", "source"}
_MOST_VALUES, _LONGEST_VALUE = 12, 40


def read_table(folder: Path) -> Rows:
    """Read metadata.csv as it stands; every cell is text, an empty one means unknown."""
    path = folder / "metadata.csv"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The 'folder' parameter of read_tidy must be a folder; got {folder}, which does not exist."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"The 'folder' parameter of read_tidy must hold metadata.csv; got {folder}, which has none. "
            "The scripts in data_scripts/ write such folders."
        )
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a UTF-8 CSV table ({error}).") from error
    columns = reader.fieldnames or []
    if len(set(columns)) != len(columns):
        raise ValueError(f"{path} names a column twice: {', '.join(columns)}.")
    if not rows:
        raise ValueError(f"{path} has no rows.")
    for i, row in enumerate(rows):
        if None in row or None in row.values():
            raise ValueError(
                f"{path}, row {i + 1}: the number of cells differs from the {len(columns)} columns of the head."
            )
    return rows


def need_column(rows: Rows, name: str, parameter: str) -> None:
    """Refuse a column that is not there, and offer the nearest ones."""
    if name not in rows[0]:
        known = list(rows[0])
        raise ValueError(
            f"The '{parameter}' parameter of read_tidy must be a column of metadata.csv; got {name!r}. "
            f"Did you mean {', '.join(nearest(name, known) or known)}?"
        )


def check_rows(folder: Path, rows: Rows) -> None:
    """Check everything that needs no decoding: files, splits, ages."""
    if "image" not in rows[0]:
        raise ValueError(f"{folder / 'metadata.csv'} must have the column 'image'; got {', '.join(rows[0])}.")
    seen: set[str] = set()
    split_of: dict[str, str] = {}
    root = os.path.realpath(folder)
    for i, row in enumerate(rows):
        image = row["image"]
        if not image:
            raise ValueError(f"{folder / 'metadata.csv'}, row {i + 1}: the cell 'image' is empty.")
        if image in seen:
            raise ValueError(f"{folder / 'metadata.csv'} lists the image {image!r} twice. Keep one of the rows.")
        seen.add(image)
        _check_file(folder, root, image)
        if row.get("mask"):
            _check_file(folder, root, row["mask"])
        patient, split = row.get("patient_id", ""), row.get("split", "")
        if patient and split_of.setdefault(patient, split) != split:
            raise ValueError(
                f"{folder / 'metadata.csv'} has patient {patient!r} in the splits {split_of[patient]!r} and "
                f"{split!r}. "
                "Rows of one patient belong together."
            )
        if row.get("age") and not _is_age(row["age"]):
            raise ValueError(
                f"{folder / 'metadata.csv'}, image {image!r}: age must be a number of years; got {row['age']!r}."
            )


def _check_file(folder, root, name):
    # CSV files are given to us, so a path in them may point anywhere.
    real = os.path.realpath(os.path.join(root, name))
    if "\\" in name or "\0" in name or not real.startswith(root + os.sep):
        raise ValueError(f"{folder / 'metadata.csv'} names {name!r}, which is not inside the folder.")
    if not os.path.isfile(real):
        raise FileNotFoundError(f"The file {folder / name} named in metadata.csv does not exist. Fetch the data again.")
    if os.path.getsize(real) == 0:
        raise ValueError(f"The file {folder / name} is empty (0 bytes). Fetch the data again.")


def _is_age(text):
    try:
        return 0 <= float(text) <= 130
    except ValueError:
        return False


def add_age_group(rows: Rows) -> None:
    """Derive the column age_group where it is not there."""
    if "age" in rows[0] and "age_group" not in rows[0]:
        for row in rows:
            row["age_group"] = "" if not row["age"] else "under_50" if float(row["age"]) < 50 else "50_and_over"


def attribute_columns(rows: Rows, wanted: str) -> list[str]:
    """Choose the columns that sort images into a few named kinds."""
    chosen = []
    for name in rows[0]:
        if name in _NOT_ATTRIBUTES or name.startswith(("caption", "prompt_")):
            continue
        values = {row[name] for row in rows} - {""}
        few = len(values) <= _MOST_VALUES and all(len(value) <= _LONGEST_VALUE for value in values)
        if name in (wanted, "dup_group") or (values and few and not _measured(values) and not name.endswith("_id")):
            chosen.append(name)
    return chosen


def _measured(values):
    """Fractions, or more whole numbers than a flag, a grade or a fold has."""
    try:
        return any(float(value) != int(float(value)) for value in values) or len(values) > 6
    except (ValueError, OverflowError):
        return False
