"""The study of the chapter on smoothing: its parts on made-up logs, a small run, and what is stored."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medadv.certify.bounds import certified_radius
from medadv.course.claims import stored
from medadv.evaluate.intervals import Estimate
from medadv.reports.report import Report

BOOK = Path(__file__).resolve().parents[2] / "book"


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK.parent / "data_scripts"))
    return importlib.import_module("_chapter9")


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK.parent / "data_scripts"))
    return importlib.import_module("study_chapter9")


@pytest.fixture
def log():
    count = np.array([300] * 6 + [290, 250, 200, 160])
    radius = np.asarray(certified_radius(count, 300, sigma=0.1))
    predict = np.where(radius > 0, [0] * 8 + [1, 1], -1)
    table = pd.DataFrame({"idx": range(10), "label": [0] * 9 + [1], "predict": predict, "radius": radius})
    return table.assign(correct=table["predict"] == table["label"], n=300, count=count)


def test_rows_of_a_log(parts, log):
    rows = {row["metric"]: row["estimate"] for row in parts.certificate_rows("a", log, 0.1)}
    assert rows["abstained"].value == 0.1
    assert rows["certified accuracy at 0 sigma"].value == 0.8
    assert rows["certified accuracy at 1 sigma"].value == 0.7
    right = log["correct"]
    assert rows["mean radius in sigma"].value == pytest.approx(float(log["radius"][right].sum()) / 10 / 0.1)
    balanced = {row["metric"]: row["estimate"].value for row in parts.balanced_rows("a", log, 0.1, seed=0)}
    assert balanced["balanced certified accuracy at 0 sigma"] == pytest.approx(8 / 9 / 2)
    twin = parts.paired_rows("a", log, log, 0.1)
    assert [row["estimate"].value for row in twin] == [0] * 4
    assert parts.radius_gain(log, log, 0.1).value == 0


def test_who_is_asleep(parts):
    log = parts.constant_log(torch.tensor([0, 0, 1]), 0, 0.2)
    assert log["correct"].tolist() == [True, True, False]
    assert set(log["radius"]) == {0.2}


def test_savings(parts):
    rows = parts.sequential_rows(np.array([0.99, 0.5, 0.97]), seed=0, n=2000, streams=4)
    found = {row["metric"]: row["estimate"] for row in rows}
    assert found["votes saved at 0.5 sigma"].value > 3
    assert found["same verdict at 0.5 sigma"].value == 1


def test_fewer_votes_cost_radius(parts, log):
    made = parts.loss_of_radius(log, n=1000, few=100)
    assert 0.05 < made.low <= made.value <= made.high < 0.6


def test_verdicts_are_fixed_by_the_interval(parts):
    def verdict(low, high):
        return parts.judged("a", "b", Estimate((low + high) / 2, low, high, 9), within=(0.1, 0.3))["verdict"]

    assert verdict(0.15, 0.2) == "holds"
    assert verdict(0.05, 0.2) == "holds in part"
    assert verdict(0.4, 0.5) == "does not hold"


@pytest.mark.slow
def test_a_small_run(study, tmp_path):
    line = ["--images", "6", "--train", "200", "--n", "60", "--n0", "20", "--out", str(tmp_path)]
    assert study.main(line) == 0
    subjects = {row["subject"] for row in stored(tmp_path / "phantoms_tiny.json").rows}
    assert {"probe, noisy, minus sentences, sigma 0.25", "told as pixels, sigma 0.1"} <= subjects
    sys.path.insert(0, str(BOOK / "_ext"))
    import reproduced

    (tmp_path / "09_x" / "results").mkdir(parents=True)
    (tmp_path / "phantoms_tiny.json").rename(tmp_path / "09_x" / "results" / "a.json")
    found, faults = reproduced.read_findings(tmp_path)
    assert faults == []
    assert len(found) == 6


def test_without_data_it_says_so(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDADV_DATA", "")
    assert study.main(["--isic", "--out", str(tmp_path)]) == 2
    assert "MEDADV_DATA" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_stored_studies_are_whole():
    for name in ("phantoms_tiny", "isic2017_tiny"):
        path = BOOK / "09_smoothing" / "results" / f"{name}.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        assert data["title"]
        assert data["versions"]["command"].startswith("python data_scripts/study_chapter9.py")
        assert not any(np.isnan(row["estimate"].value) for row in Report.load(path).rows)
