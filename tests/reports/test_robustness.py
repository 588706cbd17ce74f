"""Reports under attack: right where the answer is known, the same however the work is cut, and clear when refused."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toyworld import Linear, toy_images, toy_pairs

from medadv.attacks import ATTACKS, pgd
from medadv.data import load
from medadv.objective import classify
from medadv.reports.report import Report
from medadv.reports.robustness import Attacked, attacked, attacked_within
from medadv.threat import Threat

QUICK = {"threats": ["linf:2/255"], "attacks": ["fgsm", "pgd"], "options": {"steps": 3}, "n": 50, "show": 0}


def margins(classes: int, n: int) -> np.ndarray:
    """How far the true logit leads; L-inf moves it by at most 2 eps times the scale."""
    image, label = toy_images(n, classes)
    logits = Linear(classes)(image).detach()
    other = logits.scatter(1, label[:, None], -torch.inf).amax(1)
    return (logits.gather(1, label[:, None])[:, 0] - other).numpy()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_numbers_are_those_of_the_closed_form(classes):
    lead, eps = margins(classes, 40), 2 / 255
    report = attacked(Linear(classes), toy_pairs(40, classes), **QUICK)
    clean, left = (lead > 0).mean(), (lead > 2 * eps * 20).mean()
    assert 0 < left < clean
    assert report["accuracy", "none"].value == pytest.approx(clean)
    for name in ("fgsm", "pgd", "worst"):
        assert report["robust accuracy", "linf:2/255", name].value == pytest.approx(left)
        assert report["attack success rate", "linf:2/255", name].value == pytest.approx(1 - left / clean)
        assert report["change of accuracy", "linf:2/255", name].value == pytest.approx(left - clean)
    assert report["attack success rate", "linf:2/255", "pgd"].n == (lead > 0).sum()
    assert report["largest size", "linf:2/255", "pgd"].value == pytest.approx(eps, rel=1e-4)
    assert report["forwards per image", "linf:2/255", "fgsm"].value <= 2
    assert report["backwards per image", "linf:2/255", "fgsm"].value == 1
    assert report["seconds per image", "linf:2/255", "worst"].value > 0


def test_rows_are_in_order_and_carry_intervals():
    report = attacked(Linear(), toy_pairs(), **QUICK)
    assert (report.rows[0]["metric"], report.rows[0]["threat"]) == ("accuracy", "none")
    assert list(report.wide()["attack"]) == ["none", "fgsm", "pgd", "worst"]
    for row in report.rows:
        estimate = row["estimate"]
        single = row["metric"] == "largest size" or row["metric"].endswith("per image")  # one batch, one largest
        assert single or estimate.low <= estimate.value <= estimate.high, row
        assert single or estimate.low < estimate.high or row["metric"] == "mean size", row
    recalls = [row["estimate"] for row in report.rows if row["metric"] == "sensitivity" and row["attack"] == "pgd"]
    assert np.mean([e.value for e in recalls]) == pytest.approx(report["balanced accuracy", "linf:2/255", "pgd"].value)
    assert {row["metric"] for row in report.rows if row["class"] == "b"} == {"sensitivity", "specificity"}
    assert "macro AUC" not in {row["metric"] for row in report.rows if row["threat"] != "none"}
    whole = attacked(Linear(), toy_pairs(), **{**QUICK, "attacks": ["pgd"], "options": {"stop": False}})
    assert whole["macro AUC", "linf:2/255"].value < whole["macro AUC", "none"].value


def test_patients_are_resampled_as_a_whole():
    report = attacked(Linear(), toy_pairs(patients=10), **QUICK)
    assert "10 groups" in report["robust accuracy", "linf:2/255", "pgd"].method
    assert "10 groups" in report["attack success rate", "linf:2/255", "pgd"].method


def test_unknown_labels_are_left_out_and_counted():
    report = attacked(Linear(), toy_pairs(30, unknown=7), **QUICK)
    assert report.settings["left out"] == 7
    assert report["accuracy"].n == 23
    assert report.raw["row"] == list(range(7, 30))
    with pytest.raises(ValueError, match="toy has none"):
        attacked(Linear(), toy_pairs(6, unknown=6), **QUICK)


def test_batches_and_seed_change_nothing_but_the_draws():
    one, two = (attacked(Linear(), toy_pairs(), batch_size=size, **QUICK) for size in (7, 64))
    assert np.allclose(one.raw["under"]["linf:2/255 fgsm"], two.raw["under"]["linf:2/255 fgsm"], atol=1e-4)
    again = attacked(Linear(), toy_pairs(), batch_size=7, **QUICK)
    assert one.raw == again.raw
    other = attacked(Linear(), toy_pairs(), batch_size=7, seed=1, **QUICK)
    assert one.raw["under"]["linf:2/255 pgd"] != other.raw["under"]["linf:2/255 pgd"]
    assert "groups" in one["forwards per image", "linf:2/255", "pgd"].method  # of batches
    head = Linear().train()
    with torch.no_grad():
        attacked(head, toy_pairs(), **QUICK)
    assert head.training
    assert head.weight.grad is None


def test_no_verdict_depends_on_the_batch_size():
    small = partial(ATTACKS.get("square"), queries=8)
    plans = [(name, {}) for name in ATTACKS if name not in ("suite", "square")]
    plans += [("square", {"queries": 8}), ("suite", {"attacks": {"square": small}})]
    for name, options in plans:
        threat = "l2:0.5" if name == "ddn" else "linf:2/255"
        how = {**QUICK, "attacks": [name], "options": options, "threats": [threat]}
        one, two = (attacked(Linear(), toy_pairs(), batch_size=size, **how) for size in (7, 64))
        found = [np.asarray(report.raw["under"][f"{threat} {name}"]) for report in (one, two)]
        assert np.allclose(*found, atol=1e-4), name
        other = attacked(Linear(), toy_pairs(), batch_size=7, seed=1, **how).raw["under"][f"{threat} {name}"]
        assert np.allclose(found[0], other, atol=1e-3) == (name in ("fgsm", "mifgsm", "ddn")), name


def test_an_attack_that_a_user_registers_works_by_its_name(monkeypatch):
    seen = []

    def mine(head, image, label, threat, *, generator, steps=3):
        seen.append(type(generator))
        return pgd(classify(head, label), image, threat, steps=steps, generator=generator)

    monkeypatch.setattr(ATTACKS, "_things", dict(ATTACKS._things))
    ATTACKS.register("mine", mine)
    how = {**QUICK, "options": {"steps": 2}}
    named = attacked(Linear(), toy_pairs(), **{**how, "attacks": ["mine"]})
    given = attacked(Linear(), toy_pairs(), **{**how, "attacks": {"mine": mine}})
    assert set(seen) == {torch.Generator}
    assert named.raw == given.raw
    assert named.settings["attacks"] == ["mine"]


def test_a_study_goes_on_where_it_stopped(tmp_path):
    calls = []

    def mine(head, image, label, threat, *, generator, steps=3):
        calls.append(len(image))
        if len(calls) == 3 and not resumed:
            raise KeyboardInterrupt
        return pgd(classify(head, label), image, threat, steps=steps, generator=generator)

    mine.fingerprint = "pgd of three steps"  # not what it counts
    how = {"threats": ["linf:2/255"], "attacks": {"mine": mine}, "batch_size": 8, "n": 50, "show": 2}
    resumed = True
    whole = attacked(Linear(), toy_pairs(), **how)
    calls, resumed = [], False
    with pytest.raises(KeyboardInterrupt):
        attacked(Linear(), toy_pairs(), folder=tmp_path, **how)
    assert len(list(tmp_path.iterdir())) == 2
    calls, resumed = [], True
    got = attacked(Linear(), toy_pairs(), folder=tmp_path, **how)
    assert len(calls) == 2
    assert got.raw == whole.raw
    assert [one.after.tolist() for one in got.pictures] == [one.after.tolist() for one in whole.pictures]
    with pytest.raises(ValueError, match="Choose another folder"):
        attacked(Linear(scale=30), toy_pairs(), folder=tmp_path, **how)
    with pytest.raises(ValueError, match="Choose another folder"):
        attacked(Linear(), toy_pairs(), folder=tmp_path, **{**how, "threats": ["linf:1/255"]})
    (tmp_path / "000000.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="damaged"):
        attacked(Linear(), toy_pairs(), folder=tmp_path, **how)


def test_images_can_be_kept(tmp_path):
    attacked(Linear(), toy_pairs(), folder=tmp_path, keep_images=True, batch_size=20, **QUICK)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["000000.safetensors", "000020.safetensors"]
    kept = load_file(files[1])
    assert len(kept["image"]) == 10
    Threat.parse("linf:2/255").check(kept["linf:2/255 pgd image"])
    assert (kept["linf:2/255 pgd image"] - kept["image"]).abs().max() <= 2 / 255 + 1e-6
    assert (Linear()(kept["linf:2/255 pgd image"]) - kept["linf:2/255 pgd logits"]).abs().max() < 1e-4


def test_a_target_is_a_class_to_be_seen():
    how = {**QUICK, "threats": ["linf:8/255"]}
    report = attacked(Linear(), toy_pairs(), target="b", **how)
    assert report.settings["left out"] == 10  # they are b already
    said = np.array(report.raw["under"]["linf:8/255 pgd"]).argmax(1)
    rate = report["attack success rate", "linf:8/255", "pgd"]
    asked = np.array(report.raw["output"]).argmax(1) != 1
    assert rate.value == pytest.approx((said[asked] == 1).mean())
    assert rate.value > 0.8
    assert report["attack success rate", "linf:8/255", "worst"].value >= rate.value
    with pytest.raises(ValueError, match="one of a, b, c"):
        attacked(Linear(), toy_pairs(), target="d", **how)
    with pytest.raises(ValueError, match="aims at no class"):
        attacked(Linear(), toy_pairs(), target="b", **{**how, "attacks": ["suite"]})


def test_within_and_compare_ask_later():
    pairs = toy_pairs(unknown=3)
    report = attacked(Linear(), pairs, **QUICK)
    inside = attacked_within(report, pairs, "sex", n=50)
    parts = [inside["robust accuracy", "linf:2/255", "pgd", g] for g in ("f", "m")]
    assert sum(e.n for e in parts) == 27
    mean = sum(e.value * e.n for e in parts) / 27
    assert mean == pytest.approx(report["robust accuracy", "linf:2/255", "pgd"].value)
    assert list(inside.wide().columns) == ["threat", "attack", "f", "m"]
    with pytest.raises(ValueError, match="got another"):
        attacked_within(report, toy_pairs(20), "sex")
    weak = attacked(Linear(), pairs, **{**QUICK, "threats": ["linf:2/255"], "options": {"steps": 1, "step": 0.001}})
    change = report.compare(weak, n=50)["robust accuracy", "linf:2/255", "pgd"]
    assert change.low <= change.value <= change.high
    assert "bootstrap" in change.method


def test_it_is_a_report(tmp_path):
    report = attacked(Linear(), toy_pairs(), **{**QUICK, "show": 3})
    again = Attacked.load(report.save(tmp_path / "attack.json"))
    assert isinstance(again, Report)
    same = [tuple(row.values()) for row in again.rows], [tuple(row.values()) for row in report.rows]
    assert [row[:4] for row in same[0]] == [row[:4] for row in same[1]]
    assert "robust accuracy" in Report.load(tmp_path / "attack.json").html()
    assert "worst" in repr(report)
    assert "<table>" in report._repr_html_()
    assert not again.pictures
    assert len(report.pictures) == 3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"threats": ["linf:4"]}, "Did you mean 4/255"),
        ({"threats": ["linf:-1/255"]}, "at least 0"),
        ({"threats": ["lnf:1/255"]}, "must look like"),
        ({"threats": []}, "must not be empty"),
        ({"attacks": ["pdg"]}, "Did you mean pgd"),
        ({"attacks": "pgd"}, "list of names"),
        ({"attacks": ["fgsm"]}, "takes 'steps'"),
        ({"options": {"stepps": 3}}, "Leave it out"),
    ],
)
def test_wrong_words_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        attacked(Linear(), toy_pairs(), **{**QUICK, **change})


def test_wrong_data_are_refused():
    pairs = toy_pairs()
    normalised = dataclasses.replace(pairs, load=lambda i: (pairs.load(i)[0] * 4 - 2, None))
    with pytest.raises(ValueError, match="Did you normalise"):
        attacked(Linear(), normalised, **QUICK)
    with pytest.raises(ValueError, match="below the 2 classes"):
        attacked(Linear(), dataclasses.replace(pairs, classes=("a", "b")), **QUICK)
    with pytest.raises(ValueError, match="Make the head for these classes"):
        attacked(Linear(2), pairs, **QUICK)
    with pytest.raises(ValueError, match="colours"):
        attacked(Linear(), pairs, **{**QUICK, "threats": ["linf:1/255:grey"]})


def test_skin_and_grey_chest_images(real_data):
    from medadv.models import ZeroShot
    from medadv.models import load as open_model

    vlm = open_model("tiny")
    for name, many, threat in (("isic2017_256", 40, "linf:2/255"), ("mhh_covid_cxr", 16, "linf:2/255:grey")):
        pairs = load(real_data / name, size=64, n=many, seed=0)
        head = ZeroShot.from_prompts(vlm, list(pairs.classes))
        report = attacked(head, pairs, threats=[threat], attacks=["pgd"], options={"steps": 4}, n=50)
        rate = report["attack success rate", threat]
        assert rate.value > 0.3 or rate.n < 5
        assert report["largest size", threat].value <= 2 / 255 + 1e-6
        for one in report.pictures:
            moved = one.adversarial - one.clean
            assert "grey" not in threat or torch.equal(moved[0], moved[1])
        assert not math.isnan(report["balanced accuracy", threat].value)


def test_a_folder_knows_the_functions_and_the_images_it_was_made_with(tmp_path):
    def by(steps):
        def mine(head, image, label, threat, *, generator):
            return pgd(classify(head, label), image, threat, steps=steps, generator=generator)

        return {"mine": mine}

    how = {"threats": ["linf:2/255"], "batch_size": 30, "n": 50, "show": 0, "folder": tmp_path}
    first = attacked(Linear(), toy_pairs(), attacks=by(2), **how)
    assert attacked(Linear(), toy_pairs(), attacks=by(2), **how).raw == first.raw
    with pytest.raises(ValueError, match="Choose another folder"):  # the same name, another body
        attacked(Linear(), toy_pairs(), attacks=by(3), **how)
    pairs = toy_pairs()
    moved = dataclasses.replace(pairs, load=lambda i: (pairs.load(i)[0].flip(-1), None))
    with pytest.raises(ValueError, match="Choose another folder"):  # the same names, labels and clean logits
        attacked(Linear(), moved, attacks=by(2), **how)
