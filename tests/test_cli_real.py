"""The command line on the real folders, where they are present."""

from __future__ import annotations

from typer.testing import CliRunner

from medadv.cli import app
from medadv.reports.report import Report


def run(*words):
    got = CliRunner().invoke(app, [str(word) for word in words])
    assert got.exit_code == 0, got.output + repr(got.exception)
    return got.stdout


def test_describes_the_folders(real_data):
    text = run("data", "isic2017_256")
    assert "seborrheic" in text
    assert "256 x 256 (2750)" in text
    assert "1372" in text
    assert "patients: 71" in run("data", "mhh_covid_cxr")


def test_zeroshot_and_retrieve_on_real_images(real_data, tmp_path):
    run("zeroshot", "--model", "tiny", "--data", "isic2017_256", "--limit", 120, "--out", tmp_path)
    report = Report.load(tmp_path / "zeroshot.json")
    assert report["accuracy"].n == 120
    assert 0.2 < report["macro AUC"].value < 0.9
    run("retrieve", "--model", "tiny", "--data", "busi_us256", "--limit", 40, "--out", tmp_path)
    assert Report.load(tmp_path / "retrieve.json").settings["images"] == 40


def test_a_probe_reads_skin_lesions(real_data, tmp_path):
    run("train", "--data", "isic2017_256", "--method", "probe", "--limit", 300, "--out", tmp_path / "a")
    report = Report.load(tmp_path / "a" / "test.json")
    assert report["macro AUC"].n == 300
    assert report["macro AUC"].low > 0.55


def test_a_probe_reads_the_projection(real_data, tmp_path):
    words = ("--folds", 5, "--within", "projection", "--upright", "--out", tmp_path)
    run("train", "--data", "mhh_covid_cxr", "--method", "probe", *words)
    whole, inside = Report.load(tmp_path / "folds.json"), Report.load(tmp_path / "within_projection.json")
    assert whole["macro AUC"].n == 243
    # All images of the intensive care unit are AP, so the projection alone says much about the label.
    assert inside["macro AUC", "projection alone"].value > 0.7
    assert inside["macro AUC", "ap"].n == 194
    assert inside["macro AUC", "ap"].value < whole["macro AUC"].value
