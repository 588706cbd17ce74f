from __future__ import annotations

import shutil
import socket
from pathlib import Path

import make_models
import pytest

from medadv.models import load


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A complete folder loads without any network: a connection is a failure of the test."""

    def refuse(*_):
        raise OSError("this test must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """One saved model of each family, by name."""
    root = tmp_path_factory.mktemp("models")
    make_models.save_model(root / "vit")
    make_models.save_model(root / "custom", custom=True)
    squash = {"mean": make_models.MEAN, "std": make_models.STD, "resize_mode": "squash"}
    make_models.save_model(root / "squash", preprocess=squash)
    make_models.save_model(
        root / "bilinear", preprocess={**squash, "resize_mode": "shortest", "interpolation": "bilinear"}
    )
    make_models.save_model(root / "resnet", vision=make_models.RESNET)
    make_models.save_model(root / "convnext", vision=make_models.CONVNEXT)
    make_models.save_coca(root / "coca")
    make_models.save_biomed(root / "biomed")
    make_models.save_hf_clip(root / "hf")
    return {one.name: one for one in root.iterdir()}


@pytest.fixture(scope="session")
def vlms(folders):
    """The same models, loaded."""
    return {name: load(f"local-dir:{folder}", device="cpu") for name, folder in folders.items()}


@pytest.fixture
def vit(vlms):
    """The plain one."""
    vlms["vit"].truncated = 0
    return vlms["vit"]


@pytest.fixture
def copy(folders, tmp_path):
    """A function that copies a saved model, to be damaged."""
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / name))
