"""What must hold of every threat, every image and every point."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
