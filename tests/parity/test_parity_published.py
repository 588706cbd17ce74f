"""Our fast loops against the algorithms as their papers print them: the same points, gradients and verdicts."""

from __future__ import annotations

import pytest
import torch
from published import apgd, dlr, gradient, pgd, square, world
from torch.nn import functional as F

from medadv.attacks import apgd as our_apgd
from medadv.attacks import fgsm, mifgsm
from medadv.attacks import pgd as our_pgd
from medadv.attacks import square as our_square
from medadv.attacks._loop import ActiveBatch
from medadv.objective import classify, margin
from medadv.threat import Threat

EPS = 5 / 255
LINF = Threat("linf", EPS)


def start(image, threat=LINF, seed=0):
    return threat.start(image, generator=torch.Generator().manual_seed(seed))


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def first_points(points, fooled):
    """Where each image was first fooled, else its last point but nothing is claimed of that."""
    step = torch.where(fooled.any(0), fooled.int().argmax(0), len(points) - 1)
    return points[step, torch.arange(points.shape[1])]


@pytest.mark.parametrize("kind", [classify, margin])
def test_gradients_are_those_of_the_loss(kind):
    model, image, label = world()
    loss = {classify: None, margin: dlr}[kind]
    expected, slope, won = gradient(model, image, label, loss)
    with ActiveBatch(kind(model, label), image, LINF) as active:
        score, ours = active.gradient(image)
    torch.testing.assert_close(ours, slope)
    torch.testing.assert_close(score.loss, expected)
    assert torch.equal(score.won, won)


def test_pgd_walks_the_published_path():
    model, image, label = world()
    points, fooled = pgd(model, image, label, eps=EPS, step=EPS / 4, steps=20, start=start(image))
    found = our_pgd(classify(model, label), image, LINF, steps=20, step=EPS / 4, generator=stream())
    assert 0.2 < fooled.any(0).float().mean() < 0.9
    assert torch.equal(found.won, fooled.any(0))
    torch.testing.assert_close(found.image[found.won], first_points(points, fooled)[found.won])
    losses = torch.stack([F.cross_entropy(model(x), label, reduction="none") for x in points]).detach()
    torch.testing.assert_close(found.loss[~found.won], losses.amax(0)[~found.won])


def test_fgsm_is_one_published_step():
    model, image, label = world()
    points, fooled = pgd(model, image, label, eps=EPS, step=EPS, steps=1, start=image)
    found = fgsm(classify(model, label), image, LINF)
    assert torch.equal(found.won, fooled[1])
    torch.testing.assert_close(found.image[found.won], points[1][found.won])


def test_mifgsm_walks_the_published_path():
    model, image, label = world()
    points, fooled = pgd(model, image, label, eps=EPS, step=EPS / 10, steps=10, start=image, decay=1.0)
    found = mifgsm(classify(model, label), image, LINF)
    assert torch.equal(found.won, fooled.any(0))
    torch.testing.assert_close(found.image[found.won], first_points(points, fooled)[found.won])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("kind", "loss"), [(classify, None), (margin, dlr)])
def test_apgd_walks_the_published_path(kind, loss, norm):
    threat = Threat(norm, EPS if norm == "linf" else 0.3)
    model, image, label = world(12)
    begin = start(image, threat)
    best, where, fooled = apgd(model, image, label, eps=threat.eps, steps=40, start=begin, loss=loss, norm=norm)
    found = our_apgd(kind(model, label), image, threat, steps=40, generator=stream())
    held = ~fooled
    assert 0 < fooled.sum() < len(fooled)
    assert torch.equal(found.won, fooled)
    # Rounding adds up over forty steps; a step taken the other way would show in the third digit.
    torch.testing.assert_close(found.loss[held], best[held], rtol=2e-3, atol=2e-3)
    assert (found.image - where)[held].abs().mean() < 0.02 * threat.eps
    every = our_apgd(kind(model, label), image, threat, steps=40, stop=False, generator=stream())
    torch.testing.assert_close(every.loss[held], found.loss[held], rtol=1e-4, atol=1e-4)


def test_square_is_as_strong_for_as_few_queries():
    model, image, label = world(12)
    ours, spent, theirs, asked = 0.0, 0.0, 0.0, 0.0
    for seed in range(4):
        found = our_square(margin(model, label), image, Threat("linf", 8 / 255), queries=120, generator=stream(seed))
        fooled, queries = square(model, image, label, eps=8 / 255, queries=120, seed=seed)
        ours, spent = ours + found.won.float().mean(), spent + found.cost.forwards
        theirs, asked = theirs + fooled.float().mean(), asked + float(queries.sum())
    assert ours / 4 >= theirs / 4 - 0.1
    assert spent <= 1.1 * asked


def test_a_head_that_views_its_pixels_as_rows_is_attacked_too():
    """On a CPU the loop lays channels last where there are convolutions; `view` cannot have that."""
    model, image, label = world(4)

    class Viewing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return self.inner(x.view(len(x), -1).view_as(x))

    for steps in (1, 5):
        found = our_pgd(classify(Viewing().eval(), label), image, LINF, steps=steps, step=EPS / 4, generator=stream())
        known = our_pgd(classify(model, label), image, LINF, steps=steps, step=EPS / 4, generator=stream())
        torch.testing.assert_close(found.image, known.image)
        assert found.image.is_contiguous()
