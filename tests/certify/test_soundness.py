from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from linear import Linear, Prototypes, Tower, images
from test_adapting_heads import Threshold

from medadv.certify.smooth import certify
from medadv.certify.soundness import strike


@pytest.mark.parametrize("kind", ["linear", "prototypes"])
def test_fixed_heads_are_never_broken(kind):
    head = Linear() if kind == "linear" else Prototypes(Tower(), 0)
    x = images(12)
    rows = certify(head, x, sigma=0.4, n=1000, progress=False)
    hits = strike(head, x, rows, steps=6, share=1.0, progress=False)
    assert len(hits) == sum(not row.abstained for row in rows) >= 3
    assert [hit.broken for hit in hits] == [False] * len(hits)
    assert all(hit.distance <= hit.certificate.radius + 1e-5 for hit in hits)
    assert all(hit.image.min() >= 0 and hit.image.max() <= 1 for hit in hits)


def test_the_attack_finds_the_way_out():
    """With a radius that is too large it reaches the plane: the campaign could have found a violation."""
    head, x = Linear(), images(12)
    rows = [r for r in certify(head, x, sigma=0.4, n=1000, progress=False) if not r.abstained]
    far = head.distance(x).abs()
    wide = [replace(row, radius=float(far[row.index]) + 0.2) for row in rows]
    hits = strike(head, x, wide, steps=10, progress=False)
    assert sum(hit.broken for hit in hits) >= 0.8 * len(hits)


def test_a_head_tuned_at_the_image_is_broken_inside_its_radius():
    x = torch.tensor([0.6, 0.65, 0.35]).view(3, 1, 1, 1)
    for eta, expected in ((0.0, 0), (0.3, 3)):
        rows = certify(Threshold(eta), x, sigma=0.4, n=5000, progress=False)
        hits = strike(Threshold(eta), x, rows, steps=8, progress=False)
        assert sum(hit.broken for hit in hits) == expected
        assert len(hits) == 3


def test_bad_input():
    rows = certify(Linear(), images(1), sigma=0.2, n=100, progress=False)
    with pytest.raises(ValueError, match="'seed' parameter of strike"):
        strike(Linear(), images(1), rows, seed=0)
    with pytest.raises(ValueError, match="'share' parameter"):
        strike(Linear(), images(1), rows, share=2)
