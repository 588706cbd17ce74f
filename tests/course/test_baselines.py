"""Baselines: what they see, and that a probe remembers the noise it was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import medadv
from medadv.course import baselines
from medadv.data.tidy import cache


@pytest.fixture(scope="module")
def pairs():
    return cache(medadv.phantoms(120, start=1_000_000), progress=False)


@pytest.fixture(scope="module")
def image(pairs):
    return pairs.batch(range(4)).image


def test_baseline_views(image):
    assert baselines.mean_colour(torch.full((2, 3, 8, 8), 0.25)).tolist() == [[0.25] * 3] * 2
    assert baselines.small_pixels(image[:4]).shape == (4, 3072)
    view = baselines.colour_texture(image[:4])
    assert view.shape == (4, 2 * 6 * 5)
    assert torch.isfinite(view).all()
    flat = baselines.colour_texture(torch.full((1, 3, 16, 16), 0.5)).view(2, 6, 5)
    assert torch.allclose(flat[:, :3], torch.full((2, 3, 5), 0.5))
    assert flat[:, 3:].abs().max() < 1e-6  # no saturation, no edges


@pytest.mark.parametrize("fit", [baselines.fit_linear, lambda *a, **k: baselines.fit_forest(*a, trees=20, **k)])
def test_baseline_classifiers(fit):
    draw = np.random.default_rng(0)
    label = torch.from_numpy(draw.integers(2, size=80)) * 2  # class 1 of three is absent
    feature = torch.from_numpy(draw.normal(size=(80, 3))).float() + label[:, None]
    output = fit(feature, label, feature, classes=3)
    assert output.shape == (80, 3)
    assert (output.argmax(1) == label).float().mean() > 0.9
    assert (output[:, 1] == -20).all()


def test_a_probe_remembers_its_noise(pairs):
    vlm = medadv.load("tiny", device="cpu")
    probe = baselines.noisy_probe(vlm, pairs, sigma=0.1, copies=1, seed=5, max_iter=20)
    assert [(one.seed, one.role) for one in probe.streams] == [(5, "train")]
    assert probe(pairs.batch([0]).image).shape == (1, 20)
    with pytest.raises(ValueError, match=r"'pairs' parameter of noisy_probe"):
        baselines.noisy_probe(vlm, pairs.select([0, 1]), sigma=0.1)
