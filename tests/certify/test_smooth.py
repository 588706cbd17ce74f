from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from linear import Linear, Prototypes, Tower, images

from medadv._images import check_pixels, noisy_pixels
from medadv.certify import curves, records
from medadv.certify.noise_stream import Noise, Stream
from medadv.certify.records import Certificate
from medadv.certify.smooth import certify, predict
from medadv.certify.votes import as_head_dict, count, fingerprint, vote_scale

QUICK = {"sigma": 0.4, "n0": 50, "n": 200, "progress": False}


def test_neither_batch_nor_order_nor_company_matter():
    head, x = Prototypes(Tower(), 0), images(5)
    base = certify(head, x, **QUICK)
    for size in (7, 16, 64, 100, 1000):
        assert certify(head, x, batch_size=size, **QUICK) == base
    back = certify(head, x.flip(0), ids=[4, 3, 2, 1, 0], **QUICK)
    assert [replace(row, index=4 - row.index) for row in reversed(back)] == base
    assert certify(head, x[2:3], ids=[2], **QUICK) == [replace(base[2], index=0)]
    assert certify(head, x, seed=1, **QUICK) != base


def test_eight_heads_on_one_pass():
    tower, x = Tower(), images(4)
    heads = {f"h{v}": Prototypes(tower, v) for v in range(8)}
    tower.calls = 0
    together = certify(heads, x, **QUICK)
    assert tower.calls == 4 * 250  # one pass for all
    for name, head in heads.items():
        alone = certify({name: head}, x, **QUICK)
        assert alone == [row for row in together if row.head == name]
    assert [(row.index, row.head) for row in together[:9]] == [*((0, f"h{v}") for v in range(8)), (1, "h0")]


def test_heads_of_other_kinds_share_the_noise():
    x, tower = images(3), Tower()
    mixed = {"shared": Prototypes(tower, 0), "pixels": Linear(), "plain": lambda z: Linear()(z)}
    rows = certify(mixed, x, **QUICK)
    own = {name: [r for r in rows if r.head == name] for name in mixed}
    assert [r.count for r in own["pixels"]] == [r.count for r in own["plain"]]
    assert own["shared"] == certify({"shared": Prototypes(tower, 0)}, x, **QUICK)


@pytest.mark.parametrize(("method", "radii"), [("target", 0.3), ("ladder", (0.1, 0.2, 0.4)), ("two-stage", ())])
def test_sequential_methods(method, radii):
    head, x = Linear(), images(8)
    options = {"sigma": 0.4, "n": 2000, "progress": False}
    full = certify(head, x, **options)
    rows = certify(head, x, method=method, radii=radii, **options)
    for row, whole, exact in zip(rows, full, head.distance(x).abs().tolist(), strict=True):
        assert row.radius <= exact
        assert row.radius <= whole.radius + 0.1
        assert row.n <= 2000
        assert row.plan.startswith(method)
        if method == "target":
            assert row.radius in (0.0, 0.3)
        if method == "ladder":
            assert row.radius in (0.0, 0.1, 0.2, 0.4)
    assert np.mean([row.n for row in rows]) < 1500
    heads = {"a": head, "b": Linear(3)}  # heads stop at different looks, and each as it would alone
    together = certify(heads, x, method=method, radii=radii, **options)
    for name in heads:
        alone = certify({name: heads[name]}, x, method=method, radii=radii, **options)
        assert alone == [row for row in together if row.head == name]


def test_fresh_votes_certify():
    """Selection and estimation never see the same noise, nor do the two see that of PREDICT."""
    seen = {}
    for role in ("select", "estimate", "predict", "adapt"):
        seen[role] = Noise(0, 0, 0.4, role, (3, 4, 4)).draws(0, 50)
    roles = list(seen)
    for a in range(4):
        for b in range(a):
            assert not (seen[roles[a]].flatten(1)[:, None] == seen[roles[b]].flatten(1)[None]).any()


def test_a_head_fitted_on_the_votes_is_refused():
    head = Prototypes(Tower(), 0)
    head.streams = (Stream(3, "estimate"),)
    with pytest.raises(ValueError, match=r"head mine was fitted on the 'estimate' noise of that seed"):
        certify({"mine": head}, images(1), seed=3, **QUICK)
    certify({"mine": head}, images(1), seed=4, **QUICK)
    head.streams = (Stream(3, "train"), Stream(3, "select"))
    certify({"mine": head}, images(1), seed=3, **QUICK)
    head.streams = (Stream(3, "predict"),)
    with pytest.raises(ValueError, match="'predict' noise"):
        predict(head, images(1), sigma=0.4, seed=3, progress=False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sigma": 0}, "'sigma' parameter of certify must be positive"),
        ({"n": 0}, "'n' parameter"),
        ({"n0": 0}, "'n0' parameter"),
        ({"alpha": 0.5}, "strictly between 0 and 0.5"),
        ({"method": "fast"}, "must be one of fixed, target"),
        ({"method": "target"}, "must be one radius"),
        ({"radii": 0.2}, "must be left out"),
        ({"method": "target", "radii": 1.2}, "at least 5114"),
        ({"ids": [1]}, "must name each of the 2 images once"),
        ({"ids": ["a", "a"]}, "share their noise"),
        ({"shard": (2, 2)}, "0 <= number < of"),
        ({"file": "x.tsv"}, "'labels' parameter"),
        ({"file": "x.tsv", "labels": [0, -1]}, "must be known classes"),
        ({"seed": -1}, "'seed' parameter"),
    ],
)
def test_bad_input(change, says):
    with pytest.raises(ValueError, match=says):
        certify(Linear(), images(2), **{**QUICK, **change})


def test_bad_heads_and_images():
    with pytest.raises(ValueError, match="must hold a head"):
        certify([], images(1), **QUICK)
    with pytest.raises(ValueError, match="functions of pixels"):
        certify({"x": 3}, images(1), **QUICK)
    with pytest.raises(ValueError, match="Did you normalise"):
        certify(Linear(), images(1) * 2, **QUICK)
    odd = Linear()
    odd.guarantee = "surely"
    with pytest.raises(ValueError, match="must be one of fixed, random-base"):
        as_head_dict(odd, "certify")
    with pytest.raises(FloatingPointError, match="NaN"):
        certify(lambda z: torch.full((len(z), 2), torch.nan), images(1), **QUICK)


def test_pixels_may_leave_the_range_only_where_noise_is_meant():
    with noisy_pixels():
        check_pixels(torch.full((1, 3, 2, 2), 7.0), "f")
        with pytest.raises(ValueError, match="Add the batch axis"):
            check_pixels(torch.zeros(3, 2, 2), "f")
    with pytest.raises(ValueError, match="Did you normalise"):
        check_pixels(torch.full((1, 3, 2, 2), 7.0), "f")


def test_rows_say_what_they_rest_on():
    (row,) = certify(Linear(shift=1.0), images(1), **QUICK)
    assert isinstance(row, Certificate)
    assert (row.guarantee, row.reason, row.plan, row.sigma, row.seed) == ("fixed", "certified", "fixed n=200", 0.4, 0)
    assert 40 < row.count0 <= row.n0 == 50
    assert not row.abstained
    near = Linear(shift=float(-Linear().distance(images(1))))
    (row,) = certify(near, images(1), **QUICK)
    assert (row.predicted, row.radius, row.reason) == (-1, 0.0, "the bound is not above one half")
    assert vote_scale(near) == 1.0


def test_fingerprints_tell_heads_apart():
    assert fingerprint(Linear()) == fingerprint(Linear())
    assert fingerprint(Linear()) != fingerprint(Linear(1))


def test_counts_leave_the_model_as_it_was():
    head = Prototypes(Tower(), 0).train()
    votes = count([head], images(1)[0], Noise(0, 0, 0.3, "audit", (3, 4, 4)), 0, 60)
    assert head.training
    assert votes[0][0].sum() == 60


def test_a_log_of_the_run(tmp_path):
    x, truth = images(4), [0, 1, 0, 1]
    file = tmp_path / "log.tsv"
    heads = {"a": Linear(), "b": Linear(1)}
    rows = certify(heads, x, labels=truth, file=file, **QUICK)
    log = records.read_log(file)
    assert len(log) == len(rows) == 8
    for row, (_, line) in zip(rows, log.iterrows(), strict=True):
        assert (row.index, row.head, row.predicted) == (line["idx"], line["head"], line["predict"])
        assert row.radius == line["radius"]
        assert line["correct"] == (row.predicted == truth[row.index])
    assert len(curves.certified_accuracy(log[log["head"] == "a"])) == 4
