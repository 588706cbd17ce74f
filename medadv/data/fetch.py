"""Get a file from its official address: resumed where it broke off, verified, and never half there."""

from __future__ import annotations

import logging
import os
import re
from itertools import chain
from pathlib import Path

import requests
from pooch import file_hash
from tqdm.auto import tqdm

log = logging.getLogger("medadv")

_CHUNK = 1 << 18


def fetch(
    url: str,
    target: str | Path,
    *,
    checksum: str | None = None,
    size: int | None = None,
    resume: bool = True,
    progress: bool = True,
    timeout: float = 30.0,
) -> Path:
    """Download a file and give it its final name only when it is whole and verified.

    Shapes   none.
    Units    size in bytes, timeout in seconds without an answer; checksum 'md5:...' or 'sha256:...'.
    Returns  the path of the file; at once, without the network, where it is there already and verifies.
    Raises   OSError if the server answers with an error or breaks off (what came is kept as .part and
             continued next time); ValueError for an HTML page, a wrong size or a wrong checksum (nothing is
             kept).
    Source   ours; range requests of RFC 9110, section 14, guarded by If-Range. Hashes by pooch.
    """
    target = Path(target)
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"The 'url' parameter of fetch must start with http:// or https://; got {url!r}.")
    _check_checksum(checksum)
    if target.exists():
        return verify(target, checksum=checksum, size=size)
    target.parent.mkdir(parents=True, exist_ok=True)
    part, tag = _partial(target)
    # Without a validator or a checksum nobody would notice that two versions were spliced.
    if not resume or (not tag.exists() and checksum is None):
        _discard(part, tag)
    try:
        _download(url, part, tag, size, progress, timeout)
        problem = _problem(part, checksum, size)
        if problem:
            raise ValueError(f"What {url} sent {problem}. Nothing was kept; compare with the official page.")
    except requests.RequestException as error:
        raise OSError(f"{url} could not be read ({_reason(error)}). Run the same command again to go on.") from error
    except ValueError:
        _discard(part, tag)
        raise
    if checksum is None:
        log.warning("%s: no published checksum is known, so it is unchecked; sha256:%s", target.name, file_hash(part))
    os.replace(part, target)
    tag.unlink(missing_ok=True)
    return target


def verify(path: str | Path, *, checksum: str | None = None, size: int | None = None) -> Path:
    """Compare a file with its published size and checksum.

    Shapes   none.
    Units    size in bytes; checksum 'md5:...' or 'sha256:...'.
    Returns  the path.
    Raises   FileNotFoundError if there is no such file; ValueError if it differs.
    Source   ours; hashes by pooch.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The 'path' parameter of verify must be a file; got {path}, which does not exist.")
    _check_checksum(checksum)
    problem = _problem(path, checksum, size)
    if problem:
        raise ValueError(f"{path} {problem}. Delete it and fetch it again from the official address.")
    return path


def _partial(target):
    return target.with_name(target.name + ".part"), target.with_name(target.name + ".part.tag")


def _discard(*paths):
    for path in paths:
        path.unlink(missing_ok=True)


def _check_checksum(checksum):
    if checksum is not None and not re.fullmatch(r"md5:[0-9a-fA-F]{32}|sha256:[0-9a-fA-F]{64}", checksum):
        raise ValueError(
            f"The 'checksum' parameter must be 'md5:' or 'sha256:' and its hexadecimal digits; got {checksum!r}."
        )


def _problem(path, checksum, size) -> str:
    found = path.stat().st_size
    if size is not None and found != size:
        return f"has {found:,} bytes, not {size:,}"
    if checksum is not None:
        kind, _, wanted = checksum.partition(":")
        got = file_hash(path, alg=kind)
        if got != wanted.lower():
            return f"has the {kind} {got}, not {wanted}"
    return ""


def _reason(error) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _download(url, part, tag, size, progress, timeout):
    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "medadv"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag.exists():
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as answer:
        if answer.status_code == 416 and start:
            if answer.headers.get("Content-Range") == f"bytes */{start}":
                return  # everything had come already, only the last step was missing
            raise ValueError(f"{url} now has a shorter file than the part fetched before. Run the same command again.")
        _check_answer(url, answer)
        if answer.status_code != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        rest = answer.headers.get("Content-Length")
        total = None if rest is None else start + int(rest)
        if None not in (size, total) and total != size:
            raise ValueError(f"{url} offers {total:,} bytes, but the file must have {size:,}. Nothing was kept.")
        _write(url, answer, part, tag, start, total, size, progress)


def _check_answer(url, answer):
    if not answer.ok:
        raise OSError(f"{url} answered {answer.status_code} {answer.reason}. Open the official page, or pass --source.")
    if url.startswith("https://") and not answer.url.startswith("https://"):
        raise ValueError(f"{url} led to {answer.url}, which is not https. Open the official page, or pass --source.")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise ValueError(_page(url))


def _page(url) -> str:
    return f"{url} sent a web page, not a file. Perhaps one must log in: use a browser, then pass --source."


def _write(url, answer, part, tag, start, total, size, progress):
    chunks = answer.iter_content(_CHUNK)
    first = next(chunks, b"")
    # Some servers call an error page application/octet-stream, so the first bytes are looked at as well.
    if not start and first[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise ValueError(_page(url))
    validator = answer.headers.get("ETag", "")
    if validator.startswith("W/") or not validator:  # a weak tag may not guard a range
        validator = answer.headers.get("Last-Modified", "")
    if validator:
        tag.write_text(validator, encoding="utf-8")
    done = start
    with (
        open(part, "ab" if start else "wb") as file,
        tqdm(
            total=total,
            initial=start,
            unit="B",
            unit_scale=True,
            desc=part.stem,
            disable=not progress,
            leave=False,
        ) as bar,
    ):
        for chunk in chain([first], chunks):
            file.write(chunk)
            done += len(chunk)
            bar.update(len(chunk))
            if size is not None and done > size:
                raise ValueError(f"{url} sent more than {size:,} bytes. Nothing was kept.")
    if total is not None and done < total:
        raise OSError(f"{url} broke off after {done:,} of {total:,} bytes. Run the same command again to go on.")
