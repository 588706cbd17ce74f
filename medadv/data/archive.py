"""Take archives apart inside one folder: no path upwards, no link, no device, no more bytes than agreed."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from tqdm.auto import tqdm

from medadv._atomic import whole_file

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError)


def extract(archive: str | Path, folder: str | Path, *, limit: int = 64 << 30, progress: bool = True) -> list[Path]:
    """Take a zip or tar archive apart inside one folder.

    Shapes   none.
    Units    limit in bytes, for all files together.
    Returns  the paths of the files, in the order of the archive; one that is there with the right size is
             kept.
    Raises   ValueError for a broken archive, a path that leaves the folder, a link or device, or more than
             `limit` bytes; every name is looked at before anything is written.
    Source   ours; the rules of Python's 'data' filter for tar (PEP 706), for zip as well.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise FileNotFoundError(
            f"The 'archive' parameter of extract must be a file; got {archive}, which does not exist."
        )
    written = []
    try:
        with _open(archive) as (listing, opener):
            total = sum(size for _, size, _ in listing)
            if total > limit:
                raise ValueError(
                    f"The archive {archive} holds {total:,} bytes, more than the limit of {limit:,}. "
                    "Raise 'limit' if you trust it."
                )
            for name, size, member in tqdm(listing, desc=archive.name, disable=not progress, leave=False):
                path = folder / PurePosixPath(name)
                if not (path.is_file() and path.stat().st_size == size):
                    with opener(member) as stream:
                        _copy(stream, path, size, archive)
                written.append(path)
    except _BROKEN as error:
        raise ValueError(
            f"The archive {archive} cannot be unpacked ({error}). Delete it and fetch it again."
        ) from error
    return written


@contextmanager
def _open(archive) -> Iterator[tuple[list[tuple[str, int, Any]], Any]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield _zip_listing(file, archive), file.open
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive, "r:*") as tar:
            yield _tar_listing(tar, archive), tar.extractfile
    else:
        raise ValueError(f"The file {archive} is neither a zip nor a tar archive. Delete it and fetch it again.")


def _zip_listing(file, archive):
    listing = []
    for info in file.infolist():
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError(f"The archive {archive} holds a link ({info.filename!r}). Nothing was unpacked.")
        _check_name(info.filename, archive)
        if not info.is_dir():
            listing.append((info.filename, info.file_size, info))
    return listing


def _tar_listing(tar, archive):
    listing = []
    for info in tar.getmembers():
        if not (info.isfile() or info.isdir()):
            raise ValueError(f"The archive {archive} holds a link or device ({info.name!r}). Nothing was unpacked.")
        _check_name(info.name, archive)
        if info.isfile():
            listing.append((info.name, info.size, info))
    return listing


def _check_name(name, archive):
    windows = PureWindowsPath(name)
    if "\\" in name or windows.drive or windows.root or ".." in PurePosixPath(name).parts or not name.isprintable():
        raise ValueError(f"The archive {archive} holds a path that leaves its folder ({name!r}). Nothing was unpacked.")


def _copy(stream: IO[bytes], path: Path, size: int, archive: Path):
    done = 0
    with whole_file(path) as part:
        with open(part, "wb") as file:
            while chunk := stream.read(1 << 20):
                done += len(chunk)
                if done > size:  # a header that lies
                    break
                file.write(chunk)
        if done != size:
            raise ValueError(f"The archive {archive} is damaged: {path.name} has not the {size:,} bytes it announces.")
