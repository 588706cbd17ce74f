"""MedMNIST and Kvasir-SEG from small copies."""

from __future__ import annotations

import hashlib
import importlib
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from layouts import cells, colours, encoded, left_half, put

from medadv.data.tidy import read_tidy, verify_tidy


def test_medmnist(script, tmp_path, monkeypatch, capsys):
    medmnist = pytest.importorskip("medmnist")
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 256, (4, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.array([[0], [1], [1], [0]], dtype=np.uint8)
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **arrays)
    run = script("medmnist_plus")
    order = ("--name", "pneumoniamnist", "--size", 28, "--limit", 3)
    assert run("--out", tmp_path / "bad", "--source", tmp_path, *order) == 2
    assert "has the md5" in capsys.readouterr().err
    digest = hashlib.md5((tmp_path / "pneumoniamnist.npz").read_bytes()).hexdigest()
    monkeypatch.setitem(medmnist.INFO["pneumoniamnist"], "MD5", digest)
    out = tmp_path / "out"
    assert run("--out", out, "--source", tmp_path / "pneumoniamnist.npz", *order) == 0
    assert verify_tidy(out, progress=False) == []
    pairs = read_tidy(out, split="test")
    assert pairs.classes == ("normal", "pneumonia")
    assert pairs.prompts[1] == "a paediatric chest radiograph, pneumonia"
    assert pairs.labels.tolist() == [0, 1, 1]
    assert (pairs.load(2)[0][0] * 255).round().numpy().astype(np.uint8).tolist() == arrays["test_images"][2].tolist()


def test_kvasir(script, tmp_path, capsys):
    source, out = tmp_path / "source" / "Kvasir-SEG", tmp_path / "out"
    for i in range(12):
        put(source / "images" / f"polyp{i}.jpg", encoded(colours(i), "JPEG"))
        put(source / "masks" / f"polyp{i}.jpg", encoded(left_half() * (1 if i else 0), "JPEG"))
    run = script("kvasir_seg")
    assert run("--out", out, "--source", source.parent, "--size", 16) == 0
    assert verify_tidy(out, progress=False) == []
    rows = cells(out)
    assert sorted(row["split"] for row in rows) == ["test"] + ["train"] * 10 + ["val"]
    found = {Path(row["image"]).stem: row for row in rows}
    assert (found["polyp1"]["label"], found["polyp1"]["lesion_fraction"]) == ("large", "0.5000")
    assert "middle left" in found["polyp1"]["prompt_location"]
    assert (found["polyp0"]["label"], found["polyp0"]["prompt_location"]) == ("small", "")
    assert read_tidy(out).load(3)[1].mean() == 0.5
    (source / "masks/polyp3.jpg").unlink()
    assert run("--out", tmp_path / "o2", "--source", source, "--size", 16) == 2
    assert "polyp3.jpg does not exist" in capsys.readouterr().err
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("../../evil.txt", "x")
    assert run("--out", tmp_path / "o3", "--source", tmp_path / "evil.zip") == 2
    assert "leaves its folder" in capsys.readouterr().err


def test_fetched_unpacked_and_made_tidy(script, tmp_path, monkeypatch, capsys):
    """The whole way from an address, here on this machine: 404, a broken archive, then a good one."""
    run = script("kvasir_seg")
    common = importlib.import_module("_common")
    web = tmp_path / "web"
    web.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(web))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            official = common.sources("kvasir_seg")[0]
            row = replace(official, url=f"http://127.0.0.1:{server.server_port}/kvasir-seg.zip")
            monkeypatch.setattr(common, "sources", lambda name: (row,))
            assert run("--out", tmp_path / "out", "--size", 16) == 2
            assert "answered 404" in capsys.readouterr().err
            put(web / "kvasir-seg.zip", b"PK but no archive")
            assert run("--out", tmp_path / "out", "--size", 16) == 2
            assert "neither a zip nor a tar archive. Delete it" in capsys.readouterr().err
            (tmp_path / "out/_downloads/kvasir-seg.zip").unlink()
            with zipfile.ZipFile(web / "kvasir-seg.zip", "w") as file:
                for i in range(3):
                    file.writestr(f"Kvasir-SEG/images/{i}.jpg", encoded(colours(i), "JPEG"))
                    file.writestr(f"Kvasir-SEG/masks/{i}.jpg", encoded(left_half(), "JPEG"))
            assert run("--out", tmp_path / "out", "--size", 16) == 0
        finally:
            server.shutdown()
            thread.join()
    assert verify_tidy(tmp_path / "out", progress=False) == []
    assert len(cells(tmp_path / "out")) == 3
