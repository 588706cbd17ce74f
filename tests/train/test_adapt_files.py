"""What an adapted folder says belongs together, and what a head says it was made on."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from medadv.models import LinearProbe, load, load_head, save_head
from medadv.models.pooled import PooledProbe, load_pooled, save_pooled
from medadv.models.tiny import new_tiny
from medadv.train.adapt import Adapted, load_adapted, save_adapted

CLASSES = ("left", "right")


@pytest.fixture
def folder(tmp_path):
    vlm = new_tiny(seed=1).eval()
    return save_adapted(Adapted(vlm, LinearProbe(vlm, classes=CLASSES), CLASSES, "probe", ()), tmp_path / "adapted")


def shift(path, **metadata):
    """Replace every number of a file by another one of the same shape."""
    state = {name: one + 1 if one.is_floating_point() else one for name, one in load_file(path).items()}
    save_file(state, path, metadata=metadata or None)


def test_an_adapted_folder_is_read_back_without_a_word(folder, caplog):
    with caplog.at_level(logging.WARNING):
        head, classes = load_adapted(folder, vlm=load(f"local-dir:{folder}", device="cpu"))
    assert (type(head), classes, caplog.text) == (LinearProbe, CLASSES, "")


def test_replaced_weights_of_an_adapted_folder_are_refused(folder):
    shift(folder / "open_clip_model.safetensors", format="pt")
    with pytest.raises(ValueError, match=r"open_clip_model.safetensors is not the one that adapted.json names.*Copy"):
        load(f"local-dir:{folder}", device="cpu")


def test_a_replaced_head_of_an_adapted_folder_is_refused(folder):
    vlm = load(f"local-dir:{folder}", device="cpu")
    save_head(LinearProbe(vlm, classes=CLASSES[::-1]), path=folder / "head.safetensors")
    with pytest.raises(ValueError, match=r"head.safetensors is not the one that adapted.json names"):
        load_adapted(folder, vlm=vlm)


def test_a_folder_of_before_the_hashes_is_read_with_a_warning(folder, caplog):
    facts = json.loads((folder / "adapted.json").read_text())
    del facts["sha256"]
    (folder / "adapted.json").write_text(json.dumps(facts))
    with caplog.at_level(logging.WARNING):
        load_adapted(folder, vlm=load(f"local-dir:{folder}", device="cpu"))
    assert caplog.text.count("holds no hashes") == 1


@pytest.mark.parametrize("classes", [None, "left", ["left"], [1, 2], {"left": 0, "right": 1}])
def test_adapted_facts_that_name_other_classes_are_refused(folder, classes):
    facts = json.loads((folder / "adapted.json").read_text())
    (folder / "adapted.json").write_text(json.dumps({**facts, "classes": classes}))
    with pytest.raises(ValueError, match=r"must name the 2 classes of its head"):
        load_adapted(folder, vlm=new_tiny())


@pytest.mark.parametrize("kind", [LinearProbe, PooledProbe])
def test_a_head_on_other_weights_of_the_same_name_is_reported(kind, tmp_path, caplog):
    vlm, path = new_tiny(seed=1).eval(), tmp_path / "head.safetensors"
    if kind is LinearProbe:
        save_head(LinearProbe(vlm, classes=CLASSES), path=path)
    else:
        save_pooled(PooledProbe(vlm, CLASSES), path=path)
    read = load_head if kind is LinearProbe else load_pooled
    with caplog.at_level(logging.WARNING):
        read(path, vlm=new_tiny(seed=1).eval())
        vlm.name = "the same weights under another name"
        read(path, vlm=vlm)
        assert caplog.text == ""
        read(path, vlm=new_tiny(seed=2).eval())
    assert "was made on other weights of tiny and now sits on tiny" in caplog.text


def test_a_head_of_before_the_hashes_is_told_by_the_name_of_its_model(tmp_path, caplog):
    vlm, path = new_tiny().eval(), tmp_path / "head.safetensors"
    save_head(LinearProbe(vlm, classes=CLASSES), path=path)
    facts = {"kind": "LinearProbe", "model": "tiny", "classes": list(CLASSES)}
    save_file(load_file(path), path, metadata={"medadv_head": json.dumps(facts)})
    with caplog.at_level(logging.WARNING):
        load_head(path, vlm=new_tiny(seed=2).eval())
        assert caplog.text == ""
        vlm.name = "another"
        load_head(path, vlm=vlm)
    assert "was made on tiny and now sits on another" in caplog.text


def test_a_head_that_is_not_finite_is_refused(tmp_path):
    vlm, path = new_tiny().eval(), tmp_path / "head.safetensors"
    head = LinearProbe(vlm, classes=CLASSES)
    with torch.no_grad():
        head.linear.bias[1] = torch.nan
    save_head(head, path=path)
    with pytest.raises(
        ValueError, match=r"must be finite numbers; got NaN or infinity in 1 tensor\(s\) \(linear.bias\)"
    ):
        load_head(path, vlm=vlm)
