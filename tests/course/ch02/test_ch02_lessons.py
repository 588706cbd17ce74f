"""What the notebooks of the chapter on attacks compute, on worlds where the answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import medadv
from medadv.course.ch02 import helpers, pitfalls, plots, toy
from medadv.course.figures import Figure, show
from medadv.data.tidy import cache
from medadv.models import ZeroShot
from medadv.objective import classify
from medadv.reports.doctor import Flag
from medadv.threat import Threat


@pytest.fixture(scope="module")
def pairs():
    return cache(medadv.phantoms(24, start=1_000_000), progress=False)


@pytest.fixture(scope="module")
def head(pairs):
    return ZeroShot.from_prompts(medadv.load("tiny", device="cpu"), pairs.prompts).eval()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), norm=st.sampled_from(toy.NORMS))
def test_nothing_of_the_same_size_beats_the_strongest(seed, norm):
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(12, generator=draw, dtype=torch.float64)
    best = toy.strongest(weight, 0.3, norm)
    order = {"linf": math.inf, "l2": 2, "l1": 1}[norm]
    assert float(best.norm(p=order)) == pytest.approx(0.3)
    assert float(weight @ best) == pytest.approx(0.3 * toy.dual(weight, norm))
    others = torch.randn(50, 12, generator=draw, dtype=torch.float64)
    others = 0.3 * others / others.norm(p=order, dim=1, keepdim=True)
    assert float((others @ weight).max()) <= float(weight @ best) + 1e-9


def test_unknown_norm():
    with pytest.raises(ValueError, match=r"'norm' parameter of dual"):
        toy.strongest(torch.ones(3), 0.1, "l3")


def test_reader_learns_and_its_distances_are_exact():
    draw = torch.Generator().manual_seed(0)
    ill = torch.arange(60) % 2 == 1
    image = (0.4 + 0.1 * torch.rand(60, 3, 4, 4, generator=draw)).clamp(0, 1)
    image[ill, :, 1, 1] += 0.3
    reader = toy.learn_reader(image, ill, penalty=0.1)
    assert torch.equal(reader.score(image) > 0, ill)
    for norm in toy.NORMS:
        size = float(toy.needed(reader, image[:1], norm))
        side = -float(reader.score(image[:1]).sign())
        moved = image[:1] + side * toy.strongest(reader.weight, size, norm)
        assert float(reader.score(moved)) == pytest.approx(0, abs=1e-5)
    corner = toy.strongest_in_box(reader.weight, image, 0.7)
    assert 0 <= corner.min() <= corner.max() <= 1
    assert (reader.score(corner) >= reader.score(image)).all()


def test_fog_formula_agrees_with_draws():
    image, ill = toy.fog_images(8000, pixels=400, seed=3)
    for eps in (0.0, 0.004):
        against = torch.where(ill, -eps, eps)[:, None]
        right = (((image + against).mean(1) > 0.5) == ill).double().mean()
        assert float(right) == pytest.approx(float(toy.fog_accuracy(eps, pixels=400)), abs=0.02)
    signs = toy.random_signs(image[0], 8000)
    tossed = (((image + 0.05 * signs).mean(1) > 0.5) == ill).double().mean()
    assert float(tossed) == pytest.approx(float(toy.fog_noise_accuracy(0.05)), abs=0.02)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}


def test_of_classes(pairs):
    some = helpers.of_classes(pairs, [pairs.classes[0], pairs.classes[5]])
    assert set(some.labels.tolist()) <= {0, 5}
    assert some.classes == pairs.classes
    with pytest.raises(ValueError, match=r"'names' parameter of of_classes"):
        helpers.of_classes(pairs, ["chest/unknown"])


def test_trace_plane_and_gains_on_a_linear_loss():
    weight = torch.randn(2, 48, generator=torch.Generator().manual_seed(0))
    image, label = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64)

    def linear(x):
        return x.flatten(1) @ weight.T

    from medadv.objective import Objective
    from medadv.types import Score

    def judge(x, y):
        lead = linear(x)[:, 1] - linear(x)[:, 0]
        return Score(lead, lead > 0)

    want = Objective(judge, (label,))
    threat = Threat.parse("linf:8/255")
    points = helpers.trace(want, image, threat, steps=3, step=threat.eps / 2)
    assert len(points) == 4
    assert torch.equal(points[0], image)
    assert torch.allclose(points[-1], points[2])  # two steps reach the corner
    measured, told = helpers.gains(want, image, (1, 4))
    assert measured == pytest.approx(told, rel=1e-4)
    alone = Objective(judge, (label[:1],))
    loss, where, path = helpers.plane(alone, [p[:1] for p in points], threat.eps, size=5)
    assert loss.shape == (5, 5)
    assert path.shape == (4, 2)
    assert path[0].abs().max() < 1e-6
    assert where[0] < 0 < where[-1]


def test_levels_and_frames(pairs, head):
    image = pairs.batch([0]).image
    assert torch.equal(helpers.levels(image + 0.4 / 255).clamp(0, 1), helpers.levels(image))
    drawn, said = helpers.frames(head, image[0], [image[0], image[0]], pairs, int(pairs.labels[0]))
    assert len(drawn) == len(said) == 2
    assert said[0].startswith("The model says")


def test_broken_heads_keep_the_answers(pairs, head):
    image = pairs.batch(range(6)).image
    said = head(image).argmax(1)
    for broken in (pitfalls.Scaled(head, 1000.0), pitfalls.Probabilities(head)):
        assert torch.equal(broken(image).argmax(1), said)
    x = image.clone().requires_grad_()
    (flat,) = torch.autograd.grad(pitfalls.Rounded(head)(x)[:, 0].sum(), x)
    (through,) = torch.autograd.grad(pitfalls.StraightThrough(head)(x)[:, 0].sum(), x)
    assert flat.abs().max() == 0
    assert through.abs().max() > 0
    assert torch.allclose(pitfalls.StraightThrough(head)(image), pitfalls.Rounded(head)(image), atol=1e-4)
    shaky = pitfalls.Shaky(head, 0.1)
    assert not torch.equal(shaky(image), shaky(image))


def test_normalised_attack_is_as_large_as_said(pairs, head):
    image, label, vlm = pairs.batch(range(4)).image, pairs.labels[:4], head.vlm
    weak = pitfalls.normalised_pgd(head, vlm, image, label, 4 / 255, steps=2)
    moved = (weak - image).abs().amax((0, 2, 3))
    assert torch.allclose(moved, 4 / 255 * vlm.std.flatten(), rtol=1e-2)
    mended = pitfalls.normalised_pgd(head, vlm, image, label, 4 / 255, right=True, steps=2)
    assert Threat.parse("linf:4/255").size(mended, image).max() <= 4.001 / 255


def test_counts(pairs, head):
    won = torch.zeros(24, dtype=torch.bool)
    won[:6] = True
    assert pitfalls.kept(won, pairs).value == pytest.approx(0.75)
    right = torch.ones(24, dtype=torch.bool)
    right[:2] = False
    rates = [e.value for e in pitfalls.success_rates(right, won).values()]
    assert rates == pytest.approx([6 / 24, 4 / 24, 4 / 22])
    label = torch.tensor([0] * 14 + [1] * 10)
    rows = pitfalls.common_class(label, share=0.7, common=0)
    assert (label[rows] == 0).float().mean() == pytest.approx(0.7)
    flags = [Flag("a", True, "", ""), Flag("b", False, "", ""), Flag("c", True, "", "")]
    assert pitfalls.doubtful(flags) == ["a", "c"]


def test_per_finding(head):
    skin = cache(medadv.phantoms(12, start=1_000_000, modalities=("dermoscopy",)), progress=False)
    reader = ZeroShot.from_prompts(head.vlm, skin.prompts)
    k = int(skin.labels[0])
    clean = pitfalls.per_finding(reader, skin, k)
    pushed = pitfalls.per_finding(reader, skin, k, threat=Threat.parse("linf:4/255"), steps=4)
    assert pushed.sensitivity.value <= clean.sensitivity.value
    assert pushed.specificity.value <= clean.specificity.value
    assert clean.sensitivity.n + clean.specificity.n == 12
    only = skin.select([0])
    with pytest.raises(ValueError, match=r"'positive' parameter of per_finding"):
        pitfalls.per_finding(reader, only, k)


def test_logits_leave_the_head_alone(pairs, head):
    image = pairs.batch(range(3)).image
    out = pitfalls.logits_of(head.train(), image, batch_size=2)
    assert head.training
    head.eval()
    assert torch.allclose(out, head(image), atol=1e-4)
    assert classify(head, pairs.labels[:3])(image).loss.shape == (3,)


def test_drawings():
    picture = plots.signed(torch.tensor([[-1.0, 0.0], [0.5, 1.0]]))
    assert picture.shape == (3, 2, 2)
    assert picture[:, 0, 1].tolist() == [1, 1, 1]
    assert picture[:, 0, 0].tolist() == [0, 0, 1]
    made = [
        plots.balls(),
        plots.lines([1, 2], {"a": [1, 2]}, xlabel="x", ylabel="y", log="xy", limits=(0.5, 3)),
        plots.row([picture, picture], ["one", "two"]),
        plots.landscape(torch.rand(3, 3), [0, 1, 2], [0, 1, 2], torch.rand(4, 2)),
    ]
    assert all(isinstance(show(one, alt="A drawing."), Figure) for one in made)
