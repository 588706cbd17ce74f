"""Pictures deeper than 8 bits have the scale that the folder declares, one for all files, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tidy_folders import folder_of

from medadv._images import to_pixels
from medadv.data.tidy import cache, read_tidy, write_checksums


def deep_folder(tmp_path, pictures):
    """Put arrays in the place of the folder's pictures; those that PNG cannot hold become TIFF files."""
    rows = folder_of(tmp_path, n=len(pictures), masks=False)
    text = (tmp_path / "metadata.csv").read_text()
    for row, values in zip(rows, pictures, strict=True):
        (tmp_path / row["image"]).unlink()
        name = row["image"].replace(".png", ".tif") if values.dtype in (np.float32, np.int32) else row["image"]
        Image.fromarray(values).save(tmp_path / name)
        text = text.replace(row["image"], name)
    (tmp_path / "metadata.csv").write_text(text)
    return tmp_path


def flat(value, dtype=np.uint16):
    return np.full((12, 20), value, dtype)


def test_twelve_bit_values_use_the_whole_range(tmp_path):
    folder = deep_folder(tmp_path, [flat(4095), flat(2048), flat(0)])
    means = [read_tidy(folder, bits=12).load(i)[0].mean().item() for i in range(3)]
    assert means == pytest.approx([1, 0.5, 0], abs=1 / 255)


def test_two_files_of_near_maxima_keep_their_ratio(tmp_path):
    pairs = read_tidy(deep_folder(tmp_path, [flat(250), flat(300), flat(1000)]), window=(0, 1000))
    assert [pairs.load(i)[0].max().item() for i in range(3)] == pytest.approx([0.25, 0.3, 1], abs=1 / 255)


def test_float_pictures_in_unit_range_are_as_bright_as_they_are(tmp_path):
    pairs = read_tidy(deep_folder(tmp_path, [flat(v, np.float32) for v in (0.0, 0.5, 1.0)]), window=(0, 1))
    assert [pairs.load(i)[0].mean().item() for i in range(3)] == pytest.approx([0, 0.5, 1], abs=1 / 255)


def test_values_below_zero_are_inside_the_window(tmp_path):
    pairs = read_tidy(deep_folder(tmp_path, [flat(v, np.int32) for v in (-1000, 0, 1000)]), window=(-1000, 1000))
    assert [pairs.load(i)[0].mean().item() for i in range(3)] == pytest.approx([0, 0.5, 1], abs=1 / 255)


@pytest.mark.parametrize("values", [flat(250), flat(300), flat(0.5, np.float32), flat(-5, np.int32)])
def test_without_a_declared_scale_they_are_refused_by_name(tmp_path, values):
    folder = deep_folder(tmp_path, [values] * 3)
    with pytest.raises(ValueError, match=r"images/0\.(png|tif) has values of .*--bits 12, or --window"):
        read_tidy(folder).load(0)
    with pytest.raises(ValueError, match="must be an 8-bit picture or come with a scale"):
        to_pixels(Image.fromarray(values))


def test_folder_json_declares_the_scale_and_options_win(tmp_path):
    folder = deep_folder(tmp_path, [flat(1000)] * 3)
    (folder / "folder.json").write_text('{"bits": 12}')
    assert read_tidy(folder).load(0)[0].mean().item() == pytest.approx(1000 / 4095, abs=1 / 255)
    assert read_tidy(folder, window=(0, 1000)).load(0)[0].mean().item() == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"bits": 0}', "from 1 to 32"),
        ('{"window": [5, 5]}', "two numbers, low and high"),
        ('{"window": 7}', "two numbers, low and high"),
        ('{"bits": 12, "window": [0, 1]}', "left out where 'window' is given"),
        ('{"bitz": 12}', "must be an object with entries of"),
        ("[" * 100_000, "not valid JSON"),
        ('{"uncertain": "maybe"}', "one of unknown, positive, negative"),
        ('{"mask": {"lesion": "red"}}', "object from structure to a value"),
    ],
)
def test_a_wrong_declaration_is_refused(tmp_path, text, says):
    folder_of(tmp_path)
    (tmp_path / "folder.json").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_tidy(tmp_path)


def test_arrays_with_a_scale_are_pictures(tmp_path):
    assert to_pixels(flat(4095), bits=12).max() == 1
    assert to_pixels(flat(-500, np.int16), window=(-1000, 0)).mean().item() == pytest.approx(0.5, abs=1 / 255)
    with pytest.raises(ValueError, match="finite values"):
        to_pixels(flat(np.nan, np.float32), window=(0, 1))


def test_sixteen_bit_colours_need_all_their_bits_declared(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    folder_of(tmp_path, masks=False)
    row = b"\0" + struct.pack(">3H", 4095, 4095, 4095) * 20
    head = struct.pack(">IIBBBBB", 20, 12, 16, 2, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * 12)) + chunk(b"IEND", b"")
    (tmp_path / "images/0.png").write_bytes(whole)
    with pytest.raises(ValueError, match="16 bits a colour"):
        read_tidy(tmp_path, bits=12).load(0)
    assert read_tidy(tmp_path, bits=16).load(0)[0].mean().item() == pytest.approx(1 / 16, abs=1 / 255)


def test_one_channel_pictures_pass_the_whole_path(tmp_path):
    grey = np.arange(240, dtype=np.uint8).reshape(12, 20)
    pairs = read_tidy(deep_folder(tmp_path, [grey] * 3), size=8)
    batch = cache(pairs, progress=False).batch([0, 1])
    assert batch.image.shape == (2, 3, 8, 8)
    assert torch.equal(batch.image[:, 0], batch.image[:, 2])
    assert torch.equal(to_pixels(grey[..., None]), to_pixels(grey))


def test_a_long_strip_is_read_where_it_is_kept(monkeypatch):
    asked = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, *a, **k: asked.append(size) or resize(self, size, *a, **k)
    )
    for strip in (Image.new("RGB", (9000, 1), (10, 20, 30)), Image.new("L", (1, 9000), 10)):
        assert to_pixels(strip, size=224).shape == (3, 224, 224)
    assert to_pixels(np.full((1, 9000, 3), 0.5, np.float32), size=64).shape == (3, 64, 64)
    assert max(wide * high for wide, high in asked) <= 224 * 224


def test_the_kept_box_agrees_with_the_resized_whole():
    values = np.random.default_rng(0).integers(0, 256, (4, 160, 3), dtype=np.uint8)
    new = Image.fromarray(values).resize((16 * 40, 16), Image.Resampling.BICUBIC)
    whole = np.asarray(new.crop((312, 0, 328, 16)))
    kept = to_pixels(Image.fromarray(values), size=16).permute(1, 2, 0).mul(255).round().numpy()
    assert np.abs(whole.astype(int) - kept.astype(int)).max() <= 1


def test_checksums_are_written_for_a_folder_without(tmp_path):
    from medadv.data.tidy import verify_tidy

    folder_of(tmp_path)
    assert "--write-checksums" in verify_tidy(tmp_path, progress=False)[0]
    write_checksums(tmp_path, progress=False)
    assert verify_tidy(tmp_path, progress=False) == []
