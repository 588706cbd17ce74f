"""The exercises of chapter 10 ask for what the package does: the same answers, from its own functions."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.nn import functional as F

from medadv.certify.promptsmooth import marginal_entropy
from medadv.certify.smooth import certify
from medadv.certify.test_time import entropy_step
from medadv.certify.votes import count, vote_scale
from medadv.course.ch10 import checks


class Tower(nn.Module):
    """Stands in for a VLM and counts the images that pass."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def encode_image(self, image):
        self.seen += len(image)
        return F.normalize(image.flatten(1) - 0.5, dim=-1)


class Head(nn.Module):
    """Two classes on the tower; `views` and `copies` as certification reads them."""

    def __init__(self, vlm, weight=None, *, views=0, copies=0):
        super().__init__()
        self.vlm, self.views, self.copies, self.ratio = vlm, views, copies, 2.0
        self.register_buffer("weight", torch.eye(2, 12) if weight is None else weight)

    def at(self, _):
        return Head(self.vlm)

    def from_features(self, feature):
        return feature @ self.weight.T

    def from_copies(self, feature, _):
        return self.from_features(feature)

    def forward(self, image):
        return self.from_features(self.vlm.encode_image(image))


def test_marginal_entropy():
    assert checks.q1(lambda t: marginal_entropy(torch.tensor(t))).ok


def test_the_sign_step_of_the_package_is_the_first_of_adam():
    """Down the entropy by lr in every coordinate, before the vectors are made unit again."""
    made = torch.Generator().manual_seed(0)
    weight = F.normalize(torch.randn(3, 6, generator=made, dtype=torch.float64), dim=-1)
    view = F.normalize(torch.randn(7, 6, generator=made, dtype=torch.float64), dim=-1)
    moved = weight.clone().requires_grad_(True)
    marginal_entropy(5 * view @ moved.T).backward()
    torch.optim.AdamW([moved], lr=0.03, weight_decay=0.0).step()
    stepped = entropy_step(weight, view[None], scale=5.0, lr=0.03)[0]
    torch.testing.assert_close(stepped, F.normalize(moved.detach(), dim=-1), atol=1e-5, rtol=0)


def test_votes():
    """Noise that is looked up may be any array: the bank of the exercise goes through the package's count."""

    class Bank:
        device = torch.device("cpu")

        def __init__(self, features):
            self.features = torch.tensor(features)

        def batches(self, start, stop, *, size):
            yield from self.features[start:stop].split(size)

    def votes(features, weights):
        tower = SimpleNamespace(encode_image=lambda image: image)
        heads = [Head(tower, torch.tensor(one)) for one in weights]
        return torch.stack([own for (own,) in count(heads, torch.zeros(()), Bank(features), 0, len(features))])

    assert checks.q4(votes).ok


def test_composed_radius():
    def radius(low, sigma, further, copies):
        return max(0.0, sigma * vote_scale(SimpleNamespace(copies=copies, ratio=further / sigma)) * norm.ppf(low))

    assert checks.q5(radius).ok


@pytest.mark.parametrize("case", [(100, 200, 4, 100, 0), (100, 200, 1, 0, 1), (50, 150, 8, 20, 2), (50, 150, 3, 0, 0)])
def test_passes(case):
    n0, n, fixed, views, copies = case
    tower = Tower()
    heads = [Head(tower) for _ in range(fixed)]
    heads += [Head(tower, views=views)] if views else []
    heads += [Head(tower, copies=copies)] if copies else []
    certify(heads, torch.rand(1, 3, 2, 2), sigma=0.5, n0=n0, n=n, progress=False)
    assert tower.seen == n0 + n + views + (n0 + n) * copies
