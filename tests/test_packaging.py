"""The set-up files agree with each other and name no package index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")


def _project() -> dict[str, list[str]]:
    tomllib = pytest.importorskip("tomllib", reason="tomllib comes with Python 3.11")
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"core": found["dependencies"], **found["optional-dependencies"]}


def _name(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")


def test_every_dependency_that_make_installs_is_pinned():
    pinned = {_name(line) for line in CONSTRAINTS.splitlines() if "==" in line}
    wanted = {_name(r) for part in ("core", "course", "full", "dev") for r in _project()[part]}
    assert wanted <= pinned


def test_make_and_conda_install_the_same_extras():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    conda = (ROOT / "environment.yml").read_text(encoding="utf-8")
    extras = re.search(r"\.\[([\w,]+)\]", makefile)[1]
    assert re.search(r"\.\[([\w,]+)\]", conda)[1] == extras
    assert set(extras.split(",")) <= set(_project())
    assert "--constraint constraints.txt" in conda
    assert "--constraint constraints.txt" in makefile


def test_conda_asks_for_the_same_python():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    conda = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert re.search(r'requires-python = "(.+)"', project)[1] == re.search(r"- python(\S+)", conda)[1]


def test_the_book_is_built_with_the_tools_that_were_tried():
    assert "jupyter-book==1.0.4.post1" in CONSTRAINTS
    assert re.search(r"sphinx-book-theme==1\.2\.0", CONSTRAINTS)


def test_the_pins_name_no_address():
    assert "://" not in CONSTRAINTS


def test_make_help_lists_every_target(tmp_path):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    described = set(re.findall(r"^([a-z]+):.*##", makefile, re.M))
    assert targets == described
    assert {"book", "test", "lab", "check", "clean", "help"} <= targets
