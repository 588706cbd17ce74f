"""A log goes on only with what it was begun with; the same certificates whatever the labels and modes."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
import torch
from linear import Linear, Prototypes, Tower, images
from torch import nn

from medadv._lock import locked
from medadv.certify.records import marks_of
from medadv.certify.shards import gather, in_log_order
from medadv.certify.smooth import certify, predict
from medadv.certify.votes import fingerprint
from medadv.data import Pairs, Row

TRUTH = [0, 1, 0, 1]
RUN = {"sigma": 0.4, "n0": 20, "n": 60, "progress": False}
certify_quick = partial(certify, labels=TRUTH, **RUN)


class Turned(nn.Module):
    """Its behaviour is an attribute, not a weight."""

    def __init__(self, sign: float):
        super().__init__()
        self.inner, self.sign = Linear(), sign

    def forward(self, image):
        return self.sign * self.inner(image)


def plain(rows):
    return [(row.index, row.head, row.predicted, row.radius, row.count, row.n) for row in rows]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": images(4, seed=2)}, "other images: number 0 is not"),
        ({"images": images(4)[[0, 2, 1, 3]]}, "other images: number 1 is not"),
        ({"images": images(4) * 0.999}, "other images"),
        ({"labels": [0, 1, 1, 1]}, "other labels: image 2 was of class 0, now it is of class 1"),
        ({"heads": Turned(-1.0)}, "another head head"),
        ({"ids": ["a", "b", "c", "d"]}, "other images"),
    ],
)
def test_a_log_goes_on_only_with_its_images_labels_and_heads(change, says, tmp_path):
    file = tmp_path / "log.tsv"
    given = {"heads": Turned(1.0), "images": images(4), "labels": TRUTH, "file": file, **RUN}
    first = certify(**given)
    kept = file.read_bytes()
    assert certify(**given) == first
    with pytest.raises(ValueError, match=rf"^log.tsv was written with {says}.*Give the run a file of its own"):
        certify(**given | change)
    assert file.read_bytes() == kept


def test_a_plain_function_needs_a_name_to_keep_votes(tmp_path):
    def head(image):
        return Linear()(image)

    without = certify_quick(head, images(4))
    with pytest.raises(ValueError, match=r"got a plain function.* attribute 'fingerprint' that names"):
        certify_quick(head, images(4), file=tmp_path / "log.tsv")
    assert not (tmp_path / "log.tsv").exists()
    head.fingerprint = "linear, seed 0"
    assert plain(certify_quick(head, images(4), file=tmp_path / "log.tsv")) == plain(without)
    head.fingerprint = "linear, seed 1"
    with pytest.raises(ValueError, match="another head"):
        certify_quick(head, images(4), file=tmp_path / "log.tsv")


def test_a_larger_run_goes_on_with_a_smaller_one(tmp_path):
    file, x, truth = tmp_path / "log.tsv", images(7), [0, 1, 0, 1, 1, 0, 0]
    whole = certify(Linear(), x, labels=truth, **RUN)
    certify(Linear(), x[:3], labels=truth[:3], file=file, **RUN)
    again = Linear()
    rows = certify(again, x, labels=truth, file=file, **RUN)
    assert plain(rows) == plain(whole)
    assert again.calls == 4 * 80, "the first three were not done again"
    assert plain(certify(again, x[:2], labels=truth[:2], file=file, **RUN)) == plain(whole)[:2], "and a part of it"
    assert list(gather(file)["idx"]) == list(range(7))


def test_a_sample_that_holds_a_smaller_one_keeps_its_numbers(tmp_path):
    x, truth = images(6), [0, 1, 0, 1, 1, 0]
    rows = tuple(Row(label, ("x",), str(i)) for i, label in enumerate(truth))
    pairs, file = Pairs("toy", ("a", "b"), rows, lambda i: (x[i], None)), tmp_path / "log.tsv"
    assert in_log_order(file, pairs) == [0, 1, 2, 3, 4, 5], "no log yet"
    small = pairs.select([4, 1])
    certify(Linear(), small, labels=small.labels, file=file, **RUN)
    assert sorted(marks_of(file)) == [0, 1]
    order = in_log_order(file, pairs)
    assert order[:2] == [4, 1]
    assert sorted(order) == list(range(6))
    certify(Linear(), pairs.select(order), labels=pairs.select(order).labels, file=file, **RUN)
    assert in_log_order(file, pairs.select([0, 2, 3])) == [0, 1, 2], "a log of others changes no order"


def test_a_log_without_marks_of_its_images_is_read_but_not_gone_on_with(tmp_path):
    file = tmp_path / "log.tsv"
    certify_quick(Linear(), images(4), file=file)
    file.write_text(re.sub(r"\.[0-9a-f]{12}\n", "\n", file.read_text()))
    with pytest.raises(ValueError, match="earlier version.*Give the run a file of its own"):
        certify_quick(Linear(), images(4), file=file)
    assert len(gather(file)) == 4


def test_two_processes_on_one_log_are_one_too_many(tmp_path):
    file = tmp_path / "log.tsv"
    with locked(file), pytest.raises(ValueError, match="log.tsv is being written by process"):
        certify_quick(Linear(), images(4), file=file)
    assert not file.exists()
    certify_quick(Linear(), images(4), file=file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.tsv"]


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor(TRUTH, dtype=torch.int32),
        torch.tensor(TRUTH, dtype=torch.uint8),
        np.array(TRUTH, dtype=np.int16),
        np.array(TRUTH, dtype=bool),
        tuple(TRUTH),
        list(torch.tensor(TRUTH)),
    ],
)
def test_labels_of_any_whole_number_are_read(labels, tmp_path):
    first, second = tmp_path / "a.tsv", tmp_path / "b.tsv"
    certify_quick(Linear(), images(4), file=first)
    certify(Linear(), images(4), labels=labels, file=second, **RUN)
    assert gather(first).drop(columns="time").equals(gather(second).drop(columns="time"))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 1, 0], "one row for each of the 4 images; got 3"),
        (1, "any other integers; got"),
        (torch.eye(4), "one-hot rows with label.argmax"),
        ([0, 1, 0, 0.5], "any other integers; got float64"),
        (["a", "b", "c", "d"], "Turn names into numbers"),
        ([[0], [1, 2]], "ragged"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels, says):
    with pytest.raises(ValueError, match=f"The 'labels' parameter of certify must .*{says}"):
        certify(Linear(), images(4), labels=labels, **RUN)


def test_the_same_inside_inference_mode_and_with_double_numbers(tmp_path):
    heads = {"linear": Linear(), "shared": Prototypes(Tower(), 1)}
    outside = certify_quick(heads, images(4)), predict(heads, images(4), sigma=0.4, n=60, progress=False)
    with torch.inference_mode():
        own = {"linear": Linear(), "shared": Prototypes(Tower(), 1)}
        inside = (
            certify_quick(own, images(4), file=tmp_path / "a"),
            predict(own, images(4), sigma=0.4, n=60, progress=False),
        )
    assert plain(inside[0]) == plain(outside[0])
    assert torch.equal(inside[1], outside[1])
    x = images(4)
    torch.set_default_dtype(torch.float64)
    try:
        double = certify_quick(heads, x), predict(heads, x, sigma=0.4, n=60, progress=False)
    finally:
        torch.set_default_dtype(torch.float32)
    assert plain(double[0]) == plain(outside[0])
    assert torch.equal(double[1], outside[1])


@pytest.mark.parametrize(
    ("head", "got"),
    [
        (lambda x: (Linear()(x), x), "a tuple"),
        (lambda x: {"logits": Linear()(x)}, "a dict"),
        (lambda x: Linear()(x)[:, :0], r"shape \(\d+, 0\)"),
        (lambda x: Linear()(x)[0, 0], r"shape \(\)"),
        (lambda x: Linear()(x)[:1], r"shape \(1, 2\)"),
    ],
)
def test_a_head_must_give_rows_of_logits(head, got):
    with pytest.raises(ValueError, match=f"must give logits .B, K.*; head 'head' gave {got}.* Return the tensor"):
        certify_quick(head, images(4))


@pytest.mark.parametrize("form", [lambda z: z, lambda z: z[:, None]], ids=["(B,)", "(B, 1)"])
def test_one_logit_is_certified_like_two(form):
    def single(x):
        logits = Linear()(x)
        return form(logits[:, 1] - logits[:, 0])

    assert plain(certify_quick(single, images(4))) == plain(certify_quick(Linear(), images(4)))


def test_a_fingerprint_is_the_same_for_equal_heads_only():
    assert fingerprint(Turned(1.0)) == fingerprint(Turned(1.0)) != fingerprint(Turned(-1.0))
    assert fingerprint(Prototypes(Tower(), 1)) != fingerprint(Prototypes(Tower(), 2))
    assert fingerprint(Prototypes(Tower(), 1)) != fingerprint(Prototypes(Tower(1), 1)), "its model counts"
