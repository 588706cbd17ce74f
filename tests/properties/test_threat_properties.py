"""What must hold of every threat, every image and every point."""

from __future__ import annotations

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medadv.attacks._loop import steepest_step
from medadv.threat import Threat

norms = st.sampled_from(["linf", "l2", "l1"])
seeds = st.integers(0, 10_000)


def drawn(seed: int, scale: float, n: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    stream = torch.Generator().manual_seed(seed)
    image = torch.rand(n, 3, 3, 4, generator=stream, dtype=torch.float64)
    image = torch.where(torch.rand(image.shape, generator=stream) < 0.2, image.round(), image)  # some at the walls
    return image, image + scale * torch.randn(image.shape, generator=stream, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(norm=norms, eps=st.floats(0, 1), scale=st.floats(0, 5), seed=seeds)
def test_projection(norm, eps, scale, seed):
    threat = Threat(norm, eps)
    image, there = drawn(seed, scale)
    once = threat.project(there, image)
    assert (threat.size(once, image) <= eps + 1e-9).all()
    assert once.min() >= 0
    assert once.max() <= 1
    torch.testing.assert_close(threat.project(once, image), once, atol=1e-9, rtol=0)
    assert ((once - image).abs() <= (there - image).abs() + 1e-12).all()  # it only shrinks
    assert ((once - image) * (there - image) >= -1e-12).all()  # and never turns round
    torch.testing.assert_close(threat.project(image, image), image)
    far = threat.project(image + 1e6 * (there - image), image)
    assert (threat.size(far, image) <= eps + 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(norm=norms, eps=st.floats(0, 1), scale=st.floats(0, 2), seed=seeds, order=st.permutations(range(3)))
def test_every_image_is_alone_in_its_ball(norm, eps, scale, seed, order):
    threat, order = Threat(norm, eps), list(order)
    image, there = drawn(seed, scale)
    torch.testing.assert_close(threat.project(there[order], image[order]), threat.project(there, image)[order])
    torch.testing.assert_close(threat.ascend(there[order]), threat.ascend(there)[order])
    torch.testing.assert_close(threat.size(there[order], image[order]), threat.size(there, image)[order])


@settings(max_examples=60, deadline=None)
@given(norm=norms, eps=st.floats(0, 1), seed=seeds)
def test_start_is_in_ball_and_box(norm, eps, seed):
    threat = Threat(norm, eps)
    image, _ = drawn(seed, 0.0)
    point = threat.start(image, generator=torch.Generator().manual_seed(seed))
    assert (threat.size(point, image) <= eps + 1e-9).all()
    assert point.min() >= 0
    assert point.max() <= 1


@settings(max_examples=60, deadline=None)
@given(norm=norms, seed=seeds, scale=st.floats(1e-6, 1e3), grey=st.booleans())
def test_ascend_is_the_best_of_all_unit_directions(norm, seed, scale, grey):
    threat = Threat(norm, 1.0, grey)
    _, gradient = drawn(seed, scale)
    best = (gradient * threat.ascend(gradient)).flatten(1).sum(1)
    others = torch.randn(50, *gradient.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    # One pixel alone is a direction too, and in L1 the one that counts.
    others[:10] *= torch.zeros_like(others[:10]).bernoulli_(0.05, generator=torch.Generator().manual_seed(seed))
    for other in others:
        if grey:
            other = other[:, :1].expand_as(other)
        size = threat.size(other, torch.zeros_like(other)).view(-1, 1, 1, 1)
        gained = (gradient * torch.where(size > 0, other / size, 0)).flatten(1).sum(1)
        assert (gained <= best + 1e-9 * scale).all()
    assert (threat.size(threat.ascend(gradient), torch.zeros_like(gradient)) <= 1 + 1e-12).all()


@settings(max_examples=60, deadline=None)
@given(norm=norms, eps=st.floats(0, 3), scale=st.floats(0, 5), seed=seeds)
@example(norm="l1", eps=0.6875, scale=1.15625, seed=9)  # Newton's steps went in circles here
def test_no_point_of_ball_and_box_is_nearer(norm, eps, scale, seed):
    if norm == "l2":
        return  # there the ball comes first, then the box: inside both, but not the nearest point
    threat = Threat(norm, min(eps, 1.0) if norm == "linf" else eps)
    image, there = drawn(seed, scale)
    near = threat.project(there, image)
    stream = torch.Generator().manual_seed(seed + 1)
    for _ in range(20):  # the way from the nearest point to any other of the set leads away from `there`
        other = image + threat.eps * (torch.rand(image.shape, generator=stream, dtype=torch.float64) - 0.5)
        other = threat.project(other, image)
        away = ((there - near) * (other - near)).flatten(1).sum(1)
        assert (away <= 1e-7 * (1 + scale)).all()


@settings(max_examples=40, deadline=None)
@given(norm=norms, eps=st.floats(0, 1), step=st.floats(0, 2), seed=seeds, grey=st.booleans())
def test_a_step_of_an_attack_stays_inside_and_goes_up(norm, eps, step, seed, grey):
    threat = Threat(norm, eps, grey)
    image, gradient = drawn(seed, 1.0)
    image = image[:, :1].expand_as(image) if grey else image
    new = steepest_step(threat, image, image, gradient, step, share=0.1)
    assert (threat.size(new, image) <= eps + 1e-9).all()
    assert new.min() >= 0
    assert new.max() <= 1
    assert ((new - image) * gradient).flatten(1).sum(1).min() >= -1e-12


@settings(max_examples=200, deadline=None)
@given(norm=norms, eps=st.floats(0, 1) | st.integers(0, 255).map(lambda k: k / 255), grey=st.booleans())
def test_what_is_written_is_read_back(norm, eps, grey):
    threat = Threat(norm, eps, grey)
    assert Threat.parse(str(threat)) == threat


@given(eps=st.floats(0, 1e9))
def test_large_balls_are_read_back(eps):
    assert Threat.parse(str(Threat("l1", eps))).eps == eps


@given(st.text(max_size=20))
def test_any_text_parses_or_is_refused_with_a_sentence(text):
    try:
        Threat.parse(text)
    except ValueError as error:
        told = str(error)
    else:
        told = "The '"
    assert told.startswith("The '")
