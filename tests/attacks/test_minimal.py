"""The smallest perturbation: bisection on any attack, and DDN, against heads whose distances are known."""

from __future__ import annotations

import math

import pytest
import torch
from small_heads import Linear, Small, images, read

from medadv.attacks import apgd, ddn, fgsm, pgd, smallest_eps, square
from medadv.objective import Objective, classify
from medadv.threat import Threat
from medadv.types import Score


def linear(n: int = 6):
    """Two classes, pixels in the middle of the box, and how far the boundary is from each image in every norm."""
    head, image = Linear(2, (8, 8), scale=0.05), 0.45 + 0.1 * images(n, (8, 8))
    logits = head(image).detach()
    label, gap = logits.argmax(1), (logits[:, 0] - logits[:, 1]).abs()
    slope = (head.weight[0] - head.weight[1]).detach()
    dual = {"linf": slope.abs().sum(), "l2": slope.norm()}
    return head, image, label, {norm: gap / size for norm, size in dual.items()}


@pytest.mark.parametrize(("norm", "attack"), [("linf", fgsm), ("linf", pgd), ("l2", fgsm), ("l2", apgd)])
def test_bisection_finds_the_distance_to_a_linear_boundary(norm, attack):
    head, image, label, distance = linear()
    options = {} if attack is fgsm else {"random_start": False, "steps": 4}
    found = smallest_eps(classify(head, label), image, norm=norm, attack=attack, tolerance=0.01, **options)
    assert found.won.all()
    assert (found.eps >= distance[norm] * (1 - 1e-4)).all()
    assert (found.eps <= distance[norm] * 1.0101).all()
    assert (Threat(norm, 1.0).size(found.image, image) <= found.eps + 1e-6).all()
    assert torch.equal(found.won, read(head, found.image) != label)


def test_the_attack_has_failed_at_the_next_smaller_budget():
    head = Small(3).eval()
    image = images(6)
    label = read(head, image)
    found = smallest_eps(classify(head, label), image, low=1e-4, high=0.5, tolerance=0.1, random_start=False, steps=5)
    many = math.ceil(math.log(0.5 / 1e-4) / math.log1p(0.1))
    ratio = (0.5 / 1e-4) ** (1 / many)
    for row in found.won.nonzero().flatten().tolist():
        want, budget = classify(head, label[[row]]), float(found.eps[row])
        assert pgd(want, image[[row]], Threat("linf", budget * 1.000001), steps=5, random_start=False).won.all()
        if budget > 1.01e-4:
            below = Threat("linf", budget / ratio)
            assert not pgd(want, image[[row]], below, steps=5, random_start=False).won.any()


def test_what_is_wrong_already_needs_nothing_and_what_never_falls_is_inf():
    def judge(x, goal):
        bright = x.flatten(1).mean(1)
        return Score(bright, bright >= goal)

    image = images(3)
    goal = torch.stack([image[0].mean() - 0.01, image[1].mean() + 0.05, torch.tensor(2.0)])
    found = smallest_eps(Objective(judge, (goal,)), image, attack=fgsm, high=0.3)
    assert found.eps[0] == 0
    assert torch.equal(found.image[0], image[0])
    assert 0.04 < found.eps[1] < 0.08
    assert found.eps[2].isinf()
    assert found.won.tolist() == [True, True, False]
    assert found[[1, 2]].eps.tolist() == found.eps[1:].tolist()
    least = ddn(Objective(judge, (goal,)), image)
    assert least.eps[0] == 0
    assert least.eps[2].isinf()
    assert least.won.tolist() == [True, True, False]
    assert "2/3 found" in repr(found)
    assert "2/3 found" in repr(least)


def test_the_search_stays_in_the_region_and_takes_attacks_without_gradients():
    head, image, label, distance = linear(4)
    region = torch.zeros(4, 1, 8, 8, dtype=torch.bool)
    region[:, :, :, 2:] = True
    for attack, options in ((pgd, {"steps": 5}), (square, {"queries": 30})):
        found = smallest_eps(
            classify(head, label), image, attack=attack, region=region, tolerance=0.1,
            generator=torch.Generator().manual_seed(0), **options,
        )  # fmt: skip
        changed = (found.image != image).any(1, keepdim=True)
        assert not changed[~region].any()
        assert found.won.all()
        assert (found.eps > distance["linf"]).all()


def test_ddn_finds_the_distance_to_a_linear_boundary():
    head, image, label, distance = linear()
    found = ddn(classify(head, label), image, steps=60)
    assert found.won.all()
    torch.testing.assert_close(found.eps, Threat("l2", 1.0).size(found.image, image))
    assert (found.eps >= distance["l2"] * (1 - 1e-4)).all()
    assert (found.eps <= distance["l2"] * 1.01).all()
    assert found.cost[:2] == (6 + 6 * 62, 6 * 60)  # the clean images, each point, and what is returned


def test_ddn_within_a_threat_succeeds_where_the_budget_suffices():
    head, image, label, distance = linear()
    budget = float(distance["l2"].median()) * 1.05
    found = ddn(classify(head, label), image, Threat("l2", budget), steps=60)
    assert torch.equal(found.won, found.eps <= budget)
    assert torch.equal(found.won, distance["l2"] <= budget)
    assert (Threat("l2", budget).size(found.image, image) <= budget * (1 + 1e-5)).all()
    assert found.eps.isfinite().all()


def test_ddn_beats_pgd_with_as_many_passes_for_each_budget():
    head = Small(4).eval()
    image = images(4)
    label = read(head, image)
    least = ddn(classify(head, label), image, steps=30)
    search = smallest_eps(classify(head, label), image, norm="l2", steps=30, tolerance=0.1, random_start=False)
    assert float(least.eps.median()) <= 1.1 * float(search.eps.median())
    assert least.cost.backwards < search.cost.backwards


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_same_where_gradients_are_off(mode):
    head, image, label, _ = linear(3)
    want = classify(head, label)
    usual = smallest_eps(want, image, attack=fgsm), ddn(want, image, steps=5)
    with mode():
        image = image.clone()
        found = smallest_eps(want, image, attack=fgsm), ddn(want, image, steps=5)
    for one, other in zip(usual, found, strict=True):
        assert not other.image.is_inference()
        torch.testing.assert_close(one.eps, other.eps.clone())


def test_no_images():
    want = classify(Linear(2, (8, 8)), torch.zeros(0, dtype=torch.int64))
    for found in (smallest_eps(want, images(0, (8, 8))), ddn(want, images(0, (8, 8)))):
        assert found.eps.shape == (0,)
        assert "0/0 found, none" in repr(found)


def test_doors():
    head, image, label, _ = linear(2)
    want = classify(head, label)
    for given, told in (
        ({"norm": "l3"}, "'norm' parameter of smallest_eps must be linf, l2 or l1; got 'l3'"),
        ({"tolerance": 0}, "'tolerance' parameter of smallest_eps must be between 0 and 1; got 0"),
        (
            {"low": 0.2, "high": 0.1},
            "'low' parameter of smallest_eps must be above 0 and below 'high'; got 0.2 and 0.1",
        ),
        ({"low": 0.0}, "'low' parameter of smallest_eps must be above 0"),
    ):
        with pytest.raises(ValueError, match=told):
            smallest_eps(want, image, **given)
    for given, told in (
        ({"steps": 0}, "'steps' parameter of ddn must be at least 1; got 0"),
        ({"gamma": 1.0}, "'gamma' parameter of ddn must be between 0 and 1; got 1.0"),
        ({"threat": "linf:1/255"}, "'threat' parameter of ddn must be l2; got linf. Use smallest_eps for other norms."),
    ):
        with pytest.raises(ValueError, match=told):
            ddn(want, image, **given)
    for verb in (smallest_eps, ddn):
        with pytest.raises(ValueError, match="Did you normalise"):
            verb(want, 4 * image - 2)
