"""The study of the third chapter: it runs at a small size, goes on where it was, and writes what the book can show."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from medadv.course.claims import stored
from medadv.reports.report import Report

BOOK = Path(__file__).resolve().parents[2] / "book"
STORED = BOOK / "03_multimodal_attacks" / "results" / "pairs_attacked.json"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK.parent / "data_scripts"))
    module = importlib.import_module("study_chapter3")
    monkeypatch.setattr(module, "SEEDS", (0,))
    return module


@pytest.mark.slow
def test_a_small_study(study, tmp_path):
    line = [
        "--limit",
        "5",
        "--readable",
        "100",
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(tmp_path / "x" / "results"),
    ]
    assert study.main([*line, "--part", "0"]) == 0
    part = tmp_path / "work" / "attacked_0_5.pt"
    made = part.stat().st_mtime_ns
    assert study.main(line) == 0
    assert part.stat().st_mtime_ns == made  # the attacks are not run again
    path = tmp_path / "x" / "results" / "pairs_attacked.json"
    assert {row["model"] for row in stored(path).rows} == {"tiny", "linear reader", "-"}
    report = Report.load(path)
    assert report["tiny", "none", "nothing", "recall@1", "both, mean"].n == 5
    assert report["-", "SGA", "text", "texts that mean something else", "-"].value == 0
    sys.path.insert(0, str(BOOK / "_ext"))
    import reproduced

    found, faults = reproduced.read_findings(tmp_path)
    assert faults == []
    assert len(found) == 8


def test_places_and_both_ways(study):
    import _chapter3

    table = np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.3]])
    right = np.array([[True, False, False], [False, True, False]])
    assert _chapter3._before(table, right).tolist() == [0, 1]  # the tie counts against the model
    counted = {"a|text|i2t": np.array([0, 3]), "a|text|t2i": np.array([0, 1, 0, 0])}
    owner = np.array([0, 0, 1, 1])
    assert _chapter3.both_ways(counted, "a", "text", owner).tolist() == [0.75, 0.5]
    assert _chapter3.otherwise(["an opacity on the left"], ["an opacity on the right"]).tolist() == [True]


def test_the_stored_study_is_whole():
    data = json.loads(STORED.read_text(encoding="utf-8"))
    assert data["versions"]["command"].startswith("python data_scripts/study_chapter3.py")
    assert data["settings"]["images, each seed"] * len(data["settings"]["seeds"]) >= 500
    assert not any(np.isnan(row["estimate"].value) for row in Report.load(STORED).rows)
    assert len(data["findings"]) == 8
