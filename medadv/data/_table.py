"""The rows of a metadata.csv: read as text, checked against the folder, and cleaned of what programs add."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

from medadv._registry import nearest

Rows = list[dict[str, str]]

log = logging.getLogger("medadv")

# Columns that are never an attribute: files, texts, sources and measurements.
_NOT_ATTRIBUTES = {"image", "mask", "split", "label_id", "age", "note", "md5", "licence", "license", "source"}
_MOST_VALUES, _LONGEST_VALUE = 12, 40

# How programs write a cell without a value. "None" counts only as Python writes it: "none" may be a finding.
_NO_VALUE = {"nan", "na", "n/a", "#n/a", "<na>", "nat", "null"}
_INTEGRAL = re.compile(r"([+-]?)(0|[1-9]\d{0,14})(?:\.0*)?", re.ASCII)


def shown(text: object) -> str:
    """Quote what somebody wrote, on one line and not too long."""
    said = repr(text)
    return said if len(said) <= 60 else said[:50] + "...'"


def listed(names) -> str:
    """Name a few columns or values on one line."""
    few = [" ".join(str(name).split())[:40] for name in names]
    return ", ".join(few[:12]) + (f" and {len(few) - 12} others" if len(few) > 12 else "")


def read_table(folder: Path) -> Rows:
    """Read metadata.csv as it stands; every cell is text, an empty one means unknown."""
    path = folder / "metadata.csv"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The 'folder' parameter of read_tidy must be a folder; got {folder}, which does not exist. "
            "Look at the path."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"The 'folder' parameter of read_tidy must hold metadata.csv; got {folder}, which has none. "
            "The scripts in data_scripts/ and medadv data convert write such folders."
        )
    columns, rows = read_csv(path.read_bytes(), str(path))
    if len(set(columns)) != len(columns):
        twice = next(name for name, many in Counter(columns).items() if many > 1)
        raise ValueError(f"{path} names a column twice: {shown(twice)}. Rename one of them.")
    if not rows:
        raise ValueError(f"{path} has no rows. Write one row for each image.")
    return rows


def read_csv(data: bytes, name: str) -> tuple[list[str], Rows]:
    """Return the columns and rows of a comma-separated table, or one sentence on what is wrong with it."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} cannot be read as a UTF-8 CSV table (byte {error.start} is no UTF-8). "
            "Save it as CSV with the encoding UTF-8."
        ) from error
    head = text.partition("\n")[0]
    for sign, word in ((";", "semicolons"), ("\t", "tabs")):
        if "," not in head and sign in head:
            raise ValueError(f"{name} is separated by {word}. Save it as CSV with the delimiter comma.")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = list(reader)
    except csv.Error as error:
        raise ValueError(
            f"{name} cannot be read as a UTF-8 CSV table (line {reader.line_num}: {error}). Look for a quotation mark "
            "that is not closed, or a cell of more than 131,072 characters."
        ) from error
    columns = list(reader.fieldnames or [])
    for i, row in enumerate(rows):
        if None in row or None in row.values():
            raise ValueError(
                f"{name}, row {i + 1}: the number of cells differs from the {len(columns)} columns of the head. "
                "Put texts that hold a comma between quotation marks."
            )
    return columns, rows


def need_column(rows: Rows, name: str, parameter: str) -> None:
    """Refuse a column that is not there, and offer the nearest ones."""
    if name in rows[0]:
        return
    known = list(rows[0])
    head = f"The '{parameter}' parameter of read_tidy must be a column of metadata.csv; got {shown(name)}."
    if parameter == name == "label":  # nobody asked for it, so the nearest name would be no help
        raise ValueError(f"{head} Name the column that holds the label, with --label or label=: {listed(known)}.")
    raise ValueError(f"{head} Did you mean {listed(nearest(name, known) or known)}?")


def check_rows(folder: Path, rows: Rows) -> None:
    """Check everything that needs no decoding: files, splits, ages."""
    if "image" not in rows[0]:
        raise ValueError(
            f"{folder / 'metadata.csv'} must have the column 'image'; got {listed(rows[0])}. "
            "It holds the path of each image inside the folder."
        )
    seen: dict[object, str] = {}
    split_of: dict[str, str] = {}
    root = os.path.realpath(folder)
    for i, row in enumerate(rows):
        image = row["image"]
        if not image:
            raise ValueError(f"{folder / 'metadata.csv'}, row {i + 1}: the cell 'image' is empty. Name the file.")
        # One file under two names ("0.png", "./0.png", a link) is one image: in two splits it would leak.
        key = _check_file(folder, root, image)
        first = seen.setdefault(key, image)
        if first is not image:
            as_what = "" if first == image else f", first as {shown(first)}"
            raise ValueError(
                f"{folder / 'metadata.csv'} lists the image {shown(image)} twice{as_what}. Keep one of the rows."
            )
        if row.get("mask"):
            _check_file(folder, root, row["mask"])
        patient, split = row.get("patient_id", ""), row.get("split", "")
        if patient and split_of.setdefault(patient, split) != split:
            raise ValueError(
                f"{folder / 'metadata.csv'} has patient {shown(patient)} in the splits {shown(split_of[patient])} and "
                f"{shown(split)}. Rows of one patient belong together."
            )
        if row.get("age") and not _is_age(row["age"]):
            raise ValueError(
                f"{folder / 'metadata.csv'}, image {shown(image)}: age must be a number of years; got "
                f"{shown(row['age'])}. Leave it empty where it is unknown."
            )


def _check_file(folder, root, name) -> object:
    """Check one path of the table; return what is the same for all names of the file."""
    # CSV files are given to us, so a path in them may point anywhere.
    try:
        real = os.path.realpath(os.path.join(root, name))
        outside = "\\" in name or not real.startswith(root.rstrip(os.sep) + os.sep)
        found = None if outside else os.stat(real)
    except (ValueError, UnicodeError):  # a NUL, a lone surrogate
        outside = True
    except OSError:
        found = None
    if outside:
        raise ValueError(
            f"{folder / 'metadata.csv'} names {shown(name)}, which is not inside the folder. "
            "Write paths that start at the folder, with slashes."
        )
    if found is None or not os.path.isfile(real):
        raise FileNotFoundError(
            f"The file {_short(folder / name)} named in metadata.csv does not exist. {_other_name(folder, name)}"
        )
    if found.st_size == 0:
        raise ValueError(f"The file {_short(folder / name)} is empty (0 bytes). Fetch the data again.")
    return (found.st_dev, found.st_ino) if found.st_ino else real


def _short(path: Path) -> str:
    text = " ".join(str(path).split())
    return text if len(text) <= 200 else text[:200] + "..."


def _other_name(folder: Path, name: str) -> str:
    """Offer the file that was meant: the same name with an ending, or in a folder of images."""
    place = folder / name
    if len(name) < 200:
        for parent in (place.parent, folder / "images"):
            try:
                near = [p for p in sorted(parent.iterdir()) if p.name == place.name or p.stem == place.name]
            except (OSError, ValueError):
                continue
            if near and near[0].is_file():
                return f"There is {shown(near[0].relative_to(folder).as_posix())}: write names with folder and ending."
    return "Fetch the data again."


def _is_age(text):
    try:
        return 0 <= float(text) <= 130
    except ValueError:
        return False


def cleaned(rows: Rows) -> Rows:
    """Return the rows with blanks around cells gone, words for "no value" emptied, and one spelling for each value.

    Files and texts stay as they are, and so does `label`, which `_classes` treats and may refuse.
    """
    rows = [dict(row) for row in rows]
    for name in rows[0]:
        if name in ("image", "label", "label_id"):
            continue
        if name in ("mask", "note") or name.startswith(("caption", "prompt_")):
            for row in rows:
                row[name] = "" if no_value(row[name]) else row[name]
            continue
        values = Counter(row[name] for row in rows)
        new = {value: "" if no_value(value) else " ".join(value.split()) for value in values}
        if name == "patient_id":  # 7.0 beside 7 would hide a patient in two splits
            new = {value: as_integer(text) for value, text in new.items()}
        elif name == "split":
            new = {v: text.lower() if text.lower() in ("train", "val", "test") else text for v, text in new.items()}
        elif len(values) <= 4 * _MOST_VALUES:  # an attribute by which images are grouped
            new = {value: as_integer(text) for value, text in new.items()} if _all_integral(new.values()) else new
            best = one_spelling(_counted(values, new), name)
            new = {value: best[text] for value, text in new.items()}
        for row in rows:
            row[name] = new[row[name]]
    return rows


def _counted(values: Counter, new: dict[str, str]) -> Counter:
    found: Counter[str] = Counter()
    for value, many in values.items():
        found[new[value]] += many
    return found


def no_value(text: str) -> bool:
    """Tell an empty cell, also as pandas, R or Excel write it."""
    word = text.strip()
    return not word or word.lower() in _NO_VALUE or word == "None"


def as_integer(text: str) -> str:
    """Write 3.0 as 3; anything else is returned as it is (007 is a code, 0.5 a measurement)."""
    found = _INTEGRAL.fullmatch(text.strip())
    if not found:
        return text
    return ("-" if found[1] == "-" and found[2] != "0" else "") + found[2]


def _all_integral(values) -> bool:
    return all(not text or _INTEGRAL.fullmatch(text) for text in values)


def one_spelling(values: Counter, column: str) -> dict[str, str]:
    """Map values that differ only in case or blanks to the most frequent spelling, and say so."""
    alike: dict[str, list[str]] = {}
    for value in sorted(values, key=lambda value: (-values[value], value)):
        alike.setdefault(folded(value), []).append(value)
    for several in alike.values():
        if len(several) > 1:
            log.warning(
                "The column %s writes one value as %s; all are read as %s.",
                *(column, " and ".join(map(shown, several[:4])), shown(several[0])),
            )
    return {value: several[0] for several in alike.values() for value in several}


def folded(text: str) -> str:
    """Return what two spellings of one value have in common."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


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
