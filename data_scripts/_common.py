"""What the data scripts share: arguments, error lines, folders and archives read alike, steady splits."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import logging
import os
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from medadv.data._masks import inside_of
from medadv.data._pictures import BROKEN
from medadv.data.sources import Source, describe, extract, fetch, sources
from medadv.data.tidy import verify_tidy

Files = dict[str, Callable[[], bytes]]

_LARGEST_MEMBER = 1 << 30


def parser(
    about: str, rows: Iterable[Source], *, size: int | None = 256, sizes: tuple[int, ...] | None = None
) -> argparse.ArgumentParser:
    """Arguments that every script has, with the sources under --help."""
    made = argparse.ArgumentParser(
        description=about.split("\n")[0],
        epilog="sources:\n" + describe(rows),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--out", type=Path, required=True, help="folder to write; made where it is missing")
    made.add_argument("--source", type=Path, help="a copy that was downloaded already (folder or archive)")
    unchanged = "; files are copied unchanged without it" if size is None else f" (default {size})"
    made.add_argument("--size", type=_positive, default=size, choices=sizes, help="pixels" + unchanged)
    made.add_argument("--limit", type=_positive, help="at most so many images of each split")
    return made


def run(main: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> int:
    """Run a script; what is wrong with the input is one line and exit code 2."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        return main(argv) or 0
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def begin(out: Path, **settings: object) -> bool:
    """Open the folder, or an unfinished one of the same settings; False where it is complete already."""
    text = json.dumps({name: str(value) for name, value in settings.items()}, sort_keys=True)
    mark = out / ".build.json"
    if out.exists() and not out.is_dir():
        raise ValueError(f"The '--out' parameter must be a folder; got {out}, which is a file.")
    if mark.exists() and mark.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{out} was begun with other settings ({mark.read_text(encoding='utf-8')}). Choose another --out "
            "or delete it."
        )
    if not mark.exists() and out.exists() and any(path.name != "_downloads" for path in out.iterdir()):
        raise ValueError(f"{out} holds other files. Choose an empty folder for --out.")
    if (out / "MD5SUMS").exists():
        problems = verify_tidy(out, decode=False)
        if not problems:
            print(f"{out} is complete already.")
            return False
        print(f"{out} is damaged ({problems[0]}) and is made anew.", file=sys.stderr)
        for line in (out / "MD5SUMS").read_text(encoding="utf-8").splitlines():
            name = line.partition("  ")[2]
            if name.startswith(("images/", "masks/")) and ".." not in name:
                (out / name).unlink(missing_ok=True)
        (out / "MD5SUMS").unlink()
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text(text, encoding="utf-8")
    return True


def obtain(name: str, args: argparse.Namespace) -> Path:
    """Return the given copy, or fetch all files of the set beside the output."""
    if args.source is not None:
        if not args.source.exists():
            raise FileNotFoundError(
                f"The '--source' parameter must be a folder or file; got {args.source}, which does not exist."
            )
        return args.source
    place = args.out / "_downloads"
    for row in sources(name):
        fetch(row.url, place / row.file, checksum=row.checksum, size=row.size)
    return place


def unpacked(path: Path, out: Path) -> Path:
    """Return a folder: the given one, or what the archive or the downloaded archives hold."""
    if path.is_file():
        extract(path, out / "_downloads" / "unpacked")
        return out / "_downloads" / "unpacked"
    if path == out / "_downloads":
        for archive in sorted(path.glob("*.zip")):
            extract(archive, path / "unpacked")
        return path / "unpacked"
    return path


def files_in(path: Path) -> Files:
    """List the files of a folder, and of the zip archives in it, by base name; each entry reads its bytes."""
    if path.is_file():
        return _zip_files(path)
    found: Files = {}
    for place in sorted(path.rglob("*")):
        if place.suffix == ".zip" and place.is_file():
            for name, read in _zip_files(place).items():
                found.setdefault(name, read)
        elif place.is_file():
            found.setdefault(place.name, place.read_bytes)
    return found


def _zip_files(path: Path) -> Files:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a whole zip archive ({error}). Delete it and fetch it again.") from error
    found: Files = {}
    for info in archive.infolist():
        if not info.is_dir():
            found.setdefault(os.path.basename(info.filename), _reader(archive, info, path))
    return found


def _reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        if info.file_size > _LARGEST_MEMBER:
            raise ValueError(f"{path} holds {info.filename!r} of {info.file_size:,} bytes, which no image here has.")
        try:
            return archive.read(info)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise ValueError(f"{path} is damaged at {info.filename!r} ({error}). Fetch it again.") from error

    return read


def table(data: bytes, name: str, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read a CSV file that came with the data, and insist on its columns."""
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name} cannot be read as CSV ({error}).") from error
    missing = [column for column in columns if not rows or column not in rows[0]]
    if missing:
        raise ValueError(
            f"{name} must have the column {missing[0]!r}; got {', '.join(rows[0]) if rows else 'no rows'}."
        )
    return [{key: value or "" for key, value in row.items() if key is not None} for row in rows]


def picture(data: bytes, name: str, *, at_least: int | None = None) -> Image.Image:
    """Decode an image; a large JPEG only as finely as `at_least` asks for, which is several times faster."""
    try:
        made = Image.open(io.BytesIO(data))
        if at_least is not None:
            made.draft(None, (at_least, at_least))
        made.load()
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(f"The image {name} cannot be decoded ({error}). Fetch the data again.") from error
    return made


def stretched_mask(mask: Image.Image, size: tuple[int, int], name: str) -> Image.Image:
    """Bring a mask of two values, whichever they are, to a size by area, then to 0 and 255."""
    full = Image.fromarray(inside_of(mask, name).astype(np.uint8) * 255)
    return full.resize(size, Image.Resampling.BOX).point(lambda value: 255 if value > 127 else 0)


def dealt(keys: Iterable[str]) -> dict[str, str]:
    """Deal ids into train, val, test (80 / 10 / 10) by their md5, so that everybody gets the same splits."""
    order = sorted(set(keys), key=lambda key: hashlib.md5(key.encode()).hexdigest())
    tenth = max(1, len(order) // 10)
    return {key: "test" if i < tenth else "val" if i < 2 * tenth else "train" for i, key in enumerate(order)}


def source_text(title: str, rows: Iterable[Source], traps: str, how: str = "") -> str:
    """Write what SOURCE.md says."""
    made = f"{how}\n\n" if how else ""
    return f"# {title}\n\n{describe(rows)}\n\n{made}## Known traps\n\n{traps}\n"


def limited(rows: list[dict], limit: int | None) -> list[dict]:
    """Keep the first rows of each split."""
    if limit is None:
        return rows
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        seen[row["split"]] = seen.get(row["split"], 0) + 1
        if seen[row["split"]] <= limit:
            kept.append(row)
    return kept


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive whole number; got {text!r}")
    return int(text)
