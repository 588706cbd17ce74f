from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medadv.certify.noise_stream import BLOCK, ROLES, Noise, Stream, kind

SHAPE = (3, 5, 7)
FROZEN = [0.711158, -0.115909, 0.683608, 0.453536]


def noise(seed=0, image=0, sigma=0.5, role="estimate", shape=SHAPE):
    return Noise(seed, image, sigma, role, shape)


@given(st.integers(0, 130), st.integers(0, 130), st.integers(1, 140))
@settings(max_examples=40, deadline=None)
def test_a_draw_is_the_same_whatever_batch_it_comes_in(start, more, size):
    made = list(noise().batches(start, start + more, size=size))
    whole = noise().draws(0, start + more)[start:]
    assert torch.equal(torch.cat([*made, whole[:0]]), whole)
    assert all(len(part) == size for part in made[:-1])
    assert sum(map(len, made)) == more


def test_draws_by_hand():
    """Twenty lines that must agree: Philox words, Box and Muller in float64."""
    made = noise(seed=3, image="a.png", sigma=0.25).draws(BLOCK, BLOCK + 1).flatten()
    from medadv.certify.noise_stream import _key

    size = BLOCK * 105
    raw = np.random.Philox(key=_key(noise(3, "a.png", 0.25)), counter=[0, 0, 1, 1]).random_raw(size // 2)
    number = raw.view(np.int32).astype(np.float64)
    radius, angle = np.abs(number[: size // 2]), number[size // 2 :] * np.pi / 2**31
    want = 0.25 * np.sqrt(-2 * np.log((radius + 0.5) / 2**31)) * np.cos(angle)
    assert np.allclose(made.numpy(), want[:105], atol=1e-5)


def test_the_numbers_never_change():
    """A stored certificate can be checked years later only if these stay."""
    assert noise().draws(0, 1).flatten()[:4].tolist() == pytest.approx(FROZEN, abs=1e-6)


def test_every_part_of_the_address_counts():
    base = noise().draws(0, 2)
    others = [noise(seed=1), noise(image=1), noise(image="0"), *(noise(role=r) for r in ROLES if r != "estimate")]
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([base.flatten(), other.draws(0, 2).flatten()]))[0, 1])) < 0.25
    small = noise(sigma=0.25).draws(0, 2)
    assert not torch.allclose(small * 2, base)  # sigma is part of the address, not a factor alone
    assert not torch.equal(base[0], base[1])


def test_roles_never_meet():
    """The same 40,000 numbers in no two roles and no two blocks."""
    seen = torch.cat([noise(role=role, shape=(1, 8, 8)).draws(0, 100).flatten() for role in ROLES])
    # 44,800 floats of 32 random bits have some equal pairs by chance; equal runs of two have none.
    pairs = torch.stack([seen[:-1], seen[1:]], 1)
    assert len(pairs.unique(dim=0)) == len(pairs)


def test_it_is_normal():
    draws = noise(sigma=1.0, shape=(3, 20, 20)).draws(0, 300).flatten().double().numpy()
    assert stats.kstest(draws, "norm").pvalue > 1e-3
    assert abs(draws.mean()) < 4 / len(draws) ** 0.5
    assert abs(draws.var() - 1) < 4 * (2 / len(draws)) ** 0.5
    assert abs((draws**4).mean() - 3) < 4 * (96 / len(draws)) ** 0.5
    tail = (np.abs(draws) > 4).mean()
    assert tail == pytest.approx(2 * stats.norm.sf(4), rel=0.5)
    assert np.isfinite(draws).all()
    halves = np.corrcoef(draws[::2], draws[1::2])[0, 1]
    assert abs(halves) < 4 / (len(draws) / 2) ** 0.5


def test_bad_addresses():
    with pytest.raises(ValueError, match="must be one of select"):
        noise(role="estimation")
    with pytest.raises(ValueError, match="'seed' parameter"):
        noise(seed=-1)
    with pytest.raises(ValueError, match="'sigma' parameter"):
        noise(sigma=0)
    assert noise(seed=4, role="train").stream == Stream(4, "train")
    assert kind("cpu") == "philox"
    assert noise().draws(5, 5).shape == (0, *SHAPE)
