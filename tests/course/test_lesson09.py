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
from medadv.course import drawings09, lesson09, toys09
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
    head = toys09.linear_head(weight, bias=-float(weight.sum()) / 2)
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
    base = toys09.plane(points=301)
    p = toys09.smooth(base, 0.5)
    room = toys09.distance(p > 0.5, base)
    inner = slice(75, -75)
    gap = (toys09.certified(p, 0.5) - room)[inner, inner]
    assert np.abs(gap).max() <= base.step
    assert np.isinf(toys09.distance(np.ones((3, 3), bool), base)).all()


def test_the_vote_forgets_a_spike():
    base = toys09.plane(spike=0.16, points=301)
    p = toys09.smooth(base, 0.3)
    inner = slice(75, -75)
    assert ((toys09.certified(p, 0.3) - toys09.distance(p > 0.5, base))[inner, inner] < 2 * base.step).all()
    assert base.sick.sum() > toys09.plane(points=301).sick.sum()
    with pytest.raises(ValueError, match=r"'spike' parameter of plane"):
        toys09.plane(spike=-1)


def test_overstating():
    for n, p in ((50, 0.6), (100, 0.99)):
        assert toys09.overstated(n, p, alpha=0.01) <= 0.01
    assert toys09.overstated(100, 0.99, bound="normal") > 0.3
    assert toys09.overstated(1, 0.3, bound="share") == pytest.approx(0.3)


def test_peeking_is_what_streams_do():
    looks = [50, 100, 200]
    exact = toys09.peeking(looks, alpha=0.05)
    passed = toys09.ever_passed(toys09.streams(0.5, 200, many=2000), looks, alpha=0.05)
    assert abs(passed.mean() - exact) < 4 * (exact / 2000) ** 0.5
    assert exact > 0.05 > toys09.peeking([200], alpha=0.05)
    assert toys09.peeking(range(100, 10_001, 100)) == pytest.approx(0.0123, abs=5e-5)
    assert toys09.peeking(doubling_looks(10_000)) == pytest.approx(0.0057, abs=5e-5)
    with pytest.raises(ValueError, match="Look once"):
        toys09.peeking([])


def test_choosing_on_the_same_votes():
    fresh, same = toys09.same_votes(100)
    draw = np.random.default_rng(0).binomial(100, 0.5, size=400_000)
    assert same == pytest.approx((np.maximum(draw, 100 - draw) >= critical_count(100)).mean(), rel=0.2)
    assert fresh == same / 2


def test_normalised_noise_overclaims_by_one_over_std():
    assert toys09.stretched(0.3, sigma=0.25, std=0.27) == pytest.approx(0.3 / 0.27)


def test_an_attack_stays_inside_and_cannot_break_a_true_radius(linear):
    head, image, label, room = linear
    inside = lesson09.ambush(head, image, label, room, sigma=0.25, steps=4, draws=2)
    assert (lesson09.size(inside, image) <= room).all()
    assert (lesson09.turned_away(head, inside, label, sigma=0.25, n=100) > 0.01).all()
    beyond = lesson09.ambush(head, image, label, room * 3, sigma=0.25, steps=4, draws=2)
    far = room > 0.05
    assert (lesson09.turned_away(head, beyond, label, sigma=0.05, n=400)[far] < 0.01).float().mean() > 0.5


def test_logs_and_certainty(linear):
    head, image, label, room = linear
    made = certify({"a": head, "b": head}, image, sigma=0.25, n0=20, n=100, progress=False)
    found = lesson09.logs(made, label)
    assert list(found) == ["a", "b"]
    assert found["a"].drop(columns="time").equals(found["b"].drop(columns="time"))
    assert found["a"]["idx"].tolist() == list(range(8))
    share = lesson09.certainty(found["a"])
    assert ((share >= 0.5) & (share < 1)).all()
    named = (found["a"]["predict"] >= 0).to_numpy()
    assert (found["a"]["radius"].to_numpy()[named] <= room.numpy()[named]).all()


def test_published_logs_are_caught(log, tmp_path):
    for wrong, findings in (({}, 0), ({"alpha": 0.01}, 1), ({"std": 0.25}, 1)):
        path = lesson09.publish(log, tmp_path / "log.tsv", sigma=0.1, mistakes=wrong)
        read = read_log(path)
        assert read["correct"].tolist() == log["correct"].tolist()
        if findings:
            with pytest.warns(UserWarning, match="alpha|exceed"):
                made = audit_log(read, sigma=0.1, n=200)
        else:
            made = audit_log(read, sigma=0.1, n=200)
        assert (len(made.findings) > 0) == bool(findings)


def test_worth_is_the_law_of_the_test():
    table = lesson09.worth(fixed_test(0.5, sigma=1.0, n=1000), [0.9, 0.6, 0.9])
    assert table["draws"].tolist() == [1000] * 3
    assert table["certified"][0] == table["certified"][2] > 0.999
    early = lesson09.worth(group_sequential(0.5, sigma=1.0, n=1000), [0.99])
    assert early["draws"][0] < 150
    assert early["p"][0] == 0.99


def test_disturbances(pairs):
    image = pairs.batch([0, 1]).image
    made = lesson09.disturbances(image)
    for other in made.values():
        assert other.shape == image.shape
        assert 0 <= other.min() <= other.max() <= 1
    assert (lesson09.size(made["brighter by one grey level"], image) <= 12288**0.5 / 255 + 1e-4).all()
    assert (lesson09.size(made["JPEG, quality 95"], image) < lesson09.size(made["JPEG, quality 75"], image)).all()


def test_a_probe_remembers_its_noise(pairs):
    vlm = medadv.load("tiny", device="cpu")
    probe = lesson09.noisy_probe(vlm, pairs, sigma=0.1, copies=1, seed=5, max_iter=20)
    assert [(one.seed, one.role) for one in probe.streams] == [(5, "train")]
    assert probe(pairs.batch([0]).image).shape == (1, 20)
    with pytest.raises(ValueError, match=r"'pairs' parameter of noisy_probe"):
        lesson09.noisy_probe(vlm, pairs.select([0, 1]), sigma=0.1)


def test_drawings(log):
    rule = group_sequential(0.5, sigma=1.0, n=1000)
    paths = toys09.streams(0.5, 1000, many=4)
    table = certified_accuracy(log, radii=np.linspace(0, 0.2, 9))
    pictures = [
        drawings09.cloud(toys09.plane(spike=0.2, points=121), 0.2, [(-0.5, 0.5), (0.5, 0.0)]),
        drawings09.lines((1, 10), {"a": [0.1, 0.2]}, xlabel="x", ylabel="y", log="xy", limits=(0.01, 1)),
        drawings09.reach((10, 100), (0.001,)),
        drawings09.accuracies({"a": table}, strict_top=0.18),
        drawings09.sizes({"a": 0.4, "b": 3.0}, radius={"r": 0.1}),
        drawings09.watched(paths, [100, 1000], alpha=0.05, truth=norm.cdf(0)),
        drawings09.corridor(rule, {"a": paths[0], "b": np.arange(1, 1001)}),
    ]
    assert all(isinstance(show(picture, alt="A drawing."), Figure) for picture in pictures)
    said = drawings09.say({"a": table}, (0.0, 0.1))
    assert said == "Certified accuracy in percent. a: 80 at 0.00, 70 at 0.10."
