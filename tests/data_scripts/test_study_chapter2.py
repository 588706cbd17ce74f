"""The studies of the second chapter: their parts on a few images, their rules, and what they left in the book."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medadv.evaluate.intervals import Estimate
from medadv.reports.report import Report

BOOK = Path(__file__).resolve().parents[2] / "book"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK.parent / "data_scripts"))
    return importlib.import_module("study_chapter2"), importlib.import_module("_chapter2")


def test_without_data_it_says_so(scripts, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDADV_DATA", "")
    assert scripts[0].main(["--isic", "--out", str(tmp_path)]) == 2
    assert "isic2017_256" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_shares_and_what_is_left(scripts):
    study, parts = scripts
    lost = parts.share([1, 0, np.nan, 1], patients=["a", "b", "b", "c"], seed=0)
    assert lost.value == pytest.approx(2 / 3)
    assert lost.n == 3
    left = study.kept(lost)
    assert (left.value, left.low, left.high) == pytest.approx((1 / 3, 1 - lost.high, 1 - lost.low))
    none = parts.share([0, 0, 0], patients=["a", "b", "c"], seed=0)
    assert none.low == 0 < none.high  # nobody in three patients proves nothing


def test_a_finding_says_its_verdict(scripts):
    def verdict(holds, partly, value=0.1):
        return scripts[1].finding("a", "b", "c", Estimate(value, value, value, 9), holds, partly)["verdict"]

    assert verdict(True, False) == "holds"
    assert verdict(False, True) == "holds in part"
    assert verdict(False, False) == "does not hold"
    assert verdict(True, False, np.nan) == "not tested"


def test_every_finding_asks_for_rows_that_are_made(scripts):
    """The rules name what was measured; nothing is misspelt, and the direction of differences is as said."""
    asked = []

    def rate(name):
        asked.append(name)
        return Estimate(0.5, 0.4, 0.6, 10)

    def less(first, second):
        asked.extend([first, second])
        return Estimate(0.3, 0.26, 0.4, 10)

    found = scripts[0].said(rate, less)
    assert len(found) == 9
    verdicts = {one["finding"].split(" (")[0]: one["verdict"] for one in found}
    assert verdicts["many small steps find more than one large one"] == "holds"
    assert verdicts["undefended, a CLIP-like Med-VLM is near zero under PGD"] == "does not hold"
    stored = json.loads((BOOK / "02_attacks" / "results" / "phantoms_attacked.json").read_text(encoding="utf-8"))
    rows = {f"{row['attack']}|{row['threat']}" for row in stored["rows"]}
    assert {name.partition("|")[0] + "|" + name.partition("|")[2].partition(", ")[0] for name in asked} <= rows


def test_second_model_is_kept(scripts, tmp_path):
    parts = scripts[1]
    first = parts.second_model(tmp_path, images=40, steps=2)
    again = parts.second_model(tmp_path, images=40, steps=2)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first(image), again(image))
    assert first(image).shape == (2, 20)


def test_stored_studies_are_whole():
    for name in ("phantoms_attacked", "isic2017_attacked"):
        path = BOOK / "02_attacks" / "results" / f"{name}.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        assert data["title"]
        assert data["versions"]["command"].startswith("python data_scripts/study_chapter2.py")
        assert data["findings"]
        assert "--limit" not in data["versions"]["command"]
        assert not any(np.isnan(row["estimate"].value) for row in Report.load(path).rows)
