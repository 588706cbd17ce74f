"""Every objective against its formula written out, and what attacks need of all of them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from medadv import objective
from medadv.objective import Objective
from medadv.types import Score

SIDE = 3


def head(k: int, seed: int = 0):
    weight = torch.randn(3 * SIDE * SIDE, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return lambda image: 3 * image.flatten(1) @ weight


def images(n: int = 12) -> torch.Tensor:
    return torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9))


def labels(k: int, n: int = 12) -> torch.Tensor:
    return torch.arange(n) % k


def own_pairs() -> torch.Tensor:
    return (torch.arange(24) % 12)[None] == torch.arange(12)[:, None]


def wishes(k: int = 5) -> dict[str, Objective]:
    anchor = F.normalize(torch.randn(12, k, generator=torch.Generator().manual_seed(4)), dim=1)
    return {
        "classify": objective.classify(head(k), labels(k)),
        "margin": objective.margin(head(k), labels(k)),
        "logit_margin": objective.logit_margin(head(k), labels(k)),
        "targeted": objective.targeted(head(k), labels(k)),
        "multilabel": objective.multilabel(head(k), F.one_hot(labels(k), k)),
        "leave": objective.leave(head(k), anchor),
        "match": objective.match(head(k), anchor),
        "pairs": objective.pairs(
            lambda image: F.normalize(head(k)(image), dim=1),
            F.normalize(torch.cat([anchor, anchor.flip(1)])),
            own_pairs(),
        ),
        "expect": objective.expect(objective.classify(head(k), labels(k)), lambda image: image, draws=2),
    }


@pytest.mark.parametrize("k", [2, 3, 9])
def test_classify_margin_and_targeted_by_hand(k):
    image, label = images(), labels(k)
    logits = head(k)(image)
    classify, margin = objective.classify(head(k), label)(image), objective.margin(head(k), label)(image)
    target = objective.targeted(head(k), label)(image)
    for i, row in enumerate(logits.double().tolist()):
        true, others = row[label[i]], [z for c, z in enumerate(row) if c != label[i]]
        entropy = torch.logsumexp(torch.tensor(row), 0).item() - true
        spread = sorted(row)[-1] - sorted(row)[-3] if k > 2 else 1
        assert classify.loss[i] == pytest.approx(entropy, abs=1e-4)
        assert target.loss[i] == pytest.approx(-entropy, abs=1e-4)
        assert margin.loss[i] == pytest.approx((max(others) - true) / spread, rel=1e-3, abs=1e-4)
        assert classify.won[i] == margin.won[i] == (max(others) > true) == (margin.loss[i] > 0)
        assert target.won[i] == (true > max(others))


@pytest.mark.parametrize("k", [3, 4, 9])
def test_the_margin_does_not_change_with_scale_and_shift(k):
    image, label = images(), labels(k)
    plain = objective.margin(head(k), label)(image)
    other = objective.margin(lambda x: 50 * head(k)(x) + 7, label)(image)
    torch.testing.assert_close(plain.loss, other.loss, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("k", [2, 3, 9])
@pytest.mark.parametrize("name", sorted(wishes()))
def test_every_objective_has_one_value_and_a_gradient_for_each_image(name, k):
    image = images().requires_grad_()
    score = wishes(k)[name](image)
    assert score.loss.shape == score.won.shape == (12,)
    assert score.won.dtype == torch.bool
    assert score.loss.dtype == torch.float32
    (gradient,) = torch.autograd.grad(score.loss.sum(), image)
    assert (gradient.flatten(1).abs().amax(1) > 0)[~score.won].all()


@pytest.mark.parametrize("name", sorted(wishes()))
def test_keep_narrows_to_a_part_of_the_batch(name):
    image, want = images(), wishes()[name]
    whole = want(image)
    for rows in (torch.tensor([7, 1, 1]), whole.loss > whole.loss.median()):
        part = want.keep(rows)(image[rows])
        torch.testing.assert_close(part.loss, whole.loss[rows])
        assert torch.equal(part.won, whole.won[rows])
    twice = want.keep(torch.tensor([3, 5, 8])).keep(torch.tensor([2]))(image[[8]])
    torch.testing.assert_close(twice.loss, whole.loss[[8]])


def test_multilabel_by_hand():
    image, label = images(4), torch.tensor([[0, 1], [1, 1], [0, 0], [1, 0]])
    score = objective.multilabel(head(2), label)(image)
    chance = head(2)(image).double().sigmoid()
    by_hand = -(label * chance.log() + (1 - label) * (1 - chance).log()).sum(1)
    torch.testing.assert_close(score.loss.double(), by_hand, rtol=1e-3, atol=1e-4)
    assert score.won.tolist() == [bool(w.any()) for w in (chance > 0.5) != (label == 1)]


def test_leave_and_match_by_hand():
    image = images()
    anchor = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    out = head(4)(image)
    cosine = (out * anchor).sum(1) / out.norm(dim=1) / anchor.norm(dim=1)
    away, near = (
        objective.leave(head(4), anchor, below=0.1)(image),
        objective.match(head(4), anchor, above=0.1)(image),
    )
    torch.testing.assert_close(away.loss, 1 - cosine)
    torch.testing.assert_close(near.loss, cosine)
    assert torch.equal(away.won, cosine < 0.1)
    assert torch.equal(near.won, cosine > 0.1)
    assert away.won.any()
    assert near.won.any()


def test_pairs_by_hand():
    image, other = images(3), F.normalize(torch.randn(4, 5, generator=torch.Generator().manual_seed(3)), dim=1)
    own = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()
    for k in (1, 2):
        score = objective.pairs(lambda x: F.normalize(head(5)(x), dim=1), other, own, k=k)(image)
        for i, near in enumerate((F.normalize(head(5)(image), dim=1) @ other.T).tolist()):
            mine = [n for n, o in zip(near, own[i], strict=True) if o]
            assert score.loss[i] == pytest.approx(-sum(mine) / len(mine), abs=1e-5)
            ahead = sum(n >= max(mine) for n, o in zip(near, own[i], strict=True) if not o)
            assert score.won[i] == (ahead >= k)


def test_pairs_of_texts_are_judged_on_their_embeddings():
    texts, pictures = F.normalize(torch.eye(3) + 0.1, dim=1), F.normalize(torch.eye(3), dim=1)
    want = objective.pairs(lambda x: x, pictures, torch.eye(3).bool())
    assert not want(texts).won.any()
    assert want(texts.roll(1, 0)).won.all()
    assert want(torch.ones(3, 3)).won.all(), "equal similarities count against the model"


def test_pairs_takes_embeddings_made_under_inference_mode():
    own = torch.eye(2).bool()
    with torch.inference_mode():
        want = objective.pairs(lambda x: x.flatten(1), torch.ones(2, 27), own)
    image = images(2).requires_grad_()
    assert torch.autograd.grad(want(image).loss.sum(), image)[0].abs().sum() > 0


def test_pairs_refuses_what_does_not_fit():
    other = torch.eye(3)
    for own in (torch.ones(2, 3), torch.ones(2, 4).bool(), torch.ones(3).bool()):
        with pytest.raises(ValueError, match="'own' parameter of pairs must be"):
            objective.pairs(head(3), other, own)
    with pytest.raises(ValueError, match="rows without any"):
        objective.pairs(head(3), other, torch.tensor([[True, False, False], [False, False, False]]))


@pytest.mark.parametrize("name", ["classify", "margin", "targeted"])
def test_a_label_outside_the_classes_is_one_sentence(name):
    with pytest.raises(ValueError, match=r"must be at least 0 and below the 3 classes of the head; got 3\."):
        getattr(objective, name)(head(3), torch.tensor([3]))(images(1))
    with pytest.raises(ValueError, match="got -1. Drop unknown labels"):
        getattr(objective, name)(head(3), torch.tensor([-1]))


def test_the_modules_behind_a_wish_are_known():
    layer = torch.nn.Linear(2, 2)
    assert objective.classify(layer, labels(2)).models == (layer,)
    assert objective.leave(layer.forward, torch.zeros(1, 2)).models == (layer,)
    assert objective.expect(objective.classify(layer, labels(2)), torch.clone).models == (layer,)


def test_expect_is_the_mean_and_wins_in_most_draws():
    shifts = iter([0.0, 0.1, 0.5] * 2)
    want = Objective(
        lambda image, row: Score(image.mean((1, 2, 3)) + row, image.mean((1, 2, 3)) > row), (torch.zeros(2),)
    )
    image = torch.tensor([0.3, -0.2]).view(2, 1, 1, 1).expand(2, 3, SIDE, SIDE)
    score = objective.expect(want, lambda x: x + next(shifts), draws=3)(image)
    torch.testing.assert_close(score.loss, torch.tensor([0.5, 0.0]))
    assert score.won.tolist() == [True, False]  # the second wins in one draw of three
    assert next(shifts) == 0.0, "three draws, no more"


def test_an_objective_of_ones_own():
    want = Objective(
        lambda image, goal: Score(-(image.mean((1, 2, 3)) - goal).abs(), image.mean((1, 2, 3)) > goal),
        (labels(2),),
    )
    score = want.keep(torch.tensor([1]))(images(1))
    assert score.loss.shape == (1,)
    assert not score.won


@pytest.mark.parametrize("name", ["classify", "margin", "targeted"])
@pytest.mark.parametrize("label", [torch.eye(3), torch.tensor([0.0, 1.0]), torch.tensor(1)])
def test_labels_must_be_a_row_of_integers(name, label):
    with pytest.raises(ValueError, match=rf"The 'label' parameter of {name} must be \(B,\) int64"):
        getattr(objective, name)(head(3), label)


def test_other_doors():
    with pytest.raises(ValueError, match="multilabel must be"):
        objective.multilabel(head(3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="at least 1; got 0"):
        objective.expect(wishes()["classify"], torch.clone, draws=0)
    for name in ("leave", "match"):
        with pytest.raises(ValueError, match=rf"'anchor' parameter of {name} must be \(B, D\)"):
            getattr(objective, name)(head(3), torch.zeros(3))
