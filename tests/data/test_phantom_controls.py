"""Every control of the phantoms turns what it says, and only that."""

from __future__ import annotations

import pytest
import torch
from test_phantoms import told

from medadv.data.phantoms import Controls, phantoms

CORNER = slice(0, 12)  # of 64 px: where the marker lies


def positive(pairs) -> torch.Tensor:
    first = {domain: pairs.domains.index(domain) for domain in pairs.domains}
    return torch.tensor([row.label != first[pairs.domains[row.label]] for row in pairs.rows])


def group(pairs, attribute: str, value: str) -> torch.Tensor:
    return torch.tensor([row.attributes[attribute] == value for row in pairs.rows])


def near(share: torch.Tensor, want: float) -> bool:
    return abs(float(share.float().mean()) - want) < 4 * (max(want * (1 - want), 0.01) / len(share)) ** 0.5


def test_prevalence_for_all_and_for_each_group():
    plain = phantoms(1500, seed=1, controls=Controls(prevalence=0.2))
    assert near(positive(plain), 0.2)
    pairs = phantoms(1500, seed=1, controls=Controls(prevalence={"female": 0.1, "male": 0.7}))
    sick, woman = positive(pairs), group(pairs, "sex", "female")
    assert near(sick[woman], 0.1)
    assert near(sick[~woman], 0.7)
    by_age = phantoms(1500, seed=1, controls=Controls(prevalence={"under_50": 0.0}))
    young = group(by_age, "age_group", "under_50")
    assert not positive(by_age)[young].any()
    assert near(positive(by_age)[~young], 14 / 20)  # the others as if nothing had been said


def test_appearance_shift_takes_contrast_from_its_group_alone():
    plain = phantoms(80, seed=2)
    shifted = phantoms(80, seed=2, controls=Controls(appearance={"dark": 1.0}))
    dark = group(plain, "appearance", "dark")
    for i in range(80):
        a, b = plain.load(i)[0], shifted.load(i)[0]
        assert torch.equal(plain.load(i)[1], shifted.load(i)[1])
        if not dark[i]:
            assert torch.equal(a, b)
            continue
        coarse = [torch.nn.functional.avg_pool2d(x, 8).flatten(1) for x in (a, b)]  # noise is averaged out
        assert coarse[1].std(1).max() < 0.65 * coarse[0].std(1).max()
        assert float((a.mean() - b.mean()).abs()) < 0.03
        assert b.min() >= 0
        assert b.max() <= 1
    half = phantoms(80, seed=2, controls=Controls(appearance=0.5))
    assert not any(torch.equal(half.load(i)[0], plain.load(i)[0]) for i in range(10))


def test_wrong_captions_tell_another_finding_of_the_same_modality():
    rates = {"female": 0.4, "male": 0.0}
    plain, pairs = phantoms(1000, seed=3), phantoms(1000, seed=3, controls=Controls(caption_error=rates))
    woman = group(pairs, "sex", "female")
    wrong = torch.tensor([row.attributes["caption_wrong"] == "yes" for row in pairs.rows])
    assert near(wrong[woman], 0.4)
    assert not wrong[~woman].any()
    for i, (row, clean) in enumerate(zip(pairs.rows, plain.rows, strict=True)):
        assert row.label == clean.label
        modality, finding = pairs.classes[row.label].split("/")
        for caption in row.captions:
            (said,) = told(modality, caption)
            assert (said != finding) == bool(wrong[i]), (finding, caption)
        if not wrong[i]:
            assert row.captions == clean.captions
    assert all(torch.equal(pairs.load(i)[0], plain.load(i)[0]) for i in range(20))


@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
def test_the_marker_follows_the_class_and_is_seen_in_its_corner(strength):
    pairs = phantoms(1200, seed=4, controls=Controls(shortcut=strength))
    marked, sick = group(pairs, "marker", "yes"), positive(pairs)
    assert near(marked[sick], (1 + strength) / 2)
    assert near(marked[~sick], (1 - strength) / 2)
    if strength == 1:
        assert torch.equal(marked, sick)
    plain = phantoms(60, seed=4)
    for i in range(60):
        changed = (pairs.load(i)[0] - plain.load(i)[0]).abs().amax(0)
        assert bool(changed.any()) == bool(marked[i])
        assert not changed[12:].any()
        assert not changed[:, 12:].any()
        if marked[i]:
            assert pairs.load(i)[0][:, CORNER, CORNER].amax(0).max() > 0.9
    assert "marker" not in plain.rows[0].attributes


def test_shares_of_a_population():
    pairs = phantoms(3000, seed=5, controls=Controls(shares={"dark": 0.1, "light": 0.6}))
    for value, share in (("dark", 0.1), ("light", 0.6), ("medium", 0.3)):
        assert near(group(pairs, "appearance", value)[::2], share)
    assert near(group(pairs, "sex", "female")[::2], 0.5)
    none = phantoms(300, seed=5, controls=Controls(shares={"female": 0.0}))
    assert not group(none, "sex", "female").any()


def test_controls_together_leave_samples_alone():
    controls = Controls(prevalence=0.3, appearance={"dark": 0.5}, caption_error=0.2, shortcut=0.7, shares={"dark": 0.4})
    whole, part = phantoms(20, seed=6, controls=controls), phantoms(5, seed=6, start=12, controls=controls)
    for i in range(5):
        assert whole.rows[12 + i] == part.rows[i]
        assert torch.equal(whole.load(12 + i)[0], part.load(i)[0])


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"prevalence": 1.2}, r"'prevalence' parameter of Controls must lie in \[0, 1\]; got 1.2"),
        ({"appearance": -0.1}, "'appearance' parameter"),
        ({"caption_error": float("nan")}, "'caption_error' parameter"),
        ({"prevalence": {"female": 2}}, "must lie in"),
        (
            {"prevalence": {"women": 0.5}},
            "must name values of one attribute of .*'female'.*got \\['women'\\]",
        ),
        ({"appearance": {"female": 0.5, "dark": 0.5}}, "values of one attribute"),
        ({"prevalence": "high"}, "must be a number or a mapping"),
        ({"shortcut": {"female": 0.5}}, "'shortcut' parameter of Controls must be a number; got"),
        ({"shortcut": 2}, "'shortcut' parameter of Controls must lie in"),
        ({"shares": 0.5}, "'shares' parameter of Controls must be a mapping"),
        ({"shares": {"light": 0.7, "dark": 0.7}}, "sum to at most 1"),
        ({"shares": {"female": 0.0, "male": 0.0}}, "to 1 where every value is named"),
    ],
)
def test_bad_controls_are_refused(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        Controls(**bad)
