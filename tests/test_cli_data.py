"""medadv data, as a user meets it: a HAM10000 table converted, described, read and attacked."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from test_cli import refused, run
from tinyworld import write_images, write_model


@pytest.fixture(scope="module")
def ham(tmp_path_factory):
    root = tmp_path_factory.mktemp("ham")
    rng = np.random.default_rng(0)
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    (root / "ham/part_1").mkdir(parents=True)
    for i in range(18):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(root / f"ham/part_1/ISIC_{i:07d}.jpg")
        rows.append(f"HAM_{i // 2:07d},ISIC_{i:07d},{('nv', 'mel', 'bkl')[i // 2 % 3]},histo,50.0,female,back")
    (root / "ham/HAM10000_metadata.csv").write_text("\n".join(rows) + "\n")
    write_model(root / "model")
    run("data", "convert", root / "ham", "--out", root / "skin")
    return root


def test_a_converted_table_is_read_and_attacked(ham):
    assert "18 images" in run("data", ham / "skin", "--check").stdout
    more = ("-m", f"local-dir:{ham / 'model'}", "-d", ham / "skin", "--split", "all")
    assert "accuracy" in run("zeroshot", *more).stdout
    assert "fgsm" in run("attack", *more, "--attack", "fgsm", "--threat", "linf:4/255").stdout


def test_convert_refuses_in_one_line(ham, tmp_path):
    refused("data", "convert", ham / "ham", "--out", ham / "skin", match="must be a new or empty folder")
    refused("data", "convert", tmp_path / "none", "--out", tmp_path / "o", match="does not exist")


def test_checksums_are_written_on_request(tmp_path):
    write_images(tmp_path / "skin", 6)
    (tmp_path / "skin/MD5SUMS").unlink(missing_ok=True)
    refused("data", tmp_path / "skin", "--check", match="--write-checksums")
    assert "written" in run("data", tmp_path / "skin", "--write-checksums").stdout
    assert "every file is there" in run("data", tmp_path / "skin", "--check").stdout


def test_the_scale_of_a_folder_is_stated_and_declared(tmp_path):
    folder = tmp_path / "deep"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(np.full((9, 9), 900 * i, np.uint16)).save(folder / f"{i}.png")
    (folder / "metadata.csv").write_text("image,label\n0.png,a cat\n1.png,a dog\n2.png,a dog\n")
    assert "no scale is declared" in run("data", folder).stdout
    assert "0 to 4095 become 0 to 1" in run("data", folder, "--bits", 12).stdout
    assert "0 to 1000 become 0 to 1" in run("data", folder, "--window", "0,1000").stdout
    refused("data", folder, "--window", "9,9", match="two numbers")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,kind\n0.png,a\n1.png,b\n", "--label"),
        ("image;label\n0.png;a\n", "delimiter comma"),
        ("image\tlabel\n0.png\ta\n", "delimiter comma"),
        ("\ufeffimage,label\n0,a\n1,b\n", "with folder and ending"),
        ("image,label,age\n0.png,a,old\n1.png,b,\n", "Leave it empty"),
    ],
)
def test_a_table_in_another_form_gets_the_remedy_that_helps(tmp_path, text, says):
    for i in range(2):
        Image.new("RGB", (9, 9), (i, 9, 9)).save(tmp_path / f"{i}.png")
    (tmp_path / "metadata.csv").write_text(text, encoding="utf-8")
    refused("data", tmp_path, match=says)


def test_a_blank_age_and_a_byte_order_mark_are_read(tmp_path):
    for i in range(2):
        Image.new("RGB", (9, 9), (i, 9, 9)).save(tmp_path / f"{i}.png")
    (tmp_path / "metadata.csv").write_text("\ufeffimage,label,age\n0.png,a cat, \n1.png,a dog,40.0\n", encoding="utf-8")
    assert "2 images" in run("data", tmp_path).stdout
