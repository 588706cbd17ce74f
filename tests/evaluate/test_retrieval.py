"""Recall at k against sorting, with several captions per image, ties, and captions that mean the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medadv.evaluate.metrics import recall_at_k, same_meaning


def _by_sorting(similarity, right, k):
    hits = [bool(row[np.argsort(-sims)[:k]].any()) for sims, row in zip(similarity, right, strict=True) if row.any()]
    return np.mean(hits)


@settings(max_examples=40, deadline=None)
@given(images=st.integers(2, 12), captions=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_equal_to_sorting(images, captions, seed):
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.repeat(np.arange(images), captions))
    similarity = rng.normal(size=(images, len(owner)))
    right = owner == np.arange(images)[:, None]
    i2t = recall_at_k(similarity, owner, k=(1, 3), n=20)
    t2i = recall_at_k(torch.from_numpy(similarity), torch.from_numpy(owner), k=(1, 3), direction="t2i", n=20)
    for k in (1, 3):
        assert i2t[k].value == pytest.approx(_by_sorting(similarity, right, k))
        assert t2i[k].value == pytest.approx(_by_sorting(similarity.T, right.T, k))
    assert i2t[1].value <= i2t[3].value
    assert (i2t[1].n, t2i[1].n) == (images, len(owner))


def test_several_captions_of_one_image_do_not_push_each_other_out():
    similarity = np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.7]])
    assert recall_at_k(similarity, [0, 0, 1], k=(1,))[1].value == 1
    assert recall_at_k(similarity, [0, 0, 1], k=(1,), direction="t2i")[1].value == 1


def test_ties_count_against_the_model():
    constant = np.zeros((6, 6))
    assert recall_at_k(constant, range(6), k=(1, 5, 6)) == {
        k: recall_at_k(-np.eye(6), range(6), k=(k,))[k] for k in (1, 5, 6)
    }
    assert recall_at_k(constant, np.arange(6), k=(5,))[5].value == 0
    assert recall_at_k(constant, np.arange(6), k=(6,))[6].value == 1


def test_captions_that_mean_the_same_are_right():
    texts, owner = ["a naevus", "A naevus ", "a melanoma"], [0, 1, 2]
    true = same_meaning(texts, owner, 3)
    assert true.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    similarity = np.array([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]])
    assert recall_at_k(similarity, owner, k=(1,))[1].value == pytest.approx(1 / 3)
    for direction in ("i2t", "t2i"):
        assert recall_at_k(similarity, owner, k=(1,), equivalent=true, direction=direction)[1].value == 1


def test_unique_texts_without_owner_and_queries_without_answer():
    similarity = np.eye(3)[:, :2]
    true = np.eye(3, dtype=bool)[:, :2]
    got = recall_at_k(similarity, equivalent=true, k=(1,))[1]
    assert (got.value, got.n) == (1, 2)  # the third image has no right text


def test_captions_of_one_image_are_resampled_together():
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(80), 5)
    similarity = np.zeros((80, 400))
    lucky = rng.random(80) < 0.5
    similarity[owner, np.arange(400)] = np.where(lucky[owner], 1.0, -1.0)
    got = recall_at_k(similarity, owner, k=(1,), direction="t2i")[1]
    alone = recall_at_k(similarity, owner, k=(1,), direction="t2i", groups=np.arange(400))[1]
    assert got.value == alone.value == lucky.mean()
    assert got.high - got.low > 1.8 * (alone.high - alone.low)
    assert "80 groups" in got.method


def test_bad_input_is_refused():
    good = np.zeros((2, 3))
    with pytest.raises(ValueError, match="'similarity' parameter"):
        recall_at_k(np.zeros(3), [0])
    with pytest.raises(ValueError, match="'direction' parameter"):
        recall_at_k(good, [0, 0, 1], direction="text")
    with pytest.raises(ValueError, match="'owner' parameter of recall_at_k must be given"):
        recall_at_k(good)
    with pytest.raises(ValueError, match="image numbers below 2"):
        recall_at_k(good, [0, 1, 2])
    with pytest.raises(ValueError, match="'equivalent' parameter"):
        recall_at_k(good, equivalent=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="'owner' parameter of same_meaning"):
        same_meaning(["a"], [0, 1], 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_similarities_that_are_no_numbers_are_refused_by_row(bad):
    with pytest.raises(ValueError, match="got NaN or infinity for images 0, 1, 2, 3, 4 and 1 more of 6"):
        recall_at_k(torch.full((6, 6), bad), torch.arange(6), k=(1,))
    similarity = np.eye(5)
    similarity[3, 2] = bad
    for direction in ("i2t", "t2i"):
        with pytest.raises(ValueError, match="for images 3 of 5"):
            recall_at_k(similarity, np.arange(5), k=(1,), direction=direction)


@pytest.mark.parametrize("k", [(), (0,), 5, (1.5,)])
def test_ranks_are_whole_numbers_from_one(k):
    with pytest.raises(ValueError, match="'k' parameter of recall_at_k must hold ranks of at least 1"):
        recall_at_k(np.eye(3), np.arange(3), k=k)


def test_captions_are_compared_as_the_tokenizer_reads_them():
    texts, owner = ["a  small\tnaevus", "a small naevus", "a small naevus of the arm", "a large naevus"], [0, 1, 2, 3]
    assert same_meaning(texts, owner, 4)[0].tolist() == [True, True, False, False]

    def three_words(texts):
        return torch.tensor([[len(word) for word in text.split()[:3]] for text in texts])

    cut = same_meaning([*texts[:3], "a tall naevus"], owner, 4, tokenizer=three_words)
    assert cut[0].tolist() == [True, True, True, False]
    assert same_meaning([], [], 2, tokenizer=three_words).shape == (2, 0)


def test_an_owner_that_is_no_image_is_refused():
    with pytest.raises(ValueError, match="must hold image numbers below 2; got int64 from 0 to 2"):
        same_meaning(["a", "b"], [0, 2], 2)
