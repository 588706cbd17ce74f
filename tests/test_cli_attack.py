"""medadv attack and medadv evaluate --threat, as a user meets them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from test_cli import refused, run
from tinyworld import write_images, write_model

from medadv.reports.report import Report
from medadv.reports.robustness import Attacked

QUICK = ("--attack", "pgd", "--steps", 2)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("attack")
    write_model(root / "model")
    write_images(root / "data" / "skin")
    return root


@pytest.fixture(autouse=True)
def _here(world, monkeypatch):
    monkeypatch.setenv("MEDADV_DATA", str(world / "data"))
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(scope="module")
def adapted(world):
    words = ("train", "-m", f"local-dir:{world / 'model'}", "-d", world / "data" / "skin", "--method", "probe")
    run(*words, "--out", world / "adapted")
    return world / "adapted"


def words(world, *more):
    return ("attack", "-m", f"local-dir:{world / 'model'}", "-d", "skin", "--split", "all", *more)


def test_attack_prints_and_writes(world, tmp_path):
    out = tmp_path / "out"
    more = ("--threat", "linf:4/255", "--threat", "l2:0.5", "--attack", "fgsm", "--within", "sex", "--limit", 16)
    got = run(*words(world, *QUICK, *more, "--out", out))
    report = Attacked.load(out / "attack.json")
    assert f"{report['robust accuracy', 'l2:0.5', 'worst'].value:.3f}" in got.stdout
    assert "what it took" in got.stdout
    assert "within sex" in got.stdout
    assert report.settings["model"].startswith("local-dir:")
    assert report.settings["attack options"] == {"steps": 2}
    assert report["accuracy"].n == 16
    assert "data:image/png" in (out / "attack.html").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["attack.html", "attack.json", "attack_within_sex.json"]
    assert len(Report.load(out / "attack_within_sex.json").rows) == 2 * 7


def test_attack_options(world, tmp_path):
    out = tmp_path / "out"
    more = ("--target", "melanoma", "--save-images", "--restarts", 2, "--dtype", "bfloat16", "--batch-size", 5)
    run(
        *words(
            world, *QUICK, *more, "--limit", 12, "--classes", "a red spot|a blue spot", "--template", "{}", "--out", out
        )
    )
    report = Attacked.load(out / "attack.json")
    assert report.settings["target"] == "melanoma"
    assert report.settings["left out"] + report["accuracy"].n == 12
    kept = load_file(out / "attack_images" / "000000.safetensors")
    assert torch.equal(kept["label"], torch.zeros_like(kept["label"]))
    assert (kept["linf:1/255 pgd image"] - kept["image"]).abs().max() <= 1 / 255 + 1e-6


def test_attack_of_adapted_models_and_of_a_head(world, adapted, tmp_path):
    more = ("-d", "skin", "--threat", "linf:8/255", *QUICK, "--out", tmp_path)
    run("attack", "-m", f"local-dir:{adapted}", *more)
    report = Attacked.load(tmp_path / "attack.json")
    assert report.settings["head"] == "LinearProbe" or "Probe" in report.settings["head"]
    run("attack", "-m", f"local-dir:{adapted}", "--head", adapted / "head.safetensors", *more)
    assert Attacked.load(tmp_path / "attack.json").raw == report.raw
    got = run("evaluate", "-m", f"local-dir:{adapted}", *more, "--within", "projection")
    assert Attacked.load(tmp_path / "attack.json").raw == report.raw
    assert Report.load(tmp_path / "evaluate.json")["accuracy"].value == report["accuracy"].value
    assert "sensitivity, clean" in got.stdout
    assert (tmp_path / "attack_within_projection.json").is_file()
    assert (tmp_path / "within_projection.json").is_file()


def test_doctor_is_appended(world, tmp_path):
    got = run(*words(world, "--doctor", "--attack", "fgsm", "--limit", 8, "--out", tmp_path))
    assert "could these numbers lie" in got.stdout
    assert "few classes" in got.stdout
    assert "checks found something" in (tmp_path / "attack.html").read_text()


def test_help_says_what_there_is():
    text = run("attack", "--help").stdout
    assert all(word in text for word in ("--threat", "apgd-margin", "--save-images", "--compile", "--doctor"))
    assert "attack" in run("--help").stdout
    assert "--threat" in run("evaluate", "--help").stdout


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (("--threat", "linf:4"), "Did you mean 4/255"),
        (("--threat", "linf:-4/255"), "at least 0"),
        (("--threat", "linf4/255"), "must look like"),
        (("--threat", "l2:0"), ""),
        (("--attack", "pgdd"), "Did you mean pgd"),
        (("--attack", "sqare"), "square"),
        (("--attack", "fgsm", "--steps", 4), "takes 'steps'"),
        (("--target", "wart"), "naevus, melanoma"),
        (("--attack", "suite", "--target", "naevus"), "aims at no class"),
        (("--threat", "linf:1/255:grey"), "colours"),
        (("--within", "scanner"), "scanner"),
        (("--save-images",), "--out"),
        (("--classes", "only one"), "one phrase for each"),
        (("--head", "head.safetensors", "--classes", "a|b"), "exclude each other"),
    ],
)
def test_wrong_input_is_one_sentence(world, more, match, tmp_path):
    if match:
        assert "." in refused(*words(world, *more), match=match)
    else:
        run(*words(world, *more, *QUICK, "--limit", 4))  # an attacker who may do nothing is allowed


def test_labels_and_options_of_evaluate(world, adapted):
    refused("evaluate", "-m", f"local-dir:{adapted}", "-d", "skin", "--attack", "pgd", match="need --threat")
    refused("attack", "-m", f"local-dir:{adapted}", "-d", "skin", "--label", "projection", match="classes of the head")
    refused("attack", "--head", world / "none.safetensors", "-d", "skin", match="none.safetensors")


def test_an_attack_that_a_user_registers_works_by_its_name(world, tmp_path, monkeypatch):
    from medadv.attacks import ATTACKS, Attack, pgd
    from medadv.objective import classify

    def mine(objective, image, threat, *, steps=1):
        return pgd(objective, image, threat, steps=steps, random_start=False)

    monkeypatch.setattr(ATTACKS, "_things", dict(ATTACKS._things))
    ATTACKS.register("mine", Attack(mine, classify, targetable=True))
    more = ("--attack", "mine", "--steps", 2, "--limit", 8, "--out", tmp_path)
    assert "mine" in run(*words(world, *more)).stdout
    report = Attacked.load(tmp_path / "attack.json")
    assert report["backwards per image", "linf:1/255", "mine"].value <= 2
    assert report.settings["attack options"] == {"steps": 2}
    run(*words(world, *more, "--target", "naevus"))
    refused(*words(world, *more, "--region", "mask"), match="'mine' takes no 'region'")
    refused(*words(world, "--attack", "mina"), match="Did you mean mine")


def test_the_help_names_every_attack():
    from medadv.attacks import ATTACKS, PAIR_ATTACKS
    from medadv.cli.options import Attacks

    told = Attacks.__metadata__[0].help
    assert all(name in told for name in (*ATTACKS, *PAIR_ATTACKS))


def test_an_interrupted_attack_goes_on(world, tmp_path, monkeypatch):
    from medadv.reports.html import robustness as page

    out = tmp_path / "out"
    more = words(world, *QUICK, "--limit", 8, "--batch-size", 4, "--out", out)

    def stop(*args, **options):
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(page, "save_page", stop)
        refused_text = run(*more, code=2).stderr
    assert "disk full" in refused_text
    assert len(list((out / "attack_parts").iterdir())) == 2
    first = json.loads((out / "attack.json").read_text())
    run(*more)
    assert json.loads((out / "attack.json").read_text())["rows"] == first["rows"]  # times too: nothing was run again
    assert not (out / "attack_parts").exists()
