"""Class folders, one-hot tables, HAM10000 and ISIC tables become folders that read_tidy opens."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from tidy_folders import picture

from medadv.data.convert import convert
from medadv.data.tidy import read_tidy, verify_tidy
from medadv.data.tidy_write import save_picture


def quiet(source, out, **more):
    return convert(source, out, progress=False, **more)


def table_of(out):
    with (out / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ham(folder, n=24):
    """Write the layout of HAM10000: two folders of images, and a table whose lesions have two images each."""
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for i in range(n):
        save_picture(picture(i), folder / f"part_{1 + i % 2}/ISIC_{i:07d}.jpg")
        cells = (f"HAM_{i // 2:07d}", f"ISIC_{i:07d}", ("nv", "mel", "bkl")[i // 2 % 3], "histo")
        rows.append(",".join((*cells, "50.0" if i % 5 else "", ("male", "female", "unknown")[i % 3], "back")))
    (folder / "HAM10000_metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


def one_table(folder, text, n=6):
    for i in range(n):
        save_picture(picture(i), folder / f"images/{i}.png")
    (folder / "table.csv").write_text(text)
    return folder


def test_class_folders_become_a_tidy_folder(tmp_path):
    for name in ("a_cat", "a_dog"):
        for i in range(10):
            save_picture(picture(i + 100 * (name == "a_dog")), tmp_path / "in" / name / f"{i}.png")
    out = quiet(tmp_path / "in", tmp_path / "out")
    assert verify_tidy(out, progress=False) == []
    pairs = read_tidy(out)
    assert pairs.classes == ("a_cat", "a_dog")
    assert pairs.prompts == ("a cat", "a dog")
    assert {row.split for row in pairs.rows} == {"train", "val", "test"}
    assert pairs.rows[0].captions == ("An image of a cat.",)


def test_folders_of_splits_are_kept(tmp_path):
    for split, i in (("train", 0), ("valid", 1), ("test", 2)):
        for k, name in enumerate(("a cat", "a dog")):
            save_picture(picture(10 * i + k), tmp_path / "in" / split / name / "0.png")
    rows = table_of(quiet(tmp_path / "in", tmp_path / "out"))
    assert [(row["split"], row["label"]) for row in rows if "valid" in row["image"]] == [
        ("val", "a cat"),
        ("val", "a dog"),
    ]


def test_ham10000_is_read_without_options_and_lesions_stay_together(tmp_path):
    out = quiet(ham(tmp_path / "ham"), tmp_path / "out")
    assert verify_tidy(out, progress=False) == []
    rows = table_of(out)
    assert [row["label"] for row in rows[:6]] == ["nv", "nv", "mel", "mel", "bkl", "bkl"]
    assert [row["patient_id"] for row in rows[:2]] == ["HAM_0000000"] * 2
    assert all(rows[i]["split"] == rows[i + 1]["split"] for i in range(0, 24, 2))
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert rows[2]["sex"] == ""
    assert rows[1]["age"] == "50"
    assert rows[0]["caption"] == "A dermoscopic image of a melanocytic nevus."
    assert (out / rows[0]["image"]).read_bytes() == (tmp_path / "ham/part_1/ISIC_0000000.jpg").read_bytes()


def test_the_same_seed_deals_the_same_splits(tmp_path):
    source = ham(tmp_path / "ham")
    one, two, other = (
        table_of(quiet(source, tmp_path / name, seed=seed)) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert one == two
    assert [row["split"] for row in one] != [row["split"] for row in other]


def test_isic_one_hot_columns_are_known(tmp_path):
    heads = "image,MEL,NV,BCC,UNK\n"
    source = one_table(tmp_path / "in", heads + "".join(f"{i},{i % 2}.0,{1 - i % 2}.0,0.0,0.0\n" for i in range(6)))
    out = quiet(source, tmp_path / "out")
    assert [row["label"] for row in table_of(out)] == ["NV", "MEL"] * 3
    assert "a melanoma" in read_tidy(out).prompts


def test_isic_2017_rows_without_a_one_are_nevi(tmp_path):
    source = one_table(
        tmp_path / "in",
        "image_id,melanoma,seborrheic_keratosis\n" + "".join(f"{i},{i % 3 == 1:d},{i % 3 == 2:d}\n" for i in range(6)),
    )
    rows = table_of(quiet(source, tmp_path / "out"))
    assert [row["label"] for row in rows] == ["nevus", "melanoma", "seborrheic_keratosis"] * 2


def test_other_one_hot_columns_are_named(tmp_path):
    text = "file,cat,dog\n" + "".join(f"images/{i}.png,{i % 3 == 0:d},{i % 3 == 1:d}\n" for i in range(6))
    source = one_table(tmp_path / "in", text)
    with pytest.raises(ValueError, match="class is not known.*--rest"):
        quiet(source, tmp_path / "out", label=["cat", "dog"])
    rows = table_of(quiet(source, tmp_path / "out", label=["cat", "dog"], rest="other"))
    assert [row["label"] for row in rows] == ["cat", "dog", "other"] * 2


@pytest.mark.parametrize(
    ("text", "more", "says"),
    [
        ("image,kind\n0.png,a\n1.png,b\n", {}, "no column that is known to hold the label.*--label"),
        ("image,label\n0.png,a\n9.png,b\n", {}, "'9.png' is not below"),
        ("image,label\n0.png,a\n0.png,b\n", {}, "twice"),
        ("image,label\n0.png,a\n1.png,A\n", {}, "writes one class as"),
        ("image,label\n0.png,a\n1.png,a\n", {}, "holds one class"),
        ("image,label\n0.png,a\n1.png,b\n2.png,\n", {}, "class is not known"),
        ("image;label\n0.png;a\n", {}, "semicolons"),
        ("image,cat,dog\n0.png,1,1\n1.png,1,0\n", {"label": ["cat", "dog"]}, "several classes are 1"),
        ("image,cat,dog\n0.png,1,2\n1.png,1,0\n", {"label": ["cat", "dog"]}, "must hold 0 and 1 only"),
        ("image,label\n0.png,a\n1.png,b\n", {"shares": (0.5, 0.5, 0.5)}, "three shares that sum to 1"),
        ("image,label\n0.png,a\n1.png,b\n", {"phrases": {"c": "x"}}, "must name classes of the data"),
        ("image,label\n0.png,a\n1.png,b\n", {"caption": "no place"}, r"must hold \{\}"),
    ],
)
def test_what_is_not_understood_is_refused_and_nothing_is_left(tmp_path, text, more, says):
    source = one_table(tmp_path / "in", text)
    with pytest.raises(ValueError, match=says):
        quiet(source, tmp_path / "out", **more)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_one_content_under_two_classes_is_refused_and_under_one_is_dealt_together(tmp_path):
    for i in range(12):
        save_picture(picture(i), tmp_path / "in" / ("a" if i % 2 else "b") / f"{i}.png")
    shutil.copy(tmp_path / "in/a/1.png", tmp_path / "in/a/z.png")
    twins = [
        row for row in table_of(quiet(tmp_path / "in", tmp_path / "out")) if row["image"][-5:] in ("1.png", "z.png")
    ]
    twins = [row for row in twins if row["dup_group"]]
    assert len(twins) == 2
    assert twins[0]["split"] == twins[1]["split"]
    shutil.copy(tmp_path / "in/a/1.png", tmp_path / "in/b/z.png")
    with pytest.raises(ValueError, match="same picture under two classes"):
        quiet(tmp_path / "in", tmp_path / "other")


def test_deep_pictures_need_a_scale_which_the_folder_keeps(tmp_path):
    from PIL import Image

    for i in range(4):
        place = tmp_path / "in" / ("a cat" if i % 2 else "a dog")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 1000 + i, np.uint16)).save(place / f"{i}.png")
    with pytest.raises(ValueError, match="--bits 12"):
        quiet(tmp_path / "in", tmp_path / "out")
    out = quiet(tmp_path / "in", tmp_path / "out", bits=12)
    assert verify_tidy(out, progress=False) == []
    assert read_tidy(out).load(0)[0].mean().item() == pytest.approx(1000 / 4095, abs=1 / 255)
