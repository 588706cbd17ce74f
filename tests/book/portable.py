"""Run the notebooks, and the numeric tests, under several numeric settings, and keep what the claims recorded.

Floating-point results differ between processors. The settings choose other kernels on one machine: another vector
width in PyTorch, another instruction set in oneDNN, another number of threads. `make portable` runs everything,
`make claims` the notebooks alone; SETTING=sse41 and CHAPTER=01_medvlm run a part. What a run recorded stays in
_build/claims. As soon as a chapter has run under every setting it gets its entries in claims.json: value,
threshold and margin of every claim, which tests/book/test_claim_margins.py holds against the largest difference
between settings.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("claims.json")
RECORDS = ROOT / "_build" / "claims"  # one file for each setting
SETTINGS: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "sse41": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "threads2": {"OMP_NUM_THREADS": "2"},
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
            _summarise(entry, settings=len(records))
    return {name: dict(sorted(claims.items())) for name, claims in sorted(chapters.items())}


def _keep(entry: dict, setting: str, line: dict) -> None:
    entry["relation"] = line["relation"]
    known = entry.setdefault("margins", {}).get(setting)
    if known is None or line["margin"] < known:
        for name in ("value", "threshold", "margin"):
            entry.setdefault(name + "s", {})[setting] = _short(line[name])


def _summarise(entry: dict, settings: int) -> None:
    verdicts = set(entry["holds"].values())
    if len(verdicts) == 1 and len(entry["holds"]) == settings:
        entry["holds"] = verdicts.pop()
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
                found.append(f"{where} was not made, or did not come out alike, under every setting: {entry['holds']}")
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


def forget(path: Path, chapters: list[str]) -> None:
    """Take the records of some chapters out of a file; of all of them if none is named."""
    kept = [line for line in read(path) if chapters and line["chapter"] not in chapters]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def update(folder: Path = RECORDS, path: Path = FILE) -> dict[str, dict[str, dict]]:
    """Write the entries of every chapter that was recorded under every setting; those of others stay as they are."""
    records = {name: read(folder / name) for name in SETTINGS}
    whole = set.intersection(*({line["chapter"] for line in lines} for lines in records.values()))
    lines = {name: [line for line in records[name] if line["chapter"] in whole] for name in SETTINGS}
    before = json.loads(path.read_text(encoding="utf-8"))["chapters"] if path.is_file() else {}
    made = merge(lines)
    if made:
        write(dict(sorted({**before, **made}.items())), path)
    return made


def main() -> int:
    """Run the make targets given under every setting; print which passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", choices=("notebooks", "numeric"), help="make targets")
    parser.add_argument("--setting", choices=SETTINGS, nargs="*", help="run these settings; all by default")
    parser.add_argument("--chapter", nargs="*", default=[], help="run the notebooks of these chapters; all by default")
    chosen = parser.parse_args()
    failed = 0
    for name in chosen.setting or SETTINGS:
        env = {**os.environ, **SETTINGS[name]}
        for target in chosen.targets:
            print(f"== {target} under {name}: {SETTINGS[name] or 'as this machine is'}", flush=True)
            command = ["make", "--no-print-directory", target]
            if target == "notebooks":
                env["MEDADV_CLAIMS"] = str(RECORDS / name)
                forget(RECORDS / name, chosen.chapter)
                command.append("CHAPTER=" + " ".join(chosen.chapter))
            else:
                env.pop("MEDADV_CLAIMS", None)
            began = time.perf_counter()
            code = subprocess.run(command, env=env, cwd=ROOT).returncode
            failed += code != 0
            word = "FAILED" if code else "passed"
            print(f"== {target} under {name}: {word} after {time.perf_counter() - began:.0f} s", flush=True)
    if "notebooks" in chosen.targets:
        made = update()
        print(f"claims.json: {len(made)} chapters measured under every setting", *faults(made), sep="\n   ")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
