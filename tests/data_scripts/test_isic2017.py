"""ISIC 2017 from archives and unpacked: rows, going on after a stop, and what is refused."""

from __future__ import annotations

import zipfile

import pytest
from layouts import cells, colours, encoded, left_half, put

from medadv.data.tidy import read_tidy, verify_tidy


def isic(folder, packed):
    """Write a copy of ISIC 2017 in the official layout, as archives or unpacked."""
    for part, ids in {"Training": (162, 1, 2), "Validation": (3, 4), "Test_v2": (14826,)}.items():
        members = {}
        for number in ids:
            key = f"ISIC_{number:07d}"
            members[f"ISIC-2017_{part}_Data/{key}.jpg"] = encoded(colours(number), "JPEG")
            members[f"ISIC-2017_{part}_Data/{key}_superpixels.png"] = encoded(left_half())
            members[f"ISIC-2017_{part}_Part1_GroundTruth/{key}_segmentation.png"] = encoded(left_half())
        if part == "Training":
            about = "image_id,age_approximate,sex\nISIC_0000162,55,female\nISIC_0000001,30,male\n"
            about += "ISIC_0000002,unknown,unknown\n"
            members[f"ISIC-2017_{part}_Data/ISIC-2017_{part}_Data_metadata.csv"] = about.encode()
        flags = ["0.0,0.0", "1.0,0.0", "0.0,1.0"]
        lines = [f"ISIC_{number:07d},{flags[i]}" for i, number in enumerate(ids)]
        text = "\n".join(["image_id,melanoma,seborrheic_keratosis", *lines]) + "\n"
        put(folder / f"ISIC-2017_{part}_Part3_GroundTruth.csv", text)
        if packed:
            for which in ("Data", "Part1_GroundTruth"):
                with zipfile.ZipFile(folder / f"ISIC-2017_{part}_{which}.zip", "w") as file:
                    for name, data in members.items():
                        if name.startswith(f"ISIC-2017_{part}_{which}/"):
                            file.writestr(name, data)
        else:
            for name, data in members.items():
                put(folder / name, data)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_isic(script, tmp_path, packed):
    source, out = isic(tmp_path / "source", packed), tmp_path / "out"
    assert script("isic2017")("--out", out, "--source", source, "--size", 16) == 0
    assert verify_tidy(out, progress=False) == []
    rows = {row["isic_id"]: row for row in cells(out)}
    first = rows["ISIC_0000162"]
    assert (first["split"], first["label"], first["sex"], first["age"], first["group"]) == (
        "train",
        "nevus",
        "female",
        "55",
        "female_ge50",
    )
    assert first["caption"] == "A dermoscopic image of a melanocytic nevus."
    assert first["caption_attr"] == "A dermoscopic image of a melanocytic nevus of a 55-year-old female patient."
    assert first["dup_group"] == rows["ISIC_0014826"]["dup_group"] == "1"
    assert first["lesion_fraction"] == "0.5000"
    assert rows["ISIC_0000002"]["sex"] == rows["ISIC_0000002"]["age"] == ""
    pairs = read_tidy(out)
    assert pairs.classes == ("nevus", "melanoma", "seborrheic_keratosis")
    assert pairs.labels.tolist() == [0, 1, 2, 0, 1, 0]
    image, mask = pairs.load(0)
    assert image.shape == (3, 16, 16)
    assert mask.mean() == 0.5
    assert "CC0" in (out / "SOURCE.md").read_text()


def test_a_stopped_run_goes_on_and_a_whole_one_does_nothing(script, tmp_path, capsys):
    source, out = isic(tmp_path / "source", True), tmp_path / "out"
    lost = source / "ISIC-2017_Test_v2_Data.zip"
    kept = lost.read_bytes()
    lost.unlink()
    run = script("isic2017")
    assert run("--out", out, "--source", source, "--size", 16) == 2
    assert "must hold the image ISIC_0014826.jpg" in capsys.readouterr().err
    assert not (out / "metadata.csv").exists()
    first = out / "images/ISIC_0000162.jpg"
    stamp = first.stat().st_mtime_ns
    lost.write_bytes(kept)
    assert run("--out", out, "--source", source, "--size", 16) == 0
    assert first.stat().st_mtime_ns == stamp
    assert run("--out", out, "--source", source, "--size", 16) == 0
    assert "is complete already" in capsys.readouterr().out
    assert run("--out", out, "--source", source, "--size", 32) == 2
    assert "begun with other settings" in capsys.readouterr().err
    first.write_bytes(b"damaged")
    assert run("--out", out, "--source", source, "--size", 16) == 0
    assert verify_tidy(out, progress=False) == []


def test_limit_is_by_split(script, tmp_path):
    out = tmp_path / "out"
    assert script("isic2017")("--out", out, "--source", isic(tmp_path / "s", False), "--size", 8, "--limit", 1) == 0
    assert [row["split"] for row in cells(out)] == ["train", "val", "test"]
    assert len(read_tidy(out).classes) == 3  # although one of them has no image here


def test_isic_refuses_bad_sources(script, tmp_path, capsys):
    run = script("isic2017")
    labels = "ISIC-2017_Training_Part3_GroundTruth.csv"
    for name, text, sentence in [
        ("empty", None, "of at least one split; it holds none"),
        ("column", "image_id,melanoma\nISIC_1,0\n", "must have the column 'seborrheic_keratosis'"),
        (
            "value",
            "image_id,melanoma,seborrheic_keratosis\nISIC_1,1.0,1.0\n",
            "must be 0 or 1 and not both 1",
        ),
        (
            "number",
            "image_id,melanoma,seborrheic_keratosis\nISIC_1,no,1.0\n",
            "must be 0 or 1 and not both 1",
        ),
    ]:
        source = tmp_path / name
        source.mkdir()
        if text:
            put(source / labels, text)
        assert run("--out", tmp_path / f"{name}-out", "--source", source) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1
    assert run("--out", tmp_path / "o", "--source", tmp_path / "nowhere") == 2
    assert "nowhere, which does not exist" in capsys.readouterr().err
    put(tmp_path / "half" / "ISIC-2017_Training_Data.zip", b"PK\3\4 and no more")
    assert run("--out", tmp_path / "o2", "--source", tmp_path / "half") == 2
    assert "is not a whole zip archive" in capsys.readouterr().err
    put(tmp_path / "mine" / "thesis.txt", "precious")
    assert run("--out", tmp_path / "mine", "--source", tmp_path / "empty") == 2
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
