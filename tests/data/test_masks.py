"""What is inside a mask is known from its values or from a declaration, or the mask is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from tidy_folders import folder_of

from medadv.data._masks import inside_of
from medadv.data.tidy import read_tidy

LEFT = np.zeros((12, 20), bool)
LEFT[:, :10] = True


def of(values, mode=None):
    return Image.fromarray(np.asarray(values), mode) if mode else Image.fromarray(np.asarray(values))


def palette(colours, values):
    made = Image.fromarray(np.asarray(values, np.uint8)).convert("P")
    made = Image.frombytes("P", made.size, np.asarray(values, np.uint8).tobytes())
    made.putpalette([band for colour in colours for band in colour])
    return made


@pytest.mark.parametrize("high", [1, 2, 100, 127, 200, 255])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_of_two_values_what_is_not_zero_is_inside(high, kind):
    assert np.array_equal(inside_of(of((LEFT * high).astype(kind)), "m.png"), LEFT)


@pytest.mark.parametrize("scale", [2, 100])
def test_a_folder_with_such_masks_has_them(tmp_path, scale):
    folder_of(tmp_path)
    Image.fromarray((LEFT * scale).astype(np.uint8)).save(tmp_path / "masks/0.png")
    mask = read_tidy(tmp_path).load(0)[1]
    assert mask is not None
    assert np.array_equal(mask[0].numpy() > 0, LEFT)


def test_a_mask_blurred_by_jpeg_is_two_valued_still():
    out = io.BytesIO()
    Image.fromarray((np.kron(LEFT, np.ones((8, 8))) * 255).astype(np.uint8)).save(out, "JPEG")
    assert np.array_equal(inside_of(Image.open(out), "m.jpg"), np.kron(LEFT, np.ones((8, 8))) > 0)


def test_an_empty_mask_is_empty():
    assert not inside_of(of(np.zeros((3, 4), np.uint8)), "m.png").any()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (of(np.array([[0, 1, 2]], np.uint8)), "3 values (0, 1, 2), not two"),
        (of(np.array([[0, 1, 15, 255]], np.uint8)), "not two"),
        (of(np.array([[1, 2]], np.uint8)), "no 0"),
        (of(np.array([[0.0, np.nan]], np.float32)), "infinite or no numbers"),
        (of(np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8)), "has colours"),
        (palette([(0, 0, 0), (128, 0, 0), (0, 128, 0)], [[0, 1, 2]]), "has colours"),
        (of(np.array([[[0, 0, 0, 0], [255, 255, 255, 255]]], np.uint8)), "transparent"),
    ],
)
def test_what_cannot_be_known_is_refused_with_the_declaration_that_helps(made, says):
    with pytest.raises(ValueError, match="Declare what is inside, in folder.json") as error:
        inside_of(made, "m.png")
    assert says in str(error.value)


def test_declared_values_and_colours_are_inside():
    voc = palette([(0, 0, 0), (128, 0, 0), (0, 128, 0)], [[0, 1, 2]])
    assert inside_of(voc, "m", {"lesion": (2,)}).tolist() == [[False, False, True]]
    assert inside_of(voc, "m", {"lesion": (128, 0, 0)}).tolist() == [[False, True, False]]
    several = of(np.array([[0, 1, 2]], np.uint8))
    assert inside_of(several, "m", {"a": (1,), "b": (2,)}).tolist() == [[False, True, True]]


def test_a_folder_declares_its_masks_once(tmp_path):
    folder_of(tmp_path)
    Image.fromarray(np.stack([LEFT * 255, LEFT * 0, LEFT * 0], -1).astype(np.uint8)).save(tmp_path / "masks/0.png")
    with pytest.raises(ValueError, match=r"masks/0\.png has colours"):
        read_tidy(tmp_path).load(0)
    (tmp_path / "folder.json").write_text('{"mask": {"lesion": [255, 0, 0], "mark": [0, 0, 255]}}')
    mask = read_tidy(tmp_path, mask="lesion").load(0)[1]
    assert mask is not None
    assert np.array_equal(mask[0].numpy() > 0, LEFT)
    with pytest.raises(ValueError, match="one of the structures"):
        read_tidy(tmp_path, mask="nothing")
