"""Labels as programs write them: one class has one spelling, numbers are in their order, codes are warned about."""

from __future__ import annotations

import pytest
from tidy_folders import folder_of, save_table

from medadv.data.tidy import read_tidy


def labelled(tmp_path, values, column="label", **more):
    rows = folder_of(tmp_path, n=len(values), masks=False)
    for row, value in zip(rows, values, strict=True):
        row.pop("label_id")
        row[column], row["age"] = value, ""
    save_table(tmp_path, rows)
    return read_tidy(tmp_path, label=column, **more)


def test_integral_floats_are_integers_in_their_order(tmp_path):
    pairs = labelled(tmp_path, [f"{i}.0" for i in range(12)])
    assert pairs.classes == tuple(map(str, range(12)))
    assert pairs.labels.tolist() == list(range(12))


def test_one_and_one_point_zero_are_one_class(tmp_path):
    assert labelled(tmp_path, ["1", "1.0", "2", "1.00"]).labels.tolist() == [0, 0, 1, 0]


def test_case_and_blanks_are_normalised_with_a_warning(tmp_path, caplog):
    pairs = labelled(tmp_path, ["Melanoma", "melanoma ", "Melanoma", "a nevus", "a  Nevus", "a nevus"])
    assert pairs.classes == ("Melanoma", "a nevus")
    assert pairs.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert "all are read as 'Melanoma'" in caplog.text


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", "<NA>", "None", "null", " "])
def test_words_for_no_value_are_an_unknown_label(tmp_path, word, caplog):
    pairs = labelled(tmp_path, ["a cat", "a dog", word])
    assert pairs.classes == ("a cat", "a dog")
    assert pairs.labels.tolist() == [0, 1, -1]
    assert not word.strip() or "1 cells" in caplog.text


def test_labels_joined_in_other_ways_are_refused(tmp_path):
    with pytest.raises(ValueError, match="differ only in how their words are joined"):
        labelled(tmp_path, ["basal cell", "basal_cell", "a nevus"])


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, [1, 0, -1, -1]),
        ({"uncertain": "positive"}, [1, 0, 1, -1]),
        ({"uncertain": "negative", "blank": "negative"}, [1, 0, 0, 0]),
    ],
)
def test_uncertain_and_blank_cells_mean_what_an_option_says(tmp_path, options, labels):
    pairs = labelled(tmp_path, ["1.0", "0.0", "-1.0", ""], column="Edema", **options)
    assert pairs.classes == ("not Edema", "Edema")
    assert pairs.labels.tolist() == labels


def test_the_options_of_flags_are_refused_for_other_columns(tmp_path):
    with pytest.raises(ValueError, match="Leave them out"):
        labelled(tmp_path, ["a cat", "a dog", "a cat"], uncertain="positive")


@pytest.mark.parametrize("names", [("0", "1"), ("mel", "nv"), ("C43", "D22"), ("class 1", "class 2")])
def test_a_prompt_that_is_a_number_or_a_code_is_warned_about(tmp_path, names, caplog):
    labelled(tmp_path, [*names, names[0]])
    assert "numbers or codes" in caplog.text


def test_words_are_not_warned_about(tmp_path, caplog):
    labelled(tmp_path, ["a cat", "pneumonia", "a cat"])
    assert caplog.text == ""


@pytest.mark.parametrize("other", ["./images/0.png", "images/../images/0.png", "images//0.png"])
def test_one_image_under_two_names_is_refused(tmp_path, other):
    rows = folder_of(tmp_path, masks=False)
    rows[-1]["image"] = other
    save_table(tmp_path, rows)
    with pytest.raises(ValueError, match="twice, first as 'images/0.png'"):
        read_tidy(tmp_path)


def test_a_link_to_an_image_is_that_image(tmp_path):
    rows = folder_of(tmp_path, masks=False)
    (tmp_path / "images/5.png").unlink()
    (tmp_path / "images/5.png").symlink_to("0.png")
    with pytest.raises(ValueError, match="twice"):
        read_tidy(tmp_path)
    assert rows


def test_a_patient_written_in_two_ways_does_not_cross_splits(tmp_path):
    rows = folder_of(tmp_path, masks=False)
    rows[0]["patient_id"], rows[-1]["patient_id"] = "7", "7.0"
    save_table(tmp_path, rows)
    with pytest.raises(ValueError, match="patient '7' in the splits"):
        read_tidy(tmp_path)
