"""What the notebooks of the chapter on smoothing compute, on worlds where the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

import medadv
from medadv.certify.bounds import certified_radius, critical_count
from medadv.certify.curves import certified_accuracy
from medadv.certify.log_check import audit_log
from medadv.certify.records import read_log
from medadv.certify.sequential import doubling_looks, fixed_test, group_sequential
from medadv.certify.smooth import certify
from medadv.course.ch09 import helpers, plots, toy
from medadv.course.figures import Figure, show
from medadv.data.tidy import cache


@pytest.fixture(scope="module")
def pairs():
    return cache(medadv.phantoms(120, start=1_000_000), progress=False)


@pytest.fixture(scope="module")
def linear():
    """A flat boundary in the middle of 3 x 4 x 4 pixels, some images, and how far each is from it."""
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(48, generator=draw)
    head = toy.linear_head(weight, bias=-float(weight.sum()) / 2)
    image = torch.rand(8, 3, 4, 4, generator=draw)
    score = head(image)[:, 1]
    return head, image, (score > 0).long(), score.abs() / weight.norm()


@pytest.fixture
def log():
    count = np.array([200] * 5 + [199, 190, 150, 120, 90])
    radius = certified_radius(count, np.full(10, 200), sigma=0.1)
    predict = np.where(radius > 0, 0, -1)
    rows = {"idx": range(10), "label": 0, "predict": predict, "radius": radius, "correct": predict == 0}
    return pd.DataFrame({**rows, "time": 0.1, "n": 200, "count": count})


def test_a_flat_boundary_is_certified_exactly():
    base = toy.plane(points=301)
    p = toy.smooth(base, 0.5)
    room = toy.distance(p > 0.5, base)
    inner = slice(75, -75)
    gap = (toy.certified(p, 0.5) - room)[inner, inner]
    assert np.abs(gap).max() <= base.step
    assert np.isinf(toy.distance(np.ones((3, 3), bool), base)).all()


def test_the_vote_forgets_a_spike():
    base = toy.plane(spike=0.16, points=301)
    p = toy.smooth(base, 0.3)
    inner = slice(75, -75)
    assert ((toy.certified(p, 0.3) - toy.distance(p > 0.5, base))[inner, inner] < 2 * base.step).all()
    assert base.sick.sum() > toy.plane(points=301).sick.sum()
    with pytest.raises(ValueError, match=r"'spike' parameter of plane"):
        toy.plane(spike=-1)


def test_overstating():
    for n, p in ((50, 0.6), (100, 0.99)):
        assert toy.overstated(n, p, alpha=0.01) <= 0.01
    assert toy.overstated(100, 0.99, bound="normal") > 0.3
    assert toy.overstated(1, 0.3, bound="share") == pytest.approx(0.3)


def test_peeking_is_what_streams_do():
    looks = [50, 100, 200]
    exact = toy.peeking(looks, alpha=0.05)
    passed = toy.ever_passed(toy.streams(0.5, 200, many=2000), looks, alpha=0.05)
    assert abs(passed.mean() - exact) < 4 * (exact / 2000) ** 0.5
    assert exact > 0.05 > toy.peeking([200], alpha=0.05)
    assert toy.peeking(range(100, 10_001, 100)) == pytest.approx(0.0123, abs=5e-5)
    assert toy.peeking(doubling_looks(10_000)) == pytest.approx(0.0057, abs=5e-5)
    with pytest.raises(ValueError, match="Look once"):
        toy.peeking([])


def test_choosing_on_the_same_votes():
    fresh, same = toy.same_votes(100)
    draw = np.random.default_rng(0).binomial(100, 0.5, size=400_000)
    assert same == pytest.approx((np.maximum(draw, 100 - draw) >= critical_count(100)).mean(), rel=0.2)
    assert fresh == same / 2


def test_normalised_noise_overclaims_by_one_over_std():
    assert toy.stretched(0.3, sigma=0.25, std=0.27) == pytest.approx(0.3 / 0.27)


def test_an_attack_stays_inside_and_cannot_break_a_true_radius(linear):
    head, image, label, room = linear
    inside = helpers.ambush(head, image, label, room, sigma=0.25, steps=4, draws=2)
    assert (helpers.size(inside, image) <= room).all()
    assert (helpers.turned_away(head, inside, label, sigma=0.25, n=100) > 0.01).all()
    beyond = helpers.ambush(head, image, label, room * 3, sigma=0.25, steps=4, draws=2)
    far = room > 0.05
    assert (helpers.turned_away(head, beyond, label, sigma=0.05, n=400)[far] < 0.01).float().mean() > 0.5


def test_logs_and_certainty(linear):
    head, image, label, room = linear
    made = certify({"a": head, "b": head}, image, sigma=0.25, n0=20, n=100, progress=False)
    found = helpers.logs(made, label)
    assert list(found) == ["a", "b"]
    assert found["a"].drop(columns="time").equals(found["b"].drop(columns="time"))
    assert found["a"]["idx"].tolist() == list(range(8))
    share = helpers.certainty(found["a"])
    assert ((share >= 0.5) & (share < 1)).all()
    named = (found["a"]["predict"] >= 0).to_numpy()
    assert (found["a"]["radius"].to_numpy()[named] <= room.numpy()[named]).all()


def test_published_logs_are_caught(log, tmp_path):
    for wrong, findings in (({}, 0), ({"alpha": 0.01}, 1), ({"std": 0.25}, 1)):
        path = helpers.publish(log, tmp_path / "log.tsv", sigma=0.1, mistakes=wrong)
        read = read_log(path)
        assert read["correct"].tolist() == log["correct"].tolist()
        if findings:
            with pytest.warns(UserWarning, match="alpha|exceed"):
                made = audit_log(read, sigma=0.1, n=200)
        else:
            made = audit_log(read, sigma=0.1, n=200)
        assert (len(made.findings) > 0) == bool(findings)


def test_worth_is_the_law_of_the_test():
    table = helpers.worth(fixed_test(0.5, sigma=1.0, n=1000), [0.9, 0.6, 0.9])
    assert table["draws"].tolist() == [1000] * 3
    assert table["certified"][0] == table["certified"][2] > 0.999
    early = helpers.worth(group_sequential(0.5, sigma=1.0, n=1000), [0.99])
    assert early["draws"][0] < 150
    assert early["p"][0] == 0.99


def test_disturbances(pairs):
    image = pairs.batch([0, 1]).image
    made = helpers.disturbances(image)
    for other in made.values():
        assert other.shape == image.shape
        assert 0 <= other.min() <= other.max() <= 1
    assert (helpers.size(made["brighter by one grey level"], image) <= 12288**0.5 / 255 + 1e-4).all()
    assert (helpers.size(made["JPEG, quality 95"], image) < helpers.size(made["JPEG, quality 75"], image)).all()


def test_drawings(log):
    rule = group_sequential(0.5, sigma=1.0, n=1000)
    paths = toy.streams(0.5, 1000, many=4)
    table = certified_accuracy(log, radii=np.linspace(0, 0.2, 9))
    pictures = [
        plots.cloud(toy.plane(spike=0.2, points=121), 0.2, [(-0.5, 0.5), (0.5, 0.0)]),
        plots.reach((10, 100), (0.001,)),
        plots.accuracies({"a": table}, strict_top=0.18),
        plots.sizes({"a": 0.4, "b": 3.0}, radius={"r": 0.1}),
        plots.watched(paths, [100, 1000], alpha=0.05, truth=norm.cdf(0)),
        plots.corridor(rule, {"a": paths[0], "b": np.arange(1, 1001)}),
    ]
    assert all(isinstance(show(picture, alt="A drawing."), Figure) for picture in pictures)
    said = plots.say({"a": table}, (0.0, 0.1))
    assert said == "Certified accuracy in percent. a: 80 at 0.00, 70 at 0.10."
