"""Claims are stable lines; stored results say how they were made."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from medadv.course.claims import claim, claims, stored
from medadv.evaluate.intervals import Estimate
from medadv.reports.report import Report


def test_claim_prints_and_keeps(capsys):
    claim("one is less than two", torch.tensor(1) < 2)
    claim("two is less than one", 2 < 1)
    assert capsys.readouterr().out == "HOLDS: one is less than two\nDOES NOT HOLD: two is less than one\n"
    assert claims()[-2:] == (("one is less than two", True), ("two is less than one", False))


def test_a_computed_claim_compares_one_by_one(capsys):
    claim("all are less", [1, torch.tensor(2.0)], "<", 3)
    claim("one is not more", torch.tensor([1.0, 2.0]), ">", [0.0, 2.5])
    claim("equal is enough", np.float32(0.5), ">=", 0.5)
    claim("nan is never less", float("nan"), "<", 1)
    said = capsys.readouterr().out.splitlines()
    assert [line.startswith("HOLDS: ") for line in said] == [True, False, True, False]


def test_a_run_records_the_slack_of_its_claims(tmp_path, monkeypatch, capsys):
    file = tmp_path / "records"
    claim("not recorded", 1, "<", 2)
    monkeypatch.setenv("MEDADV_CLAIMS", str(file))
    monkeypatch.chdir(tmp_path)
    claim("computed", [0.5, 0.8], "<", [1.0, 0.9])
    claim("exact", True)
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    assert (first["chapter"], first["claim"], first["holds"]) == (tmp_path.name, "computed", True)
    assert (first["value"], first["relation"], first["threshold"]) == (0.8, "<", 0.9)
    assert first["margin"] == pytest.approx(0.1)
    assert second == {"chapter": tmp_path.name, "claim": "exact", "holds": True, "exact": True}
    assert "0.8" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1, "=", 2), "'relation' parameter of claim"),
        ((1, "<", None), "'threshold' parameter of claim"),
        ((1, None, 2), "'relation' parameter of claim"),
        (("a", "<", 2), "'value' parameter of claim"),
        (([], "<", 2), "'value' parameter of claim"),
        (([1, 2], "<", [1, 2, 3]), "one for each value; got 3 for 2 values"),
    ],
)
def test_claim_refuses_what_it_cannot_compare(given, message):
    with pytest.raises(ValueError, match=message):
        claim("text", *given)


def test_claim_wants_one_truth():
    with pytest.raises(ValueError, match="one truth value"):
        claim("several", torch.tensor([True, False]))


RESULT = {
    "title": "A <study>",
    "provenance": {"command": "python x.py", "seed": 0, "versions": {"torch": "2.9"}, "device": "cpu"},
    "rows": [{"model": "tiny", "auc": 0.5, "auc_low": 0.4, "auc_high": 0.6}, {"model": "b", "auc": None}],
    "findings": [{"paper": "x"}],
}


def test_stored(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(RESULT))
    result = stored(path)
    html = result._repr_html_()
    assert "A &lt;study&gt;" in html
    assert "0.500 [0.400, 0.600]" in html
    assert 'scope="col"' in html
    assert "command: python x.py; seed: 0; versions: torch 2.9; device: cpu; date: not recorded" in html
    assert list(result.frame().columns) == ["model", "auc"]
    assert result.findings == [{"paper": "x"}]
    assert repr(result).endswith("a.json: 2 rows)")


def test_stored_reads_a_saved_report(tmp_path):
    row = {"metric": "accuracy", "estimate": Estimate(0.75, 0.6, 0.9, 40, 0.95, "wilson")}
    report = Report((row,), {"model": "tiny"}, {"command": "medadv evaluate", "seed": 1})
    result = stored(report.save(tmp_path / "r.json"))
    assert "0.750 [0.600, 0.900]" in result._repr_html_()
    assert result.provenance.startswith("command: medadv evaluate; seed: 1")


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": 1}', '{"rows": [1]}'])
def test_stored_refuses_other_files(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="'path' parameter of stored"):
        stored(tmp_path / "a.json")


def test_stored_refuses_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="'path' parameter of stored"):
        stored(tmp_path / "none.json")


def _row(subject, metric, value, p=""):
    estimate = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 50}
    return {"subject": subject, "metric": metric, "p": p, "estimate": estimate}


@pytest.fixture
def table(tmp_path):
    rows = [_row("a", "x", 0.5), _row("a", "y", 0.6), _row("b", "x", 0.7), _row("b - a", "x", 0.2, "0.03")]
    finding = {"paper": "p", "finding": "b is better", "measured": 0.2, "low": 0.1, "high": 0.3, "verdict": "holds"}
    (tmp_path / "t.json").write_text(json.dumps({"title": "T", "rows": rows, "findings": [finding], "seed": 0}))
    return stored(tmp_path / "t.json")


def test_rows_of_a_table_are_picked_flat(table):
    assert [(row["subject"], row["value"], row["n"]) for row in table.pick("x")] == [("a", 0.5, 50), ("b", 0.7, 50)]
    assert [row["metric"] for row in table.pick(subject="a")] == ["x", "y"]
    (gap,) = table.pick("x", against="a")
    assert (gap["subject"], gap["p"], gap["low"]) == ("b", "0.03", pytest.approx(0.1))
    with pytest.raises(KeyError, match="no row of .*'z'.*there are .*'x', 'y'"):
        table.pick("z")
    with pytest.raises(KeyError, match="no row of .*'c'.*'b - a'"):
        table.pick("x", against="c")


def test_one_number_of_a_table(table):
    assert table.value("x", subject="b") == 0.7
    assert table.value("x", subject="b", cell="high") == pytest.approx(0.8)
    assert table.value("x", against="a") == 0.2
    with pytest.raises(KeyError, match="no row"):
        table.value("x", subject="c")
    with pytest.raises(KeyError, match="2 rows of 'x'.*name one more of .*'subject'"):
        table.value("x")


def test_findings_of_a_table(table):
    shown = table.verdicts()
    assert shown.rows == [{"finding": "b is better", "measured": 0.2, "low": 0.1, "high": 0.3, "verdict": "holds"}]
    assert (shown.data["title"], shown.path) == ("T: findings", table.path)
    assert "seed: 0" in shown.provenance
    assert table.finding("b is")["measured"] == 0.2
    with pytest.raises(KeyError, match="no finding 'c'; there are .*'b is better'"):
        table.finding("c")
