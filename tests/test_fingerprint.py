"""Fingerprints: equal for what decides the same, other for what decides otherwise, a sentence where nobody can tell."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from medadv._fingerprint import Unreadable, digest, image_mark, told_apart

SCALE = 2.0


def head(body: str = "x * k", **names):
    """A function as a notebook defines it, anew at every call."""
    space = {"__name__": "__main__", "k": 2, **names}
    exec(f"def head(x, *, top={names.get('top', 1)}):\n    return {body}", space)
    return space["head"]


class Gain(nn.Module):
    """Its behaviour is an attribute."""

    def __init__(self, gain: float = 1.0, kind: str = "sum"):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.part = nn.Linear(3, 2)
        self.gain, self.kind = gain, kind

    def forward(self, image):
        return self.gain * self.part(image)


def test_functions_are_known_by_what_they_do():
    assert digest(head()) == digest(head())
    others = [head("x * k + 1"), head("x * 3"), head(k=3), head(top=2), partial(head(), top=2), head("x / k")]
    assert len({digest(one) for one in [head(), *others]}) == 7

    def closed(k):
        return lambda x: x * k

    assert digest(closed(1)) == digest(closed(1))
    assert digest(closed(1)) != digest(closed(2))
    assert digest(closed(Gain())) == digest(closed(Gain()))
    assert digest(closed(Gain())) != digest(closed(Gain(2.0)))


def test_modules_are_known_by_weights_attributes_parts_and_hooks():
    net = Gain()
    assert digest(net) == digest(Gain()) == digest(deepcopy(net).train(False))
    moved = Gain()
    with torch.no_grad():
        moved.part.weight[0, 0] += 1e-6
    hooked = Gain()
    hooked.register_forward_hook(lambda module, given, got: 2 * got)
    listed = nn.ModuleList([Gain()])
    others = [Gain(2.0), Gain(kind="mean"), moved, hooked, listed, nn.Softmax(0), nn.Softmax(1)]
    assert len({digest(one) for one in [net, *others]}) == 8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        ([1, 2], (1, 2)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (np.zeros(2), np.ones(2)),
        ({"a": 1}, {"a": 2}),
        (re.compile("a"), re.compile("b")),
        (slice(1), slice(2)),
    ],
)
def test_what_differs_is_told_apart(one, other):
    assert digest(one) == digest(deepcopy(one))
    assert digest(one) != digest(other)


def test_the_order_of_a_set_or_dictionary_does_not_count():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({f"{k}" for k in range(9)}) == digest({f"{k}" for k in reversed(range(9))})


def test_what_refers_to_itself_ends():
    ring: list = [1]
    ring.append(ring)
    other: list = [2]
    other.append(other)
    assert digest(ring) != digest(other)


def test_an_image_is_the_same_in_any_precision_and_memory_order():
    image = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert (
        image_mark(image)
        == image_mark(image.double())
        == image_mark(image.permute(2, 1, 0).contiguous().permute(2, 1, 0))
    )
    assert image_mark(image) != image_mark(image.flip(-1))


@pytest.mark.parametrize("odd", [torch.Generator(), np.random.default_rng(0), iter([1]), object()])
def test_what_cannot_be_read_is_refused_with_the_remedy(odd):
    with pytest.raises(Unreadable):
        digest([odd])
    net = Gain(odd)
    with pytest.raises(
        ValueError, match=r"The 'head' parameter of f must be told .* \(it\.gain\).* 'fingerprint' that"
    ):
        told_apart(net, name="head", where="f", what="it")
    net.fingerprint = "a gain of my own"
    first = told_apart(net, name="head", where="f", what="it")
    with torch.no_grad():
        net.part.bias += 1
    assert told_apart(net, name="head", where="f", what="it") != first, "a name stands for all but the tensors"
