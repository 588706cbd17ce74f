"""One door to all data: phantoms, a folder, the name of a folder below MEDADV_DATA."""

from __future__ import annotations

import pytest
import tinyworld
import torch

from medadv.data import folders, load
from medadv.data.phantoms import phantoms


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    tinyworld.write_images(tmp_path / "skin", 16)
    (tmp_path / "notes").mkdir()
    monkeypatch.setenv("MEDADV_DATA", str(tmp_path))
    return tmp_path


def test_phantoms_are_held_out_unless_train_is_asked_for():
    held, train, val = (
        load("phantoms", n=4),
        load("phantoms", n=4, split="train"),
        load("phantoms", n=4, split="val"),
    )
    assert held.rows == phantoms(4, start=1_000_000).rows == load("phantoms", n=4, split="test").rows
    assert train.rows == phantoms(4).rows
    assert not {row.patient for row in held.rows} & {row.patient for row in (*train.rows, *val.rows)}
    assert load("phantoms", n=2, size=96, seed=3).load(1)[0].shape == (3, 96, 96)
    assert len(load("phantoms", n=0)) == 0
    with pytest.raises(ValueError, match="must be train, val or test for phantoms; got 'all'"):
        load("phantoms", n=1, split="all")


def test_a_folder_by_name_or_path(shelf):
    assert list(folders()) == ["skin"]
    by_name, by_path = load("skin", size=32), load(shelf / "skin", size=32)
    assert by_name.rows == by_path.rows
    assert len(by_name) == 16
    assert by_name.load(0)[0].shape == (3, 32, 32)
    assert torch.equal(by_name.load(3)[0], by_path.load(3)[0])
    assert len(load("skin", n=5)) == 5
    assert len(load("skin", n=500)) == 16
    assert {row.split for row in load("skin", split="train").rows} == {"train"}
    assert set(load("skin", label="projection").classes) == {"ap", "pa"}


def test_wrong_names_offer_the_nearest_ones(shelf):
    with pytest.raises(ValueError, match=r"no data set or folder named 'skni'. Did you mean skin\?"):
        load("skni")
    with pytest.raises(ValueError, match=r"Did you mean phantoms"):
        load("phantom")
    with pytest.raises(ValueError, match="Give a folder, or set MEDADV_DATA"):
        load("zzzzzzzzzzzz")
    with pytest.raises(FileNotFoundError, match=r"metadata.csv"):
        load(shelf / "notes")


def test_without_the_variable_there_are_no_folders(monkeypatch, tmp_path):
    monkeypatch.delenv("MEDADV_DATA", raising=False)
    assert folders() == {}
    monkeypatch.setenv("MEDADV_DATA", str(tmp_path / "nowhere"))
    assert folders() == {}


def test_real_folders_open(real_data):
    for name, classes in (("isic2017_256", 3), ("busi_us256", 3), ("mhh_covid_cxr", 2)):
        pairs = load(name, size=64, n=3)
        batch = pairs.batch(range(3))
        assert len(pairs.classes) >= classes - 1
        assert batch.image.shape == (3, 3, 64, 64)
        assert all(batch.text)
