"""Write a folder in the tidy format, and look over one: nothing half-written, every file with its md5."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image
from pooch import file_hash
from tqdm.auto import tqdm

from medadv._atomic import write_bytes
from medadv.data import _table
from medadv.data._classes import class_numbers
from medadv.data._pictures import open_picture
from medadv.data._settings import NAME, read_settings

_OURS = ("metadata.csv", "MD5SUMS", "classes.json", "SOURCE.md", NAME)


def write_tidy(
    folder: str | Path,
    rows: Sequence[Mapping[str, object]],
    *,
    classes: Mapping[str, str] | None = None,
    source: str = "",
    progress: bool = True,
) -> Path:
    """Write metadata.csv, MD5SUMS and, where given, classes.json and SOURCE.md beside images that are there.

    Shapes   none.
    Units    none.
    Returns  the folder. Columns are those of all rows in order of appearance, and md5; None and NaN are empty
             cells.
    Raises   what read_tidy raises, before anything is written.
    Source   ours; the format is described in data_scripts/README.md.
    """
    folder = Path(folder)
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "md5"))
    if not rows or "image" not in columns:
        raise ValueError(
            "The 'rows' parameter of write_tidy must be a list of rows with the key 'image'; got none. Add rows."
        )
    table = [{name: _cell(row.get(name)) for name in columns} for row in rows]
    _table.check_rows(folder, _table.cleaned(table))
    if classes is not None:
        known = set(classes)
        for row in table:
            if row.get("label") and row["label"] not in known:
                raise ValueError(
                    f"The 'classes' parameter of write_tidy must name every label; got no {row['label']!r}. "
                    "Add it with its phrase."
                )
    elif "label" in columns:
        class_numbers(folder, table, "label")
    sums = _sums(folder, table, progress)
    for row in table:
        row["md5"] = sums[row["image"]]
    texts = {"metadata.csv": _csv([*columns, "md5"], table)}
    if classes is not None:
        texts["classes.json"] = json.dumps(dict(classes), indent=1, ensure_ascii=False) + "\n"
    if source:
        texts["SOURCE.md"] = source.rstrip() + "\n"
    for name, text in texts.items():
        save_bytes(text.encode("utf-8"), folder / name)
    _write_sums(folder, sums)
    return folder


def write_checksums(folder: str | Path, *, progress: bool = True) -> Path:
    """Write MD5SUMS for a folder that has metadata.csv and images but no checksums, or old ones.

    Shapes   none.
    Units    none.
    Returns  the path of MD5SUMS.
    Raises   what read_tidy raises for the table and its files, before anything is written.
    Source   ours; the format is that of md5sum.
    """
    folder = Path(folder)
    rows = _table.read_table(folder)
    _table.check_rows(folder, _table.cleaned(rows))
    return _write_sums(folder, _sums(folder, rows, progress))


def _sums(folder: Path, table: _table.Rows, progress: bool) -> dict[str, str]:
    files = sorted({row[name] for row in table for name in ("image", "mask") if row.get(name)})
    return {
        name: file_hash(folder / name, alg="md5") for name in tqdm(files, desc="md5", disable=not progress, leave=False)
    }


def _write_sums(folder: Path, sums: dict[str, str]) -> Path:
    """Write MD5SUMS last: where it is there, the folder is whole."""
    sums = dict(sums)
    for path in sorted(folder.glob("*")):
        if (
            path.is_file()
            and path.name not in ("MD5SUMS", *sums)
            and (path.name in _OURS or path.name.startswith("LICENSE"))
        ):
            sums[path.name] = file_hash(path, alg="md5")
    text = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    return save_bytes(text.encode("utf-8"), folder / "MD5SUMS")


def verify_tidy(folder: str | Path, *, decode: bool = True, progress: bool = True) -> list[str]:
    """Look over a tidy folder: the table, the checksums, and whether every image can be decoded.

    Shapes   none.
    Units    none.
    Returns  the problems, one sentence each; an empty list is good news. One file in two splits under two names is a
             warning, since published sets have such twins.
    Raises   nothing; everything wrong is in the list.
    Source   ours.
    """
    folder = Path(folder)
    problems: list[str] = []
    rows: _table.Rows = []
    scale = None
    try:
        rows = _table.cleaned(_table.read_table(folder))
        scale = read_settings(folder).scale
        _table.check_rows(folder, rows)
        if "label" in rows[0]:
            class_numbers(folder, rows, "label")
    except (ValueError, OSError) as error:
        problems.append(str(error))
    sums = _read_sums(folder, problems)
    files = sorted({row[name] for row in rows for name in ("image", "mask") if row.get(name)})
    for name in tqdm(sorted({*sums, *files}), desc=f"verify {folder.name}", disable=not progress, leave=False):
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            problems.append(f"MD5SUMS names {name!r}, which is not inside the folder.")
        elif not path.is_file():
            problems.append(f"The file {path} does not exist.")
        elif name in sums and file_hash(path, alg="md5") != sums[name]:
            problems.append(f"The file {path} has not the md5 {sums[name]}.")
        elif name not in sums and sums:
            problems.append(f"The file {path} is not in MD5SUMS.")
        elif decode and name in files:
            try:
                open_picture(path, scale=scale)
            except (ValueError, OSError, ImportError) as error:
                problems.append(str(error))
    for twins in _one_content_twice(rows, sums)[:5]:
        _table.log.warning(twins)
    return list(dict.fromkeys(problems))


def save_picture(picture: Image.Image, path: str | Path, *, quality: int = 95) -> Path:
    """Write a PNG or JPEG under its final name only when it is whole.

    Shapes   none.
    Units    quality of JPEG, 1 to 95.
    Returns  the path.
    Raises   OSError if the disk is full or the folder may not be written.
    Source   ours.
    """
    path = Path(path)
    buffer = io.BytesIO()
    if path.suffix.lower() in (".jpg", ".jpeg"):
        picture.convert("RGB").save(buffer, "JPEG", quality=quality)
    else:
        picture.save(buffer, "PNG", optimize=True)
    return save_bytes(buffer.getvalue(), path)


def save_bytes(data: bytes, path: str | Path) -> Path:
    """Write a file under its final name only when it is whole.

    Shapes   none.
    Units    none.
    Returns  the path.
    Raises   OSError if the disk is full or the folder may not be written.
    Source   ours.
    """
    return write_bytes(path, data)


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _csv(columns: list[str], table: _table.Rows) -> str:
    out = io.StringIO(newline="")
    # Before Python 3.13 the csv module forgets to quote a lone carriage return.
    plain = not any("\r" in cell for row in table for cell in row.values())
    writer = csv.DictWriter(out, columns, lineterminator="\n", quoting=csv.QUOTE_MINIMAL if plain else csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


def _one_content_twice(rows: _table.Rows, sums: dict[str, str]) -> list[str]:
    """Name images that stand in two splits under two names; their checksums are the same."""
    first: dict[str, _table.Rows] = {}
    found = []
    for row in rows:
        twins = first.setdefault(sums.get(row.get("image", ""), ""), [])
        other = [twin for twin in twins if twin.get("split", "") != row.get("split", "")]
        if sums.get(row.get("image", "")) and other:
            found.append(
                f"The images {other[0]['image']} ({other[0]['split']}) and {row['image']} ({row['split']}) are the "
                "same file. Keep one of them."
            )
        twins.append(row)
    return found


def _read_sums(folder: Path, problems: list[str]) -> dict[str, str]:
    path = folder / "MD5SUMS"
    if not path.is_file():
        problems.append(
            f"The folder {folder} has no MD5SUMS, so its files are unchecked. Make them, once you "
            "trust the files: medadv data FOLDER --write-checksums."
        )
        return {}
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, gap, name = line.partition("  ")
        if gap:
            sums[name.strip()] = digest
    return sums
