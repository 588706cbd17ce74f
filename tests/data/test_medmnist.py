"""MedMNIST files made here, in the official layout; their md5 is put where the package looks for it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from medadv.data.medmnist import SIZES, medmnist_source, names, read_medmnist

medmnist = pytest.importorskip("medmnist")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Write a small npz of a set and let INFO know its md5."""

    def make(name, *, size=28, n=7, channels=3, columns=1, top=2, change=None):
        rng = np.random.default_rng(0)
        shape = (n, size, size) if channels == 1 else (n, size, size, channels)
        arrays = {}
        for split in ("train", "val", "test"):
            arrays[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
            arrays[f"{split}_labels"] = rng.integers(0, top, (n, columns)).astype(np.uint8)
        arrays.update(change or {})
        source = medmnist_source(name, size=size)
        np.savez_compressed(tmp_path / source.file, **arrays)
        digest = hashlib.md5((tmp_path / source.file).read_bytes()).hexdigest()
        monkeypatch.setitem(medmnist.INFO[name], "MD5" if size == 28 else f"MD5_{size}", digest)
        return arrays

    return make


def test_colour(made, tmp_path):
    arrays = made("bloodmnist", size=64, top=8)
    pairs = read_medmnist("bloodmnist", size=64, split="train", root=tmp_path)
    assert len(pairs) == 7
    assert pairs.labels.tolist() == arrays["train_labels"][:, 0].tolist()
    assert pairs.classes[0] == "basophil"
    assert "CC BY 4.0" in repr(pairs)
    image, mask = pairs.load(3)
    assert mask is None
    assert torch.equal(image, torch.from_numpy(arrays["train_images"][3]).permute(2, 0, 1) / 255)
    label = pairs.rows[3].label
    assert pairs.rows[3].captions == (f"A microscope image of a blood cell, {pairs.classes[label]}.",)
    assert pairs.batch(range(3)).image.shape == (3, 3, 64, 64)


def test_grey_is_repeated(made, tmp_path):
    arrays = made("pneumoniamnist", channels=1)
    image, _ = read_medmnist("pneumoniamnist", root=tmp_path).load(0)
    assert image.shape == (3, 28, 28)
    assert torch.equal(image[0], image[2])
    assert torch.equal(image[1], torch.from_numpy(arrays["test_images"][0]) / 255)


def test_one_finding_of_the_multi_label_set(made, tmp_path):
    arrays = made("chestmnist", channels=1, columns=14)
    pairs = read_medmnist("chestmnist", root=tmp_path, finding="effusion")
    assert pairs.classes == ("no effusion", "effusion")
    assert pairs.labels.tolist() == arrays["test_labels"][:, 2].tolist()
    with pytest.raises(ValueError, match="'finding' parameter of read_medmnist must be one of atelectasis"):
        read_medmnist("chestmnist", root=tmp_path)


def test_grades_get_words(made, tmp_path):
    made("retinamnist", top=5)
    assert read_medmnist("retinamnist", root=tmp_path).classes[0] == "no diabetic retinopathy"


def test_refusals(made, tmp_path):
    made("bloodmnist")
    for arguments, kind, sentence in [
        (("bloodmist",), ValueError, "Did you mean bloodmnist"),
        (("organmnist3d",), ValueError, "must be a flat MedMNIST set"),
        (("pathmnist",), FileNotFoundError, "Pass download=True"),
    ]:
        with pytest.raises(kind, match=sentence):
            read_medmnist(*arguments, root=tmp_path)
    with pytest.raises(ValueError, match="28, 64, 128 or 224; got 32"):
        read_medmnist("bloodmnist", root=tmp_path, size=32)
    with pytest.raises(ValueError, match="train, val or test; got 'all'"):
        read_medmnist("bloodmnist", root=tmp_path, split="all")
    with pytest.raises(ValueError, match="must be None for bloodmnist"):
        read_medmnist("bloodmnist", root=tmp_path, finding="effusion")


def test_a_wrong_md5_is_refused_before_the_file_is_opened(tmp_path):
    (tmp_path / "bloodmnist.npz").write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"has the md5 .*Delete it and fetch it again"):
        read_medmnist("bloodmnist", root=tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"test_images": np.array([{}], dtype=object)}, "cannot be read as a MedMNIST file"),
        ({"test_images": np.zeros((7, 28, 28, 3))}, "must hold uint8 images"),
        ({"test_images": np.zeros((7, 32, 32), np.uint8)}, "must hold uint8 images"),
        ({"test_labels": np.zeros(7, np.uint8)}, "must hold uint8 images"),
        ({"test_labels": np.full((7, 1), 9, np.uint8)}, "must have labels from 0 to 7; got 9 to 9"),
    ],
)
def test_files_that_are_something_else(made, tmp_path, change, sentence):
    made("bloodmnist", change=change)
    with pytest.raises(ValueError, match=sentence):
        read_medmnist("bloodmnist", root=tmp_path)


def test_every_set_and_size_has_a_source():
    assert len(names()) == 12
    for name in names():
        for size in SIZES:
            source = medmnist_source(name, size=size)
            assert source.url.startswith("https://zenodo.org/records/10519652/files/")
            assert source.url.split("/")[-1].startswith(source.file)
            assert len(source.checksum) == 4 + 32
    # Facts of the published table, so that a changed package is noticed.
    assert medmnist_source("breastmnist", size=224).checksum == "md5:b56378a6eefa9fed602bb16d192d4c8b"
    assert medmnist_source("dermamnist").licence == "CC BY-NC 4.0"
