"""Files one can read in one sitting, nothing heavy in the history, no path of anybody's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST, HEAVIEST = 400, 1_000_000
LIMITS = {
    "medadv/models/weights/": 12_000_000,
    "book/_static/vendor/": 2_000_000,
}  # weights; MathJax, served by us
TEXT = {
    ".py",
    ".md",
    ".ipynb",
    ".toml",
    ".yml",
    ".yaml",
    ".json",
    ".txt",
    ".cfg",
    ".bib",
    ".js",
    ".css",
    ".sh",
    ".cff",
    "",
}
MACHINE = re.compile(r"(?<![\w.$/}~])/(?:home|root|Users|work|mnt|media|scratch|data\d*|var/folders)/[\w.-]+")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """What git holds or would hold."""
    try:
        told = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(told, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_every_module_can_be_read_in_one_sitting():
    lines = {p.relative_to(ROOT).as_posix(): len(p.read_text(encoding="utf-8").splitlines())
             for p in (ROOT / "medadv").rglob("*.py")}  # fmt: skip
    assert {name: n for name, n in lines.items() if n > LONGEST} == {}


def test_nothing_heavy_is_kept(tracked):
    heavy = {}
    for path in tracked:
        name, size = path.relative_to(ROOT).as_posix(), path.stat().st_size
        limit = next((most for folder, most in LIMITS.items() if name.startswith(folder)), HEAVIEST)
        if size > limit:
            heavy[name] = size
    assert heavy == {}


def test_no_path_of_a_machine(tracked):
    found = []
    for path in tracked:
        if path.suffix not in TEXT or path == Path(__file__).resolve():
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        # Inside pictures in notebooks anything may look like a path.
        text = re.sub(r'"image/png": "[^"]*"', "", text)
        for number, line in enumerate(text.splitlines(), 1):
            found += [f"{path.relative_to(ROOT)}:{number}: {hit[0]}" for hit in MACHINE.finditer(line)]
    assert found == []


def test_the_pattern_knows_a_machine_when_it_sees_one():
    for path in ("/home/jo/x", "'/scratch/jo'", "at /root/.cache", "=/Users/jo"):
        assert MACHINE.search(path), path
    for path in (
        "https://a.org/home/jo",
        "../work/x",
        "$HOME/data/x",
        "/tmp/try",
        "and/or",
        "w/data/x",
        "/usr/bin/env",
    ):
        assert not MACHINE.search(path), path
