"""Tidy folders with something wrong: one clear sentence each."""

from __future__ import annotations

import pytest
from PIL import Image
from tidy_folders import folder_of, save_table

from medadv.data.tidy import read_tidy
from medadv.data.tidy_write import save_picture


def change(folder, i, **cells):
    def make():
        rows = folder_of(folder)
        rows[i].update(cells)
        save_table(folder, rows)

    return make


@pytest.mark.parametrize(
    ("cells", "kind", "sentence"),
    [
        (
            {"image": "images/none.png"},
            FileNotFoundError,
            r"images/none\.png named in metadata\.csv does not exist",
        ),
        ({"image": "../secret.png"}, ValueError, r"'\.\./secret\.png', which is not inside the folder"),
        ({"image": "/etc/hostname"}, ValueError, "which is not inside the folder"),
        ({"image": "images\\1.png"}, ValueError, "which is not inside the folder"),
        ({"image": ""}, ValueError, "row 2: the cell 'image' is empty"),
        ({"image": "images/2.png"}, ValueError, r"lists the image 'images/2\.png' twice"),
        ({"mask": "masks/none.png"}, FileNotFoundError, "does not exist"),
        ({"label_id": "7"}, ValueError, "label_id must be a whole number from 0 to 1; got '7'"),
        ({"label_id": "-1"}, ValueError, "label_id must be a whole number from 0 to 1; got '-1'"),
        ({"label_id": "0.5"}, ValueError, r"label_id must be a whole number from 0 to 1; got '0\.5'"),
        ({"label_id": "1"}, ValueError, r"label_id 1 stands for 'dog' elsewhere, here for 'cat'"),
        ({"patient_id": "p5"}, ValueError, "patient 'p5' in the splits 'train' and 'test'"),
        ({"age": "old"}, ValueError, "age must be a number of years; got 'old'"),
    ],
)
def test_bad_rows_are_refused_with_one_sentence(tmp_path, cells, kind, sentence):
    change(tmp_path, 1, **cells)()
    with pytest.raises(kind, match=sentence) as caught:
        read_tidy(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"label": "lable"}, "got 'lable'. Did you mean label"),
        ({"group": "sexe"}, "got 'sexe'. Did you mean sex"),
        ({"caption": "captoin"}, "got 'captoin'. Did you mean caption"),
        ({"split": "tset"}, r"one of \['test', 'train'\]; got 'tset'"),
        ({"size": 0}, "positive number of pixels; got 0"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, sentence):
    folder_of(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        read_tidy(tmp_path, **arguments)


def test_bad_tables_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_tidy(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"must hold metadata\.csv"):
        read_tidy(tmp_path)
    for text, sentence in [
        ("image,label\n", "has no rows"),
        ("image,label\na,b,c\n", "row 1: the number of cells differs"),
        ("image,image\na,b\n", "names a column twice"),
        ('image,label\n"a,b\n', "cannot be read as a UTF-8 CSV table"),
        ("name,label\na,b\n", "must have the column 'image'"),
    ]:
        (tmp_path / "metadata.csv").write_text(text)
        with pytest.raises(ValueError, match=sentence):
            read_tidy(tmp_path)
    (tmp_path / "metadata.csv").write_bytes(b"image,label\n\xff\xfe,b\n")
    with pytest.raises(ValueError, match="cannot be read as a UTF-8 CSV table"):
        read_tidy(tmp_path)


def test_bad_images_are_named(tmp_path):
    folder_of(tmp_path)
    path = tmp_path / "images/3.png"
    whole = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"images/3\.png is empty \(0 bytes\)"):
        read_tidy(tmp_path)
    for broken in (b"not an image", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"images/3\.png cannot be decoded"):
            read_tidy(tmp_path).load(3)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    folder_of(tmp_path)
    save_picture(Image.new("L", (40, 40)), tmp_path / "masks/0.png")
    with pytest.raises(ValueError, match="does not fit its image"):
        read_tidy(tmp_path).load(0)
