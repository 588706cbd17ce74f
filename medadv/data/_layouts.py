"""How data sets are handed out: class folders, a column of classes, one-hot columns; HAM10000 and ISIC by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medadv.data._table import Rows, as_integer, folded, listed, no_value, read_csv, shown

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ".webp", ".gif")
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_TAKEN = {
    "image",
    "split",
    "label",
    "label_id",
    "patient_id",
    "dup_group",
    "caption",
    "mask",
    "md5",
    "age_group",
    "note",
}
_RENAMED = {"age_approx": "age", "age_approximate": "age", "gender": "sex"}
_IMAGE = ("image", "image_id", "image_name", "isic_id", "filename", "file_name", "file", "path", "image_path", "img")
_LABEL = ("label", "dx", "class", "target_name", "diagnosis", "diagnosis_1")
_PATIENT = ("patient_id", "patientid", "patient", "subject_id", "lesion_id")

_SKIN = {
    "akiec": "an actinic keratosis or intraepithelial carcinoma",
    "ak": "an actinic keratosis",
    "bcc": "a basal cell carcinoma",
    "bkl": "a benign keratosis",
    "df": "a dermatofibroma",
    "mel": "a melanoma",
    "nv": "a melanocytic nevus",
    "scc": "a squamous cell carcinoma",
    "vasc": "a vascular lesion",
}


@dataclass
class Item:
    """One image of the source."""

    path: Path
    name: str
    """Path in the new folder."""
    label: str
    patient: str = ""
    split: str = ""
    twin: str = ""
    words: str = ""
    sentence: str = "An image of {}."
    more: dict[str, str] = field(default_factory=dict)


def from_folders(source: Path) -> list[Item]:
    """Read class/x.png, or split/class/x.png where all top folders are named as splits."""
    tops = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    by_split = bool(tops) and all(path.name.lower() in _SPLITS for path in tops)
    items = []
    for top in tops:
        places = sorted(p for p in top.iterdir() if p.is_dir()) if by_split else [top]
        for place in places:
            for path in sorted(place.rglob("*")):
                if path.suffix.lower() in ENDINGS and path.is_file():
                    name = f"images/{path.relative_to(source).as_posix()}"
                    split = _SPLITS[top.name.lower()] if by_split else ""
                    items.append(Item(path, name, " ".join(place.name.split()), split=split))
    if not items or len({item.label for item in items}) < 2:
        raise ValueError(
            f"The 'source' parameter of convert must hold a folder of images for each of at least two classes, or a "
            f"csv table; got {source} with {len({item.label for item in items})}. Name a table with table= (--table)."
        )
    _refuse_like_names(items)
    return items


def from_table(
    root: Path,
    table: Path,
    *,
    label: str | Sequence[str] | None,
    image: str | None,
    patient: str | None,
    rest: str | None,
) -> list[Item]:
    """Read one row for each image; the columns are those given, or those that the known sets use."""
    columns, rows = read_csv(table.read_bytes(), str(table))
    if not rows:
        raise ValueError(f"{table} has no rows. Write one row for each image.")
    of_image = _column(table, columns, image, _IMAGE, "image")
    of_patient = _column(table, columns, patient, _PATIENT, "patient", needed=patient is not None)
    classes, used, rest = _classes(table, columns, rows, label, rest)
    files = _files(root)
    skin = bool({folded(name) for name in classes} <= {*_SKIN, "unk"})
    taken = {*used, of_image, of_patient, *_TAKEN}
    items: list[Item] = []
    seen: dict[Path, str] = {}
    for i, row in enumerate(rows):
        name = row[of_image].strip()
        path = _find(files, root, name, table, i)
        if seen.setdefault(path, name) is not name:
            raise ValueError(f"{table} names the image {shown(name)} twice. Keep one of the rows.")
        found = classes[i] if len(used) == 1 else _hot(table, row, name, used, rest)
        if not found:
            raise ValueError(
                f"{table}, image {shown(name)}: the class is not known. Take out the row, or name the class of such "
                "rows with rest= (--rest)."
            )
        more = {_RENAMED.get(c, c): "" if no_value(row[c]) else as_integer(row[c]) for c in columns if c not in taken}
        more = {key: "" if key == "sex" and value.lower() == "unknown" else value for key, value in more.items()}
        key = "" if of_patient is None or no_value(row[of_patient]) else as_integer(row[of_patient])
        split = _SPLITS.get(row.get("split", "").strip().lower(), "")
        short = path.name if len(files[path.name]) == 1 else path.relative_to(root).as_posix()
        item = Item(path, f"images/{short}", found, key, split, more=more)
        if skin:
            item.words, item.sentence = _SKIN.get(folded(found), ""), "A dermoscopic image of {}."
        items.append(item)
    if any(item.split for item in items) and not all(item.split for item in items):
        raise ValueError(f"{table} names a split for some rows only. Write train, val or test in each, or in none.")
    _refuse_like_names(items)
    return items


def _column(table: Path, columns: list[str], given: str | None, known: Sequence[str], what: str, needed=True):
    if given is not None:
        if given not in columns:
            raise ValueError(
                f"The '{what}' parameter of convert must be a column of {table}; got {shown(given)}. It has "
                f"{listed(columns)}."
            )
        return given
    lower = {name.strip().lower(): name for name in reversed(columns)}
    found = next((lower[name] for name in known if name in lower), None)
    if found is None and needed:
        raise ValueError(
            f"{table} has no column that is known to hold the {what}; it has {listed(columns)}. Name it with {what}= "
            f"(--{what})."
        )
    return found


def _classes(table, columns, rows: Rows, label, rest) -> tuple[list[str], list[str], str | None]:
    """Return the class of each row (of one-hot columns the column names), the columns used, and the class of no 1."""
    if isinstance(label, str):
        label = (label,)
    if label is None:
        hot = [c for c in columns if folded(c) in {*_SKIN, "unk"} and _flags(rows, c)]
        lower = {name.strip().lower() for name in columns}
        if len(hot) > 1:
            label = hot
        elif {"melanoma", "seborrheic_keratosis"} <= lower:  # ISIC 2017: a row without a 1 is a nevus
            label, rest = (
                [c for c in columns if c.strip().lower() in ("melanoma", "seborrheic_keratosis")],
                rest or "nevus",
            )
        else:
            label = (_column(table, columns, None, _LABEL, "label"),)
    label = [_column(table, columns, name, (), "label") for name in label]
    if len(label) > 1:
        for name in label:
            if not _flags(rows, name):
                raise ValueError(
                    f"{table}: the one-hot column {shown(name)} must hold 0 and 1 only. Name one column of classes, or "
                    "other one-hot columns, with label= (--label)."
                )
        return list(label), list(label), rest
    found = ["" if no_value(row[label[0]]) else as_integer(" ".join(row[label[0]].split())) for row in rows]
    alike: dict[str, str] = {}
    for value in found:
        if value and alike.setdefault(folded(value), value) != value:
            raise ValueError(
                f"{table} writes one class as {shown(alike[folded(value)])} and {shown(value)}. Write it one way."
            )
    if set(found) - {""} == {"0", "1"}:  # a flag, such as the column malignant
        found = [{"0": f"not {label[0]}", "1": label[0]}.get(value, "") for value in found]
    found = [value or (rest or "") for value in found]
    if len(set(found) - {""}) < 2:
        raise ValueError(
            f"{table}: the column {shown(label[0])} holds one class. Name another column with label= (--label)."
        )
    return found, list(label), rest


def _flags(rows: Rows, column: str) -> bool:
    return all(as_integer(row[column]) in ("0", "1") for row in rows)


def _hot(table, row, name, used, rest) -> str:
    found = [column for column in used if as_integer(row[column]) == "1"]
    if len(found) > 1:
        raise ValueError(
            f"{table}, image {shown(name)}: several classes are 1 ({listed(found)}), but an image has one class here. "
            "Name a single column with label= (--label)."
        )
    return found[0] if found else rest or ""


def _files(root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in ENDINGS and path.is_file():
            for key in {path.name, path.stem}:
                found.setdefault(key, []).append(path)
    return found


def _find(files: dict[str, list[Path]], root: Path, name: str, table: Path, i: int) -> Path:
    base = re.split(r"[\\/]", name)[-1]
    several = files.get(base, [])
    if len(several) > 1:  # a path in the table tells files of one name apart
        tail = tuple(part for part in re.split(r"[\\/]", name) if part not in ("", ".", ".."))
        several = [p for p in several if p.parts[-len(tail) :] == tail or p.with_suffix("").parts[-len(tail) :] == tail]
    if not base or not several:
        raise ValueError(
            f"{table}, row {i + 1}: the image {shown(name)} is not below {root}, with or without an ending. "
            "Name the folder of the images as the source."
        )
    if len(several) > 1:
        raise ValueError(f"{table}, row {i + 1}: {shown(name)} is the name of several files. Write their folders, too.")
    return several[0]


def _refuse_like_names(items: list[Item]) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        first = seen.setdefault(item.name.casefold(), item)
        if first is not item:
            raise ValueError(f"The files {first.path} and {item.path} would have one name. Rename one of them.")
    labels: dict[str, str] = {}
    for item in items:
        if labels.setdefault(folded(item.label), item.label) != item.label:
            raise ValueError(
                f"The classes {shown(labels[folded(item.label)])} and {shown(item.label)} differ only in case or "
                "blanks. Write them one way."
            )
