"""Run the notebooks, and the numeric tests, under several numeric settings, and keep what the claims recorded.

Floating-point results differ between processors. The settings choose other kernels on one machine: another vector
width in PyTorch, another instruction set in oneDNN, another number of threads. `make portable` runs everything,
`make claims` the notebooks alone. Both write claims.json anew: value, threshold and margin of every claim under
every setting, which tests/book/test_claim_margins.py holds against the largest difference between settings.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("claims.json")
SETTINGS: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "sse41": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "two threads": {"OMP_NUM_THREADS": "2"},
}
SAFETY = 2.0  # a margin must be so many times the largest difference seen between settings


def merge(records: dict[str, Iterable[dict]]) -> dict[str, dict[str, dict]]:
    """Join the records of all settings into one entry for each claim of a chapter.

    A claim made several times in a chapter is kept once: under each setting, at its smallest margin.
    """
    chapters: dict[str, dict[str, dict]] = {}
    for setting, lines in records.items():
        for line in lines:
            entry = chapters.setdefault(line["chapter"], {}).setdefault(line["claim"], {"holds": {}})
            before = entry["holds"].get(setting)
            entry["holds"][setting] = line["holds"] if before is None else before and line["holds"]
            if line.get("exact"):
                entry["exact"] = True
            else:
                _keep(entry, setting, line)
    for claims in chapters.values():
        for entry in claims.values():
            _summarise(entry)
    return {name: dict(sorted(claims.items())) for name, claims in sorted(chapters.items())}


def _keep(entry: dict, setting: str, line: dict) -> None:
    entry["relation"] = line["relation"]
    known = entry.setdefault("margins", {}).get(setting)
    if known is None or line["margin"] < known:
        for name in ("value", "threshold", "margin"):
            entry.setdefault(name + "s", {})[setting] = _short(line[name])


def _summarise(entry: dict) -> None:
    verdicts = set(entry["holds"].values())
    entry["holds"] = verdicts.pop() if len(verdicts) == 1 else entry["holds"]
    if "margins" in entry:
        margins = list(entry.pop("margins").values())
        entry["margin"] = _short(min(map(abs, margins)))
        entry["difference"] = _short(max(margins) - min(margins))


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def faults(claims: dict[str, dict[str, dict]]) -> list[str]:
    """Say which claims another processor could turn round."""
    found = []
    for chapter, entries in claims.items():
        for text, entry in entries.items():
            where = f"{chapter}: {text!r}"
            if not isinstance(entry["holds"], bool):
                found.append(f"{where} holds under some settings only")
            elif not entry.get("exact") or "margin" in entry:
                margin, difference = entry["margin"], entry["difference"]
                if not (math.isfinite(margin) and margin > 0 and margin >= SAFETY * difference):
                    found.append(f"{where} has the margin {margin}, and settings differ by {difference}")
    return found


def write(claims: dict[str, dict[str, dict]], path: Path = FILE) -> None:
    """Write one line for each claim, so that a change shows which one it concerns."""
    lines = ["{", f'"settings": {json.dumps(SETTINGS)},', '"chapters": {']
    for i, (chapter, entries) in enumerate(claims.items()):
        rows = [f"  {json.dumps(text)}: {json.dumps(entry, sort_keys=True)}" for text, entry in entries.items()]
        lines.append(f"{json.dumps(chapter)}: {{\n" + ",\n".join(rows) + "\n}" + "," * (i + 1 < len(claims)))
    path.write_text("\n".join([*lines, "}", "}"]) + "\n", encoding="utf-8")


def read(path: Path) -> list[dict]:
    """Read the lines that `claim` appended to a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def main() -> int:
    """Run the make targets given under every setting; print which passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", help="make targets, such as: notebooks numeric")
    parser.add_argument("--only", choices=SETTINGS, action="append", help="run these settings; claims.json stays")
    chosen = parser.parse_args()
    results, records = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.only or SETTINGS:
            file = Path(folder) / name
            env = {**os.environ, **SETTINGS[name], "MEDADV_CLAIMS": str(file)}
            for target in chosen.targets:
                print(f"== {target} under {name}: {SETTINGS[name] or 'as this machine is'}", flush=True)
                began = time.perf_counter()
                code = subprocess.run(["make", "--no-print-directory", target], env=env, cwd=ROOT).returncode
                results.append((target, name, code, time.perf_counter() - began))
            records[name] = read(file)
    for target, name, code, seconds in results:
        print(f"{'passed' if code == 0 else 'FAILED'}  {target:10s} {name:12s} {seconds:6.0f} s")
    if "notebooks" in chosen.targets and not chosen.only:
        made = merge(records)
        write(made)
        print(f"wrote {FILE.relative_to(ROOT)}: {sum(map(len, made.values()))} claims", *faults(made), sep="\n   ")
    return int(any(code for _, _, code, _ in results))


if __name__ == "__main__":
    sys.exit(main())
