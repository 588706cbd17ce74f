"""FGSM, PGD and MI-FGSM by hand, and what all loops share: leaving, restarts, bad values, number formats."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_heads import OPTIONS, Linear, Small, images, read
from torch import nn

from medadv.attacks import ATTACKS, apgd, fgsm, mifgsm, pgd, square
from medadv.data import load as load_data
from medadv.models import ZeroShot, load
from medadv.objective import Objective, classify, margin
from medadv.threat import Threat
from medadv.types import Score

QUICKEST = {**OPTIONS, "suite": {"attacks": ("fgsm",)}}


def scene(k: int = 5, n: int = 8):
    head, image = Small(k).eval(), images(n)
    return head, image, read(head, image)


def slope(want: Objective, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(want(x).loss.sum(), x)[0]


def test_fgsm_is_one_signed_step():
    head, image, label = scene()
    want, threat = classify(head, label), Threat.parse("linf:2/255")
    found = fgsm(want, image, threat)
    moved = (image + threat.eps * slope(want, image).sign()).clamp(0, 1)
    up = want(moved).loss > want(image).loss
    torch.testing.assert_close(found.image[up], moved[up])
    assert found.cost[:2] == (16, 8)


@pytest.mark.parametrize("told", ["linf:2/255", "l2:0.4"])
def test_pgd_by_hand(told):
    head, image, label = scene()
    want, threat = classify(head, label), Threat.parse(told)
    found = pgd(want, image, threat, steps=6, stop=False, generator=torch.Generator().manual_seed(3))
    x = threat.start(image, generator=torch.Generator().manual_seed(3))
    seen = [x]
    for _ in range(6):
        x = threat.project(x + 5 * threat.eps / 6 * threat.ascend(slope(want, x)), image)
        seen.append(x)
    with torch.no_grad():
        scores = [want(x) for x in seen]
    for i in range(8):
        best = max(range(7), key=lambda k: (bool(scores[k].won[i]), float(scores[k].loss[i])))
        torch.testing.assert_close(found.image[i], seen[best][i])
        assert found.won[i] == scores[best].won[i]
        assert found.loss[i] == pytest.approx(float(scores[best].loss[i]), rel=1e-5)


def test_mifgsm_by_hand():
    head, image, label = scene()
    want, threat = classify(head, label), Threat.parse("linf:2/255")
    x, past, best = image, torch.zeros_like(image), want(image).loss
    for _ in range(5):
        here = slope(want, x)
        past = 0.9 * past + here / here.abs().mean((1, 2, 3), keepdim=True)
        x = threat.project(x + threat.eps / 5 * past.sign(), image)
        best = torch.maximum(best, want(x).loss)
    found = mifgsm(want, image, threat, steps=5, momentum=0.9, stop=False)
    assert (found.loss <= best + 1e-5).all()
    torch.testing.assert_close(found.loss[~found.won], best[~found.won])


def test_who_has_won_leaves_and_costs_nothing_more():
    head, image, label = scene(n=10)
    wrong = label.clone()
    wrong[:6] = (wrong[:6] + 1) % 5
    head.out.bias.data *= 0
    sizes = []
    handle = head.register_forward_hook(lambda module, given, said: sizes.append(len(given[0])))
    found = pgd(classify(head, read(head, image)), image, Threat.parse("linf:0.01/255"), steps=3, random_start=False)
    assert sizes[1:] == [10, 10, 10, 10]  # the first is our own reading
    sizes.clear()
    found = pgd(classify(head, wrong), image, Threat.parse("linf:0.01/255"), steps=3, random_start=False)
    handle.remove()
    left = 10 - int((read(head, image) != wrong).sum())
    assert sizes == [10] + [left] * 3
    assert found.cost[:2] == (sum(sizes), sum(sizes[:-1]))


def test_one_copy_that_won_takes_the_others_along():
    calls = []

    def judge(image, row):
        calls.append(len(image))
        win = image.flatten(1).sum(1) == image.flatten(1).sum(1).max()  # one point of the whole line, once
        return Score(image.flatten(1).sum(1), win & (len(calls) == 1))

    found = pgd(Objective(judge, (torch.arange(4),)), images(4), Threat.parse("linf:1/255"), steps=3, restarts=5)
    assert calls == [20, 15, 15, 15]
    assert found.won.sum() == 1


class Broken(nn.Module):
    """Logits, or their slopes, that are no numbers for some images at some points."""

    def __init__(self, how: str):
        super().__init__()
        self.head, self.how, self.calls = Small(3).eval(), how, 0

    def forward(self, image):
        self.calls += 1
        said = self.head(image)
        first = (torch.arange(len(image)) == 0).view(-1, *[1] * (said.ndim - 1))
        if self.how == "always":
            return torch.where(first, torch.nan, said)
        if self.how == "later":
            return torch.where(first & (self.calls > 1), torch.nan, said)
        return said + (said.detach() - said).abs().sqrt()  # equal in value; its slope is no number

    def reading(self, image):
        return read(self.head, image)


@pytest.mark.parametrize("how", ["always", "later", "slope"])
@pytest.mark.parametrize("name", ATTACKS.names())
def test_what_is_no_number_destroys_no_image(name, how):
    head, image = Broken(how), images(4)
    label = head.reading(image)
    threat = Threat.parse("l2:0.1" if name == "ddn" else "linf:1/255")
    given = {"generator": torch.Generator().manual_seed(0), **QUICKEST[name]}
    if how == "always":  # a model that breaks down has not been fooled, and has not withstood either
        with pytest.raises(ValueError, match="NaN before any attack for 1 image.s., in row.s. 0;"):
            ATTACKS.get(name)(head, image, label, threat, **given)
        return
    found = ATTACKS.get(name)(head, image, label, threat, **given)
    assert found.image.isfinite().all()
    assert (threat.size(found.image, image) <= threat.eps * 1.001).all()
    if how == "later":
        assert not found.won[0]


def test_doors():
    head, image, label = scene()
    want, threat = classify(head, label), Threat.parse("linf:1/255")
    with pytest.raises(ValueError, match="'steps' parameter of an attack must be at least 1; got 0"):
        pgd(want, image, threat, steps=0)
    with pytest.raises(ValueError, match="'step' parameter of an attack must be at least 0 pixel units; got -1"):
        pgd(want, image, threat, step=-1)
    for verb in (fgsm, pgd, mifgsm, apgd, square):
        with pytest.raises(ValueError, match="Did you normalise"):
            verb(want, image * 4 - 2, threat)
    with pytest.raises(ValueError, match="Drop ':grey' from the threat"):
        pgd(want, image, Threat.parse("linf:1/255:grey"))
    with pytest.raises(ValueError, match="below the 5 classes|got 5"):
        pgd(classify(head, torch.full_like(label, 5)), image, threat)


@pytest.mark.parametrize("told", ["linf:4/255", "l2:0.4", "l1:6"])
def test_flat_objectives_leave_the_image_where_it_started(told):
    def flat(image, row):
        return Score(0 * image.flatten(1).sum(1), torch.zeros(len(image), dtype=torch.bool))

    image, want = images(3), Objective(flat, (torch.arange(3),))
    for verb in (pgd, apgd):
        found = verb(want, image, Threat.parse(told), steps=4, random_start=False)
        assert torch.equal(found.image, image)
        assert not found.won.any()


@pytest.fixture(scope="module")
def tiny():
    pairs = load_data("phantoms", size=64, split="test", n=12, seed=0)
    batch = pairs.batch(range(12))
    return load("tiny"), pairs, batch.image, batch.label


def test_bf16_towers_give_nearly_the_same_answer(tiny):
    vlm, pairs, image, label = tiny
    head = ZeroShot.from_prompts(vlm, pairs.prompts or pairs.classes)
    half = load("tiny", dtype="bfloat16")
    low = ZeroShot(half, head.weight, classes=head.classes)
    held = {}
    for name, options in (("pgd", {"steps": 4}), ("apgd", {"steps": 4}), ("square", {"queries": 6})):
        for kind, model in (("full", head), ("half", low)):
            found = ATTACKS.get(name)(
                model, image, label, Threat.parse("linf:1/255"), generator=torch.Generator().manual_seed(0), **options
            )
            assert found.image.dtype == found.loss.dtype == torch.float32
            held[kind] = int((~found.won).sum())
        assert abs(held["full"] - held["half"]) <= 2, name


def test_a_compiled_head_is_a_head():
    torch._dynamo.reset()
    head, image, label = scene(n=4)
    compiled = torch.compile(head.train(), dynamic=True, backend="eager")
    for name, given in (("pgd", {"steps": 3}), ("square", {"queries": 5})):
        one, other = (
            ATTACKS.get(name)(
                model, image, label, Threat.parse("linf:2/255"), generator=torch.Generator().manual_seed(0), **given
            )
            for model in (head, compiled)
        )
        assert torch.equal(one.won, other.won), name
        assert head.training
        assert head.norm.training
    torch._dynamo.reset()


def test_the_margin_climbs_a_linear_head_as_the_entropy_does():
    head, image = Linear(2, scale=0.05), images(6)
    label = head(image).argmax(1)
    threat = Threat.parse("linf:2/255")
    one = pgd(classify(head, label), image, threat, random_start=False, stop=False)
    other = pgd(margin(head, label), image, threat, random_start=False, stop=False)
    torch.testing.assert_close(one.image, other.image)


@pytest.mark.parametrize("told", ["linf:2/255", "l2:0.4", "l1:6"])
def test_the_moved_point_is_scored_only_when_asked(told):
    head, image, label = scene()
    label[0] = (label[0] + 1) % 5  # wrong before anything happens
    want, threat = classify(head, label), Threat.parse(told)
    calls = []
    handle = head.register_forward_hook(lambda module, given, said: calls.append(len(given[0])))
    found = fgsm(want, image, threat, score=False)
    handle.remove()
    assert calls == [8]
    assert found.cost[:2] == (8, 8)
    assert found.won.tolist() == [True] + [False] * 7
    assert torch.equal(found.image[0], image[0])
    assert found.loss[1:].isnan().all()
    assert not found.loss[0].isnan()
    scored = fgsm(want, image, threat)
    torch.testing.assert_close(found.image[scored.won], scored.image[scored.won])
    assert ((found.image - image).flatten(1).abs().amax(1) > 0)[1:].all()
    again = pgd(want, image, threat, steps=3, score=False, restarts=2, generator=torch.Generator().manual_seed(0))
    assert (threat.size(again.image, image) <= threat.eps * 1.001).all()


def test_an_objective_of_another_form_is_refused_where_the_loop_begins():
    head, image, label = scene()

    def objective(loss, success):
        return Objective(lambda x, y: Score(loss(head(x)), success(head(x), y)), (label,))

    def good(z):
        return z.amax(1)

    def right(z, y):
        return z.argmax(1) != y

    for run in (fgsm, pgd, mifgsm, apgd, partial(square, queries=3)):
        with pytest.raises(ValueError, match="a loss .8, 1. of float32 for 8 images. Sum or squeeze it"):
            run(objective(lambda z: z[:, :1], right), image, "linf:1/255")
        with pytest.raises(ValueError, match="got a success .8,. of float32. Compare"):
            run(objective(good, lambda z, y: right(z, y).float()), image, "linf:1/255")
        with pytest.raises(ValueError, match="success .B,. of bool; got tuple. Return Score"):
            run(Objective(lambda x, y: (good(head(x)), right(head(x), y)), (label,)), image, "linf:1/255")
        with pytest.raises(ValueError, match="one row for each of the 8 images; got 3. Give one label"):
            run(classify(head, label[:3]), image, "linf:1/255")
        assert len(run(objective(good, right), image, "linf:1/255").won) == 8


def test_where_no_gradient_reaches_the_pixels_the_sentence_names_square():
    head, image, label = scene()
    for cut in (lambda x: head(x.detach()), lambda x: head(x).detach()):
        for run in (fgsm, pgd, mifgsm, apgd):
            with pytest.raises(ValueError, match="must let a gradient reach the pixels; .* or use square"):
                run(classify(cut, label), image, "linf:1/255")
        assert len(square(classify(cut, label), image, "linf:1/255", queries=3).won) == 8


@pytest.mark.parametrize("name", ATTACKS.names())
def test_masked_classes_are_no_broken_model(name):
    head, image, label = scene(k=3)
    label, threat = label.clamp_max(1), "l2:0.1" if name == "ddn" else "linf:1/255"
    cut = torch.tensor([0.0, 0.0, -torch.inf])
    given = {"generator": torch.Generator().manual_seed(0), **QUICKEST[name]}
    found = ATTACKS.get(name)(lambda x: head(x) + cut, image, label, threat, **given)
    assert found.image.isfinite().all()
