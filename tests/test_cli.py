"""The command line as a user meets it: tables, JSON beside them, one sentence for what is wrong."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tinyworld import write_images, write_model
from typer.testing import CliRunner

from medadv.cli import app
from medadv.reports.report import Report


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    write_model(root / "model")
    write_images(root / "data" / "skin")
    return root


@pytest.fixture(autouse=True)
def _here(world, monkeypatch):
    monkeypatch.setenv("MEDADV_DATA", str(world / "data"))
    monkeypatch.setenv("COLUMNS", "120")


def run(*words, code=0):
    got = CliRunner().invoke(app, [str(word) for word in words])
    assert got.exit_code == code, got.output + repr(got.exception)
    return got


def refused(*words, match):
    """The command must fail with one sentence on stderr, exit code 2, and no table."""
    got = run(*words, code=2)
    said = [line for line in got.stderr.splitlines() if line.startswith("medadv: ")]
    assert len(said) == 1, got.stderr
    assert match in said[0]
    assert "Traceback" not in got.output
    assert "┃" not in got.stdout
    return said[0]


def test_help_names_every_command():
    assert all(name in run("--help").stdout for name in ("models", "data", "zeroshot", "retrieve", "train", "evaluate"))
    for name in ("models", "data", "zeroshot", "retrieve", "train", "evaluate"):
        text = run(name, "--help").stdout
        assert "--debug" in text
    assert run("--version").stdout.startswith("medadv ")


def test_models_lists_cards():
    text = run("models").stdout
    assert "biomedclip" in text
    assert "tiny" in text
    assert "biomedclip" not in run("models", "tiny").stdout
    refused("models", "biomedclop", match="biomedclip")


def test_data_lists_and_describes(world):
    text = run("data").stdout
    assert "phantoms" in text
    assert "skin" in text
    text = run("data", "skin").stdout
    assert "naevus" in text
    assert "patients: 24" in text
    assert "40 x 40 (48)" in text
    assert "CC0-1.0" in text
    run("data", "phantoms")
    run("data", world / "data" / "skin")


def test_zeroshot_writes_the_table_it_prints(world, tmp_path):
    model = f"local-dir:{world / 'model'}"
    got = run(
        "zeroshot",
        "--model",
        model,
        "--data",
        "skin",
        "--split",
        "all",
        "--seed",
        1,
        "--out",
        tmp_path / "out",
    )
    report = Report.load(tmp_path / "out" / "zeroshot.json")
    assert f"{report['macro AUC']:.3f}" in got.stdout
    assert f"{report['sensitivity', 'naevus']:.3f}" in got.stdout
    assert report.settings["model"] == model
    assert report.settings["images"] == 48
    assert report.versions["seed"] == 1
    again = run("zeroshot", "--model", model, "--data", "skin", "--split", "all", "--seed", 1, "--batch-size", 5)
    assert f"{report['macro AUC']:.3f}" in again.stdout
    run(
        "zeroshot",
        "-m",
        model,
        "-d",
        "skin",
        "--limit",
        4,
        "--template",
        "a {}",
        "--template",
        "{}",
        "--dtype",
        "bfloat16",
    )
    run("zeroshot", "-m", model, "-d", "skin", "--classes", "a red spot|a blue spot", "--label", "label")


def test_zeroshot_of_phantoms(world):
    assert "chest" in run("zeroshot", "-m", f"local-dir:{world / 'model'}", "--limit", 20).stdout


def test_one_picture(world):
    model, picture = f"local-dir:{world / 'model'}", world / "data" / "skin" / "images" / "0.png"
    text = run("zeroshot", "-m", model, "-d", picture, "--classes", "a naevus|a melanoma").stdout
    assert "a naevus" in text
    refused("zeroshot", "-m", model, "-d", picture, match="--classes")


def test_retrieve(world, tmp_path):
    model = f"local-dir:{world / 'model'}"
    got = run("retrieve", "-m", model, "-d", "skin", "--split", "all", "--out", tmp_path)
    report = Report.load(tmp_path / "retrieve.json")
    assert {row["metric"] for row in report.rows} == {"recall@1", "recall@5", "recall@10"}
    assert "same wording" in got.stdout
    run("retrieve", "-m", model, "-d", "skin", "--k", 3, "--captions", 1)


@pytest.fixture(scope="module")
def adapted(world):
    words = ("train", "-m", f"local-dir:{world / 'model'}", "-d", "skin", "--steps", 3, "--batch-size", 8)
    with pytest.MonkeyPatch.context() as here:  # only for these lines: other tests look for the real data there
        here.setenv("MEDADV_DATA", str(world / "data"))
        run(*words, "--out", world / "adapted", "--within", "projection", "--lr", 0.001)
    return world / "adapted"


def test_train_then_evaluate(world, adapted, tmp_path):
    test = Report.load(adapted / "test.json")
    assert test["macro AUC"].value > 0.9
    assert sorted(p.name for p in adapted.iterdir()) == [
        "adapted.json",
        "head.safetensors",
        "open_clip_config.json",
        "open_clip_model.safetensors",
        "test.json",
        "within_projection.json",
    ]
    facts = json.loads((adapted / "adapted.json").read_text())
    assert facts["chosen"] in facts["tried"]
    assert facts["versions"]["versions"]["torch"]
    words = ("-d", "skin", "--out", tmp_path)
    run("evaluate", "--model", f"local-dir:{adapted}", *words, "--within", "projection")
    assert Report.load(tmp_path / "evaluate.json").rows == test.rows
    run("evaluate", "--head", adapted / "head.safetensors", *words)
    assert Report.load(tmp_path / "evaluate.json").rows == test.rows
    run("zeroshot", "-m", f"local-dir:{adapted}", "-d", "skin")


def test_train_by_folds(world, tmp_path):
    words = (
        "-d",
        "skin",
        "--folds",
        3,
        "--within",
        "projection",
        "--method",
        "probe",
        "--out",
        tmp_path / "f",
    )
    got = run("train", "-m", f"local-dir:{world / 'model'}", *words)
    assert "projection alone" in got.stdout
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == ["folds.json", "within_projection.json"]


def test_unknown_names_offer_the_nearest(world):
    refused("zeroshot", "--model", "biomedclp", "--data", "skin", match="biomedclip")
    refused("zeroshot", "--model", f"local-dir:{world / 'model'}", "--data", "skn", match="skin")
    refused("data", "skn", match="skin")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--split", "tset"), "tset"),
        (("--device", "cuda:99"), "device"),
        (("--device", "gpu"), "auto"),
        (("--dtype", "int8"), "bfloat16"),
        (("--label", "diagnosis"), "diagnosis"),
        (("--template", "no place"), "{}"),
        (("--classes", "only one"), "one phrase for each"),
    ],
)
def test_wrong_options(world, words, match, tmp_path):
    model = f"local-dir:{world / 'model'}"
    refused("zeroshot", "-m", model, "-d", "skin", *words, "--out", tmp_path / "out", match=match)
    assert not (tmp_path / "out").exists()


def test_wrong_data_folders(world, tmp_path):
    model = f"local-dir:{world / 'model'}"
    (tmp_path / "bare").mkdir()
    refused("zeroshot", "-m", model, "-d", tmp_path / "bare", match="metadata.csv")
    broken = shutil.copytree(world / "data" / "skin", tmp_path / "broken")
    (broken / "images" / "12.png").write_bytes(b"")  # a test image of 0 bytes
    for words in (("zeroshot", "--split", "all"), ("retrieve", "--split", "all"), ("train",)):
        out = tmp_path / "out"
        refused(words[0], "-m", model, "-d", broken, *words[1:], "--out", out, match="12.png")
        assert not list(out.glob("*.json")), "nothing is half-written"
    refused("data", broken, "--check", match="12.png")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(broken / "images" / "12.png")  # a grey one is fine
    run("zeroshot", "-m", model, "-d", broken, "--split", "all")
    (broken / "images" / "12.png").unlink()
    refused("zeroshot", "-m", model, "-d", broken, match="12.png")


def test_wrong_checksum(world, tmp_path):
    from medadv.data.tidy import write_tidy

    folder = shutil.copytree(world / "data" / "skin", tmp_path / "sums")
    rows = list(csv.DictReader((folder / "metadata.csv").read_text().splitlines()))
    write_tidy(folder, rows, progress=False)
    assert "checksum" in run("data", folder, "--check").stdout
    shutil.copy(folder / "images" / "1.png", folder / "images" / "0.png")
    refused("data", folder, "--check", match="md5")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.full((3, 32, 32), -1.5, dtype=np.float32), "Did you normalise"),
        (np.zeros((2, 32, 32), dtype=np.float32), "channel"),
        (np.zeros((3, 32, 32), dtype=np.uint8), "uint8"),
    ],
)
def test_arrays_that_are_no_pixels(world, tmp_path, array, match):
    np.save(tmp_path / "x.npy", array)
    words = ("-m", f"local-dir:{world / 'model'}", "-d", tmp_path / "x.npy", "--classes", "a|b")
    refused("zeroshot", *words, match=match)


def test_damaged_models(world, adapted, tmp_path):
    model = shutil.copytree(world / "model", tmp_path / "model")
    weights = model / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused("zeroshot", "-m", f"local-dir:{model}", "-d", "skin", match="cut short")
    weights.unlink()
    refused("zeroshot", "-m", f"local-dir:{model}", "-d", "skin", match="weights")
    refused("zeroshot", "-m", f"local-dir:{tmp_path / 'none'}", "-d", "skin", match="none")
    refused("evaluate", "-m", f"local-dir:{world / 'model'}", "-d", "skin", match="No head")
    refused("evaluate", "-d", "skin", match="--head")
    refused(
        "evaluate",
        "-m",
        f"local-dir:{adapted}",
        "-d",
        "skin",
        "--label",
        "projection",
        match="classes of the head",
    )


def test_an_output_folder_that_cannot_be(world, tmp_path):
    (tmp_path / "file").touch()
    for name in ("zeroshot", "retrieve", "train"):
        out = tmp_path / "file" / "below"
        refused(name, "-m", f"local-dir:{world / 'model'}", "-d", "skin", "--out", out, match="is a file")
    if os.getuid():  # the superuser may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        refused("zeroshot", "-d", "skin", "--out", tmp_path / "locked", match="cannot")


def test_train_is_refused_before_it_costs_time(world, tmp_path):
    words = ("train", "-m", f"local-dir:{world / 'model'}", "-d", "skin", "--out", tmp_path / "t")
    refused(*words, "--method", "magic", match="magic")
    refused(*words, "--folds", 2, match="at least 3")
    refused(*words, "--folds", 99, match="99")
    refused(*words, "--within", "scanner", match="scanner")
    assert not (tmp_path / "t").exists()


def test_usage_errors_leave_with_2():
    for words in (("zeroshot", "--steps", 3), ("nothing",), ("zeroshot", "--limit", 0), ("train",)):
        run(*words, code=2)


def test_debug_shows_the_traceback():
    got = CliRunner().invoke(app, ["data", "skn", "--debug"])
    assert isinstance(got.exception, ValueError)


def test_as_a_module(world):
    got = subprocess.run([sys.executable, "-m", "medadv", "data", "skn"], capture_output=True, text=True, timeout=120)
    assert got.returncode == 2
    assert got.stderr.count("\n") == 1
    assert "Did you mean skin?" in got.stderr
    assert got.stdout == ""
