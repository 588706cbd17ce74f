"""From the labels of a metadata.csv to class numbers and phrases."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from medadv.data._table import Rows, as_integer, folded, listed, log, no_value, one_spelling, shown
from medadv.data.sources import phrases

_NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d*)?", re.ASCII)
_FLAGS = {"-1", "0", "1"}
_SAYS = {"positive": "1", "negative": "0", "unknown": ""}


def class_numbers(
    folder: Path, rows: Rows, label: str, *, uncertain: str = "unknown", blank: str = "unknown", asked: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...], list[int]]:
    """Return the classes, a phrase for each, and the class of every row (-1 unknown).

    `uncertain` and `blank` say what -1 and an empty cell mean in a column of flags; where they were `asked` for,
    another column is refused.
    """
    texts = _read_classes(folder) if label == "label" else {}
    by_id = label == "label" and "label_id" in rows[0]
    values = _values(folder, rows, label, texts, by_id)
    flags = not texts and not by_id and set(values) - {""} <= _FLAGS and set(values) != {""}
    if asked and not flags:
        raise ValueError(
            f"The 'uncertain' and 'blank' parameters of read_tidy are for a column of 1, 0, -1 and empty cells; got "
            f"{shown(label)} with {listed(sorted(set(values) - {''})[:4])}. Leave them out."
        )
    if flags:
        values = _flags(values, label, uncertain, blank)
    known = set(values) - {""}
    if texts:
        names = list(texts)
        unknown = sorted(known - set(texts))
        if unknown:
            raise ValueError(
                f"{folder / 'metadata.csv'} has the label {shown(unknown[0])}, which classes.json does not list. "
                "Add it there with its phrase."
            )
    elif by_id:
        names = _names_by_id(folder, rows, values)
    else:
        names = sorted(known, key=_order)
    if not texts:
        _refuse_twins(folder, label, names)
    number = {name: k for k, name in enumerate(names)}
    numbers = [number.get(value, -1) for value in values]
    if by_id:
        numbers = [_checked(folder, row, value, k, names) for row, value, k in zip(rows, values, numbers, strict=True)]
    if label != "label" and set(names) == {"0", "1"}:  # flags, such as the column melanoma
        words = label.replace("_", " ")
        names = [f"not {words}", words]
    prompts = tuple(texts.values()) if texts else phrases(names)
    return tuple(names), prompts, numbers


def _values(folder: Path, rows: Rows, label: str, texts: dict[str, str], by_id: bool) -> list[str]:
    """Read the label of every row: blanks around it gone, 1.0 as 1, one spelling; empty where it is unknown."""
    values = [" ".join(row[label].split()) for row in rows]
    by_key: dict[str, list[str]] = {}
    for name in texts:
        by_key.setdefault(folded(as_integer(name)), []).append(name)
    found, emptied = [], 0
    for row, value in zip(rows, values, strict=True):
        if value and value not in texts and no_value(value) and not (by_id and not no_value(row["label_id"])):
            emptied, value = emptied + 1, ""
        value = value if value in texts else as_integer(value)
        near = by_key.get(folded(value), [])
        found.append(value if value in texts or len(near) != 1 else near[0])
    if emptied:
        log.warning('The column %s has %d cells with a word for "no value"; their label is unknown.', label, emptied)
    if texts:
        return found
    if label != "label" and {folded(value) for value in found} <= {"true", "false", ""}:
        return [{"true": "1", "false": "0"}.get(folded(value), "") for value in found]
    best = one_spelling(Counter(found), label)
    return [best[value] for value in found]


def _flags(values: list[str], label: str, uncertain: str, blank: str) -> list[str]:
    count = values.count("-1")
    if count:
        log.warning(
            "The column %s has %d cells of -1 (uncertain), which are read as %s. "
            "Choose in folder.json, or with uncertain=.",
            *(label, count, uncertain),
        )
    said = {"-1": _SAYS[uncertain], "": _SAYS[blank]}
    return [said.get(value, value) for value in values]


def _order(value: str) -> tuple[bool, float, str]:
    number = float(value) if _NUMBER.fullmatch(value) else None
    return number is None, number or 0.0, value


def _refuse_twins(folder: Path, label: str, names: list[str]) -> None:
    """Refuse labels that differ only in how their words are joined: one class, or two?"""
    seen: dict[str, str] = {}
    for name in names:
        key = re.sub(r"(?<=\w)[\s_-]+(?=[^\W_])", " ", folded(name))
        if seen.setdefault(key, name) != name:
            raise ValueError(
                f"{folder / 'metadata.csv'}, column {shown(label)}: {shown(seen[key])} and {shown(name)} differ only "
                "in how their words are joined. Write one class one way."
            )


def warn_of_codes(label: str, prompts: tuple[str, ...]) -> None:
    """Say where a prompt would be a number or a code."""
    codes = [text for text in prompts if _is_code(text)]
    if codes:
        log.warning(
            "The classes of the column %s would be prompts such as %s: numbers or codes, which a text encoder does "
            "not understand. Write classes.json (an object from label to phrase), or pass --classes.",
            *(label, listed(map(shown, codes[:3]))),
        )


def _is_code(text: str) -> bool:
    """Tell a number, letters with a number behind them, or an abbreviation."""
    word = text.strip().removeprefix("not ")
    short = word.isascii() and (len(word) <= 2 or (word.isalpha() and not re.search("[aeiouyAEIOUY]", word)))
    return bool(_NUMBER.fullmatch(word) or re.fullmatch(r"(class|label|[A-Za-z]{0,3})[ _-]?\d[\w.]*", word) or short)


def _read_classes(folder) -> dict[str, str]:
    path = folder / "classes.json"
    if not path.is_file():
        return {}
    try:
        texts = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({str(error)[:100]}). Mend or delete it.") from error
    if not isinstance(texts, dict) or not texts or not all(isinstance(text, str) and text for text in texts.values()):
        raise ValueError(f"{path} must be an object from label to phrase, in the order of the classes. Mend it.")
    return texts


def _names_by_id(folder, rows, values) -> list[str]:
    by_id: dict[int, str] = {}
    known = set(values) - {""}
    for row, value in zip(rows, values, strict=True):
        if value and not no_value(row["label_id"]):
            k = _as_id(folder, row, len(known))
            if by_id.setdefault(k, value) != value:
                raise ValueError(
                    f"{_at(folder, row)}: label_id {k} stands for {shown(by_id[k])} elsewhere, here for "
                    f"{shown(value)}. Give each label its own number."
                )
    missing = sorted(known - set(by_id.values()))
    if missing or len(by_id) != len(known):
        found = list(by_id.values())
        wrong = missing[0] if missing else next(name for name in found if found.count(name) > 1)
        raise ValueError(
            f"{folder / 'metadata.csv'}: the label {shown(wrong)} must have one label_id; it has none or several. "
            "Mend the column, or leave it out."
        )
    return [by_id[k] for k in range(len(by_id))]


def _as_id(folder, row, count) -> int:
    text = as_integer(row["label_id"].strip())
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and int(text) < count):
        raise ValueError(
            f"{_at(folder, row)}: label_id must be a whole number from 0 to {count - 1}; got "
            f"{shown(row['label_id'])}. Mend the column, or leave it out."
        )
    return int(text)


def _at(folder, row) -> str:
    return f"{folder / 'metadata.csv'}, image {shown(row['image'])}"


def _checked(folder, row, value, number, names) -> int:
    if no_value(row["label_id"]):
        return number
    k = _as_id(folder, row, len(names))
    if value and k != number:
        raise ValueError(
            f"{_at(folder, row)}: label {shown(value)} has number {number}, but label_id says {k}. Mend one of them."
        )
    return k
