from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from medadv.certify.records import Certificate, as_log
from medadv.reports.certification import CONDITIONAL, Certified, certified_report, compare_heads, heads_of
from medadv.reports.html.certification import curves, save_certified


def log(heads=(("a", "fixed"), ("b", CONDITIONAL)), n=40, sigma=0.5):
    rng, rows = np.random.default_rng(0), []
    label = rng.integers(3, size=n)
    for k, (head, guarantee) in enumerate(heads):
        for i in range(n):
            predict = int(label[i]) if rng.random() < 0.6 + 0.1 * k else -1
            radius = float(rng.random() * sigma * 2) if predict >= 0 else 0.0
            row = {"idx": i, "label": int(label[i]), "predict": predict, "radius": radius, "correct": predict >= 0}
            row |= {"n0": 100, "n": 1000, "sigma": sigma, "alpha": 0.001, "plan": "fixed n=1000", "seed": 0}
            rows.append(row | {"head": head, "guarantee": guarantee})
    return pd.DataFrame(rows)


def test_rows_by_hand(tmp_path):
    whole = log()
    report = certified_report(whole, settings={"data": "toy"})
    own = whole[whole["head"] == "a"]
    for share in (0.0, 0.25, 0.5, 1.0):
        found = report["certified accuracy", "a", "fixed", "0.5", f"{share * 0.5:g}"]
        right = own["correct"] & (own["radius"] >= share * 0.5)
        assert found.value == pytest.approx(right.mean())
        assert found.low < found.value < found.high
        balanced = report["balanced certified accuracy", "a", "fixed", "0.5", f"{share * 0.5:g}"]
        assert balanced.value == pytest.approx(np.mean([right[own["label"] == k].mean() for k in range(3)]))
        assert balanced.low <= balanced.value <= balanced.high
    assert report["ACR", "a"].value == pytest.approx(own["radius"].where(own["correct"], 0).mean())
    assert report["abstained", "b"].value == (whole[whole["head"] == "b"]["predict"] < 0).mean()
    assert report["votes per image", "a"].value == 1100
    assert report.settings == {"task": "certification", "images": 40, "alpha": "0.001", "plan": "fixed n=1000",
                               "seed": "0", "data": "toy"}  # fmt: skip
    again = Certified.load(report.save(tmp_path / "r.json"))
    assert again["ACR", "b"] == report["ACR", "b"]
    assert CONDITIONAL in repr(again)


def test_wide_says_the_guarantee_of_every_head():
    wide = certified_report(log(), radii=(0.1,)).wide()
    assert wide["guarantee"].tolist() == ["fixed", CONDITIONAL]
    assert list(wide.columns) == ["head", "guarantee", "sigma", "r >= 0.1", "ACR", "abstained", "votes per image"]


def test_a_published_log_is_one_head():
    bare = log(heads=(("x", "y"),))[["idx", "label", "predict", "radius", "correct"]]
    with pytest.raises(ValueError, match="'sigma' parameter of certified_report"):
        certified_report(bare)
    report = certified_report(bare, sigma=0.5)
    assert report.wide()[["head", "guarantee"]].to_numpy().tolist() == [["log", "not stated"]]
    strict = certified_report(bare, radii=(0.0,), strict=True)["certified accuracy"].value
    assert strict <= report["certified accuracy"].value
    with pytest.raises(ValueError, match="must hold certificates"):
        list(heads_of(bare.iloc[:0]))


def test_comparison_is_paired():
    whole = log()
    made = compare_heads(whole, base="a", radii=(0.2,))
    a, b = ((part["correct"] & (part["radius"] >= 0.2)).to_numpy() for _, part in heads_of(whole))
    row = made.rows[0]
    assert row["estimate"].value == pytest.approx(b.mean() - a.mean())
    assert (row["head"], row["guarantee"]) == ("b - a", CONDITIONAL)
    assert 0 <= float(row["p"]) <= 1
    assert made.rows[1]["metric"] == "ACR"
    with pytest.raises(ValueError, match="must be one of a, b; got 'c'"):
        compare_heads(whole, base="c")


def test_page_and_curves(tmp_path):
    whole = log()
    drawn = curves(whole)
    assert drawn.count("<polyline") == 2
    first, _ = re.findall(r'points="([^"]*)"', drawn)
    heights = [float(point.split(",")[1]) for point in first.split()]
    assert heights == sorted(heights)  # certified accuracy never rises with the radius
    assert drawn.count('stroke-dasharray="5 4"') == 2  # the frozen one: its line and its place in the legend
    report = certified_report(whole, settings={"model": "m", "data": "<d>"})
    page = save_certified(report, whole, tmp_path / "p.html", compared=compare_heads(whole, base="a")).read_text()
    assert "&lt;d&gt;" in page
    assert "nothing is proved of that" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_certificates_become_a_log():
    facts = {"p_lower": 0.9, "n": 10, "count": 9, "n0": 5, "count0": 5, "sigma": 0.5, "alpha": 0.001, "seed": 0,
             "plan": "fixed n=10", "guarantee": "fixed", "reason": "certified"}  # fmt: skip
    made = as_log([Certificate(0, "h", 1, 0.2, **facts), Certificate(1, "h", -1, 0.0, **facts)], [1, 1])
    assert made["correct"].tolist() == [True, False]
    assert made["predict"].tolist() == [1, -1]
    assert certified_report(made)["certified accuracy"].value == 0.5
