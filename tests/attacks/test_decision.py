"""HopSkipJump: it reads decisions only, counts its queries, and comes near a boundary whose place is known."""

from __future__ import annotations

import pytest
import torch
from small_heads import Linear, images, read

from medadv.attacks import ATTACKS, hopskipjump
from medadv.objective import Objective, classify
from medadv.threat import Threat
from medadv.types import Score


def linear(n: int = 4):
    head, image = Linear(2, (8, 8), scale=0.05).double(), 0.4 + 0.2 * images(n, (8, 8)).double()
    logits = head(image).detach()
    gap, slope = (logits[:, 0] - logits[:, 1]).abs(), (head.weight[0] - head.weight[1]).detach()
    return head, image, logits.argmax(1), {"linf": gap / slope.abs().sum(), "l2": gap / slope.norm()}


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("norm", "near"), [("l2", 1.35), ("linf", 1.8)])
def test_it_comes_near_a_linear_boundary(norm, near):
    head, image, label, distance = linear()
    threat = Threat(norm, 1e-6)
    found = hopskipjump(classify(head, label), image, threat, queries=2500, generator=stream())
    assert (found.eps >= distance[norm] * 0.999).all()
    assert (found.eps <= distance[norm] * near).all()
    assert not found.won.any()
    assert (threat.size(found.image, image) <= 1.001e-6).all()
    wide = Threat(norm, float(distance[norm].max()) * near)
    found = hopskipjump(classify(head, label), image, wide, queries=2500, generator=stream())
    assert found.won.all()
    assert torch.equal(read(head, found.image) != label, found.won)
    torch.testing.assert_close(found.eps, wide.size(found.image, image).float())
    more = hopskipjump(classify(head, label), image, wide, queries=2500, stop=False, generator=stream())
    assert (more.eps <= found.eps).all()
    assert found.cost.forwards < more.cost.forwards, "an image within its budget asks no more"


def test_queries_are_counted_and_kept_to():
    head, image, label, _ = linear()
    asked = []
    handle = head.register_forward_hook(lambda module, given, said: asked.append(len(given[0])))
    for queries in (1, 2, 40, 300):
        asked.clear()
        found = hopskipjump(classify(head, label), image, Threat("l2", 1e-6), queries=queries, generator=stream())
        assert sum(asked) == found.cost.forwards <= queries * len(image)
        assert found.cost.backwards == 0
    handle.remove()


def test_only_the_verdict_is_read():
    head, image, label, _ = linear()

    def told(x, goal):
        return Score(torch.zeros(len(x)), head(x).argmax(1) != goal)

    one = hopskipjump(classify(head, label), image, "l2:0.5", queries=300, generator=stream())
    other = hopskipjump(Objective(told, (label,), (head,)), image, "l2:0.5", queries=300, generator=stream())
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.eps, other.eps)


def test_an_image_draws_the_same_in_company():
    head, image, label, _ = linear()
    whole = hopskipjump(classify(head, label), image, "l2:0.0001", queries=200, generator=stream())
    part = hopskipjump(classify(head, label[:2]), image[:2], "l2:0.0001", queries=200, generator=stream())
    torch.testing.assert_close(part.eps, whole.eps[:2])
    other = hopskipjump(classify(head, label), image, "l2:0.0001", queries=200, generator=stream(1))
    assert not torch.equal(other.eps, whole.eps)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_stays_in_the_region(norm):
    head, image, label, distance = linear()
    region = torch.ones(4, 1, 8, 8, dtype=torch.bool)
    region[:, :, :2] = False
    found = hopskipjump(classify(head, label), image, Threat(norm, 0.9), queries=400, region=region, generator=stream())
    changed = (found.image != image).any(1, keepdim=True)
    assert found.won.all()
    assert not changed[~region].any()
    assert changed[region].any()
    assert (found.eps >= distance[norm]).all()


def test_what_no_start_fools_is_returned_as_it_was():
    image, label = images(3), torch.zeros(3, dtype=torch.int64)

    def always(x, goal):
        return Score(torch.zeros(len(x)), torch.zeros(len(x), dtype=torch.bool))

    found = hopskipjump(Objective(always, (label,)), image, "linf:0.5", queries=300, generator=stream())
    assert torch.equal(found.image, image)
    assert found.eps.isinf().all()
    assert not found.won.any()
    assert found.cost.forwards == 3 * (1 + 100 + 1), "the clean image, the starts, and the last verdict"


def test_a_model_that_breaks_down_is_not_fooled():
    def breaks(x, goal):
        far = (x - 0.5).flatten(1).norm(dim=1) > goal
        return Score(torch.where(far, torch.nan, 0.0), far)

    image = 0.5 + 0 * images(2)
    found = hopskipjump(Objective(breaks, (torch.ones(2),)), image, "l2:2", queries=200, generator=stream())
    assert not found.won.any()
    assert found.eps.isinf().all()


def test_it_is_known_by_its_name():
    head, image, label, _ = linear()
    found = ATTACKS.get("hopskipjump")(head, image, label, "l2:0.5", generator=stream(), queries=100)
    same = hopskipjump(classify(head, label), image, "l2:0.5", queries=100, generator=stream())
    assert torch.equal(found.image, same.image)


def test_doors():
    head, image, label, _ = linear()
    for threat, given, told in (
        ("l1:2", {}, "'threat' parameter of hopskipjump must be linf or l2; got l1. Use apgd for L1."),
        ("l2:1", {"queries": 0}, "'queries' parameter of hopskipjump must be at least 1; got 0"),
        ("l2:1", {"directions": 1}, "'directions' parameter of hopskipjump must be at least 2; got 1"),
    ):
        with pytest.raises(ValueError, match=told):
            hopskipjump(classify(head, label), image, threat, **given)
