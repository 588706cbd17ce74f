from __future__ import annotations

from functools import lru_cache, partial, wraps

import pytest
import torch
from torch import nn

from medadv._quiet import modules_of, quiet


def mixed() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2)))
    model.train()
    model[1][1].eval()  # as somebody who tunes with frozen statistics leaves it
    model[0].weight.requires_grad_(False)
    return model


def modes(model):
    return [part.training for part in model.modules()]


def test_every_part_gets_its_own_mode_back():
    model, other = mixed(), nn.Dropout()
    before = modes(model)
    assert True in before
    assert False in before
    with quiet(model, other, lambda x: x, None):
        assert not any(modes(model) + modes(other))
    assert modes(model) == before
    assert other.training


def test_modes_come_back_after_an_error_and_weights_are_left_alone():
    model = mixed()
    before, weights = modes(model), [p.clone() for p in model.state_dict().values()]
    flags = [p.requires_grad for p in model.parameters()]
    with pytest.raises(RuntimeError, match="mat1 and mat2"), quiet(model):
        model(torch.rand(4, 7))
    assert modes(model) == before
    assert flags == [p.requires_grad for p in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(weights, model.state_dict().values(), strict=True))


def test_it_nests():
    model = mixed()
    before = modes(model)
    with quiet(model):
        with quiet(model):
            pass
        assert not any(modes(model))
    assert modes(model) == before


class Holder:
    """A plain object with a model in it."""

    def __init__(self, model):
        self.parts = {"model": [model]}

    def predict(self, x):
        return self.parts["model"][0](x)

    def __call__(self, x):
        return self.predict(x)


class Slotted:
    """The same without a dictionary."""

    __slots__ = ("model",)

    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        return self.model(x)


class Hiding(nn.Module):
    """A module that holds another one where `modules()` does not look."""

    def __init__(self, model):
        super().__init__()
        self.call = lambda x: model(x)

    def forward(self, x):
        return self.call(x)


GLOBAL = nn.Sequential(nn.BatchNorm1d(2))


def by_global(x):
    def inner(x):
        return GLOBAL(x)

    return inner(x)


def by_default(x, model=nn.BatchNorm1d(2)):  # noqa: B008 (a model as a default is what is tried here)
    return model(x)


def cached(model):
    @lru_cache
    def call(x):
        return model(x)

    return call


HIDDEN = {
    "closure": lambda m: lambda x: m(x),
    "closure of a closure": lambda m: (lambda call: lambda x: call(x))(lambda x: m(x)),
    "partial": lambda m: partial(lambda x, model: model(x), model=m),
    "bound method": lambda m: m.forward,
    "bound method of a plain object": lambda m: Holder(m).predict,
    "plain object": Holder,
    "slots": Slotted,
    "hidden in a module": Hiding,
    "function attribute": lambda m: _with_attribute(m),
    "cached": cached,
    "wrapped": lambda m: wraps(m.forward)(lambda x: m(x)),
}


def _with_attribute(model):
    def call(x):
        return call.model(x)

    call.model = model
    return call


@pytest.mark.parametrize("how", HIDDEN)
def test_a_model_behind_a_callable_is_found_and_gets_its_mode_back(how):
    model = mixed()
    before, call = modes(model), HIDDEN[how](model)
    assert model in modules_of(call).modules
    assert modules_of(call).sure
    with quiet(call):
        assert not any(modes(model))
        call(torch.zeros(3, 2))
    assert modes(model) == before
    assert model[1][1].num_batches_tracked == 0


def test_a_model_that_code_uses_by_a_global_name_is_found():
    assert modules_of(by_global).modules == (GLOBAL,)
    assert modules_of(lambda x: by_global(x)).modules == (GLOBAL,)
    assert len(modules_of(by_default).modules) == 1


def test_what_cannot_be_looked_into_is_said():
    assert modules_of(lambda x: x.mean()).sure
    compiled = type("Native", (), {"__call__": torch.relu})()
    assert not modules_of(compiled).sure
    assert not modules_of([object()] * 301).sure
    ring: list = []
    ring.append(ring)
    assert modules_of(ring) == ((), True)
