"""Tidy folders: rows, classes, captions and masks, and the three real folders where they are there."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from tidy_folders import folder_of, save_table

from medadv.data.tidy import grouped_folds, read_tidy, verify_tidy
from medadv.data.tidy_write import save_picture


def test_reads_rows_classes_and_attributes(tmp_path):
    folder_of(tmp_path)
    pairs = read_tidy(tmp_path, size=8)
    assert len(pairs) == 6
    assert pairs.classes == ("cat", "dog")  # by label_id, not by appearance
    assert pairs.prompts == ("cat", "dog")
    assert pairs.labels.tolist() == [1, 0, 1, 0, 1, 0]
    row = pairs.rows[0]
    assert row.attributes["sex"] == "female"
    assert row.attributes["age_group"] == "under_50"
    assert pairs.rows[2].attributes["age_group"] == "50_and_over"
    assert "group" not in pairs.rows[2].attributes  # an empty cell is unknown
    assert row.patient == "p0"
    assert row.captions == ("An image of a pet, number 0.",)
    batch = pairs.batch([0, 1])
    assert batch.image.shape == (2, 3, 8, 8)
    assert 0 <= batch.image.min() <= batch.image.max() <= 1
    assert batch.group.tolist() == [0, 1]


def test_mask_follows_the_geometry_of_the_image(tmp_path):
    folder_of(tmp_path, n=3)
    white = np.zeros((12, 20, 3), np.uint8)
    white[:, :10] = 255
    save_picture(Image.fromarray(white), tmp_path / "images/0.png")
    for size in (None, 8, 12, 24):
        image, mask = read_tidy(tmp_path, size=size).load(0)
        assert mask.shape[1:] == image.shape[1:]
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        # They may differ in the one column through which the edge goes.
        same = ((image.mean(0) > 0.5) == (mask[0] > 0.5)).float().mean()
        assert same >= 1 - 1 / image.shape[2]


def test_masks_of_zero_and_one_are_understood(tmp_path):
    folder_of(tmp_path, n=3)
    save_picture(Image.fromarray(np.eye(12, 20, dtype=np.uint8)), tmp_path / "masks/0.png")
    assert read_tidy(tmp_path).load(0)[1].sum() == 12


def test_any_column_can_be_the_label(tmp_path):
    folder_of(tmp_path, ill=list("010101"), grade=["2", "10", "1", "2", "10", ""])
    assert read_tidy(tmp_path, label="sex").classes == ("female", "male")
    assert read_tidy(tmp_path, label="ill").classes == ("not ill", "ill")
    assert read_tidy(tmp_path, label="age_group").classes == ("50_and_over", "under_50")
    graded = read_tidy(tmp_path, label="grade")
    assert graded.classes == ("1", "2", "10")  # as numbers, not as text
    assert graded.labels.tolist() == [1, 2, 0, 1, 2, -1]


def test_classes_json_gives_order_and_phrases(tmp_path):
    folder_of(tmp_path)
    (tmp_path / "classes.json").write_text(json.dumps({"cat": "a small cat", "dog": "a dog", "hen": "a hen"}))
    pairs = read_tidy(tmp_path)
    assert pairs.classes == ("cat", "dog", "hen")
    assert pairs.prompts == ("a small cat", "a dog", "a hen")
    (tmp_path / "classes.json").write_text(json.dumps({"cat": "a cat"}))
    with pytest.raises(ValueError, match=r"'dog', which classes\.json does not list"):
        read_tidy(tmp_path)


def test_descriptions_that_name_the_label_are_left_out(tmp_path):
    leaking = [f"a round {'cat' if i % 2 else 'dog'} at the left" for i in range(6)]
    folder_of(tmp_path, prompt_shape=leaking, prompt_location=["at the left"] * 6, caption_attr=["a woman"] * 6)
    pairs = read_tidy(tmp_path)
    assert pairs.rows[1].captions == ("An image of a pet, number 1.", "at the left")
    assert read_tidy(tmp_path, caption="caption_attr").rows[0].captions[0] == "a woman"


def test_split_and_group_are_chosen(tmp_path):
    folder_of(tmp_path)
    assert len(read_tidy(tmp_path, split="test")) == 2
    assert read_tidy(tmp_path, group="sex").groups()[1] == ("female", "male")
    assert read_tidy(tmp_path, group="age_group").group_by == "age_group"


def test_a_part_without_groups_still_makes_batches(tmp_path):
    rows = folder_of(tmp_path)
    for row in rows:
        row["group"] = row["group"] if row["split"] == "train" else ""
    save_table(tmp_path, rows)
    assert read_tidy(tmp_path, size=8).select("test").batch([0]).group is None
    assert read_tidy(tmp_path, size=8, split="test").group_by == ""


def counts(pairs):
    return Counter((row.split, pairs.classes[row.label]) for row in pairs.rows)


def test_real_isic(real_data):
    pairs = read_tidy(real_data / "isic2017_256", size=64)
    found = counts(pairs)
    for split, numbers in {"train": (1372, 374, 254), "val": (78, 30, 42), "test": (393, 117, 90)}.items():
        assert tuple(found[split, name] for name in ("nevus", "melanoma", "seborrheic_keratosis")) == numbers
    assert pairs.prompts == ("a melanocytic nevus", "a melanoma", "a seborrheic keratosis")
    assert sum(len(row.captions) == 2 for row in pairs.rows) == 1054
    assert read_tidy(real_data / "isic2017_256", label="melanoma").labels.sum() == 521
    test = pairs.select("test").batch([0, 1, 2])
    assert test.group is None
    # The mask lies on the lesion, which is darker than the skin around it.
    darker = 0
    for i in range(20):
        image, mask = pairs.load(i)
        assert 0 <= image.min() <= image.max() <= 1
        grey, inside = image.mean(0), mask[0] > 0
        assert abs(inside.float().mean() - float(pairs_fraction(real_data, i))) < 0.02
        darker += bool(grey[inside].mean() < grey[~inside].mean())
    assert darker >= 18


def pairs_fraction(real_data, i):
    line = (real_data / "isic2017_256/metadata.csv").read_text().splitlines()
    column = line[0].split(",").index("lesion_fraction")
    return line[1 + i].split(",")[column]


def test_real_hannover(real_data):
    pairs = read_tidy(real_data / "mhh_covid_cxr", size=64)
    found = counts(pairs)
    assert (found["train", "icu"], found["train", "non_icu"]) == (103, 56)
    assert sum(n for (_, label), n in found.items() if label == "icu") == 150
    assert len(set(pairs.patients)) == 71
    assert pairs.groups()[0].bincount().tolist() == [63, 180]
    folds_of: dict[str, set[str]] = {}
    for row in pairs.rows:
        folds_of.setdefault(row.patient, set()).add(row.attributes["fold"])
    assert all(len(folds) == 1 for folds in folds_of.values())
    ours = grouped_folds(pairs, k=5)
    assert len({(p, int(f)) for p, f in zip(pairs.patients, ours, strict=True)}) == 71
    # The shortcut: every ICU image is AP.
    view = read_tidy(real_data / "mhh_covid_cxr", label="projection")
    assert view.classes == ("ap", "pa")
    assert (view.labels[pairs.labels == 1] == 0).all()
    batch = pairs.batch(range(8))
    assert batch.image.shape == (8, 3, 64, 64)
    assert batch.mask is None
    assert batch.image.min() >= 0
    assert batch.image.max() <= 1


def test_real_busi(real_data):
    pairs = read_tidy(real_data / "busi_us256", size=64)
    found = counts(pairs)
    for split, numbers in {"train": (68, 228, 144), "val": (11, 42, 21), "test": (12, 43, 21)}.items():
        assert tuple(found[split, name] for name in ("normal", "benign", "malignant")) == numbers
    # prompt_shape names the label in this set, prompt_location does not.
    assert not any("circle-shaped" in text for row in pairs.rows for text in row.captions)
    assert pairs.rows[0].captions[1].startswith("One small tumor")
    assert pairs.group_by == ""


def test_real_folders_verify(real_data):
    assert verify_tidy(real_data / "mhh_covid_cxr", decode=False, progress=False) == []
