"""Labels and logits at the doors: every form that can mean one thing only, and one sentence for the others."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from medadv._labels import as_labels, as_logits, check_scores
from medadv.attacks import ATTACKS, fgsm, pgd
from medadv.evaluate.metrics import STATISTICS, accuracy, auc, balanced_accuracy, confusion, macro_auc
from medadv.objective import classify, margin, multilabel, targeted
from medadv.threat import Threat

NAN = float("nan")
IMAGE = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABEL = [0, 1, 2, 1]


def linear(image):
    return 20 * image.mean((2, 3))


@dataclass
class Holder:
    scores: torch.Tensor


@pytest.mark.parametrize(
    "label",
    [
        LABEL,
        tuple(LABEL),
        np.array(LABEL, dtype=np.uint8),
        np.array(LABEL, dtype=np.int16),
        *(torch.tensor(LABEL, dtype=kind) for kind in (torch.int64, torch.int32, torch.int8, torch.uint8)),
    ],
    ids=lambda label: str(getattr(label, "dtype", type(label).__name__)),
)
def test_labels_of_any_integer_type_give_the_same_attacks(label):
    assert torch.equal(as_labels(label, 4, "f"), torch.tensor(LABEL))
    for make in (classify, margin, targeted):
        assert torch.equal(make(linear, label)(IMAGE).loss, make(linear, torch.tensor(LABEL))(IMAGE).loss)
    threat = Threat.parse("linf:4/255")
    for name in ("fgsm", "apgd-targeted", "suite"):
        more = {"attacks": ["fgsm"]} if name == "suite" else {}
        one, other = (
            ATTACKS.get(name)(linear, IMAGE, label, threat, generator=torch.Generator().manual_seed(0), **more)
            for label in (label, torch.tensor(LABEL))
        )
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.won, other.won)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "apgd-targeted", "square", "suite"])
def test_one_label_for_many_images_is_refused(name):
    with pytest.raises(ValueError, match=r"one row for each of the 4 images; got 1"):
        ATTACKS.get(name)(linear, IMAGE, [0], Threat.parse("linf:4/255"), generator=torch.Generator())


@pytest.mark.parametrize("label", [[0.0, 1.0], ["a", "b"], [[0, 1], [1, 0]], [[0], [1, 2]], None, 3])
def test_labels_that_are_no_classes_are_refused(label):
    with pytest.raises(ValueError, match=r"The 'label' parameter of f must be"):
        as_labels(label, None, "f")


@pytest.mark.parametrize(
    ("wrap", "remedy"),
    [
        (lambda z: (z, z), r"head\(image\)\[0\]"),
        (lambda z: {"logits": z}, r"head\(image\)\['logits'\]"),
        (lambda z: Holder(z), r"head\(image\)\.scores"),
        (lambda z: namedtuple("Output", "logits")(z), r"head\(image\)\.logits"),
        (lambda z: z.argmax(1), "Return the logits, not the classes"),
        (lambda z: z[:1], "one row of logits for each image"),
        (lambda z: z[:, :0], "one for each class"),
        (lambda z: None, "Return a torch tensor"),
    ],
)
def test_a_head_that_returns_no_logits_is_told_what_to_write(wrap, remedy):
    with pytest.raises(ValueError, match=remedy):
        fgsm(classify(lambda image: wrap(linear(image)), LABEL), IMAGE, Threat.parse("linf:1/255"))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_logit_is_a_classifier_of_two_classes(shape):
    def single(image):
        return (linear(image) @ torch.tensor([1.0, -1.0, 0.0])).reshape(shape)

    def double(image):
        return torch.stack([torch.zeros(len(image)), single(image).reshape(-1)], 1)

    label = double(IMAGE).argmax(1)
    assert torch.equal(as_logits(single(IMAGE), 4), double(IMAGE))
    for make in (classify, margin):
        one, other = (
            pgd(make(head, label), IMAGE, Threat.parse("linf:8/255"), steps=5, random_start=False)
            for head in (single, double)
        )
        assert torch.equal(one.won, other.won)
        assert torch.allclose(one.image, other.image)
    with pytest.raises(ValueError, match="use multilabel"):
        classify(single, LABEL)(IMAGE)


def test_multilabel_takes_one_finding_and_refuses_other_values():
    found = multilabel(lambda image: linear(image)[:, 0], [[0], [1], [0], [1]])(IMAGE)
    assert found.loss.shape == (4,)
    with pytest.raises(ValueError, match="Map uncertain findings"):
        multilabel(linear, [[0, 1, -1]] * 4)
    with pytest.raises(ValueError, match="the same findings"):
        multilabel(linear, [[0, 1]] * 4)(IMAGE)


@pytest.mark.parametrize(
    "metric", [accuracy, balanced_accuracy, macro_auc, lambda s, y: auc(s[:, 0], y > 0), confusion]
)
def test_a_metric_of_nan_is_refused_by_its_rows(metric):
    scores = linear(IMAGE)
    scores[1, 0] = NAN
    with pytest.raises(ValueError, match=r"must hold no NaN; got NaN in rows 1 \(1 of 4\)"):
        metric(scores, torch.tensor(LABEL))


def test_scores_name_rows_and_allow_masked_classes():
    scores = torch.zeros(8, 3)
    scores[:, 2] = -torch.inf
    check_scores(scores, "The scores")
    with pytest.raises(ValueError, match="-inf for every class in rows 5"):
        check_scores(scores.index_fill(0, torch.tensor([5]), -torch.inf), "The scores")
    with pytest.raises(ValueError, match=r"\+inf in rows 105"):
        check_scores(scores.index_fill(0, torch.tensor([5]), torch.inf), "The scores", rows=range(100, 108))
    with pytest.raises(ValueError, match=r"NaN in rows 0, 1, 2, 3, 4, \.\.\. \(8 of 8\)"):
        check_scores(scores * NAN, "The scores")


@pytest.mark.parametrize("metric", STATISTICS)
def test_masked_classes_have_metrics(metric):
    scores = torch.tensor([[2.0, 1.0, -torch.inf], [0.0, 1.0, -torch.inf], [0.0, 3.0, -torch.inf]]).numpy()
    value = STATISTICS[metric](scores, np.array([0, 1, 2]))(np.ones((1, 3)))[0]
    assert np.isfinite(value)
    assert 0 <= value <= 1


@pytest.mark.parametrize("name", ["pgd", "apgd", "apgd-margin", "apgd-targeted"])
def test_classes_masked_with_minus_infinity_do_not_blunt_an_attack(name):
    mask = torch.tensor([0.0, 0.0, -torch.inf, -torch.inf])
    weight = torch.randn(4, 192, generator=torch.Generator().manual_seed(1))
    image = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(2)) / 2 + 0.25

    def few(image):
        return (image - 0.5).flatten(1) @ weight[:2].T

    def masked(image):
        return (image - 0.5).flatten(1) @ weight.T + mask

    label, threat = few(image).argmax(1), Threat.parse("linf:4/255")
    wins = [
        ATTACKS.get(name)(head, image, label, threat, steps=10, generator=torch.Generator().manual_seed(0)).won
        for head in (few, masked)
    ]
    assert wins[0].any()
    assert torch.equal(*wins)
