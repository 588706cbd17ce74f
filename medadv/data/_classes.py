"""From the labels of a metadata.csv to class numbers and phrases."""

from __future__ import annotations

import json
from pathlib import Path

from medadv.data._table import Rows
from medadv.data.sources import phrases


def class_numbers(folder: Path, rows: Rows, label: str) -> tuple[tuple[str, ...], tuple[str, ...], list[int]]:
    """Return the classes, a phrase for each, and the class of every row (-1 unknown)."""
    values = {row[label] for row in rows} - {""}
    texts = _read_classes(folder) if label == "label" else {}
    if texts:
        names = list(texts)
        unknown = sorted(values - set(texts))
        if unknown:
            raise ValueError(
                f"{folder / 'metadata.csv'} has the label {unknown[0]!r}, which classes.json does not list."
            )
    elif label == "label" and "label_id" in rows[0]:
        names = _names_by_id(folder, rows, values)
    else:
        names = sorted(values, key=lambda value: (not value.isdecimal(), int(value) if value.isdecimal() else 0, value))
    number = {name: k for k, name in enumerate(names)}
    numbers = [number.get(row[label], -1) for row in rows]
    if label == "label" and "label_id" in rows[0]:
        numbers = [_checked(folder, row, k, names) for row, k in zip(rows, numbers, strict=True)]
    if label != "label" and set(names) == {"0", "1"}:  # flags, such as the column melanoma
        words = label.replace("_", " ")
        names = [f"not {words}", words]
    return tuple(names), tuple(texts.values()) if texts else phrases(names), numbers


def _read_classes(folder) -> dict[str, str]:
    path = folder / "classes.json"
    if not path.is_file():
        return {}
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(texts, dict) or not texts or not all(isinstance(text, str) and text for text in texts.values()):
        raise ValueError(f"{path} must be an object from label to phrase, in the order of the classes.")
    return texts


def _names_by_id(folder, rows, values) -> list[str]:
    by_id: dict[int, str] = {}
    for row in rows:
        if row["label"] and row["label_id"]:
            k = _as_id(folder, row, len(values))
            if by_id.setdefault(k, row["label"]) != row["label"]:
                raise ValueError(
                    f"{_at(folder, row)}: label_id {k} stands for {by_id[k]!r} elsewhere, here for {row['label']!r}."
                )
    missing = sorted(values - set(by_id.values()))
    if missing or len(by_id) != len(values):
        found = list(by_id.values())
        wrong = missing[0] if missing else next(name for name in found if found.count(name) > 1)
        raise ValueError(
            f"{folder / 'metadata.csv'}: the label {wrong!r} must have one label_id; it has none or several."
        )
    return [by_id[k] for k in range(len(by_id))]


def _as_id(folder, row, count) -> int:
    text = row["label_id"]
    if not (text.isdecimal() and int(text) < count):
        raise ValueError(f"{_at(folder, row)}: label_id must be a whole number from 0 to {count - 1}; got {text!r}.")
    return int(text)


def _at(folder, row) -> str:
    return f"{folder / 'metadata.csv'}, image {row['image']!r}"


def _checked(folder, row, number, names) -> int:
    if not row["label_id"]:
        return number
    k = _as_id(folder, row, len(names))
    if row["label"] and k != number:
        raise ValueError(f"{_at(folder, row)}: label {row['label']!r} has number {number}, but label_id says {k}.")
    return k
