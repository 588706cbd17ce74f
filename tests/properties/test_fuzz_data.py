"""Any table, picture or folder is read, or refused by one sentence of ValueError."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fuzzing import answers_or_refuses, fuzz
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medadv._images import to_pixels
from medadv.data._table import read_csv
from medadv.data.convert import convert
from medadv.data.tidy import read_tidy, verify_tidy


def read_all(folder: Path, **options):
    """Open a folder and load its images; a missing file is FileNotFoundError by contract, with a sentence, too."""
    try:
        pairs = read_tidy(folder, **options)
        for i in range(len(pairs)):
            image, mask = pairs.load(i)
            assert image.shape[0] == 3
            assert image.isfinite().all()
            assert 0 <= image.min() <= image.max() <= 1
            assert mask is None or set(mask.unique().tolist()) <= {0.0, 1.0}
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error


def encoded(kind: str, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(values)
    picture = Image.fromarray(values[..., 0].astype(np.uint16) * 9) if mode == "I;16" else picture.convert(mode)
    picture.save(out, kind)
    return out.getvalue()


def dicom() -> bytes:
    pydicom = pytest.importorskip("pydicom")
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = pydicom.uid.SecondaryCaptureImageStorage, "1.2.3"
    made.PhotometricInterpretation, made.SamplesPerPixel, made.PixelRepresentation = "MONOCHROME2", 1, 0
    made.Rows, made.Columns, made.BitsAllocated, made.BitsStored, made.HighBit = 10, 12, 16, 12, 11
    made.WindowCenter, made.WindowWidth, made.RescaleSlope, made.RescaleIntercept = 40, 400, 1, -1024
    made.PixelData = np.arange(120, dtype=np.uint16).tobytes()
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    (root / "images").mkdir()
    for i in range(3):
        Image.new("RGB", (12, 10), (40 * i, 9, 9)).save(root / f"images/{i}.png")
    return root


odd = st.sampled_from(
    [
        "",
        " ",
        "nan",
        "-1",
        "1.0",
        "1",
        "0",
        "NA",
        "None",
        "1e999",
        "-0",
        "inf",
        "²",
        "٣",
        "\0",
        "\n",
        '"',
        "a,b",
        "A",
        "a",
    ]
)
cells = odd | st.text(max_size=12)
paths = st.sampled_from(
    [
        "images/0.png",
        "images/1.png",
        "images/2.png",
        "./images/0.png",
        "0",
        "/etc/hostname",
        "../x.png",
        "images",
        "a\0b",
    ]
)
columns = st.sampled_from(
    [
        "image",
        "label",
        "label_id",
        "split",
        "patient_id",
        "age",
        "age_group",
        "mask",
        "caption",
        "sex",
        "group",
        "x",
        "",
    ]
)


@fuzz
@given(data=st.data(), names=st.lists(columns, min_size=1, max_size=7), label=columns)
def test_any_table_is_read_or_refused(world, data, names, label):
    names = ["image", *names] if data.draw(st.integers(0, 9)) else names
    lines = []
    for i in range(data.draw(st.integers(0, 4))):
        row = []
        for k, name in enumerate(names):
            usual = (
                f"images/{i % 3}.png"
                if name == "image"
                else ("train", "val", "test")[i % 3]
                if name == "split"
                else "a b"
            )
            other = paths if name in ("image", "mask") else cells
            row.append(usual if k == 0 and data.draw(st.integers(0, 3)) else data.draw(other | st.just(usual)))
        lines.append(row)
    text = "\n".join(",".join('"' + c.replace('"', '""') + '"' for c in row) for row in [names, *lines])
    (world / "metadata.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    answers_or_refuses(lambda: read_all(world, label=label))


@fuzz
@given(
    st.binary(max_size=200) | st.text(st.sampled_from('image,label;\t\n\r"a01.\ufeff\0 '), max_size=80).map(str.encode)
)
def test_any_bytes_as_a_table_are_read_or_refused(world, raw):
    answers_or_refuses(lambda: read_csv(raw, "table.csv"))
    (world / "metadata.csv").write_bytes(raw)
    answers_or_refuses(lambda: read_all(world))


KINDS = [("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("PNG", "1"), ("JPEG", "RGB"), ("TIFF", "F"), ("TIFF", "RGB"),
         ("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGB"), ("DICOM", "")]  # fmt: skip
WHOLE: dict[tuple[str, str], bytes] = {}


def whole(kind: tuple[str, str]) -> bytes:
    if kind not in WHOLE:
        WHOLE[kind] = dicom() if kind[0] == "DICOM" else encoded(*kind)
    return WHOLE[kind]


@fuzz
@given(
    kind=st.sampled_from(KINDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    cut=st.just(1.0) | st.floats(0, 1),
    as_mask=st.booleans(),
    bits=st.sampled_from([None, 8, 12, 16]),
)
def test_any_damaged_picture_is_read_or_refused(world, kind, edits, cut, as_mask, bits):
    data = bytearray(whole(kind))
    data = data[: max(1, int(cut * len(data)))]
    for place, value in edits:
        data[min(int(place * len(data)), len(data) - 1)] = value
    (world / "images/9.bin").write_bytes(bytes(data))
    image, mask = ("images/0.png", "images/9.bin") if as_mask else ("images/9.bin", "")
    (world / "metadata.csv").write_text(f"image,label,mask\n{image},a cat,{mask}\nimages/1.png,a dog,\n")
    answers_or_refuses(lambda: read_all(world, size=8, bits=bits))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
declarations = (
    st.dictionaries(st.sampled_from(["window", "bits", "mask", "uncertain", "blank", "x"]), values, max_size=3) | values
)


@fuzz
@given(declared=declarations, classes=st.none() | values, raw=st.none() | st.binary(max_size=30))
def test_any_declaration_of_a_folder_is_read_or_refused(tmp_path_factory, world, declared, classes, raw):
    folder = world / "declared"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    Image.new("RGB", (6, 6)).save(folder / "0.png")
    (folder / "metadata.csv").write_text("image,label\n0.png,a cat\n")
    (folder / "folder.json").write_bytes(json.dumps(declared).encode() if raw is None else raw)
    if classes is not None:
        (folder / "classes.json").write_text(json.dumps(classes))
    answers_or_refuses(lambda: read_all(folder))
    assert all(isinstance(problem, str) for problem in verify_tidy(folder, progress=False))


@fuzz
@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from(
        ["uint8", "int8", "int16", "uint16", "int64", "float16", "float32", "float64", "bool", "complex64", "U3"]
    ),
    fill=st.sampled_from([0, 1, 0.5, 255, -1, 70000, float("nan"), float("inf")]),
    window=st.none() | st.tuples(st.floats(), st.floats()),
    bits=st.none() | st.integers(-1, 40),
    size=st.none() | st.integers(1, 9),
)
def test_any_array_becomes_pixels_or_is_refused(shape, dtype, fill, window, bits, size):
    with np.errstate(all="ignore"):
        array = np.full(shape, fill).astype(dtype)
    answers_or_refuses(lambda: to_pixels(array, window=window, bits=bits, size=size))


@fuzz
@given(
    data=st.data(),
    head=st.lists(
        st.sampled_from(["image", "image_id", "dx", "label", "MEL", "NV", "split", "lesion_id", "x"]),
        min_size=1,
        max_size=5,
    ),
)
def test_any_source_is_converted_or_refused(world, data, head):
    source, out = world / "source", world / "made"
    shutil.rmtree(out, ignore_errors=True)
    if not source.exists():
        for i in range(3):
            (source / "deep").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 6), (i, i, i)).save(source / f"deep/{i}.png")
    usual = st.sampled_from(["0", "1", "1.0", "mel", "nv", "", "train", "nan", "0.png"])
    count = data.draw(st.integers(0, 3))
    rows = [[str(i), *(data.draw(usual | cells) for _ in head[1:])] for i in range(count)]
    text = "\n".join(",".join('"' + c.replace('"', '""') + '"' for c in row) for row in [head, *rows])
    (source / "t.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    if answers_or_refuses(lambda: convert(source, out, progress=False)) is not None:
        assert verify_tidy(out, progress=False) == []
        read_all(out)
    assert not [path for path in world.iterdir() if path.name.startswith(".made")]
