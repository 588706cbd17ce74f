from __future__ import annotations

import pytest
import torch
from torch import nn

from medadv._quiet import quiet


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
