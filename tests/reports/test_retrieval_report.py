"""Retrieval under attack against counting by hand: galleries, two success rates, worst cases, equal texts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tinyworld import write_images, write_model
from torch import nn
from torch.nn import functional as F

from medadv.attacks import separate, swap_words
from medadv.data import read_tidy
from medadv.evaluate.metrics import recall_at_k
from medadv.models import from_folder
from medadv.reports.html.retrieval import said_of_ends
from medadv.reports.report import Report
from medadv.reports.retrieval import attacked_pairs, under_attack
from medadv.threat import TextThreat, Threat


class Table(nn.Module):
    """Embeds an image by its top row of pixels and a text by the numbers written in it."""

    name, truncated, device = "table", 0, torch.device("cpu")

    def encode_image(self, image):
        return F.normalize(image[:, :, 0].flatten(1), dim=1)

    def encode_text(self, text):
        return F.normalize(torch.tensor([[float(n) for n in one.split()] for one in text]), dim=1)


def draw(rng, images, owner, noise):
    """Pixels (B, 3, 2, 2) and texts of six numbers near those of their owners."""
    hidden = rng.random((images, 6))
    pixels = np.zeros((images, 3, 2, 2))
    pixels[:, :, 0] = np.clip(hidden + noise * rng.normal(size=hidden.shape), 0, 1).reshape(images, 3, 2)
    words = hidden[owner] + noise * rng.normal(size=(len(owner), 6))
    return torch.from_numpy(pixels).float(), [" ".join(f"{n:.4f}" for n in row) for row in words]


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    owner = rng.permutation(np.repeat(np.arange(12), 3))
    image, text = draw(rng, 12, owner, 0.2)
    other = [draw(np.random.default_rng(s), 12, owner, 0.1) for s in (1, 2)]
    near = [(0.5 * image + 0.5 * one[0], _mix(text, one[1])) for one in other]
    results = {name: SimpleNamespace(image=i, text=t) for name, (i, t) in zip(("one", "two"), near, strict=True)}
    return Table(), image, text, owner, results


def _mix(text, other):
    numbers = [(np.array(a.split(), float) + np.array(b.split(), float)) / 2 for a, b in zip(text, other, strict=True)]
    return [" ".join(f"{n:.4f}" for n in row) for row in numbers]


def _hits(vlm, image, text, owner, k, direction):
    near = (vlm.encode_image(image) @ vlm.encode_text(text).T).numpy()
    right = owner == np.arange(len(image))[:, None]
    near, right = (near, right) if direction == "i2t" else (near.T, right.T)
    return np.array([row[np.argsort(-n)[:k]].any() for n, row in zip(near, right, strict=True)])


@pytest.mark.parametrize("direction", ["i2t", "t2i"])
@pytest.mark.parametrize("k", [1, 5])
def test_equal_to_counting(world, direction, k):
    vlm, image, text, owner, results = world
    got = under_attack(vlm, image, text, results, owner=owner, k=(1, 5), n=50)
    clean = _hits(vlm, image, text, owner, k, direction)
    assert 0 < clean.mean() < 1 or k == 5
    assert float(got[f"recall@{k}", "none", "nothing", direction]) == pytest.approx(clean.mean())
    everything = clean
    for name, one in results.items():
        hits = {
            "image": _hits(vlm, one.image, text, owner, k, direction),
            "text": _hits(vlm, image, one.text, owner, k, direction),
            "both": _hits(vlm, one.image, one.text, owner, k, direction),
        }
        hits["worst"] = clean & hits["image"] & hits["text"] & hits["both"]
        everything = everything & hits["worst"]
        for changed, hit in hits.items():
            cells = (name, changed, direction)
            assert float(got[(f"recall@{k}", *cells)]) == pytest.approx(hit.mean())
            assert float(got[(f"ASR drop@{k}", *cells)]) == pytest.approx(clean.mean() - hit.mean())
            assert float(got[(f"ASR lost@{k}", *cells)]) == pytest.approx((~hit[clean]).mean())
            assert got[(f"ASR lost@{k}", *cells)].n == clean.sum()
    assert float(got[f"recall@{k}", "all", "worst", direction]) == pytest.approx(everything.mean())


def test_intervals_are_those_of_recall_with_texts_of_an_image_together(world):
    vlm, image, text, owner, results = world
    got = under_attack(vlm, image, text, results, owner=torch.from_numpy(owner), k=(1,), seed=3)
    near = vlm.encode_image(image) @ vlm.encode_text(text).T
    for direction in ("i2t", "t2i"):
        assert (
            got["recall@1", "none", "nothing", direction]
            == recall_at_k(
                near, owner, k=(1,), direction=direction, groups=None if direction == "i2t" else owner, seed=3
            )[1]
        )
    patients = under_attack(vlm, image, text, results, owner=owner, k=(1,), groups=np.arange(12) // 2)
    assert "6 groups" in patients["recall@1", "one", "both", "i2t"].method
    drop = got["ASR drop@1", "one", "both", "t2i"]
    assert drop.low <= drop.value <= drop.high
    assert drop.low < drop.high


def test_an_attack_that_does_nothing_takes_nothing(world):
    vlm, image, text, owner, _ = world
    got = under_attack(vlm, image, text, {"idle": SimpleNamespace(image=image, text=text)}, owner=owner, k=(1,), n=50)
    clean = float(got["recall@1", "none", "nothing", "i2t"])
    assert float(got["recall@1", "idle", "worst", "i2t"]) == clean
    for metric in ("ASR drop@1", "ASR lost@1"):
        estimate = got[metric, "idle", "both", "i2t"]
        assert (estimate.value, estimate.low) == (0, 0)
        assert estimate.high > 0.1  # no certainty from twelve images
    assert "all" not in set(got.frame()["attack"])


def test_texts_that_read_the_same_count_before_and_after():
    image = torch.zeros(2, 3, 2, 2)
    image[0, 0, 0, 0] = image[1, 0, 0, 0] = image[1, 0, 0, 1] = 1
    text = ["1 0 0 0 0 0", "1 1 0 0 0 0"]
    same = {"same": SimpleNamespace(image=image, text=[text[0], text[0]])}
    got = under_attack(Table(), image, text, same, k=(1,))
    assert float(got["recall@1", "none", "nothing", "t2i"]) == 1
    assert float(got["recall@1", "same", "text", "t2i"]) == 1  # the second text now reads like the first one
    strict = under_attack(Table(), image, text, same, k=(1,), equivalent=np.eye(2, dtype=bool))
    assert float(strict["recall@1", "same", "text", "t2i"]) == 0.5
    assert strict.settings["right"] == "as given"


def test_a_report_that_says_what_it_is(world, tmp_path):
    vlm, image, text, owner, results = world
    vlm.train()
    stream = torch.get_rng_state()
    got = under_attack(vlm, image, text, results, owner=owner, k=(1,), n=20, settings={"source": "another model"})
    assert vlm.training
    assert torch.equal(torch.get_rng_state(), stream)
    assert got.settings["source"] == "another model"
    assert "as Co-Attack counts" in got.settings["formulas"]["ASR drop"]
    assert "as SGA counts" in got.settings["formulas"]["ASR lost"]
    again = Report.load(got.save(tmp_path / "report.json"))
    assert again.frame().equals(got.frame())
    # clean, then three ways and the worst of them for two attacks, then the worst of all; both directions
    assert len(got.rows) == 2 * (1 + 2 * 4 + 1) + 2 * 2 * (2 * 4 + 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"owner": [0, 0]}, "name each of the 2 images"),
        ({"owner": [0]}, r"must be \(2,\)"),
        ({"results": {"none": None}}, "must not name an attack 'none'"),
        ({"results": {"bad": SimpleNamespace(image=torch.zeros(1, 3, 2, 2), text=["1 0"])}}, "got 1 and 1 in 'bad'"),
    ],
)
def test_refusals(change, words):
    image, text = torch.zeros(2, 3, 2, 2), ["1 0 0 0 0 0", "0 1 0 0 0 0"]
    how = {"results": {}, "owner": None, **change}
    with pytest.raises(ValueError, match=words):
        under_attack(Table(), image, text, how.pop("results"), **how)


def test_a_broken_model_is_refused_and_its_images_named(world):
    vlm, image, text, owner, results = world
    image = image.clone()
    image[3] = torch.nan
    with pytest.raises(ValueError, match="The image embeddings of .* NaN or infinity for images 3 of 12"):
        under_attack(vlm, image, text, results, owner=owner)


def test_an_attack_that_stopped_at_rank_one_is_said_to(world, caplog):
    vlm, image, text, owner, results = world
    done = results["one"]
    words = SimpleNamespace(early_stop=True)
    early = SimpleNamespace(image=done.image, text=done.text, early_stop=False, words=words)
    got = under_attack(vlm, image, text, {"full": done, "early": early}, owner=owner, k=(1, 5), n=20)
    assert got.settings["attacked"]["full"] == "to the end, for every rank"
    assert "until rank 1 was lost (words)" in got.settings["attacked"]["early"]
    assert [record.args[0] for record in caplog.records] == ["early"]
    assert said_of_ends(got)[1].startswith("early: attacked until rank 1")
    caplog.clear()
    under_attack(vlm, image, text, {"early": early}, owner=owner, k=(1,), n=20)
    assert not caplog.records


def test_texts_that_differ_behind_the_context_are_no_mistake():
    image = torch.zeros(2, 3, 2, 2)
    image[0, 0, 0, 0] = image[1, 0, 0, 0] = 1
    text = ["1 0 0 0 0 0 ", "1  0 0 0 0 0"]
    same = {"same": SimpleNamespace(image=image, text=text)}
    got = under_attack(Table(), image, text, same, k=(1,), n=20)
    for direction in ("i2t", "t2i"):
        assert float(got["recall@1", "none", "nothing", direction]) == 1
    cut = Table()
    cut.encode_text = lambda texts: Table().encode_text([" ".join(one.split()[:6]) for one in texts])
    cut.tokenizer = lambda texts: torch.tensor([[float(word) for word in one.split()[:6]] for one in texts])
    text = ["1 0 0 0 0 0 7", "1 0 0 0 0 0 9"]
    same = {"same": SimpleNamespace(image=image, text=text)}
    for direction in ("i2t", "t2i"):
        assert float(under_attack(cut, image, text, same, k=(1,), n=20)["recall@1", "same", "both", direction]) == 1


@pytest.fixture(scope="module")
def skin(tmp_path_factory):
    root = tmp_path_factory.mktemp("skin")
    return from_folder(write_model(root / "model")), read_tidy(write_images(root / "data", 12), size=32)


def test_pairs_are_attacked_in_one_call(skin):
    vlm, pairs = skin
    how = {"words": 0, "steps": 1, "n": 20, "batch_size": 5, "k": (1, 2)}
    report = attacked_pairs(vlm, pairs, threats=["linf:4/255"], attacks=["separate"], settings={"note": 1}, **how)
    assert (report.text[0], report.owner.tolist()) == (pairs.rows[0].captions[0], list(range(12)))
    again = separate(
        vlm, report.image, report.text, Threat.parse("linf:4/255"), steps=1, batch_size=5,
        text_attack=lambda want, text: swap_words(want, text, TextThreat(0), encode=vlm.encode_text, sources=[]),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.equal(report.results["separate"].image, again.image)
    scored = under_attack(
        vlm, report.image, report.text, report.results, groups=pairs.patients, k=(1, 2), n=20, batch_size=5
    )
    assert report.rows == scored.rows
    assert report.settings | {"words": 0, "threats": ["linf:4/255"], "steps": 1, "note": 1} == report.settings
    assert report.settings["texts cut at the context"] == {"clean": 0, "separate": 0}
    assert "separate" in repr(report)


def test_every_threat_meets_every_attack_on_pairs_and_functions_of_ones_own(skin, tmp_path):
    vlm, pairs = skin
    asked = []

    def mine(vlm, image, text, threat, *, text_attack, owner, **options):
        asked.append((str(threat), sorted(options)))
        return separate(vlm, image, text, threat, text_attack=text_attack, owner=owner, **options)

    how = {"words": 1, "steps": 1, "n": 20, "k": (1,)}
    report = attacked_pairs(vlm, pairs, threats=["linf:1/255", "linf:2/255"], attacks={"mine": mine}, **how)
    assert list(report.results) == ["mine linf:1/255", "mine linf:2/255"]
    assert asked == [(threat, ["batch_size", "generator", "steps"]) for threat in ("linf:1/255", "linf:2/255")]
    assert Report.load(report.save(tmp_path / "attack.json"))["recall@1", "all"] == report["recall@1", "all"]
    with pytest.raises(ValueError, match="no attack on pairs named 'sgb'. Did you mean sga"):
        attacked_pairs(vlm, pairs, threats=["linf:1/255"], attacks=["sgb"])
    with pytest.raises(ValueError, match="must not be empty"):
        attacked_pairs(vlm, pairs, threats=[])
