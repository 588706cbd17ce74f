"""Heads that tune themselves: what they claim, against toys in which the truth is known."""

from __future__ import annotations

import math

import pytest
import torch
from linear import SHAPE, Linear, Prototypes, Tower, images
from scipy.stats import norm
from torch import nn
from torch.nn import functional as F

from medadv.certify.bounds import lower_bound, radius
from medadv.certify.promptsmooth import marginal_entropy
from medadv.certify.smooth import certify, predict
from medadv.certify.test_time import Composed, Inside, Routed, entropy_step
from medadv.certify.votes import vote_scale

QUICK = {"sigma": 0.3, "n0": 60, "n": 400, "progress": False}


class Scaled(Tower):
    """A tower with the inverse temperature that heads of sentences ask for."""

    scale = torch.tensor(5.0)


def head(seed: int, tower: Tower) -> Prototypes:
    made = Prototypes(tower, seed)
    made.classes = ("a", "b", "c")
    return made


def test_entropy_step_is_the_sign_of_the_gradient():
    view = F.normalize(torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0)), dim=-1)
    weight = F.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(1)), dim=-1)
    made = entropy_step(weight, view, scale=5.0, lr=0.01)
    for b in range(4):
        own = weight.clone().requires_grad_(True)
        loss = marginal_entropy(5.0 * view[b] @ own.T)
        (grad,) = torch.autograd.grad(loss, own)
        assert torch.allclose(made[b], F.normalize(weight - 0.01 * grad.sign(), dim=-1), atol=1e-6)
        assert marginal_entropy(5.0 * view[b] @ made[b].T) < loss
    assert torch.allclose(entropy_step(weight, view, scale=5.0, lr=0.0)[0], weight, atol=1e-6)


@pytest.mark.parametrize(
    ("copies", "ratio", "total"), [(100, 1.0, 0.0249), (1, 2.0, 0.2236), (1, 4.0, 0.2425), (3, 1.0, 0.125)]
)
def test_what_the_copies_are_worth(copies, ratio, total):
    made = Composed(head(0, Scaled()), copies=copies, ratio=ratio)
    assert 0.25 * vote_scale(made) == pytest.approx(total, abs=6e-5)


def test_certificates_name_their_guarantee():
    tower = Scaled()
    fixed = head(0, tower)
    heads = {
        "fixed": fixed,
        "inside": Inside(fixed),
        "composed": Composed(fixed),
        "routed": Routed([fixed, head(1, tower)]),
    }
    tower.calls = 0
    rows = {row.head: row for row in certify(heads, images(1), **QUICK)}
    assert {name: row.guarantee for name, row in rows.items()} == {
        "fixed": "fixed", "inside": "random-base", "composed": "composed", "routed": "routed"}  # fmt: skip
    assert tower.calls == 2 * 460  # all on one pass, but for the one further copy of each composed vote
    for name, made in heads.items():
        assert certify({name: made}, images(1), **QUICK)[0] == rows[name]
    with pytest.raises(TypeError, match="several copies"):
        heads["composed"](images(1))


class Plane(nn.Module):
    """The mean of all the copies decides on which side of the plane the image is: the best use of T + 1 copies."""

    guarantee = "composed"

    def __init__(self, copies: int):
        super().__init__()
        self.plane, self.copies, self.ratio, self.vlm = Linear(), copies, 1.0, Pixels()

    def from_copies(self, feature, further):
        mean = torch.cat([feature[:, None], further], 1).mean(1)
        return self.plane(mean.view(-1, *SHAPE))

    def forward(self, image):
        raise NotImplementedError


class Pixels(nn.Module):
    def encode_image(self, image):
        return image.flatten(1)


def test_composed_noise_is_tight():
    """Averaging T + 1 copies makes votes surer by sqrt(T + 1). Paid for, the radius is the distance and no more."""
    x = images(8)
    rows = certify(Plane(3), x, sigma=0.5, n=4000, progress=False)
    for row, exact in zip(rows, Linear().distance(x).abs().tolist(), strict=True):
        assert row.radius <= exact
        if exact > 0.3:
            assert row.radius > 0.8 * exact
            assert 2 * row.radius > 1.5 * exact  # what would be claimed if the copies cost nothing
            assert row.p_lower == pytest.approx(norm.cdf(row.radius / 0.25), abs=1e-9)


def test_composed_votes_never_share_their_copies():
    seen = []

    class Watch(Plane):
        def from_copies(self, feature, further):
            seen.append(further.flatten(0, 1))
            return super().from_copies(feature, further)

    certify(Watch(2), images(1), sigma=0.5, n0=30, n=90, batch_size=32, progress=False)
    drawn = torch.cat(seen)
    assert len(drawn) == 240
    assert len(drawn.unique(dim=0)) == 240  # selecting and certifying, all fresh


def test_routed_by_hand():
    tower, x = Scaled(), images(6)
    bank = [head(0, tower), head(1, tower), head(4, tower)]
    rows = certify(Routed(bank), x, **QUICK)
    for name in range(3):
        for single, row in zip(certify(bank[name], x, **QUICK), rows, strict=True):
            if not row.abstained:
                assert row.radius <= 0.3 * norm.ppf(0.0005 ** (1 / 400)) + 1e-9  # half of alpha
                if row.count == single.count and row.predicted == single.predicted:
                    assert row.radius <= single.radius
    assert any(not row.abstained for row in rows)
    sure = predict(Routed(bank), x, sigma=0.3, n=300, progress=False)[0]
    assert all(a in (-1, row.predicted) for a, row in zip(sure.tolist(), rows, strict=True) if not row.abstained)
    with pytest.raises(ValueError, match="two or more heads of one model"):
        Routed([bank[0]])
    with pytest.raises(ValueError, match="two or more heads of one model"):
        Routed([bank[0], head(0, Scaled())])


def test_wrong_composed():
    with pytest.raises(ValueError, match="'ratio' parameter"):
        Composed(head(0, Scaled()), ratio=0)
    with pytest.raises(ValueError, match="'copies' parameter"):
        Composed(head(0, Scaled()), copies=0)


class Threshold(nn.Module):
    """One dimension: class 1 above a threshold, which at test time takes a sign step away from the image."""

    guarantee = "prompt-frozen-at-x"

    def __init__(self, eta: float, views: int = 100, place: float = 0.5):
        super().__init__()
        self.eta, self.views, self.place, self.vlm = eta, views, place, Pixels()

    def at(self, feature):
        side = 1 if feature.mean() > 0.5 else -1
        return Threshold(self.eta, 0, 0.5 - side * self.eta)

    def from_features(self, feature):
        return torch.cat([self.place - feature, feature - self.place], 1)

    def forward(self, image):
        return self.from_features(image.flatten(1))


@pytest.mark.parametrize("eta", [0.1, 0.25])
def test_the_overclaim_of_test_time_tuning_is_its_step(eta):
    """The claimed radius is |x| + eta; the system, which tunes itself on what it is shown, changes its mind at |x|."""
    sigma, far = 0.4, 0.15
    claimed = radius(norm.cdf((far + eta) / sigma), sigma=sigma)  # with all the votes there are
    assert claimed - far == pytest.approx(eta, abs=1e-9)
    x = torch.full((1, 1, 1, 1), 0.5 + far)
    (row,) = certify(Threshold(eta), x, sigma=sigma, n=20_000, progress=False)
    share = norm.cdf((far + eta) / sigma)
    assert row.count / row.n == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / row.n))
    assert row.radius > far + 0.5 * eta
    assert row.p_lower == pytest.approx(lower_bound(row.count, row.n))
    moved = x - (far + 0.5 * eta)  # inside the claimed radius
    deployed = predict(Threshold(eta), torch.cat([x, moved]), sigma=sigma, progress=False)[0]
    assert deployed.tolist() == [1, 0]
    (fixed,) = certify(Threshold(0.0, views=0), x, sigma=sigma, n=20_000, progress=False)
    assert fixed.radius <= far
