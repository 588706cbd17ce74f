"""Reports: tables, files, comparisons, and where the numbers came from."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medadv.evaluate.metrics import Estimate, accuracy, macro_auc
from medadv.reports.report import Report, provenance


def _report(shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(90) % 3
    output = rng.normal(size=(90, 3)) + (1 + shift) * np.eye(3)[label]
    rows = (
        {"metric": "accuracy", "class": "all", "estimate": accuracy(output, label)},
        {"metric": "macro AUC", "class": "all", "estimate": macro_auc(output, label)},
        {"metric": "AUC", "class": "a <b>", "estimate": Estimate(math.nan, math.nan, math.nan, 0)},
    )
    raw = {"output": output.tolist(), "label": label.tolist(), "group": []}
    return Report(rows, {"task": "test", "model": "m"}, provenance(command="run", seed=1), raw)


def test_saved_and_loaded_again(tmp_path):
    report = _report()
    path = report.save(tmp_path / "new" / "report.json")
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]  # no temporary file is left
    again = Report.load(path)
    assert again.rows[:2] == report.rows[:2]
    assert math.isnan(again["AUC"].value)
    assert again.raw == report.raw
    assert again.settings == report.settings
    assert again.versions == report.versions
    assert "NaN" not in path.read_text()
    json.loads(path.read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "other"}', '{"kind": "medadv report 1", "rows": [{}]}'])
def test_a_file_that_is_no_report_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="must be a file written by"):
        Report.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = _report().save(tmp_path / "r.json")
    before = path.read_bytes()
    broken = Report(({"metric": "x", "estimate": Estimate(1, 1, 1, 1)},), {"bad": {1: object}})
    object.__setattr__(broken, "raw", {"output": [float("inf")], "loop": _loop()})
    with pytest.raises((ValueError, RecursionError)):
        broken.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def _loop():
    around: list = []
    around.append(around)
    return around


def test_looks_up_rows():
    report = _report()
    assert report["accuracy"] is report.rows[0]["estimate"]
    assert report["AUC", "a <b>"] is report.rows[2]["estimate"]
    with pytest.raises(KeyError, match="no row"):
        report["recall"]


def test_text_and_frame():
    report = _report()
    lines = repr(report).splitlines()
    assert lines[0] == "test, m"
    assert re.fullmatch(r"accuracy +all +0\.\d{3}  \[0\.\d{3}, 0\.\d{3}\] +90", lines[3])
    assert list(report.frame().columns) == ["metric", "class", "value", "low", "high", "n"]
    assert len(report.frame()) == 3
    assert repr(Report(()))


class _Table(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_html_is_accessible_and_self_contained():
    page = _report().html(caption="a & b")
    table = _Table()
    table.feed(page)
    names = [tag for tag, _ in table.tags]
    assert names[0] == "table"
    assert names[1] == "caption"
    assert not {"script", "link", "img", "style"} & set(names)
    scopes = [attrs.get("scope") for tag, attrs in table.tags if tag == "th"]
    assert scopes == ["col"] * 5 + ["row"] * 3
    assert "a &amp; b" in page
    assert "a &lt;b&gt;" in page


def test_compare_is_paired_where_it_can_be():
    first, second = _report(), _report(shift=1.0)
    change = first.compare(second)["macro AUC"]
    assert change.value == pytest.approx(second["macro AUC"].value - first["macro AUC"].value)
    assert change.low > 0
    assert first.compare(first)["accuracy"].value == 0
    blind = Report(second.rows, second.settings)
    assert math.isnan(first.compare(blind)["macro AUC"].low)
    with pytest.raises(ValueError, match="must share rows"):
        first.compare(Report(({"metric": "x", "estimate": Estimate(1, 1, 1, 1)},)))


def test_provenance(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDADV_DATA", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["/usr/bin/medadv", "data", str(tmp_path / "x")])
    made = provenance(seed=3)
    assert made["command"] == "medadv data $MEDADV_DATA/x"
    assert made["seed"] == 3
    assert made["device"].startswith("cpu")
    assert {"python", "torch", "open_clip_torch", "medadv"} <= made["versions"].keys()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["date"])
    json.dumps(made, allow_nan=False)
