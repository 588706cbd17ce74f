"""The Square attack: its schedule, its windows, its queries, and what it finds without a gradient."""

from __future__ import annotations

import pytest
import torch
from small_heads import Small, images, read

from medadv.attacks import square
from medadv.attacks.square import _blocks, _bump, _propose_l2, _propose_linf, _share, _stripes
from medadv.objective import Objective, classify, logit_margin, margin
from medadv.threat import Threat
from medadv.types import Score


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def never(image, row):
    """A wish that asks for brightness and is never done."""
    return Score(image.flatten(1).sum(1), torch.zeros(len(image), dtype=torch.bool))


def test_the_schedule_is_the_published_one_stretched():
    def published(it, n):  # square_attack's p_selection
        it = int(it / n * 10000)
        for limit, part in ((10, 1), (50, 2), (200, 4), (500, 8), (1000, 16), (2000, 32), (4000, 64), (6000, 128)):
            if it <= limit:
                return 0.8 / part
        return 0.8 / (256 if it <= 8000 else 512)

    for queries in (100, 1000, 5000, 10_000):
        assert [_share(0.8, i, queries) for i in range(queries)] == [published(i, queries) for i in range(queries)]


@pytest.mark.parametrize("shape", [(16, 16), (12, 20), (5, 9)])
@pytest.mark.parametrize("told", ["linf:4/255", "l2:0.3", "linf:4/255:grey", "l2:0.3:grey"])
def test_windows_stay_inside_and_spend_the_budget(told, shape):
    threat = Threat.parse(told)
    clean = 0.2 + 0.6 * images(4, shape, grey=threat.grey)
    begin, propose = (_stripes, _propose_linf) if threat.norm == "linf" else (_blocks, _propose_l2)
    x = begin(clean, threat, stream())
    for share in (0.8, 0.3, 0.05, 0.001):
        torch.testing.assert_close(threat.size(x, clean), torch.full((4,), threat.eps), rtol=1e-4, atol=1e-6)
        new = propose(x, clean, threat, share, stream(1))
        assert new.shape == clean.shape
        assert (new != x).flatten(1).any(1).all()
        x = new
        if threat.grey:
            assert torch.equal(x[:, 0], x[:, 2])


def test_each_image_has_a_window_of_its_own_and_its_size():
    clean = torch.full((50, 3, 16, 16), 0.5)
    threat = Threat.parse("linf:4/255")
    x = _stripes(clean, threat, stream())
    changed = (_propose_linf(x, clean, threat, 0.05, stream(1)) != x).any(1)
    rows, columns = changed.any(2), changed.any(1)
    assert (rows.sum(1) <= 4).all()
    assert (columns.sum(1) <= 4).all()
    assert len({tuple(row.tolist()) for row in torch.cat([rows, columns], 1)}) > 30
    assert rows.any(0).all(), "the last row and the first can be reached"


def test_a_draw_that_changes_nothing_is_drawn_again():
    clean = torch.full((400, 3, 6, 6), 0.5)
    threat = Threat.parse("linf:4/255")
    x = _stripes(clean, threat, stream())
    x = _propose_linf(x, clean, threat, 1.0, stream(2))  # one colour everywhere: an eighth of all draws is that colour
    assert (_propose_linf(x, clean, threat, 0.01, stream(3)) != x).flatten(1).any(1).all()


@pytest.mark.parametrize("side", [3, 5, 8, 13])
def test_the_bump_is_of_size_one_and_of_two_signs(side):
    bump = _bump(side, torch.zeros(1, dtype=torch.float64))
    assert bump.norm() == pytest.approx(1)
    assert (bump[: side // 2] > 0).all()
    assert (bump[side // 2 :] < 0).all()


@pytest.mark.parametrize("told", ["linf:4/255", "l2:0.7"])
def test_the_loss_of_what_is_kept_never_falls_and_queries_are_counted(told):
    clean = images(3)
    asked = []

    def judge(image, row):
        score = never(image, row)
        asked.append(score.loss)
        return score

    found = square(Objective(judge, (torch.arange(3),)), clean, Threat.parse(told), queries=80, generator=stream())
    assert len(asked) == 80
    assert found.cost[:2] == (240, 0)
    torch.testing.assert_close(asked[0], clean.flatten(1).sum(1))  # the first query is the clean image
    torch.testing.assert_close(found.loss, torch.stack(asked).amax(0))
    torch.testing.assert_close(found.loss, found.image.flatten(1).sum(1))


@pytest.mark.parametrize("told", ["linf:12/255", "l2:1.2", "linf:12/255:grey"])
def test_fools_without_gradients_and_the_fooled_leave(told):
    threat = Threat.parse(told)
    head, image = Small(4).eval(), images(16, grey=threat.grey)
    label = read(head, image)
    found = square(logit_margin(lambda x: head(x).detach(), label), image, threat, queries=200, generator=stream())
    assert found.won.float().mean() > 0.6
    assert found.cost.forwards < 0.9 * 16 * 200
    assert torch.equal(found.won, read(head, found.image) != label)
    other = square(classify(head, label), image, threat, queries=200, generator=stream())
    assert other.won.float().mean() > 0.6


def test_the_gap_is_the_margin_without_its_unit():
    head, image = Small(5).eval(), images(6)
    label = torch.arange(6) % 5
    logits = head(image)
    score = logit_margin(head, label)(image)
    for row, y, loss in zip(logits.tolist(), label.tolist(), score.loss.tolist(), strict=True):
        assert loss == pytest.approx(max(z for c, z in enumerate(row) if c != y) - row[y], abs=1e-5)
    assert torch.equal(score.won, margin(head, label)(image).won)


def test_doors():
    want, image = Objective(never, (torch.arange(2),)), images(2)
    with pytest.raises(ValueError, match="must be linf or l2; got l1. Use apgd for L1"):
        square(want, image, Threat.parse("l1:3"))
    with pytest.raises(ValueError, match="'queries' parameter of square must be at least 1; got 0"):
        square(want, image, Threat.parse("l2:1"), queries=0)
    with pytest.raises(ValueError, match="'p' parameter of square must be in"):
        square(want, image, Threat.parse("l2:1"), p=0)
