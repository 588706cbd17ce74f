"""One perturbation for many images: counted on images it has not seen, read batch by batch."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from small_heads import Linear, Small, images, read

from medadv.attacks import universal
from medadv.objective import Objective, classify, leave
from medadv.threat import Threat
from medadv.types import Score


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(n: int = 40, k: int = 4, grey: bool = False):
    head, image = Small(k), images(n, grey=grey)
    return head.train(), image, read(head, image)


@pytest.mark.parametrize("told", ["linf:10/255", "l2:1.5", "l1:25", "linf:10/255:grey"])
def test_fools_images_it_has_not_seen_and_counts_them(told):
    threat = Threat.parse(told)
    head, image, label = scene(grey=threat.grey)
    state = torch.get_rng_state()
    found = universal(partial(classify, head), image, label, threat, epochs=5, batch_size=8, generator=stream())
    assert torch.equal(torch.get_rng_state(), state)
    assert head.training
    assert all(part.grad is None for part in head.parameters())
    assert found.perturbation.shape == (1, 3, 16, 16)
    assert threat.size(found.perturbation, 0 * found.perturbation) <= threat.eps * (1 + 1e-5)
    if threat.grey:
        assert torch.equal(found.perturbation[:, 0], found.perturbation[:, 2])
    assert found.train.images == found.held_out.images == 20
    assert found.train.before == found.held_out.before == 0
    assert found.held_out.rate > 0.3
    turned = int((read(head, (image + found.perturbation).clamp(0, 1)) != label).sum())
    assert turned == found.train.turned + found.held_out.turned
    assert found.cost[:2] == (5 * 20 + 2 * 40, 5 * 20)
    assert "turned, 180+100 passes" in repr(found)


def test_the_held_out_rows_can_be_named_and_are_never_learnt_from():
    head, image, label = scene()
    held, seen = torch.tensor([1, 5, 39]), []

    def reads(rows):
        seen.append(rows)
        return image[rows]

    threat = Threat.parse("linf:6/255")
    found = universal(partial(classify, head), reads, label, threat, held_out=held, epochs=2, batch_size=9)
    assert found.held_out.images == 3
    assert max(len(rows) for rows in seen) == 9  # memory does not grow with the data
    learnt = torch.cat(seen[1 : 1 + 2 * 5])  # the first look is for the shape
    assert sorted(learnt.tolist()) == sorted(2 * [i for i in range(40) if i not in held])
    mask = torch.zeros(40, dtype=torch.bool)
    mask[held] = True
    same = universal(partial(classify, head), image, label, threat, held_out=mask, epochs=2, generator=stream())
    assert same.held_out.images == 3


def test_the_generator_decides_and_any_objective_serves():
    head, image, label = scene()
    threat = Threat.parse("l2:1")
    one, same, other = (
        universal(partial(classify, head), image, label, threat, epochs=1, generator=stream(s)) for s in (1, 1, 2)
    )
    assert torch.equal(one.perturbation, same.perturbation)
    assert not torch.equal(one.perturbation, other.perturbation)
    anchor = head.eval()(image).detach()
    away = universal(partial(leave, head, below=0.99), image, anchor, threat, epochs=2, generator=stream())
    assert away.train.after >= away.train.before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(mode):
    head, image, label = scene()
    with mode():
        found = universal(partial(classify, head), image.clone(), label.clone(), Threat.parse("l2:1"), epochs=1)
    assert found.perturbation.abs().sum() > 0


def test_a_rate_counts_only_those_that_could_be_turned():
    head, image, label = Linear(2, scale=0.05), images(10), torch.zeros(10, dtype=torch.int64)
    label[:] = read(head, image)
    label[:4] = 1 - label[:4]
    found = universal(partial(classify, head), image, label, Threat.parse("linf:0"), held_out=0, epochs=1)
    assert (found.train.images, found.train.before, found.train.after, found.train.turned) == (10, 4, 4, 0)
    assert found.train.rate == 0
    assert math.isnan(found.held_out.rate)


def test_a_model_that_breaks_down_on_clean_images_is_refused_and_later_is_not_fooled():
    def judge(image, row):
        return Score(image.flatten(1).sum(1) * torch.nan, torch.zeros(len(image), dtype=torch.bool))

    threat, image = Threat.parse("l2:1"), images(6)
    held = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="NaN before any attack for 4 image.s., in row.s. 2, 3, 4, 5"):
        universal(lambda rows: Objective(judge, (rows,)), image, torch.arange(6), threat, held_out=held)

    def held_only(x, row):  # NaN for one image that is held out; it counts as won if nobody looks
        loss = torch.where(row == 1, torch.nan, x.flatten(1).sum(1))
        return Score(loss, row == 1)

    with pytest.raises(ValueError, match="for 1 image.s., in row.s. 1;"):
        universal(lambda rows: Objective(held_only, (rows,)), image, torch.arange(6), threat, held_out=held)

    def moved_only(x, row):
        clean = (x == image[row]).flatten(1).all(1)
        return Score(torch.where(clean, 1.0, torch.nan) * x.flatten(1).sum(1), ~clean)

    found = universal(lambda rows: Objective(moved_only, (rows,)), image, torch.arange(6), threat, held_out=held)
    assert found.perturbation.isfinite().all()
    assert found.train.after == found.held_out.after == 0


def test_only_the_region_is_moved():
    head, image, label = scene()
    region = torch.zeros(16, 16)
    region[4:9, 2:12] = 1
    for told in ("linf:6/255", "l2:1", "l1:9"):
        found = universal(partial(classify, head), image, label, told, epochs=1, region=region, generator=stream())
        assert not found.perturbation[:, :, region == 0].any()
        assert found.perturbation.any()
    with pytest.raises(ValueError, match="'region' parameter of an attack must be .16, 16. or .1, 1, 16, 16., one"):
        universal(partial(classify, head), image, label, "l2:1", region=torch.ones(40, 1, 16, 16))


def test_doors():
    head, image, label = scene(6)
    wish, threat = partial(classify, head), Threat.parse("l2:1")
    with pytest.raises(ValueError, match="'epochs' parameter of universal must be at least 1; got 0"):
        universal(wish, image, label, threat, epochs=0)
    with pytest.raises(ValueError, match="must be in .0, 1. or row numbers; got 1"):
        universal(wish, image, label, threat, held_out=1)
    with pytest.raises(ValueError, match="must leave images to learn from"):
        universal(wish, image, label, threat, held_out=torch.arange(6))
    with pytest.raises(ValueError, match="Did you normalise"):
        universal(wish, image * 2 - 1, label, threat)
