"""Values that travel: slicing, moving, saying what they are."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from medadv.types import AttackResult, Batch, Cost, Score


def batch(n: int = 5) -> Batch:
    return Batch(
        image=torch.arange(n).float().view(n, 1, 1, 1).expand(n, 3, 2, 2) / 10,
        index=torch.arange(n) + 100,
        text=[f"caption {i}" for i in range(n)],
        label=torch.arange(n),
    )


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        (slice(1, 4, 2), [1, 3]),
        ([4, 0], [4, 0]),
        (torch.tensor([True, False, False, True, False]), [0, 3]),
        (torch.tensor([2, 2]), [2, 2]),
        ([-1], [4]),
        (slice(0, 0), []),
        ([], []),
        (torch.zeros(5, dtype=torch.bool), []),
    ],
)
def test_slicing_takes_the_same_rows_of_every_field(rows, kept):
    part = batch()[rows]
    assert len(part) == len(kept)
    assert part.index.tolist() == [100 + i % 5 for i in kept]
    assert part.label.tolist() == [i % 5 for i in kept]
    assert part.text == [f"caption {i}" for i in kept]
    assert part.image.shape == (len(kept), 3, 2, 2)
    assert part.group is part.mask is None


def test_slicing_refuses_one_int_and_a_mask_of_another_length():
    with pytest.raises(TypeError, match=r"Write x\[\[i\]\]"):
        batch()[2]
    with pytest.raises(IndexError, match="a mask of 5 rows; got one of 4"):
        batch()[torch.ones(4, dtype=torch.bool)]
    with pytest.raises(IndexError):
        batch()[[5]]


def test_attack_results_keep_their_cost_when_sliced():
    whole = AttackResult(torch.zeros(3, 3, 2, 2), torch.tensor([True, False, True]), torch.rand(3), Cost(7, 3, 0, 1.5))
    part = whole[whole.won]
    assert len(part) == 2
    assert part.cost == Cost(7, 3, 0, 1.5)
    assert part.text is None
    assert repr(whole) == "AttackResult(2/3 won, 7+3 passes, 1.5 s)"


def test_batches_are_frozen_move_and_say_what_they_hold():
    one = batch()
    with pytest.raises(FrozenInstanceError):
        one.label = None
    assert repr(one) == "Batch(5 images (3, 2, 2); image, index, text, label)"
    moved = one.to("meta")
    assert {moved.image.device.type, moved.index.device.type, moved.label.device.type} == {"meta"}
    assert moved.text == one.text
    assert moved.group is None


def test_a_score_unpacks():
    loss, won = Score(torch.ones(2), torch.tensor([True, False]))
    assert loss.sum() == 2
    assert won.tolist() == [True, False]
