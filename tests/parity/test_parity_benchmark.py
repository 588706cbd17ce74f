"""The benchmark itself: it counts right, judges right, and runs."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import torch
from _bars import best_peer, verdicts
from _measure import Counted, judge, paired
from _peers import peers
from published import world

from medadv.threat import Threat

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_passes_are_counted_by_image():
    model, image, _ = world(5)
    counted = Counted(model)
    x = image.clone().requires_grad_()
    torch.autograd.grad(counted(x).sum(), x)
    with torch.no_grad():
        counted(image[:2])
    assert (counted.forwards, counted.backwards) == (7, 5)


def test_who_leaves_ball_or_box_is_counted():
    model, image, label = world(6)
    moved = image.clone()
    moved[0] += 2 / 255  # out of the ball
    moved[1, 0, 0, 0] = -0.01  # out of the box
    moved[2, 0, 0, 0] = torch.nan
    assert judge(model, moved, image, label, Threat("linf", 1 / 255))[1] == 3
    robust, outside = judge(model, image, image, label, Threat("linf", 1 / 255))
    assert robust.all()
    assert outside == 0


def test_the_paired_interval_knows_equal_from_unequal():
    ours = torch.tensor([True] * 50 + [False] * 50)
    difference, low, high = paired(ours, ours)
    assert difference == 0
    assert low < 0 < high
    assert high < 0.03
    difference, low, high = paired(ours, torch.zeros(100, dtype=torch.bool))
    assert difference == 0.5
    assert low > 0.3


def test_the_best_peer_is_the_fastest_at_equal_strength():
    rows = [
        {"runner": "medadv", "seconds": 1},
        {"runner": "weak", "seconds": 2, "difference": [-0.2, -0.3, -0.1]},
        {"runner": "good", "seconds": 4, "difference": [0.0, -0.1, 0.1], "ratio_seconds": [0.25, 0.2, 0.3]},
        {"runner": "slow", "seconds": 8, "difference": [0.0, -0.1, 0.1], "ratio_seconds": [0.12, 0.1, 0.2]},
    ]
    rows = [{**row, "attack": "pgd", "subject": "plain", "batch": 8, "robust": 0.5} for row in rows]
    assert best_peer(rows)["runner"] == "good"
    (one,) = verdicts(rows, [])
    assert (one["peer"], one["measured"], one["holds"]) == ("good", 0.25, True)


def test_the_quick_run_records_a_table(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("benchmark_of_attacks", BENCHMARKS / "attacks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out, threads = tmp_path / "attacks.json", torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["attacks.py", "--quick", "--attacks", "pgd", "square", "--out", str(out)])
    monkeypatch.setattr(module, "peers", lambda attack: {})  # they are tested next door
    try:
        module.main()
        module.main()  # a second run puts its rows in the place of the first
    finally:
        torch.set_num_threads(threads)
    told = json.loads(out.read_text())
    assert [(row["attack"], row["runner"], row["images"]) for row in told["rows"]] == [
        ("pgd", "medadv", 8),
        ("square", "medadv", 8),
    ]
    assert all(row["outside"] == 0 and row["forwards"] <= 4 for row in told["rows"])
    assert {"command", "versions", "device", "date", "peers", "clock"} <= set(told["provenance"])
    assert "| pgd 3 | plain linf:8/255 | 8 | medadv |" in out.with_suffix(".md").read_text()
    assert "pgd" in capsys.readouterr().out


def test_no_peer_is_asked_for_what_it_does_not_have():
    assert peers("no such attack") == {}
