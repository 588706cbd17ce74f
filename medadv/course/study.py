"""Stored results of heavy studies: what a study was made with, how long it took, and which defaults it relied on."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from medadv._atomic import write_text
from medadv.reports.report import Report

RESULTS = ("book/*/results/*.json", "benchmarks/results/*.json")
"""Where stored results lie, below the root of the repository."""
_PLAIN = (bool, int, float, str)
_NO_MATTER = {"progress", "device", "digits", "caption"}
"""Arguments that change no number."""


def store(report: Report, path: str | Path, *, title: str, findings: list[dict[str, Any]], study: Callable) -> Path:
    """Write a report with its title, its findings on papers, its minutes and the defaults behind it.

    Shapes   none.
    Units    minutes from the date in the report's provenance, which a study takes when it begins, until now.
    Returns  the path; the file is written whole or not at all.
    Raises   OSError if it cannot be written.
    Source   ours.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = json.loads(report.save(Path(folder) / "report.json").read_text(encoding="utf-8"))
    whole["raw"] = {}  # thousands of rows of logits would be too heavy to keep
    whole["versions"]["minutes"] = _minutes_since(whole["versions"].get("date"))
    whole = {"kind": whole.pop("kind"), "title": title, **whole, "findings": findings, "defaults": defaults_of(study)}
    return write_text(path, json.dumps(whole, indent=1, allow_nan=False) + "\n")


def defaults_of(function: Callable) -> dict[str, dict[str, Any]]:
    """Collect the defaults of every public function of the package that a function calls, directly or not.

    Shapes   none.
    Units    those of the arguments.
    Returns  dict of full name to {argument: default}, for defaults that are numbers, text, truth values or tuples of
             them. Calls are found by name in the code, so a function that is only passed on by a variable is missed.
    Raises   nothing.
    Source   ours.
    """
    found, seen, waiting = {}, set(), [inspect.unwrap(function)]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        if here.__module__.split(".")[0] == "medadv" and not here.__qualname__.split(".")[-1].startswith("_"):
            found[f"{here.__module__}.{here.__qualname__}"] = _defaults(here)
        waiting += list(_called(here))
    return {name: values for name, values in sorted(found.items()) if values}


def changed_defaults(stored: dict[str, dict[str, Any]], *, moved: dict[str, str] | None = None) -> list[str]:
    """Compare stored defaults with those of today.

    Shapes   none.
    Units    none.
    Returns  one line for each difference, empty where nothing changed; `moved` maps old full names to new ones.
    Raises   nothing.
    Source   ours.
    """
    lines = []
    for name, before in stored.items():
        now = _resolve((moved or {}).get(name, name))
        if now is None:
            lines.append(f"{name} is not there any more")
            continue
        after = _defaults(now)
        lines += [
            f"{name}: {key} was {value!r} and is {after.get(key, 'not an option any more')!r}"
            for key, value in before.items()
            if after.get(key) != value
        ]
    return lines


def listing(root: str | Path = ".") -> str:
    """List every stored result with the command that makes it and the minutes that it took.

    Shapes   none.
    Units    minutes.
    Returns  one line for each file.
    Raises   nothing.
    Source   ours.
    """
    lines = []
    for path in _files(Path(root)):
        made = origin(json.loads(path.read_text(encoding="utf-8")))
        minutes = made.get("minutes")
        told = "   ?" if minutes is None else f"{minutes:4.0f}"
        lines.append(f"{told} min  {made.get('command', 'not recorded')}  -> {path.relative_to(root).as_posix()}")
    return "\n".join(lines)


def origin(data: dict[str, Any]) -> dict[str, Any]:
    """Return what a stored result says of how it was made: reports keep it in `versions`, tables in `provenance`.

    Shapes   none.
    Units    none.
    Returns  dict, empty where nothing is said.
    Raises   nothing.
    Source   ours.
    """
    return data.get("provenance") or data.get("versions") or {}


def _files(root: Path) -> list[Path]:
    return sorted(path for pattern in RESULTS for path in root.glob(pattern))


def _minutes_since(date: str | None) -> float | None:
    if date is None:
        return None
    began = datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return round((datetime.now(timezone.utc) - began).total_seconds() / 60, 1)


def _called(function: FunctionType) -> Iterator[FunctionType]:
    """The functions of the package, and of the study itself, that the code of a function names."""
    names = set(_names(function.__code__))
    known = function.__globals__
    things = [known[name] for name in names if name in known]
    for thing in list(things):
        if isinstance(thing, ModuleType) and _ours(thing.__name__):
            things += [getattr(thing, name) for name in names if hasattr(thing, name)]
    for thing in things:
        thing = getattr(thing, "func", thing)  # functools.partial
        if inspect.isclass(thing) and _ours(thing.__module__):
            yield from (part for part in vars(thing).values() if isinstance(part, FunctionType))
        elif inspect.isfunction(inspect.unwrap(thing)) and _ours(thing.__module__):
            yield inspect.unwrap(thing)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _ours(module: str) -> bool:
    top = module.split(".")[0]
    return top == "medadv" or top == "__main__" or top.startswith(("study_chapter", "_chapter"))


def _defaults(function: Callable) -> dict[str, Any]:
    found = {}
    for name, one in inspect.signature(function).parameters.items():
        if name in _NO_MATTER:
            continue
        value = list(one.default) if isinstance(one.default, tuple) else one.default
        if all(isinstance(part, _PLAIN) for part in (value if isinstance(value, list) else [value])):
            found[name] = value
    return found


def _resolve(name: str) -> Callable | None:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            thing = getattr(thing, part, None)
        return inspect.unwrap(thing) if callable(thing) else None
    return None


if __name__ == "__main__":
    print(listing(sys.argv[1] if len(sys.argv) > 1 else "."))
