"""What logs say: certified accuracy both ways, the average radius, and comparisons on the same images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest

from medadv.certify.bounds import high_probability_correction
from medadv.certify.curves import (
    average_certified_radius,
    certified_accuracy,
    compare_accuracy,
    compare_radius,
    paired_power,
)


def log_of(predict, radius, label=None) -> pd.DataFrame:
    predict = np.asarray(predict)
    label = np.ones(len(predict), int) if label is None else np.asarray(label)
    return pd.DataFrame(
        {"idx": range(len(predict)), "label": label, "predict": predict, "radius": np.asarray(radius, float),
         "correct": predict == label}
    )  # fmt: skip


FIVE = log_of([1, 1, 0, -1, 1], [0.5, 0.25, 0.9, 0.0, 0.0])


def test_certified_accuracy_both_ways():
    table = certified_accuracy(FIVE, radii=(0.0, 0.25, 0.5, 1.0))
    assert table["accuracy"].tolist() == [0.6, 0.4, 0.2, 0.0]
    assert certified_accuracy(FIVE, radii=(0.0, 0.25, 0.5, 1.0), strict=True)["accuracy"].tolist() == [
        0.4,
        0.2,
        0.0,
        0.0,
    ]
    assert table["n"].tolist() == [5] * 4
    assert ((table["low"] <= table["accuracy"]) & (table["accuracy"] <= table["high"])).all()
    assert "at_least" not in table


def test_certified_accuracy_for_the_whole_test_set():
    log = log_of([1] * 400 + [0] * 100, [1.0] * 500)
    table = certified_accuracy(log, radii=[0.5], alpha=0.001)
    assert table["at_least"][0] == pytest.approx(0.8 - high_probability_correction(500))
    assert certified_accuracy(FIVE, radii=[1.0], alpha=0.001)["at_least"][0] == 0.0


def test_average_radius_is_over_all_images():
    found = average_certified_radius(FIVE)
    assert found.value == pytest.approx(0.75 / 5)  # the wrong 0.9 and the abstained one count 0
    assert found.of_correct == pytest.approx(0.75 / 3)
    assert found.low < found.value < found.high
    nothing = average_certified_radius(log_of([0, -1], [0.3, 0.0]))
    assert nothing.value == 0.0
    assert np.isnan(nothing.of_correct)


def test_average_radius_is_the_area_under_the_curve():
    rng = np.random.default_rng(0)
    log = log_of(rng.integers(0, 2, 300), rng.exponential(0.5, 300))
    radii = np.linspace(0, 6, 601)
    area = certified_accuracy(log, radii=radii)["accuracy"].to_numpy()[:-1].sum() * 0.01
    assert average_certified_radius(log).value == pytest.approx(area, abs=0.01)


def test_comparison_is_mcnemar():
    first = log_of([1] * 60 + [0] * 40, [1.0] * 100)
    second = log_of([1] * 50 + [0] * 10 + [1] * 25 + [0] * 15, [1.0] * 100)
    found = compare_accuracy(first, second, radius=0.5)
    assert (found.gained, found.lost, found.n) == (25, 10, 100)
    assert found.difference == pytest.approx(0.15)
    assert found.pvalue == pytest.approx(binomtest(25, 35).pvalue)
    assert 0 < found.low < 0.15 < found.high
    back = compare_accuracy(second, first, radius=0.5)
    assert (back.difference, back.low, back.high) == pytest.approx((-found.difference, -found.high, -found.low))
    same = compare_accuracy(first, first)
    assert same.pvalue == 1.0
    assert same.low < 0 < same.high  # no discordant image is no certainty
    # The order of lines does not matter.
    assert compare_accuracy(first, second.iloc[::-1], radius=0.5) == found


def test_comparison_covers_the_truth():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(300):
        a, b = rng.random(80) < 0.6, rng.random(80) < 0.7
        found = compare_accuracy(log_of(a.astype(int), np.ones(80)), log_of(b.astype(int), np.ones(80)))
        hits += found.low <= 0.1 <= found.high
    assert hits / 300 >= 0.92


def test_comparison_of_radii():
    rng = np.random.default_rng(2)
    base = rng.exponential(0.5, 200)
    first, second = log_of([1] * 200, base), log_of([1] * 200, base + 0.05 + 0.1 * rng.random(200))
    found = compare_radius(first, second)
    assert found.difference == pytest.approx(0.1, abs=0.01)
    assert found.low > 0.08
    assert found.pvalue < 1e-6
    assert (found.gained, found.lost) == (200, 0)
    # Pairing is what makes it sharp.
    apart = average_certified_radius(second)
    assert (found.high - found.low) < (apart.high - apart.low) / 3
    assert compare_radius(first, first).pvalue == 1.0


def test_power_is_the_known_one():
    # 500 images at 10 % discordance see four to five points, not two.
    found = [paired_power(500, difference=d, discordance=0.1) for d in (0.02, 0.04, 0.05)]
    assert found == pytest.approx([0.25, 0.79, 0.94], abs=0.005)
    assert paired_power(128, difference=0.15, discordance=0.3) == pytest.approx(0.86, abs=0.005)
    assert paired_power(64, difference=0.2, discordance=0.3) == pytest.approx(0.83, abs=0.005)
    assert paired_power(500, difference=-0.04, discordance=0.1) == paired_power(500, difference=0.04, discordance=0.1)
    # Without a difference it is the level at most.
    assert 0.02 < paired_power(500, difference=0.0, discordance=0.1) <= 0.05


def test_power_one_count_at_a_time():
    n, discordance, difference = 40, 0.4, 0.2
    share = (discordance + difference) / (2 * discordance)
    total = sum(
        binom.pmf(pairs, n, discordance) * binom.pmf(gained, pairs, share)
        for pairs in range(1, n + 1)
        for gained in range(pairs + 1)
        if binomtest(gained, pairs).pvalue <= 0.05
    )
    assert paired_power(n, difference=difference, discordance=discordance) == pytest.approx(total, abs=1e-9)


def test_bad_input():
    twice = pd.concat([FIVE, FIVE])
    for call in (certified_accuracy, average_certified_radius):
        with pytest.raises(ValueError, match="must hold each image once; image 0 is there again"):
            call(twice)
        with pytest.raises(ValueError, match="must hold certificates; got none"):
            call(FIVE.iloc[:0])
    for call in (compare_accuracy, compare_radius):
        with pytest.raises(ValueError, match="their idx differs"):
            call(FIVE, FIVE.iloc[1:])
        with pytest.raises(ValueError, match="their label differs"):
            call(FIVE, FIVE.assign(label=0))
    with pytest.raises(ValueError, match="must not exceed the discordance"):
        paired_power(100, difference=0.2, discordance=0.1)
    with pytest.raises(ValueError, match="'images' parameter"):
        paired_power(0, difference=0.1, discordance=0.1)
