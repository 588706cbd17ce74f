"""Stored results know the defaults they rely on, and a later change of one is seen."""

from __future__ import annotations

import json

from medadv._provenance import provenance
from medadv.course import study
from medadv.evaluate.intervals import wilson
from medadv.evaluate.metrics import accuracy
from medadv.reports.report import Report


def asks_for_an_accuracy(output, label):
    return accuracy(output, label)


def tries(output, label):
    return [asks_for_an_accuracy(output, label) for _ in range(2)]


tries.__module__ = asks_for_an_accuracy.__module__ = "study_chapter0"


def test_defaults_are_found_through_functions_that_call_others():
    found = study.defaults_of(tries)
    assert found["medadv.evaluate.metrics.accuracy"]["seed"] == 0
    assert "medadv.evaluate.intervals.resamples" in found, "called by a function that is called"


def test_a_changed_default_is_named():
    found = study.defaults_of(tries)
    assert study.changed_defaults(found) == []
    found["medadv.evaluate.metrics.accuracy"]["seed"] = 7
    found["medadv.evaluate.metrics.gone"] = {"n": 1}
    assert study.changed_defaults(found) == [
        "medadv.evaluate.metrics.accuracy: seed was 7 and is 0",
        "medadv.evaluate.metrics.gone is not there any more",
    ]
    moved = {"medadv.evaluate.metrics.gone": "medadv.evaluate.metrics.accuracy"}
    assert study.changed_defaults({"medadv.evaluate.metrics.gone": {"seed": 0}}, moved=moved) == []


def test_a_stored_report_says_its_minutes_and_its_command(tmp_path):
    report = Report(({"metric": "accuracy", "estimate": wilson(3, 4)},), {}, provenance(command="python x.py", seed=0))
    path = study.store(report, tmp_path / "book/01_x/results/a.json", title="A", findings=[], study=tries)
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["versions"]["minutes"] >= 0
    assert data["defaults"]
    assert study.listing(tmp_path).endswith("min  python x.py  -> book/01_x/results/a.json")
    assert Report.load(path)["accuracy"].value == 0.75
