"""The targets of the Makefile do what their users need: as root, on another interpreter, on one that is too old."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")


def _make(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess:
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "VENV", "PYTHON")}
    if path is not None:
        env["PATH"] = f"{path}{os.pathsep}{env['PATH']}"
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


def _command(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(("user", "allowed"), [("0", True), ("1000", False)])
def test_lab_starts_as_root_too(tmp_path, user, allowed):
    _command(tmp_path, "id", f"echo {user}")
    said = _make("--dry-run", "lab", path=tmp_path).stdout
    (line,) = [line for line in said.splitlines() if "jupyter lab" in line]
    assert ("--allow-root" in line) == allowed
    assert "book" in line


def test_every_interpreter_has_an_environment_of_its_own():
    assert ".venv/bin/" in _make("--dry-run", "--always-make", "unit").stdout
    assert ".venv-python3.12/bin/" in _make("--dry-run", "--always-make", "unit", "PYTHON=python3.12").stdout
    assert ".venv-python3.12/bin/" in _make("--dry-run", "--always-make", "unit", "PYTHON=/opt/bin/python3.12").stdout
    assert "elsewhere/bin/" in _make("--dry-run", "--always-make", "unit", "VENV=elsewhere").stdout


def test_an_interpreter_that_is_too_old_is_refused_before_anything_is_made(tmp_path):
    body = "import sys; sys.version_info = (3, 9, 18); sys.version = '3.9.18 (old)'; exec(sys.argv[2])"
    old = _command(tmp_path, "python3.9", f'exec "{sys.executable}" -c "{body}" "$@"')
    done = _make("setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "medadv needs Python 3.10 or newer; found 3.9.18. Call make PYTHON=python3.12" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_an_interpreter_that_is_not_there_is_told(tmp_path):
    done = _make("setup", "PYTHON=python3.99", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "python3.99 cannot be started. Install it, or call make PYTHON=..." in done.stderr


def test_a_part_of_the_book_can_be_run():
    assert "-W ignore book\n" in _make("--dry-run", "notebooks").stdout
    assert "-W ignore book/02_attacks\n" in _make("--dry-run", "notebooks", "CHAPTER=02_attacks").stdout
    said = _make("--dry-run", "execute", "CHAPTER=02_attacks").stdout
    assert "book/02_attacks/01_idea.ipynb" in said
    assert "book/01_medvlm" not in said
    assert "course.build book/02_attacks" in said
    said = _make("--dry-run", "claims", "SETTING=sse41", "CHAPTER=02_attacks").stdout
    assert "portable.py --setting sse41 --chapter 02_attacks -- notebooks" in said
