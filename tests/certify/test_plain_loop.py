"""The engine gives what the loop of the field gives on the same noise; the benchmark's parts and bars work."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from linear import SHAPE, Linear, images

from medadv.certify.noise_stream import Noise
from medadv.certify.smooth import certify

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(name)


def test_same_noise_same_certificates(bench):
    x, head = images(6), Linear()
    made = certify(head, x, sigma=0.3, n0=40, n=250, alpha=0.01, batch_size=32, progress=False)
    assert {one.predicted for one in made} >= {0, 1}
    for one in made:

        def draw(role, image=one.index):
            return lambda many: Noise(0, image, 0.3, role, SHAPE).batches(0, many, size=32)

        label, radius, count = bench("_plain_certify").plain_certify(
            head, x[one.index], select=draw("select"), estimate=draw("estimate"), classes=2, n0=40, n=250, alpha=0.01,
            sigma=0.3,
        )  # fmt: skip
        assert (label, count) == (one.predicted, one.count)
        assert radius == pytest.approx(one.radius, abs=1e-12)


def test_fresh_noise_is_noise(bench):
    parts = list(bench("_plain_certify").fresh_noise(images(1)[0], 0.5, 100, 0)(1000))
    assert [len(part) for part in parts] == [100] * 10
    assert abs(float(parts[0].std()) - 0.5) < 0.02
    assert not parts[0].equal(parts[1])
    assert bench("_plain_certify").steps_as_published(320) == 500


def test_bars_are_held_against_rows_and_misses_are_said(bench):
    bars = bench("_certify_bars")
    rows = [
        {"part": "heads", "runner": "8 heads on one pass over one head", "ratio": [1.1, 1.0, 1.3]},
        {"part": "training", "runner": "few-shot, on embeddings that are there", "ratio": [12.0, 11.0, 13.0]},
        {"part": "tests", "runner": "planned looks at 1 sigma, n = 10,000", "times_fewer": 9.0},
    ]
    found = {one["part"]: one["holds"] for one in bars.verdicts(rows)}
    assert found == {"heads": True, "training": False, "tests": True}
    text = bars.markdown(rows, bars.verdicts(rows), {})
    assert text.count("holds") == 2
    assert "**missed**" in text
    assert "1.1 (1.0 to 1.3)" in text
