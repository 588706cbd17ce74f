"""The contrastive loss against a double loop, and one step of it on a model."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from medadv.train.pretrain import contrastive, info_nce
from medadv.types import Batch


def units(n: int, d: int = 6, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_info_nce_is_the_double_loop(n):
    image, text, scale = units(n, seed=1), units(n, seed=2), 9.0
    loss = info_nce(image, text, scale)
    for i in range(n):
        near = scale * float(image[i] @ text[i])
        row = sum(math.exp(scale * float(image[i] @ text[j])) for j in range(n))
        column = sum(math.exp(scale * float(image[j] @ text[i])) for j in range(n))
        assert float(loss[i]) == pytest.approx(
            0.5 * (math.log(row) - near) + 0.5 * (math.log(column) - near), abs=1e-12
        )


def test_perfect_pairs_cost_nothing_and_ignorance_costs_ln_b():
    apart = torch.eye(5, dtype=torch.float64)
    assert info_nce(apart, apart, 100.0).max() < 1e-12
    assert info_nce(apart, apart.roll(1, 0), 100.0).min() > 99
    alike = units(1).expand(5, -1)
    torch.testing.assert_close(info_nce(alike, alike, 50.0), torch.full((5,), math.log(5), dtype=torch.float64))
    torch.testing.assert_close(
        info_nce(units(5), units(5, seed=3), 0.0), torch.full((5,), math.log(5), dtype=torch.float64)
    )


def test_it_treats_images_and_texts_alike_and_has_the_right_gradient():
    image, text = units(4, seed=1), units(4, seed=2)
    torch.testing.assert_close(info_nce(image, text, 5.0), info_nce(text, image, 5.0))
    order = [2, 0, 3, 1]
    torch.testing.assert_close(info_nce(image[order], text[order], 5.0), info_nce(image, text, 5.0)[order])
    scale = torch.tensor(3.0, dtype=torch.float64)
    inputs = [t.clone().requires_grad_() for t in (image, text, scale)]
    assert torch.autograd.gradcheck(info_nce, inputs)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"'text' parameter of info_nce must be \(3, 6\); got \(2, 6\)"):
        info_nce(units(3), units(2), 1.0)


def stub(scale: float, image: torch.Tensor, text: torch.Tensor):
    return SimpleNamespace(encode_image=lambda _: image, encode_text=lambda _: text, scale=torch.tensor(scale))


def test_a_step_reports_loss_share_and_chance():
    batch = Batch(torch.rand(4, 3, 2, 2), torch.arange(4), text=list("abcd"))
    image, text = units(4, seed=1), units(4, seed=1)[[0, 1, 3, 2]]
    terms = contrastive(stub(7.0, image, text), batch)
    torch.testing.assert_close(terms["loss"], info_nce(image, text, 7.0).mean())
    assert float(terms["top1"]) == 0.5
    assert float(terms["chance"]) == pytest.approx(math.log(4))
    capped = contrastive(stub(1e6, image, text), batch)
    torch.testing.assert_close(capped["loss"], info_nce(image, text, 100.0).mean())


@pytest.mark.parametrize("text", [None, ["a", ""]])
def test_a_batch_without_captions_is_refused(text):
    with pytest.raises(ValueError, match=r"must hold captions; some are missing. Check the data"):
        contrastive(stub(1.0, units(2), units(2)), Batch(torch.rand(2, 3, 2, 2), torch.arange(2), text=text))
