"""The geometry of threats against closed forms, and the sentences that refuse what is no pixel."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from medadv.threat import TextThreat, Threat


def pixels(n: int = 4, side: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise(like: torch.Tensor, scale: float, seed: int = 1) -> torch.Tensor:
    return scale * torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)


@pytest.mark.parametrize(
    ("text", "norm", "eps", "grey"),
    [
        ("linf:4/255", "linf", 4 / 255, False),
        ("LINF:0.5/255:grey", "linf", 0.5 / 255, True),
        (" l2:0.5 ", "l2", 0.5, False),
        ("l1:1e+1", "l1", 10.0, False),
        ("linf:0", "linf", 0.0, False),
    ],
)
def test_parse(text, norm, eps, grey):
    threat = Threat.parse(text)
    assert threat == Threat(norm, eps, grey)
    assert Threat.parse(str(threat)) == threat


def test_the_short_form_is_the_one_people_write():
    assert [str(Threat.parse(t)) for t in ("linf:4/255", "linf:0.5", "l2:0.5:grey", "linf:0")] == [
        "linf:4/255", "linf:127.5/255", "l2:0.5:grey", "linf:0",
    ]  # fmt: skip
    assert repr(Threat("linf", 8 / 255)) == "Threat(linf:8/255)"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("4", "must look like linf:4/255, l2:0.5 or l1:10; got '4'"),
        ("4/255", "must look like"),
        ("linf:4/0", "must look like"),
        ("linf:nan", "must look like"),
        ("l7:1", "must look like"),
        ("linf:-1", "must be a finite number of at least 0; got -1.0"),
        ("linf:4", r"at most 1 in linf, pixels being in \[0, 1\]; got 4. Did you mean 4/255\?"),
        ("linf:1e999", "finite"),
    ],
)
def test_parse_refuses_with_a_remedy(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        Threat.parse(text)


def test_the_value_itself_refuses_too():
    with pytest.raises(ValueError, match="must be one of"):
        Threat("linfty", 0.1)
    with pytest.raises(ValueError, match="finite number"):
        Threat("l2", "4/255")
    with pytest.raises(ValueError, match="finite number"):
        Threat("l2", float("nan"))


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), "Did you normalise"),
        (torch.full((1, 3, 4, 4), torch.nan), "Did you normalise"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "torch.uint8. Divide uint8 values by 255"),
        (torch.rand(2, 1, 4, 4), r"1 channel\(s\). Repeat a grey image: image.expand\(-1, 3, -1, -1\)"),
        (torch.rand(3, 4, 4), r"Add the batch axis with image\[None\]"),
        ("scan.png", "got str. Turn pictures and arrays into pixels with medadv.to_pixels"),
    ],
)
def test_check_refuses_what_is_no_pixel(image, sentence):
    with pytest.raises(ValueError, match=sentence):
        Threat.parse("linf:4/255").check(image)


def test_check_lets_pixels_through_and_grey_wants_three_equal_channels():
    colour, empty = torch.rand(2, 3, 4, 4), torch.rand(0, 3, 4, 4)
    grey = colour[:, :1].expand(-1, 3, -1, -1)
    threat = Threat.parse("linf:4/255:grey")
    assert threat.check(grey) is grey
    assert threat.check(empty) is empty
    assert Threat.parse("l2:1").check(colour) is colour
    with pytest.raises(ValueError, match="Drop ':grey' from the threat"):
        threat.check(colour)


def test_linf_projection_is_two_clamps():
    image = pixels()
    there = image + noise(image, 0.2)
    want = torch.minimum(torch.maximum(there, image - 0.1), image + 0.1).clamp(0, 1)
    torch.testing.assert_close(Threat("linf", 0.1).project(there, image), want)


def test_l2_projection_is_a_shorter_way_then_the_box():
    image = pixels()
    there = image + noise(image, 0.2)
    for i in range(len(image)):
        moved = there[i] - image[i]
        want = (image[i] + moved * min(1, 0.7 / float(moved.norm()))).clamp(0, 1)
        torch.testing.assert_close(Threat("l2", 0.7).project(there, image)[i], want)


@pytest.mark.parametrize("radius", [0.0, 0.3, 1.0, 4.0, 1000.0])
def test_l1_projection_agrees_with_bisection(radius):
    image = torch.full((6, 3, 4, 4), 0.5, dtype=torch.float64)
    there = image + noise(image, 0.05) * torch.tensor([0, 0.1, 1, 2, 3, 3], dtype=torch.float64).view(6, 1, 1, 1)
    got = Threat("l1", radius).project(there, image)
    for i in range(len(image)):
        moved = there[i] - image[i]
        low, high = 0.0, float(moved.abs().max())
        for _ in range(200):  # soft threshold whose result has exactly the radius
            middle = (low + high) / 2
            low, high = (middle, high) if (moved.abs() - middle).clamp_min(0).sum() > radius else (low, middle)
        cut = 0.0 if moved.abs().sum() <= radius else high
        want = image[i] + moved.sign() * (moved.abs() - cut).clamp_min(0)
        torch.testing.assert_close(got[i], want.clamp(0, 1), atol=1e-10, rtol=0)


def test_l1_projection_is_the_nearest_point():
    # Against random points of the ball: none is nearer. The box is far away here.
    image = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64)
    there = image + noise(image, 0.1)
    threat = Threat("l1", 0.3)
    best = (threat.project(there, image) - there).norm()
    others = threat.start(image.expand(2000, -1, -1, -1), generator=torch.Generator().manual_seed(3))
    assert ((others - there).flatten(1).norm(dim=1) >= best - 1e-12).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_ascend_is_the_steepest_unit_direction(norm):
    gradient = noise(pixels(), 1.0)
    threat, far = Threat(norm, 0.5), torch.full((4, 3, 5, 5), 0.5, dtype=torch.float64)
    unit = threat.ascend(gradient)
    torch.testing.assert_close(threat.size(far + unit, far), torch.ones(4, dtype=torch.float64))
    dual = {"linf": gradient.abs().flatten(1).sum(1), "l2": gradient.flatten(1).norm(dim=1),
            "l1": gradient.abs().flatten(1).amax(1)}[norm]  # fmt: skip
    torch.testing.assert_close((gradient * unit).flatten(1).sum(1), dual)
    assert not threat.ascend(torch.zeros_like(gradient)).any()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_grey_ties_the_channels_and_measures_one_of_them(norm):
    image = pixels()[:, :1].expand(-1, 3, -1, -1).contiguous()
    threat = Threat(norm, 0.2, grey=True)
    start = threat.start(image, generator=torch.Generator().manual_seed(0))
    points = [
        start,
        threat.project(image + noise(image, 0.3), image),
        threat.project(image + 0.1 * threat.ascend(noise(image, 1.0)), image),
    ]
    one = Threat(norm, 0.2)
    for point in points:
        assert torch.equal(point[:, 0], point[:, 1])
        assert torch.equal(point[:, 0], point[:, 2])
        assert (threat.size(point, image) <= 0.2 + 1e-12).all()
        torch.testing.assert_close(threat.size(point, image), one.size(point[:, :1], image[:, :1]))
    assert (start != image).any()


@pytest.mark.parametrize(("text", "reaches"), [("linf:8/255", 0.95), ("l2:1", 0.9), ("l1:3", 0.9)])
def test_start_is_inside_random_and_the_generators_own(text, reaches):
    threat, image = Threat.parse(text), torch.full((200, 3, 4, 4), 0.5)
    state = torch.get_rng_state()
    first = threat.start(image, generator=torch.Generator().manual_seed(5))
    again = threat.start(image, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    size = threat.size(first, image)
    assert (size <= threat.eps * (1 + 1e-5)).all()
    assert size.median() > reaches * threat.eps  # a ball of 48 dimensions is nearly all rim
    assert abs(float((first - image).mean())) < threat.eps / 50
    edge = threat.start(image.round(), generator=torch.Generator().manual_seed(5))
    assert edge.min() >= 0
    assert edge.max() <= 1


def test_nothing_to_do_for_no_images_and_no_ball():
    image, empty = pixels(), pixels(0)
    for norm in ("linf", "l2", "l1"):
        assert torch.equal(Threat(norm, 0.0).project(image + 0.1, image), image)
        assert torch.equal(Threat(norm, 0.0).start(image), image)
        threat = Threat(norm, 0.1)
        assert threat.start(empty).shape == threat.project(empty, empty).shape == empty.shape
        assert threat.size(empty, empty).shape == (0,)


@pytest.mark.parametrize(
    ("before", "after", "within"),
    [
        ("no lung nodule", "no lung node", True),
        ("no lung nodule", "a lung nodule", False),
        ("No, lung nodule", "A lung nodule", False),
        ("lung nodule", "no nodule", False),
        ("nodule in the left lung", "nodule in the right lung", False),
        ("a mild opacity", "a severe opacity", False),
        ("ratio of 0.58", "ratio of 0.48", False),
        ("lung nodule", "lung round nodule", False),
        ("chest film", "thorax picture", False),
        ("same", "same", True),
    ],
)
def test_text_within_reach(before, after, within):
    assert TextThreat(words=1).allows(before, after) is within


def test_text_threats_count_words():
    assert TextThreat(words=2).allows("chest film", "thorax picture")
    assert not TextThreat(words=0).allows("chest film", "chest picture")
    assert TextThreat(words=1, protected=frozenset()).allows("left lung", "right lung")
    with pytest.raises(ValueError, match="at least 0; got -1"):
        TextThreat(words=-1)


def test_a_threat_may_be_a_line_and_its_size_any_number():
    threat = Threat.parse("linf:4/255")
    assert Threat.of("linf:4/255") == threat
    assert Threat.of(threat) is threat
    with pytest.raises(ValueError, match="must be a Threat or a line; got float. Write Threat.parse"):
        Threat.of(4 / 255)
    for eps in (np.float32(0.5), np.int64(1), Fraction(1, 2)):
        threat = Threat("l2", eps)
        assert type(threat.eps) is float
        assert Threat.parse(str(threat)) == threat
    with pytest.raises(ValueError, match="must be a finite number"):
        Threat("l2", np.float32("nan"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("benign lesion", "malignant lesion"),
        ("this isn't normal", "this is normal"),
        ("this isn\u2019t normal", "this is normal"),
        ("it doesn't show", "it does show"),
        ("mass w/o oedema", "mass with oedema"),
        ("R lung", "l lung"),
        ("Lt. lung", "Rt. lung"),
        ("OD disc", "OS disc"),
        ("anterior wall", "posterior wall"),
        ("proximal part", "distal part"),
        ("grade II glioma", "grade IV glioma"),
        ("grade-II glioma", "grade-III glioma"),
        ("type A flap", "type B flap"),
        ("acute bleeding", "chronic bleeding"),
        ("arterial hypertension", "arterial hypotension"),
        ("symmetric lungs", "asymmetric lungs"),
        ("normal heart", "abnormal heart"),
        ("possible nodule", "definite nodule"),
        ("mass increased", "mass decreased"),
        ("a \u00bd share", "a \u00bc share"),
        ("is&nbsp;no mass", "is&nbsp;a mass"),
    ],
)
def test_what_turns_the_meaning_is_protected_both_ways(before, after):
    assert not TextThreat(words=2).allows(before, after)
    assert not TextThreat(words=2).allows(after, before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("anterior wall", "ventral wall"),
        ("malignant lesion", "malignant tumour"),
        ("malignant lesion", "cancerous lesion"),
        ("posterior wall", "posterlor wall"),
        ("hyperinflated lung", "overinflated lung"),
        ("chest x-ray", "chest radiograph"),
        ("a film &lt; opacity", "a picture &lt; opacity"),
    ],
)
def test_words_of_the_same_sense_may_change(before, after):
    assert TextThreat(words=1).allows(before, after)
