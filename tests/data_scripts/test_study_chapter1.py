"""The studies of the first chapter: they run at a small size and write what the book can show."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from medadv.course.claims import stored
from medadv.evaluate.intervals import Estimate
from medadv.reports.report import Report

BOOK = Path(__file__).resolve().parents[2] / "book"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK.parent / "data_scripts"))
    return importlib.import_module("study_chapter1")


@pytest.mark.slow
def test_phantom_study(study, tmp_path):
    assert study.main(["--limit", "120", "--out", str(tmp_path)]) == 0
    path = tmp_path / "phantoms_tiny.json"
    subjects = {row["subject"] for row in stored(path).rows}
    assert {"mean colour", "tiny, zero-shot", "noise, sigma 0.1", "five gradient steps, linf:2/255"} <= subjects
    assert Report.load(path)["tiny, zero-shot", "accuracy"].n == 120
    sys.path.insert(0, str(BOOK / "_ext"))
    import reproduced

    (tmp_path / "01_x" / "results").mkdir(parents=True)
    path.rename(tmp_path / "01_x" / "results" / "a.json")
    found, faults = reproduced.read_findings(tmp_path)
    assert faults == []
    assert len(found) == 4


def test_without_data_it_says_so(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDADV_DATA", "")
    assert study.main(["--isic", "--out", str(tmp_path)]) == 2
    assert "MEDADV_DATA" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_finding_holds_only_beyond_its_interval(study):
    def verdict(value, low, high):
        return study.finding("a", "b", "c", Estimate(value, low, high, 10))["verdict"]

    assert verdict(0.1, 0.05, 0.2) == "holds"
    assert verdict(0.1, -0.05, 0.2) == "does not hold"
    assert verdict(np.nan, np.nan, np.nan) == "not tested"


def test_stored_studies_are_whole():
    for name in ("phantoms_tiny", "isic2017_tiny", "hannover_icu_tiny"):
        path = BOOK / "01_medvlm" / "results" / f"{name}.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        assert data["title"]
        assert data["versions"]["command"].startswith("python data_scripts/study_chapter1.py")
        assert not any(np.isnan(row["estimate"].value) for row in Report.load(path).rows)
