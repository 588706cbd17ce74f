"""The toy world is solved exactly, so every claim about it can be checked in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medadv.course.ch01 import toy


def test_world_is_a_distribution():
    for error in (0.0, 0.05, 1.0):
        joint = toy.chest_world(error).joint
        assert joint.shape == (4, 6)
        assert float(joint.sum()) == pytest.approx(1)
    with pytest.raises(ValueError, match="'error' parameter"):
        toy.chest_world(2)


def test_information_by_hand():
    sure = torch.eye(4, dtype=torch.float64) / 4
    assert toy.information(sure) == pytest.approx(math.log(4))
    assert toy.information(torch.full((3, 5), 1 / 15, dtype=torch.float64)) == pytest.approx(0, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-3, 3))
def test_pmi_is_the_minimum(seed, shift):
    draw = torch.Generator().manual_seed(seed)
    joint = torch.rand(3, 5, generator=draw, dtype=torch.float64) + 0.01
    joint = joint / joint.sum()
    best = toy.population_loss(toy.pmi(joint), joint)
    assert float(best) == pytest.approx(-toy.information(joint))
    assert float(toy.population_loss(toy.pmi(joint) + shift, joint)) == pytest.approx(float(best))
    other = toy.pmi(joint) + torch.randn(3, 5, generator=draw, dtype=torch.float64)
    assert float(toy.population_loss(other, joint)) >= float(best) - 1e-12


def test_population_loss_is_the_batch_loss_of_a_large_batch():
    """Against the definition: draw a batch, take the softmax over it, leave out log(batch)."""
    joint = toy.chest_world(0.2).joint
    score = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    draw = torch.Generator().manual_seed(2)
    pairs = torch.multinomial(joint.flatten(), 3000, replacement=True, generator=draw)
    logits = score[pairs // 6][:, pairs % 6]
    own = torch.arange(3000)
    batch = (torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)) / 2
    assert float(batch) - math.log(3000) == pytest.approx(float(toy.population_loss(score, joint)), abs=0.05)


def test_descent_finds_it():
    joint = toy.chest_world().joint
    fit = toy.fit_free(joint)
    assert fit.loss == pytest.approx(-toy.information(joint), abs=1e-4)


def test_vectors_are_unit_and_kept_where_asked():
    fit = toy.fit_vectors(toy.chest_world().joint, steps=10, keep=(0, 10))
    assert [n for n, _, _ in fit.path] == [0, 10]
    for _, image, text in fit.path:
        assert torch.allclose(image.norm(dim=1), torch.ones(4, dtype=torch.float64))
        assert torch.allclose(text.norm(dim=1), torch.ones(6, dtype=torch.float64))
