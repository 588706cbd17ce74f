"""Metrics against scikit-learn, closed forms and sorting; intervals against simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

from medadv.evaluate.metrics import (
    Estimate,
    accuracy,
    auc,
    balanced_accuracy,
    bootstrap,
    confusion,
    macro_auc,
    paired_difference,
    sensitivity_specificity,
    wilson,
)


def _made(n=200, classes=3, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    label = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) + 1.0 * np.eye(classes)[label]
    return (logits.round(1) if ties else logits), label


def _softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_estimate_reads_well():
    value = Estimate(0.74, 0.70, 0.78, 600)
    assert repr(value) == "0.74 [0.70, 0.78] (n 600)"
    assert f"{value:.1f}" == "0.7 [0.7, 0.8] (n 600)"
    assert float(value) == 0.74


def test_wilson_known_values():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for k, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        got = wilson(k, n)
        assert (round(got.low, 4), round(got.high, 4)) == (low, high)


@given(n=st.integers(0, 500), share=st.floats(0, 1), level=st.floats(0.5, 0.999))
def test_wilson_properties(n, share, level):
    k = round(share * n)
    got, mirror = wilson(k, n, level=level), wilson(n - k, n, level=level)
    assert 0 <= got.low <= got.high <= 1
    assert got.low == pytest.approx(1 - mirror.high)
    if n:
        assert got.low <= got.value <= got.high
    else:
        assert np.isnan(got.value)


def test_wilson_refuses_more_hits_than_items():
    with pytest.raises(ValueError, match="'k' parameter of wilson"):
        wilson(3, 2)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_wilson_covers(p):
    # Exact coverage: the sum of the binomial probabilities of all counts whose interval holds p.
    n = 100
    holds = [k for k in range(n + 1) if wilson(k, n).low <= p <= wilson(k, n).high]
    assert 0.93 <= binom.pmf(holds, n, p).sum() <= 0.97


@pytest.mark.parametrize("ties", [False, True])
def test_equal_to_sklearn(ties):
    logits, label = _made(ties=ties)
    predicted = logits.argmax(1)
    assert accuracy(logits, label).value == (predicted == label).mean()
    assert balanced_accuracy(logits, label).value == pytest.approx(balanced_accuracy_score(label, predicted))
    p = _softmax(logits)
    want = roc_auc_score(label, p, multi_class="ovr")
    # Raw logits are ranked by their softmax; equal probabilities stay equal only where given so.
    assert macro_auc(p, label).value == pytest.approx(want)
    assert macro_auc(logits, label).value == pytest.approx(want, abs=1e-12 if not ties else 1e-3)
    assert (confusion(logits, label) == confusion_matrix(label, predicted)).all()
    score = logits[:, 1]
    assert auc(score, label == 1).value == pytest.approx(roc_auc_score(label == 1, score))


def test_two_classes_give_the_common_auc():
    logits, label = _made(classes=2)
    want = roc_auc_score(label, logits[:, 1] - logits[:, 0])
    assert macro_auc(logits, label).value == pytest.approx(want)
    assert auc(logits[:, 1] - logits[:, 0], label).value == pytest.approx(want)


def test_large_scales_do_not_saturate():
    logits, label = _made()
    assert macro_auc(logits * 1e3, label).value > 0.7
    two, true = _made(classes=2)
    assert macro_auc(two * 1e4, true).value == pytest.approx(macro_auc(two, true).value)


@pytest.mark.parametrize("grouped", [False, True])
def test_fast_bootstrap_equals_the_plain_one(grouped):
    logits, label = _made(60)
    groups = np.arange(60) // 4 if grouped else None

    def plain(statistic):
        return bootstrap(statistic, _softmax(logits), label, groups=groups, n=100, seed=3)

    for fast, slow in [
        (macro_auc, lambda p, y: roc_auc_score(y, p, multi_class="ovr")),
        (balanced_accuracy, lambda p, y: balanced_accuracy_score(y, p.argmax(1))),
    ]:
        got, want = fast(logits, label, groups=groups, n=100, seed=3), plain(slow)
        assert (got.low, got.high) == (pytest.approx(want.low), pytest.approx(want.high))
        assert got.method == want.method
    if grouped:
        got, want = (
            accuracy(logits, label, groups=groups, n=100, seed=3),
            plain(lambda p, y: (p.argmax(1) == y).mean()),
        )
        assert (got.low, got.high) == (pytest.approx(want.low), pytest.approx(want.high))


def test_bootstrap_of_a_mean_matches_the_closed_form():
    x = np.random.default_rng(0).normal(size=400)
    got = bootstrap(np.mean, x, n=2000)
    half = 1.96 * x.std() / 20
    assert got.low == pytest.approx(x.mean() - half, abs=0.015)
    assert got.high == pytest.approx(x.mean() + half, abs=0.015)


def test_bootstrap_covers_the_truth():
    # AUC of two normals a distance sqrt(2) apart is the normal distribution at 1.
    hits = 0
    for trial in range(200):
        rng = np.random.default_rng((7, trial))
        label = np.arange(120) % 2
        got = auc(rng.normal(size=120) + 2**0.5 * label, label, n=300, seed=trial)
        hits += got.low <= 0.8413447 <= got.high
    assert 0.90 <= hits / 200 <= 0.985


def test_groups_widen_the_interval_and_cover():
    hits = wide = 0
    for trial in range(150):
        rng = np.random.default_rng((8, trial))
        groups = np.repeat(np.arange(60), 5)
        right = np.repeat(rng.random(60) < 0.7, 5)  # all images of a patient agree
        label = np.ones(300, dtype=int)
        by_patient, by_image = (
            accuracy(right.astype(int), label, groups=groups, n=300),
            accuracy(right.astype(int), label),
        )
        hits += by_patient.low <= 0.7 <= by_patient.high
        wide += (by_patient.high - by_patient.low) > 1.5 * (by_image.high - by_image.low)
    assert hits / 150 >= 0.88
    assert wide == 150


def test_stratify_keeps_the_class_counts():
    label = np.array([0] * 5 + [1] * 20)
    got = bootstrap(np.mean, label, stratify=label, n=50)
    assert (got.low, got.high) == (0.8, 0.8)
    with pytest.raises(ValueError, match="a group in two strata"):
        bootstrap(np.mean, label, groups=np.arange(25) // 10, stratify=label)


def test_paired_difference_is_narrower_than_two_intervals():
    logits, label = _made(300)
    other = logits + 0.05 * np.random.default_rng(1).normal(size=logits.shape)
    same = paired_difference("macro AUC", logits, logits, label)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    got, alone = paired_difference("macro AUC", logits, other, label), macro_auc(logits, label)
    assert got.value == pytest.approx(macro_auc(other, label).value - alone.value)
    assert got.high - got.low < 0.5 * (alone.high - alone.low)


def test_sensitivity_and_specificity():
    found, spared = sensitivity_specificity([1, 1, 0, 0, 1], [1, 1, 1, 0, 0])
    assert (found.value, found.n, spared.value, spared.n) == (pytest.approx(2 / 3), 3, 0.5, 2)


def test_degenerate_cases():
    empty = accuracy(np.zeros((0, 3)), [])
    assert np.isnan(empty.value)
    assert (empty.low, empty.high, empty.n) == (0, 1, 0)
    assert np.isnan(macro_auc(np.zeros((0, 3)), []).value)
    assert np.isnan(balanced_accuracy(np.zeros((0, 3)), []).value)
    one = macro_auc(np.random.default_rng(0).normal(size=(9, 3)), [1] * 9)
    assert np.isnan([one.value, one.low, one.high]).all()
    assert confusion(np.zeros((0, 2)), []).tolist() == [[0, 0], [0, 0]]
    sure = accuracy([1, 1, 1, 1], [1, 1, 1, 1], groups=["a", "a", "b", "b"])
    assert sure.value == 1
    assert sure.low < 0.5
    assert sure.n == 4


def test_unknown_labels_are_left_out_and_tensors_are_welcome():
    logits, label = _made(50)
    mixed = np.r_[label, -1, -1]
    longer = torch.from_numpy(np.r_[logits, np.zeros((2, 3))]).requires_grad_()
    assert accuracy(longer, torch.from_numpy(mixed)) == accuracy(logits, label)
    assert macro_auc(longer.bfloat16(), mixed, groups=np.arange(52)).n == 50


def test_wrong_lengths_are_refused():
    with pytest.raises(ValueError, match="'label' parameter of accuracy"):
        accuracy(np.zeros((3, 2)), [0, 1])
    with pytest.raises(ValueError, match="'output' parameter of macro_auc"):
        macro_auc(np.zeros(3), [0, 1, 1])
    with pytest.raises(ValueError, match="'score' parameter of auc"):
        auc(np.zeros((3, 2)), [0, 1, 1])
    with pytest.raises(ValueError, match="'arrays' parameter of bootstrap"):
        bootstrap(np.mean, np.zeros(3), np.zeros(4))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40))
def test_auc_counts_pairs(items):
    score, label = np.array([s for s, _ in items]), np.array([y for _, y in items])
    pairs = [(p > q) + 0.5 * (p == q) for p in score[label] for q in score[~label]]
    got = auc(score, label, n=20)
    if pairs:
        assert got.value == pytest.approx(np.mean(pairs))
        assert auc(-score, label, n=20).value == pytest.approx(1 - got.value)
        assert auc(np.exp(score), label, n=20).value == pytest.approx(got.value)
    else:
        assert np.isnan(got.value)


def test_perfect_scores_do_not_claim_certainty():
    label = np.arange(30) % 3
    for metric in (balanced_accuracy, macro_auc):
        got = metric(10.0 * np.eye(3)[label], label)
        assert (got.value, got.high) == (1, 1)
        assert 0.6 < got.low < 0.8  # ten images of the smallest class
        assert metric(10.0 * np.eye(3)[label], label, groups=np.arange(30) // 3 // 5).low < 0.5
