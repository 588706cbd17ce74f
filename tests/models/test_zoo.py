from __future__ import annotations

import subprocess
import sys

import make_models
import pytest
import torch

from medadv.models import CARDS, from_folder, load, names

PIXELS = torch.rand(2, 3, 50, 41, generator=torch.Generator().manual_seed(0))
WANTED = {
    "tiny",
    "biomedclip",
    "plip",
    "quiltnet-b-32",
    "pubmedclip",
    "unimed-clip-b-16",
    "monet",
    "clip-b-32",
    "clip-b-16",
}


def test_cards():
    assert set(names()) >= WANTED
    for name in names():
        card = CARDS.get(name)
        assert card.name == name
        assert card.loader in ("tiny", "hub", "own")
        assert card.source.startswith("hf-hub:") == (card.loader == "hub") or card.gated
        assert set(card.unchecked) <= set(vars(card))
        assert card.image_size > 0
        assert card.context > 0
        assert card.licence
        assert card.note or card.loader != "own"
    assert names("clip-*") == ["clip-b-32", "clip-b-16"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("biomedclp", r"no model named 'biomedclp'. Did you mean biomedclip"),
        ("CLIP-B-32", "Did you mean clip-b-32"),
        ("microsoft/BiomedCLIP", "Write hf-hub:microsoft/BiomedCLIP or local-dir:microsoft/BiomedCLIP"),
        ("local-dir:", "must be a name in"),
        ("conch", "install its package"),
        ("medclip", "pip install medclip"),
        ("flair", "jusiro/FLAIR"),
    ],
)
def test_wrong_names(name, says):
    with pytest.raises(ValueError, match=says):
        load(name)


def test_wrong_device_and_dtype(folders):
    for more, says in (({"device": "gpu"}, "'device' parameter"), ({"dtype": "int8"}, "'dtype' parameter")):
        with pytest.raises(ValueError, match=says):
            load(f"local-dir:{folders['vit']}", **more)


def test_nothing_heavy_or_online_happens_on_import():
    code = (
        "import socket, sys\n"
        "def no(*_): raise SystemExit('network')\n"
        "socket.socket.connect = no; socket.getaddrinfo = no\n"
        "import medadv.models as m; assert m.names()\n"
        "sys.exit('open_clip' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_tiny_is_loaded_by_its_own_module(monkeypatch, folders):
    module = type(sys)("medadv.models.tiny")
    module.load_tiny = lambda: from_folder(folders["vit"])
    monkeypatch.setitem(sys.modules, "medadv.models.tiny", module)
    assert load("tiny", device="cpu").name == "tiny"


@pytest.mark.parametrize("name", ["hf-hub:some/model", "plip", "unimed-clip-b-16"])
def test_a_failed_download_says_what_is_needed(name, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=r"Could not fetch .*weights \(.*'local-dir:FOLDER', which works offline"):
        load(name)


@pytest.mark.parametrize("family", ["vit", "biomed", "hf"])
def test_the_hub_by_a_stand_in(family, folders, vlms, monkeypatch):
    """The hub's client replaced by a folder: which files are asked for, and that the model is the same."""
    asked = []

    def snapshot(repo, *, allow_patterns=None, local_files_only=False):
        asked.append((repo, allow_patterns))
        return str(folders[family])

    there = [one.name for one in folders[family].iterdir()]
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda _, repo: [*there, "pytorch_model.bin", "x.md"])
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    make_models.same(load("hf-hub:some/model", device="cpu"), vlms[family])
    repo, files = asked[0]
    assert repo == "some/model"
    assert sum(one.endswith((".bin", ".safetensors")) for one in files) == 1
    assert "x.md" not in files
