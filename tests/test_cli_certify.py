"""medadv certify, as a user meets it: the plan, the log, the report; shards, audits, and one sentence for bad input."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from rich.console import Console
from test_cli import refused, run
from tinyworld import write_images, write_model

from medadv.certify.noise_stream import Stream
from medadv.certify.records import read_log
from medadv.cli.attacking import show_frame
from medadv.models import ZeroShot, load, load_head, save_head
from medadv.models.prompt import marked
from medadv.reports.certification import Certified


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("certify")
    write_model(root / "model")
    write_images(root / "data" / "skin")
    return root


@pytest.fixture(autouse=True)
def _here(world, monkeypatch):
    monkeypatch.setenv("MEDADV_DATA", str(world / "data"))
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)


def words(world, *more, votes=("--n", 60, "--n0", 20)):
    model = f"local-dir:{world / 'model'}"
    return ("certify", "-m", model, "-d", "skin", "--sigma", 0.1, *votes, *more)


def plain(log):
    return log.drop(columns="time").to_dict("records")


def test_the_guarantee_is_never_cut_short(monkeypatch):
    frame = pd.DataFrame([["a head with a long name", "prompt-frozen-at-x", *["0.123 [0.101, 0.145]"] * 9]])
    frame.columns = ["head", "guarantee", *(f"r >= {k}" for k in range(9))]
    for width in (80, 120):
        told = Console(width=width, record=True)
        show_frame(frame, "certified", told)
        assert "prompt-frozen-at-x" in told.export_text()


def test_it_says_the_plan_certifies_writes_and_goes_on(world, tmp_path):
    out = tmp_path / "out"
    got = run(*words(world, "--limit", 5, "--radius", 0.02, "--radius", 0, "--out", out))
    assert "If all 60 votes agree, the radius is 0.1233 (1.23 sigma, alpha 0.001)" in got.stdout
    assert "Planned: 5 images, 20 votes to choose the class and 60 to certify it: 400 noisy copies" in got.stdout
    log = read_log(out / "certify.tsv")
    assert log["idx"].tolist() == list(range(5))
    assert set(log["guarantee"]) == {"fixed"}
    report = Certified.load(out / "certify.json")
    assert report["certified accuracy", "sentences", "fixed", "0.1", "0.02"].value == (
        (log["correct"] & (log["radius"] >= 0.02)).mean()
    )
    assert report.settings["data"].startswith("skin")
    assert report.versions["commit"] is None or report.versions["commit"]
    assert "fixed" in got.stdout
    assert "<svg" in (out / "certify.html").read_text()
    lines = (out / "certify.tsv").read_text().splitlines(keepends=True)
    (out / "certify.tsv").write_text("".join(lines[:3]) + lines[3][:20])  # killed in the middle of a line
    run(*words(world, "--limit", 5, "--out", out))
    assert plain(read_log(out / "certify.tsv")) == plain(log)
    refused(*words(world, "--limit", 5, "--seed", 1, "--out", out), match="written with seed = 0")


def test_learned_prompts_share_one_pass_and_say_their_guarantee(world, tmp_path):
    wanted = ("few-shot", "zero-shot", "combined", "composed", "routed")
    kinds = [word for kind in wanted for word in ("--prompts", kind)]
    more = ("--limit", 2, "--shots", 2, "--split", "test", "--method", "ladder", "--out", tmp_path)
    got = run(*words(world, *kinds, *more, votes=("--n", 100, "--n0", 20)))
    log = read_log(tmp_path / "certify.tsv")
    assert dict(zip(log["head"], log["guarantee"], strict=True)) == {
        "sentences": "fixed", "few-shot": "fixed", "zero-shot": "prompt-frozen-at-x", "combined": "prompt-frozen-at-x",
        "composed": "composed", "routed": "routed"}  # fmt: skip
    assert "zero-shot, combined: the radius will hold for the prompt frozen at each image" in got.stdout
    assert "against sentences" in got.stdout
    page = (tmp_path / "certify.html").read_text()
    assert "zero-shot (prompt-frozen-at-x), 0.1" in page
    assert "stroke-dasharray" in page
    assert (tmp_path / "certify_compared.json").is_file()
    assert f"certify it at most: {2 * (100 + 120 * 2)} noisy copies at most, for 6 heads" in got.stdout
    got = run("certify", "--audit", tmp_path / "certify.tsv")
    assert "Not held against them" in got.stdout


def test_shards_give_the_same_log(world, tmp_path):
    run(*words(world, "--limit", 5, "--out", tmp_path / "whole"))
    for shard in ("0/2", "1/2"):
        got = run(*words(world, "--limit", 5, "--shard", shard, "--out", tmp_path / "parts"))
        assert f"(shard {shard})" in got.stdout
        if shard == "0/2":
            refused("certify", "--merge", "--out", tmp_path / "parts", match="lacks 2 of 5 images")
    got = run("certify", "--merge", "--out", tmp_path / "parts", "--radius", 0.01)
    logs = [read_log(tmp_path / name / "certify.tsv") for name in ("whole", "parts")]
    assert plain(logs[0]) == plain(logs[1])
    assert "r >= 0.01" in got.stdout
    refused("certify", "--merge", "--out", tmp_path / "none", match="needs the --out folder of a run")
    refused(*words(world, "--shard", "2/2", "--out", tmp_path), match="0 <= number < of")
    refused(*words(world, "--shard", "a", "--out", tmp_path), match="must be i/N")
    refused(*words(world, "--shard", "0/2"), match="Add --out")


def test_seconds_choose_n_and_the_log_keeps_it(world, tmp_path):
    got = run(*words(world, "--limit", 2, "--seconds", 3, "--out", tmp_path, votes=("--n0", 20)))
    n = int(read_log(tmp_path / "certify.tsv")["n"].iloc[0])
    assert f"n = {n:,} takes about 3 s" in got.stdout
    assert n % 50 == 0
    run(*words(world, "--limit", 2, "--seconds", 30, "--out", tmp_path, votes=("--n0", 20)))
    assert set(read_log(tmp_path / "certify.tsv")["n"]) == {n}
    refused(*words(world, "--seconds", 0.001, votes=()), match="--seconds option must be")
    refused(*words(world, "--seconds", 5), match="so --n must be left out")


def test_a_head_fitted_on_these_votes_is_refused(world, tmp_path):
    vlm = load(f"local-dir:{world / 'model'}", device="cpu")
    head = ZeroShot.from_prompts(vlm, ["naevus", "melanoma"])
    bad = save_head(marked(head, streams=[Stream(0, "estimate")]), path=tmp_path / "head.safetensors")
    refused(*words(world, "--head", bad, "--limit", 2), match="was fitted on the 'estimate' noise of that seed")
    run(*words(world, "--head", bad, "--limit", 1, "--seed", 1))
    frozen = save_head(marked(head, guarantee="prompt-frozen-at-x"), path=tmp_path / "frozen.safetensors")
    assert load_head(frozen, vlm=vlm).guarantee == "prompt-frozen-at-x"
    run(*words(world, "--head", frozen, "--limit", 1, "--out", tmp_path / "out"))
    assert set(read_log(tmp_path / "out" / "certify.tsv")["guarantee"]) == {"prompt-frozen-at-x"}


LOG = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"


def test_audit(tmp_path):
    file = tmp_path / "published.tsv"
    top = "\n".join(f"{i}\t1\t1\t0.978\t1\t0:00:14.2" for i in range(5))
    file.write_text(LOG + top + "\n9\t0\t-1\t0.0\t0\t0:00:14.3\n")
    asked = ("certify", "--audit", file, "--sigma", 0.25, "--n", 100000)
    got = run(*asked, "--alpha", 0.001, "--radius", 0.5, "--out", tmp_path / "out")
    assert "FOUND  5 of 5 radii exceed 0.9529" in got.stdout
    assert "r >= 0.5" in got.stdout
    whole = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert len(whole["settings"]["findings"]) == 2
    assert "Nothing was found" in run(*asked, "--alpha", 0.01).stdout
    refused("certify", "--audit", file, match="needs --sigma and --n")
    file.write_text(LOG + top + "\n9\t0\tnone\t0.0\t0\t3\n")
    refused(*asked, match="Line 7 of published.tsv is corrupt")
    refused("certify", "--audit", tmp_path / "no.tsv", match="no.tsv")


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (("--sigma", 0), "'sigma' parameter of certify must be positive; got 0.0"),
        (("--sigma", -1), "must be positive"),
        (("--sigma", 0.1, "--alpha", 0.5), "strictly between 0 and 0.5; got 0.5"),
        (("--sigma", 0.1, "--alpha", 0), "strictly between 0 and 0.5"),
        (("--sigma", 0.1, "--n", 100, "--radius", 0.3), "at least 5114"),
        (("--sigma", 0.1, "--n", 100, "--method", "target", "--radius", 0.3), "at least 5114"),
        (("--sigma", 0.1, "--method", "target"), "given once with --method target"),
        (("--sigma", 0.1, "--method", "guess"), "must be one of fixed, target, ladder, two-stage"),
        (("--sigma", 0.1, "--prompts", "magic"), "--prompts option must be one of few-shot"),
        (("--sigma", 0.1, "--prompts", "few-shot", "--split", "train"), "must not hold train images"),
        (("--sigma", 0.1, "--prompts", "few-shot", "--template", "{}"), "exclude each other"),
        ((), "--sigma option must be given"),
    ],
)  # fmt: skip
def test_bad_input(more, match):
    refused("certify", *more, match=match)


def test_a_folder_belongs_to_one_run_that_a_larger_limit_goes_on_with(world, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    run(*words(world, "--limit", 3, "--out", out))
    small = read_log(out / "certify.tsv")
    for option, value in {"--split": "val", "--size": 24, "--label": "sex"}.items():
        said = refused(*words(world, "--limit", 3, "--out", out, option, value), match=f"holds a run with {option} ")
        assert f"this one has {option} {value}. Choose another folder" in said
    run(*words(world, "--limit", 5, "--out", out))
    large = read_log(out / "certify.tsv")
    assert len(large) == 5
    assert large[:3].equals(small), "with their times: they were not certified again"
    run(*words(world, "--limit", 5, "--out", other))
    key = ["weights", "label"]
    assert sorted(read_log(other / "certify.tsv")[key].values.tolist()) == sorted(large[key].values.tolist())


def test_shards_of_a_larger_run_are_all_reported(world, tmp_path):
    for limit in (2, 4):
        for shard in ("0/2", "1/2"):
            run(*words(world, "--limit", limit, "--out", tmp_path, "--shard", shard))
    run("certify", "--out", tmp_path, "--merge")
    assert sorted(read_log(tmp_path / "certify.tsv")["idx"]) == [0, 1, 2, 3]
    assert json.loads((tmp_path / "certify.json").read_text())["settings"]["images"] == 4
    held = (tmp_path / "certify_run.json").read_bytes()
    refused(*words(world, "--limit", 2, "--seed", 1, "--out", tmp_path), match="was written with seed = 0")
    assert (tmp_path / "certify_run.json").read_bytes() == held


def test_n_has_no_short_form(world):
    for line in (("-n", 4), ("--limit", 4, "-n", 100)):
        assert "No such option: -n" in run(*words(world, *line), code=2).stderr


def test_digits_of_a_log_that_was_printed_otherwise(tmp_path):
    log = tmp_path / "log.tsv"
    log.write_text("idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t1\t1\t0.0066\t1\t1.0\n")
    line = ("certify", "--audit", log, "--sigma", 1.0, "--n", 100_000)
    told = run(*line).stdout
    assert "Nothing was found" in told
    assert "No three images share the largest radius" in told
    assert "0.001" in told
    assert "FOUND  1 of 1 radii are those of no count" in run(*line, "--digits", 9).stdout
