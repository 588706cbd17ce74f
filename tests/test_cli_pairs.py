"""medadv attack --task retrieval, as a user meets it."""

from __future__ import annotations

import csv
import json
import logging
import shutil

import pytest
from safetensors.torch import load_file
from test_cli import refused, run
from tinyworld import write_images, write_model

from medadv.reports.report import Report


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    write_model(root / "model")
    write_images(root / "skin", 24)
    return root


def words(world, *more):
    return ("attack", "--task", "retrieval", "-m", f"local-dir:{world / 'model'}", "-d", world / "skin", *more)


def rewritten(world, folder, caption):
    """The same images with other captions."""
    shutil.copytree(world / "skin", folder)
    rows = list(csv.DictReader((folder / "metadata.csv").read_text().splitlines()))
    for i, row in enumerate(rows):
        row["caption"] = caption(i, row)
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_retrieval_under_attack(world, tmp_path):
    out = tmp_path / "out"
    more = (
        "--split",
        "all",
        "--limit",
        10,
        "--steps",
        2,
        "--attack",
        "sga",
        "--attack",
        "co_attack",
        "--threat",
        "linf:2/255",
    )
    got = run(*words(world, *more, "--save-images", "--out", out))
    report = Report.load(out / "attack.json")
    assert {row["attack"] for row in report.rows} == {"none", "sga", "co_attack", "all"}
    assert report["recall@1", "all", "worst", "i2t"].value <= report["recall@1", "none", "nothing", "i2t"].value
    assert "i2t recall@1" in got.stdout
    assert "candidates refused" in got.stdout
    assert report.settings["attacked"] == dict.fromkeys(("sga", "co_attack"), "to the end, for every rank")
    assert "sga: attacked to the end, for every rank." in " ".join(got.stdout.split())
    kept = load_file(out / "attack_images" / "images.safetensors")
    assert (kept["sga"] - kept["image"]).abs().max() <= 2 / 255 + 1e-6
    html = (out / "attack.html").read_text()
    assert "attacked to the end, for every rank" in html
    assert html.count("<img") == 2 * 6 * 3
    assert "lost its texts" in html or "still finds" in html
    run(*words(world, "--limit", 4, "--steps", 1, "--attack", "separate", "--words", 0, "--dtype", "bfloat16"))


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (("--attack", "sgaa"), "Did you mean sga"),
        (("--attack", "pgd"), "no attack on pairs"),
        (("--threat", "linf:4"), "Did you mean 4/255"),
        (("--target", "naevus"), "--task classify"),
        (("--doctor",), "--task classify"),
        (("--save-images",), "--out"),
        (("--task", "retrieve"), "classify or retrieval"),
    ],
)
def test_wrong_input_is_one_sentence(world, more, match):
    refused(*words(world, *more), match=match)


def test_an_empty_caption_is_refused(world, tmp_path):
    folder = rewritten(world, tmp_path / "skin", lambda i, row: " " if i == 12 else row["caption"])
    refused(*words(world)[:-1], folder, "--split", "all", match="caption")


def test_long_captions_are_cut_counted_and_said_once(world, tmp_path, caplog):
    folder = rewritten(
        world, tmp_path / "long", lambda i, row: row["caption"] + " seen again" * (30 * (i % 2)) + f" {i}"
    )
    more = ("--split", "all", "--limit", 6, "--steps", 1, "--attack", "separate", "--out", tmp_path / "out")
    with caplog.at_level(logging.WARNING):
        got = run(*words(world)[:-1], folder, *more)
    count = json.loads((tmp_path / "out" / "attack.json").read_text())["settings"]["texts cut at the context"]["clean"]
    assert 0 < count < 6
    assert f"{count} of clean" in got.stdout
    assert len([record for record in caplog.records if "were cut" in record.message]) == 1
