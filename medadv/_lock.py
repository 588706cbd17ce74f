"""One process at a time: a small file beside what is written says who is at work."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has none; the process number in the file must do
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: str | Path | None) -> Iterator[None]:
    """Hold `path`.lock while a file or folder is written; the lock of a process that has died is taken over.

    Shapes   none.
    Units    none.
    Returns  a context manager; None locks nothing.
    Raises   ValueError that names the process, its machine and since when, and the remedy.
    Source   ours: flock where the system has it, which ends with the process; the text is for people, and for a
             process of another machine, of which nobody here can say whether it lives.
    """
    if path is None:
        yield
        return
    place = Path(path).absolute()
    lock = place.with_name(f"{place.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = _taken(lock, place)
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()  # before it is let go, so that nobody holds a file without a name
        os.close(handle)
        if fcntl is None:  # there an open file cannot be deleted
            with suppress(OSError):
                lock.unlink()


def _taken(lock: Path, place: Path) -> int:
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            mine, owner = _flock(handle), _read(handle)
            if mine is False or _alive(owner, known=mine is True):
                raise ValueError(_refusal(owner, lock, place))
            if _same_file(handle, lock):
                about = {"pid": os.getpid(), "host": socket.gethostname(), "start": _now()}
                os.ftruncate(handle, 0)
                os.lseek(handle, 0, os.SEEK_SET)
                os.write(handle, json.dumps(about).encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _same_file(handle: int, lock: Path) -> bool:
    """Whether the file that was opened still has its name: who let go deleted it."""
    try:
        return fcntl is None or os.fstat(handle).st_ino == lock.stat().st_ino
    except FileNotFoundError:
        return False


def _flock(handle: int) -> bool | None:
    """Lock the file: whether that was possible, or None where the system or the file system knows no locks."""
    try:
        if fcntl is None:
            return None
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _read(handle: int) -> dict[str, Any]:
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        found = json.loads(os.read(handle, 4096))
    except ValueError:  # empty, or killed while it wrote
        return {}
    return found if isinstance(found, dict) else {}


def _alive(owner: dict[str, Any], *, known: bool) -> bool:
    """Whether the process of the text may still be at work; `known` says that a lock of this machine would show."""
    if not owner:
        return False
    if owner.get("host") != socket.gethostname():
        return True
    try:
        if not known:
            os.kill(int(owner.get("pid", 0)), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError):
        return False
    return not known


def _refusal(owner: dict[str, Any], lock: Path, place: Path) -> str:
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')} since {owner.get('start', '?')}"
    return (
        f"{place.name} is being written by {who}. Wait until it has ended, or give this run a place of its own; if "
        f"that process is gone, delete {lock}."
    )


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
