"""Stored results come from a clean commit, out of their recorded command, and with the defaults of today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medadv.course.study import RESULTS, changed_defaults, origin

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.relative_to(ROOT).as_posix() for pattern in RESULTS for path in ROOT.glob(pattern))
MOVED: dict[str, str] = {
    "medadv.attacks._climb.climb": "medadv.attacks._loop.steepest_step",
    "medadv.attacks._meeting.Meeting.climb": "medadv.attacks.multimodal._PairAttack.attack_images",
    "medadv.attacks._reading.judge": "medadv.attacks.text._judge",
    "medadv.certify._door.check_draws": "medadv.certify._validate.check_draws",
    "medadv.certify.ladder.estimate": "medadv.certify.plans.estimate",
    "medadv.certify.ladder.radius_ladder": "medadv.certify.plans.radius_ladder",
    "medadv.certify.ladder.two_stage": "medadv.certify.plans.two_stage",
    "medadv.certify.rules.operating": "medadv.certify.sequential.operating",
    "medadv.course.honest01.attacked": "medadv.course.ch01.pitfalls.attacked",
    "medadv.course.honest01.climb": "medadv.course.ch01.pitfalls.climb",
    "medadv.course.honest01.noisy": "medadv.course.ch01.pitfalls.noisy",
    "medadv.course.honest02.logits_of": "medadv.course.ch02.pitfalls.logits_of",
    "medadv.course.honest02.per_finding": "medadv.course.ch02.pitfalls.per_finding",
    "medadv.course.lesson09.ambush": "medadv.course.ch09.helpers.ambush",
    "medadv.course.lesson09.noisy_probe": "medadv.course.baselines.noisy_probe",
    "medadv.course.lesson09.turned_away": "medadv.course.ch09.helpers.turned_away",
    "medadv.course.toys02.random_signs": "medadv.course.ch02.toy.random_signs",
    "medadv.course.toys09.streams": "medadv.course.ch09.toy.streams",
    "medadv.course.trivial.fit_forest": "medadv.course.baselines.fit_forest",
    "medadv.course.trivial.fit_linear": "medadv.course.baselines.fit_linear",
    "medadv.course.trivial.small_pixels": "medadv.course.baselines.small_pixels",
    "medadv.evaluate.adapted.adapt_report": "medadv.reports.adaptation.adapt_report",
    "medadv.evaluate.adapted.folds_report": "medadv.reports.adaptation.folds_report",
    "medadv.evaluate.adapted.within": "medadv.reports.adaptation.within",
    "medadv.evaluate.certified.Certified.wide": "medadv.reports.certification.Certified.wide",
    "medadv.evaluate.certified.certified_report": "medadv.reports.certification.certified_report",
    "medadv.evaluate.certified.compare_heads": "medadv.reports.certification.compare_heads",
    "medadv.evaluate.report.Report.compare": "medadv.reports.report.Report.compare",
    "medadv.evaluate.study.classify_report": "medadv.reports.classification.classify_report",
    "medadv.evaluate.study.head_report": "medadv.reports.classification.head_report",
    "medadv.evaluate.study.predict": "medadv.reports.classification.predict",
    "medadv.evaluate.study.retrieve_report": "medadv.reports.retrieval.retrieve_report",
    "medadv.train.noisy.denoise_step": "medadv.train.smoothing.denoise_step",
}
"""Functions that were renamed or moved since a result was stored: old full name to new."""


def read(file: str) -> dict:
    return json.loads((ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FILES)
def test_a_stored_result_says_how_to_make_it_again(file):
    made = origin(read(file))
    assert {"command", "seed", "versions", "device", "commit", "date"} <= set(made)
    assert not any(word.startswith("/") for word in made["command"].split()), "a path of one machine"


@pytest.mark.parametrize("file", FILES)
def test_a_stored_result_comes_from_a_clean_commit(file):
    assert not str(origin(read(file))["commit"]).endswith("+"), "made while files were changed: run its command again"


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("book/")])
def test_no_default_behind_a_stored_result_has_changed_since(file):
    data = read(file)
    assert data.get("defaults"), "stored before defaults were recorded: run its command again"
    assert changed_defaults(data["defaults"], moved=MOVED) == []
