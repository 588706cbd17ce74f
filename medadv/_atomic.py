"""Files and folders that are either there whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file in one step; a crash leaves the old one, or none.

    Shapes   none.
    Units    utf-8.
    Returns  the path.
    Raises   OSError if the folder cannot be made or written.
    Source   write to a name in the same folder, then os.replace.
    """
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write a file in one step; a crash leaves the old one, or none.

    Shapes   none.
    Units    bytes.
    Returns  the path.
    Raises   OSError if the folder cannot be made or written.
    Source   as write_text.
    """
    with whole_file(path) as part:
        part.write_bytes(content)
    return Path(path)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a new name in the same folder to write to; what was written there becomes the file once all went well.

    Shapes   none.
    Units    none.
    Returns  a context manager with the name, one that no other process uses.
    Raises   OSError if the folder cannot be made or written.
    Source   as write_text.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)  # mkstemp makes files that only their owner may read
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
