"""Evaluation of heads that break down, of single logits and rounding heads, after 8 bits, and inside a region."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from toyworld import Linear, toy_images, toy_pairs

from medadv.attacks import pgd
from medadv.data import Pairs, Row
from medadv.objective import classify
from medadv.reports.classification import classify_report, head_report, predict
from medadv.reports.doctor import doctor
from medadv.reports.robustness import Attacked, attacked
from medadv.types import AttackResult

QUICK = {"threats": ["linf:4/255"], "attacks": ["pgd"], "options": {"steps": 3}, "n": 50, "show": 0}


class Broken(Linear):
    """NaN for the images of class b."""

    def forward(self, image):
        said = super().forward(image)
        return torch.where((said.argmax(1) == 1)[:, None], torch.nan, said)


def nothing(head, image, label, threat, *, generator):
    return AttackResult(image, torch.zeros_like(label, dtype=torch.bool), torch.zeros(len(label)))


@pytest.mark.parametrize("call", [predict, head_report, lambda head, pairs: attacked(head, pairs, **QUICK)])
def test_a_model_that_says_nan_has_no_accuracy(call):
    with pytest.raises(ValueError, match=r"must hold no NaN; got NaN in rows \d"):
        call(Broken(), toy_pairs())


def test_outputs_that_are_nan_have_no_report():
    output = np.zeros((30, 3))
    output[7, 2] = np.nan
    with pytest.raises(ValueError, match="got NaN in rows 7"):
        classify_report(output, toy_pairs(), n=10)


def test_a_model_that_breaks_down_on_the_attacked_images_only_has_not_been_fooled():
    clean, _ = toy_images(30)

    def head(image):
        said = Linear()(image)
        moved = (image - clean[: len(image)]).abs().flatten(1).amax(1) > 1e-3
        return torch.where(moved[:, None], torch.nan, said)

    def push(head, image, label, threat, *, generator):
        return nothing(head, threat.project(image + 1, image), label, threat, generator=generator)

    with pytest.raises(ValueError, match="images of push"):
        attacked(head, toy_pairs(), **{**QUICK, "attacks": {"push": push}, "options": None})


class Rounding(Linear):
    """Sees 10 levels only: half of what it says of clean images is wrong, and a random start can repair it."""

    def forward(self, image):
        return super().forward((image * 10).round() / 10)


def test_robust_accuracy_counts_no_image_that_is_wrong_without_an_attack():
    def repair(head, image, label, threat, *, generator):
        """The attacker's own mistake: moves every image towards its class."""
        better = image.clone()
        better[torch.arange(len(label)), label] += threat.eps
        return nothing(head, better.clamp(0, 1), label, threat, generator=generator)

    pairs = toy_pairs(60)
    report = attacked(
        Rounding(), pairs, **{**QUICK, "attacks": {"repair": repair, "none at all": nothing}, "options": None}
    )
    clean = report["accuracy", "none"].value
    assert clean < 1
    plain = Rounding()(torch.stack([pairs.load(i)[0] for i in range(60)]))
    assert clean == pytest.approx(float((plain.argmax(1) == pairs.labels).float().mean()))
    for name in ("repair", "none at all", "worst"):
        assert report["robust accuracy", "linf:4/255", name].value <= clean
        assert report["attack success rate", "linf:4/255", "worst"].value >= (
            report["attack success rate", "linf:4/255", name].value
        )
    assert report["robust accuracy", "linf:4/255", "worst"].value == min(
        report["robust accuracy", "linf:4/255", name].value for name in ("repair", "none at all")
    )


class Single(nn.Module):
    """One logit of the second class against the first."""

    def __init__(self, shape):
        super().__init__()
        self.inside, self.shape = Linear(2), shape

    def forward(self, image):
        said = self.inside(image)
        return (said[:, 1] - said[:, 0]).reshape(self.shape)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_logit_is_evaluated_like_two(shape):
    pairs = toy_pairs(20, 2)
    one, two = (attacked(head, pairs, **QUICK) for head in (Single(shape), Linear(2)))
    for row in two.rows:
        if row["metric"] in ("accuracy", "robust accuracy", "macro AUC", "sensitivity", "attack success rate"):
            same = [other for other in one.rows if all(other[k] == row[k] for k in row if k != "estimate")]
            assert same[0]["estimate"].value == pytest.approx(row["estimate"].value)
    assert predict(Single(shape), pairs).shape == (20, 2)
    image, label = toy_images(20, 2)
    assert doctor(Single(shape), image, label.tolist(), "linf:2/255", steps=2, queries=4)


def test_data_of_one_class_are_refused_before_an_attack_runs():
    pairs = toy_pairs(6, 2)
    alone = dataclasses.replace(
        pairs, classes=("a",), rows=tuple(dataclasses.replace(row, label=0) for row in pairs.rows)
    )

    def never(*_, **__):
        raise AssertionError("the head was asked")

    for call in (lambda: attacked(never, alone, **QUICK), lambda: head_report(never, alone)):
        with pytest.raises(ValueError, match="two classes or more; toy has only 'a'"):
            call()


@pytest.mark.parametrize(
    ("wrap", "remedy"),
    [(lambda z: (z,), r"\[0\]"), (lambda z: {"out": z}, r"\['out'\]"), (lambda z: 1, "torch tensor")],
)
def test_a_head_that_returns_no_logits_is_one_sentence_everywhere(wrap, remedy):
    class Wrapped(Linear):
        def forward(self, image):
            return wrap(super().forward(image))

    image, label = toy_images(6)
    head, pairs = Wrapped(), toy_pairs(6)
    for call in (
        lambda: attacked(head, pairs, **QUICK),
        lambda: predict(head, pairs),
        lambda: head_report(head, pairs),
        lambda: doctor(head, image, label, "linf:1/255"),
        lambda: pgd(classify(head, label), image, "linf:1/255", steps=1),
    ):
        with pytest.raises(ValueError, match=rf"must return a tensor of logits.*{remedy}"):
            call()


def test_rounding_to_eight_bits_is_scored_beside_the_float_images():
    report = attacked(Linear(), toy_pairs(), **{**QUICK, "attacks": ["pgd", "fgsm"]}, save_8bit=True)
    assert list(report.wide()["attack"]) == [
        "none",
        "pgd",
        "pgd, 8-bit",
        "fgsm",
        "fgsm, 8-bit",
        "worst",
        "worst, 8-bit",
    ]
    size = report["largest size", "linf:4/255", "pgd, 8-bit"].value
    assert size <= 4.5 / 255 + 1e-6
    assert "n/255" in report.settings["8-bit"]
    clean, _ = toy_images(30)
    head, kept = Linear(), {}

    def keep(head, image, label, threat, *, generator):
        kept["image"] = (image + 0.4 / 255).clamp(0, 1)  # rounding changes it
        return nothing(head, kept["image"], label, threat, generator=generator)

    report = attacked(head, toy_pairs(), **{**QUICK, "attacks": {"keep": keep}, "options": None}, save_8bit=True)
    rounded = (kept["image"] * 255).round() / 255
    assert np.allclose(report.raw["under"]["linf:4/255 keep, 8-bit"], head(rounded).detach(), atol=2e-5)
    assert report["largest size", "linf:4/255", "keep, 8-bit"].value == pytest.approx(
        float((rounded - clean).abs().max()), abs=1e-6
    )


@pytest.mark.parametrize("region", ["mask", "outside"])
def test_only_pixels_of_the_region_change(region, tmp_path):
    pairs, mask = toy_pairs(8), torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    masked = dataclasses.replace(pairs, load=lambda i: (pairs.load(i)[0], mask))
    seen = []

    def watched(head, image, label, threat, *, generator, region):
        found = pgd(classify(head, label), image, threat, steps=2, generator=generator, region=region)
        seen.append((found.image - image).abs().amax((0, 1)))
        return found

    report = attacked(Linear(), masked, **{**QUICK, "attacks": {"watched": watched}, "options": None}, region=region)
    upper, lower = (seen[0][:4], seen[0][4:]) if region == "mask" else (seen[0][4:], seen[0][:4])
    assert upper.max() > 0
    assert lower.max() == 0
    assert report.settings["region"] == region
    report.save(tmp_path / "a.json")
    assert Attacked.load(tmp_path / "a.json").settings["region"] == region
    with pytest.raises(ValueError, match="needs a mask for every image; toy has none for row 0"):
        attacked(Linear(), pairs, **QUICK, region=region)
    with pytest.raises(ValueError, match="one of mask, outside"):
        attacked(Linear(), masked, **QUICK, region="lesion")
    with pytest.raises(ValueError, match="takes no 'region'"):
        attacked(Linear(), masked, **{**QUICK, "attacks": {"nothing": nothing}, "options": None}, region=region)


def test_masked_classes_survive_the_file(tmp_path):
    class Masked(Linear):
        def forward(self, image):
            return super().forward(image) + torch.tensor([0, 0, -torch.inf])

    pairs = toy_pairs(12, 2)
    three = Pairs(
        "toy", ("a", "b", "c"), tuple(Row(row.label, row.captions, row.patient) for row in pairs.rows), pairs.load
    )
    report = attacked(Masked(), three, **QUICK)
    report.save(tmp_path / "a.json")
    assert np.isfinite(np.asarray(Attacked.load(tmp_path / "a.json").raw["output"])).all()
