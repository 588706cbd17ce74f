"""Certificates against what is known exactly, and against CERTIFY written down plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear import Linear, Prototypes, Tower, images
from scipy.stats import beta, norm
from torch import nn

from medadv.certify.noise_stream import Noise
from medadv.certify.smooth import certify, predict


def reference(head, image, name, *, sigma, n0, n, alpha, seed):
    """CERTIFY of Cohen et al. 2019, algorithm 1, one noisy copy after the other."""

    def votes(role, m, classes):
        noise = Noise(seed, name, sigma, role, tuple(image.shape))
        table = np.zeros(classes, dtype=int)
        for j in range(m):
            noisy = image + noise.draws(j, j + 1)[0]
            table[int(head(noisy[None]).argmax())] += 1
        return table

    classes = head(image[None]).shape[1]
    guess = int(votes("select", n0, classes).argmax())
    k = votes("estimate", n, classes)[guess]
    p = beta.ppf(alpha, k, n - k + 1) if k else 0.0
    return (guess, k, p, sigma * norm.ppf(p)) if p > 0.5 else (-1, k, p, 0.0)


@pytest.mark.parametrize("kind", ["linear", "prototypes"])
def test_equal_to_the_plain_loop(kind):
    head, x = (Linear(shift=0.1) if kind == "linear" else Prototypes(Tower(), 0)), images(3)
    options = {"sigma": 0.4, "n0": 30, "n": 130, "alpha": 0.01, "seed": 5}
    rows = certify(head, x, batch_size=48, progress=False, **options)
    for i, row in enumerate(rows):
        label, k, p, radius = reference(head, x[i], i, **options)
        assert (row.predicted, row.count, row.n, row.n0) == (label, k, 130, 30)
        assert row.p_lower == pytest.approx(p, abs=1e-12)
        assert row.radius == pytest.approx(radius, abs=1e-12)
        assert row.abstained == (label == -1)


def test_linear_head_against_the_distance():
    """Phi(distance / sigma) is the probability of one vote, so the best radius is the distance itself."""
    head, x = Linear(), images(8)
    x = (x + torch.linspace(-0.6, 0.6, 8)[:, None, None, None] * head.weight.sign().view(3, 4, 4)).clamp(0, 1)
    distance = head.distance(x)
    rows = certify(head, x, sigma=0.5, n=5000, progress=False)
    for row, exact in zip(rows, distance.tolist(), strict=True):
        assert row.radius <= abs(exact)
        assert row.abstained or row.predicted == int(exact > 0)
        p = norm.cdf(abs(exact) / 0.5)
        share = row.count / row.n
        assert abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / row.n) + 1e-9
        best = 0.5 * norm.ppf(0.001 ** (1 / 5000))  # what 5000 votes can reach
        assert row.radius > min(abs(exact), best) - 0.2
    assert sum(not row.abstained for row in rows) >= 6


class Normalised(nn.Module):
    """A model that wants (pixels - mean) / std."""

    def __init__(self, head, std):
        super().__init__()
        self.head, self.std = head, std

    def forward(self, image):
        return self.head(image / self.std)


def test_noise_after_normalisation_overclaims():
    std = 0.25
    x = 0.25 * images(8)
    inner = Linear()
    exact = std * inner.distance(x / std).abs()  # in pixels
    right = certify(Normalised(inner, std), x, sigma=0.5 * std, n=4000, progress=False)
    # The same model, its noise added to the normalised image; the radius is then read as if it were in pixels.
    wrong = certify(inner, x / std, sigma=0.5, n=4000, progress=False)
    both = [(a, b, d) for a, b, d in zip(right, wrong, exact.tolist(), strict=True) if d > 0.05]
    assert len(both) >= 2
    for fair, claimed, distance in both:
        assert fair.radius <= distance
        assert claimed.radius > distance
        assert claimed.radius / fair.radius == pytest.approx(1 / std, rel=0.2)


def test_noise_is_not_clamped():
    """A head that answers by whether any pixel left [0, 1] must see that one did."""

    class Outside(nn.Module):
        def forward(self, image):
            out = ((image < 0) | (image > 1)).flatten(1).any(1).float()
            return torch.stack([1 - out, out], 1)

    (row,) = certify(Outside(), images(1), sigma=0.5, n=100, progress=False)
    assert (row.predicted, row.count) == (1, 100)


def test_predict():
    head, x = Linear(), images(8)
    found = predict(head, x, sigma=0.25, n=500, progress=False)
    assert found.shape == (1, 8)
    assert found.dtype == torch.int64
    distance = head.distance(x)
    sure = distance.abs() > 0.15
    assert torch.equal(found[0][sure], (distance > 0).long()[sure])
    p = predict(Linear(shift=float(-distance[0])), x[:1], sigma=0.25, n=500, progress=False)
    assert p.tolist() == [[-1]]  # on the plane itself
