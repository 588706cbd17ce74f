"""The studies of the chapter on PromptSmooth: their rules, the exact toy, a part on two images, what is stored."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pandas as pd
import pytest

from medadv.evaluate.intervals import Estimate
from medadv.reports.certification import CONDITIONAL

BOOK = Path(__file__).resolve().parents[2] / "book"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK.parent / "data_scripts"))
    return importlib.import_module("study_chapter10"), importlib.import_module("_chapter10_rows")


def test_without_data_it_says_so(scripts, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDADV_DATA", "")
    assert scripts[0].main(["--part", "isic", "--out", str(tmp_path), "--work", str(tmp_path)]) == 2
    assert "isic2017_256" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_in_one_dimension_the_step_is_what_is_overclaimed(scripts):
    for row, step in zip(scripts[1].toy_rows((0.0, 0.1, 0.5)), (0.0, 0.1, 0.5), strict=True):
        made = row["estimate"]
        assert (made.low, made.value, made.high) == pytest.approx((step, step, step), abs=1e-9)
        assert row["guarantee"] == CONDITIONAL


def test_the_rules(scripts):
    def verdict(low, high, above=0.0):
        return scripts[1].measured("a", "b", Estimate((low + high) / 2, low, high, 9), above=above)["verdict"]

    assert verdict(0.1, 0.2) == "holds"
    assert verdict(-0.2, -0.1) == "does not hold"
    assert verdict(-0.1, 0.1) == "does not hold"  # no difference is not ruled out: the book's reading of the word
    assert verdict(-0.03, 0.1, above=-0.05) == "holds"

    def none_broken(*broken, proved=True):
        return scripts[1].counted("a", "b", pd.DataFrame({"broken": list(broken)}, dtype=bool), proved=proved)

    assert none_broken(False, False)["verdict"] == "holds"
    assert none_broken(False, False, proved=False)["verdict"] == "not refuted"
    assert none_broken(False, True)["verdict"] == none_broken(True, proved=False)["verdict"] == "does not hold"
    assert none_broken(False, True)["measured"] == "1 of 2 attacked certificates broken"
    assert none_broken()["verdict"] == "not tested"


def test_several_heads_count_by_their_mean_on_each_image(scripts):
    cells = [("a", 0, 0.4, True), ("a", 1, 0.2, True), ("b", 0, 0.2, True), ("b", 1, 0.2, False), ("c", 0, 0.1, True),
             ("c", 1, 0.0, True)]  # fmt: skip
    log = pd.DataFrame(cells, columns=["head", "idx", "radius", "correct"]).assign(sigma=0.5, label=0)
    made = scripts[1].gain(log, "c", ("a", "b"))
    assert made.value == pytest.approx(((0.3 - 0.1) + (0.1 - 0.0)) / 2 / 0.5)


def test_the_campaign_on_two_images_goes_on_where_it_was(scripts, tmp_path, capsys):
    words = ["--part", "soundness", "--images", "2", "--n", "40", "--n0", "10", "--train", "60", "--shots", "1"]
    words += ["--votes", "20", "--strikes", "1", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert scripts[0].main(words) == 0
    first = json.loads((tmp_path / "out" / "soundness_tiny.json").read_text())
    rows = {(row["subject"], row["metric"]): row for row in first["rows"]}
    assert {row["guarantee"] for row in first["rows"]} == {
        "", "fixed", "random-base", "routed", "composed", CONDITIONAL}  # fmt: skip
    assert rows["zero-shot smoothing", "broken inside the claimed radius"]["estimate"]["value"] in (0, None)
    assert len(first["findings"]) == 5
    kept = (
        (tmp_path / "work" / "soundness.jsonl").read_text() if (tmp_path / "work" / "soundness.jsonl").is_file() else ""
    )
    assert scripts[0].main(words) == 0
    again = json.loads((tmp_path / "out" / "soundness_tiny.json").read_text())
    assert again["rows"] == first["rows"]
    if kept:
        assert (tmp_path / "work" / "soundness.jsonl").read_text() == kept


def test_what_is_stored_can_be_read():
    for file in sorted((BOOK / "10_promptsmooth" / "results").glob("*.json")):
        stored = json.loads(file.read_text(encoding="utf-8"))
        assert stored["versions"]["command"].startswith("python data_scripts/study_chapter10.py"), file.name
        for row in stored["rows"]:
            assert row["guarantee"] or "difference" in row["subject"] or " - " in row["subject"], (file.name, row)
        for row in stored["rows"]:
            if row["guarantee"] == "fixed" and row["metric"].startswith("broken"):
                assert row["estimate"]["value"] in (0, None), (file.name, row)
