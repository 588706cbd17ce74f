"""Linear heads, where the strongest attack is known: what each verb finds against what there is to be found."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_heads import Linear, images

from medadv.attacks import apgd, apgd_targeted, fgsm, pgd, square, suite, universal
from medadv.objective import classify, margin
from medadv.threat import Threat

BALLS = ("linf:4/255", "l2:0.4", "l1:4")


def best_move(weight: torch.Tensor, image: torch.Tensor, threat: Threat) -> torch.Tensor:
    """The move inside ball and box that a linear function rises most by; weight (n,), image (n,)."""
    room = torch.where(weight > 0, 1 - image, image)
    size = weight.abs()
    if threat.norm == "linf":
        length = room.clamp_max(threat.eps)
    elif threat.norm == "l1":  # fill the heaviest pixels to their walls, one after another
        order = size.argsort(descending=True)
        spent = room[order].cumsum(0) - room[order]
        length = torch.zeros_like(room).scatter(0, order, (threat.eps - spent).clamp_min(0).minimum(room[order]))
    else:  # along the weights, each held by its wall: the size grows with the stretch
        low, high = 0.0, 1e6
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if (middle * size).minimum(room).norm() < threat.eps else (low, middle)
        length = (low * size).minimum(room)
    return weight.sign() * length


def two_classes(n: int = 6, walls: bool = True, shape=(16, 16)):
    head = Linear(2, shape, scale=0.05).double()
    image = images(n, shape).double()
    image = image if walls else 0.3 + 0.4 * image
    return head, image, head(image).argmax(1)


def optimum(head, image, label, threat):
    """For each image the largest difference that any point of ball and box has."""
    weight = head.weight.detach()
    found = []
    for one, true in zip(image, label.tolist(), strict=True):
        across = weight[1 - true] - weight[true]
        found.append(across @ (one.flatten() - 0.5 + best_move(across, one.flatten(), threat)))
    return torch.stack(found)


def gained(found, head, image, label, threat):
    """The share of what could be gained over the clean image."""
    start = margin(head, label)(image).loss
    return ((margin(head, label)(found.image).loss - start) / (optimum(head, image, label, threat) - start)).detach()


@pytest.mark.parametrize("walls", [True, False])
def test_one_step_is_the_optimum_of_linf(walls):
    head, image, label = two_classes(walls=walls)
    threat = Threat.parse("linf:4/255")
    found = fgsm(classify(head, label), image, threat)
    torch.testing.assert_close(gained(found, head, image, label, threat), torch.ones(6, dtype=torch.float64))
    weight = (head.weight[1] - head.weight[0]).detach().view(3, 16, 16)
    uphill = torch.where(label.view(-1, 1, 1, 1) == 0, weight.sign(), -weight.sign())
    moved = (image + threat.eps * uphill).clamp(0, 1)
    torch.testing.assert_close(found.image[~found.won], moved[~found.won])


def test_one_step_is_the_optimum_of_l2_away_from_the_walls():
    head, image, label = two_classes(walls=False)
    threat = Threat.parse("l2:0.4")
    found = fgsm(classify(head, label), image, threat)
    torch.testing.assert_close(gained(found, head, image, label, threat), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("random_start", [True, False])
@pytest.mark.parametrize("walls", [True, False])
@pytest.mark.parametrize(("told", "share"), [("linf:4/255", 1), ("l2:0.4", 0.98), ("l1:4", 0.94)])
def test_many_steps_reach_the_optimum(told, share, walls, random_start):
    head, image, label = two_classes(walls=walls)
    threat = Threat.parse(told)
    options = {"random_start": random_start, "stop": False, "generator": torch.Generator().manual_seed(0)}
    for verb, steps in ((pgd, 40), (apgd, 60)):
        found = verb(classify(head, label), image, threat, steps=steps, **options)
        assert (gained(found, head, image, label, threat) > share - 1e-6).all(), verb.__name__
        assert (gained(found, head, image, label, threat) < 1 + 1e-6).all()


def test_a_sparse_attack_is_sparse():
    head, image, label = two_classes(n=4)
    threat = Threat.parse("l1:4")
    found = apgd(classify(head, label), image, threat, steps=60, generator=torch.Generator().manual_seed(0), stop=False)
    moved = ((found.image - image).abs() > 1e-6).flatten(1).sum(1)
    assert (moved < 80).all()  # of 768; the optimum moves about ten


@pytest.mark.parametrize("told", BALLS)
@pytest.mark.parametrize("k", [2, 3, 4, 9])
def test_targeted_wins_exactly_where_a_win_exists(k, told):
    head = Linear(k, seed=k).double()
    image, threat = images(24, seed=k).double(), Threat.parse(told)
    label = head(image).argmax(1)
    weight = head.weight.detach()
    left = torch.zeros(24, k, dtype=torch.float64)
    for i, one in enumerate(image.flatten(1)):
        for c in range(k):
            across = weight[c] - weight[label[i]]
            left[i, c] = across @ (one - 0.5 + best_move(across, one, threat))
    left.scatter_(1, label[:, None], -torch.inf)
    found = apgd_targeted(head, image, label, threat, steps=40, generator=torch.Generator().manual_seed(0))
    scale = head(image).std(1)
    clear = left.amax(1).abs() > 0.01 * scale.detach()  # elsewhere a hair decides
    assert clear.sum() > 18
    assert torch.equal(found.won[clear], (left.amax(1) > 0)[clear])
    assert 0 < found.won.sum() < 24 or k > 4


@pytest.mark.parametrize("told", ["linf:4/255", "l2:0.4"])
def test_random_search_gains_most_of_what_there_is(told):
    head, image, label = two_classes(n=4, shape=(8, 8))
    # Squares find smooth directions: a checkerboard of noise is the worst case for them, so the weights are smooth.
    smooth = torch.nn.functional.interpolate(
        torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(1)), (8, 8)
    )
    head.weight.data = 0.05 * smooth.flatten(1).double()
    label = head(image).argmax(1)
    threat = Threat.parse(told)
    found = square(
        margin(head, label), image, threat, queries=1000, stop=False, generator=torch.Generator().manual_seed(0)
    )
    share = gained(found, head, image, label, threat)
    assert (share > {"linf": 0.9, "l2": 0.5}[threat.norm]).all()
    assert (share < 1 + 1e-6).all()


def test_the_suite_finds_what_there_is():
    head = Linear(3, seed=5)
    image, threat = images(20), Threat.parse("linf:2/255")
    label = head(image).argmax(1)
    found = suite(head, image, label, threat, attacks=("apgd", "apgd-targeted"))
    exact = apgd_targeted(head, image, label, threat, steps=40)
    assert torch.equal(found.won, exact.won)
    assert set(found.by) <= {"", "apgd", "apgd-targeted"}


@pytest.mark.parametrize("told", BALLS)
def test_one_perturbation_for_all_is_the_weights_direction(told):
    # Two classes and one label: the mean objective rises in one direction, the same for every image.
    head = Linear(2, scale=0.05).double()
    image, threat = 0.3 + 0.4 * images(40).double(), Threat.parse(told)
    label = torch.zeros(40, dtype=torch.int64)
    found = universal(partial(margin, head), image, label, threat, epochs=10, batch_size=8)
    across = (head.weight[1] - head.weight[0]).detach()
    most = across @ best_move(across, torch.full_like(across, 0.5), threat)
    assert across @ found.perturbation.flatten() > 0.9 * most
    assert threat.size(found.perturbation, torch.zeros_like(found.perturbation)) <= threat.eps * (1 + 1e-6)
