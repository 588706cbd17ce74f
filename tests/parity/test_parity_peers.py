"""Our attacks against the same attacks of other libraries: equal gradients, equal robust accuracy.

pyautoattack and ART come with the `dev` extra and always run. torchattacks, adversarial-library and foolbox cannot
be installed beside this project by their stated requirements; benchmarks/README.md says how to have them, and
benchmarks/results/attacks.md what was measured with them.
"""

from __future__ import annotations

import pytest
import torch
from _measure import Counted, judge, paired
from _ours import OURS
from _peers import DISTRIBUTIONS, peers
from published import apgd, dlr, world
from torch import nn

from medadv.attacks._loop import ActiveBatch
from medadv.objective import classify, margin
from medadv.threat import Threat

STEPS = {"fgsm": 1, "mifgsm": 10, "pgd": 20, "apgd-ce": 40, "apgd-dlr": 40, "square": 100}
HAS = {
    "torchattacks": ["fgsm", "mifgsm", "pgd", "apgd-ce", "apgd-dlr", "square"],
    "adv_lib": ["pgd", "apgd-ce", "apgd-dlr"],
    "pyautoattack": ["apgd-ce", "apgd-dlr", "square"],
    "foolbox": ["fgsm", "pgd"],
    "ART": ["fgsm", "mifgsm", "pgd", "square"],
}
EPS = {"square": 8 / 255}
both = pytest.mark.parametrize(("library", "attack"), [(lib, one) for lib, has in HAS.items() for one in has])


class Watched(nn.Module):
    """Keeps every gradient that anybody asks for, with the point it was asked at."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.seen = model, []

    def forward(self, image):
        if image.requires_grad:
            here = image.detach().clone()
            image.register_hook(lambda slope: self.seen.append((here, slope.clone())))
        return self.model(image)


def peer(library: str, attack: str):
    found = peers(attack)
    if library not in found:
        pytest.skip(f"{DISTRIBUTIONS[library]} is not installed; benchmarks/README.md says how to have it")
    return found[library]


@both
def test_equal_robust_accuracy(library, attack):
    theirs, eps = peer(library, attack), EPS.get(attack, 5 / 255)
    model, image, label = world(32)
    mine, other = [], []
    for seed in range(2):
        for run, into in ((OURS[attack], mine), (theirs, other)):
            found = run(Counted(model).eval(), image, label, eps=eps, steps=STEPS[attack], seed=seed)
            robust, outside = judge(model, found.detach(), image, label, Threat("linf", eps))
            assert outside == 0
            into.append(robust)
    mine, other = torch.cat(mine), torch.cat(other)
    assert 0.1 < mine.float().mean() < 0.95
    difference, low, high = paired(mine, other)
    assert low <= 0 <= high, f"ours minus theirs {difference:+.3f} ({low:+.3f} to {high:+.3f})"


@pytest.mark.parametrize(("library", "attack"), [(lib, one) for lib, has in HAS.items() for one in has
                                                 if one in ("fgsm", "pgd", "apgd-ce", "apgd-dlr")])  # fmt: skip
def test_equal_gradients(library, attack):
    """At every point a library asks for a gradient, ours is the same, up to the factor of a mean over the batch."""
    theirs = peer(library, attack)
    model, image, label = world(6)
    watched = Watched(model).eval()
    theirs(watched, image, label, eps=5 / 255, steps=4, seed=0)
    assert watched.seen
    for point, slope in watched.seen:
        ours = gradient_of(model, label, attack, point)
        factor = (ours * slope).sum() / (slope * slope).sum()
        torch.testing.assert_close(ours, factor * slope, rtol=1e-3, atol=1e-3 * float(ours.abs().max()))


def test_the_seed_gives_the_same_start():
    """Ours and torchattacks' walk of PGD begin at the same point and stay together while nobody has left."""
    theirs = peer("torchattacks", "pgd")
    model, image, label = world(6)
    ours, others = Watched(model).eval(), Watched(model).eval()
    OURS["pgd"](ours, image, label, eps=1 / 255, steps=5, seed=4)
    theirs(others, image, label, eps=1 / 255, steps=5, seed=4)
    torch.testing.assert_close(ours.seen[0][0], others.seen[0][0])


def gradient_of(model, label, attack, point):
    want = margin(model, label) if attack == "apgd-dlr" else classify(model, label)
    with ActiveBatch(want, point.clamp(0, 1), Threat("linf", 1.0), stop=False) as active:
        return active.gradient(point)[1]


@pytest.mark.parametrize(("kind", "loss"), [("ce", None), ("dlr", dlr)])
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_pyautoattack_is_the_published_algorithm(kind, loss, norm):
    """The package under this name is not its authors': hold it against the paper before holding us against it."""
    base = pytest.importorskip("pyautoattack.autopgd_base", reason="pyautoattack comes with the dev extra")
    model, image, label = world(12)
    threat = Threat(norm.lower(), 5 / 255 if norm == "Linf" else 0.3)
    start = threat.start(image, generator=torch.Generator().manual_seed(0))
    theirs = base.APGDAttack(model, n_iter=40, norm=norm, eps=threat.eps, loss=kind, device="cpu")
    theirs.init_hyperparam(image)
    where, right, best, _ = theirs.attack_single_run(image, label, x_init=start)
    expected, point, fooled = apgd(
        model, image, label, eps=threat.eps, steps=40, start=start, loss=loss, norm=norm.lower()
    )
    assert torch.equal(~right.bool(), fooled)
    torch.testing.assert_close(best, expected, rtol=2e-3, atol=2e-3)
    assert (where - point).abs().mean() < 0.02 * threat.eps
