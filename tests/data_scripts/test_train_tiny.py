"""The script that made the shipped weights: it runs, says what it did, and survives a kill."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from medadv.data.phantoms import phantoms
from medadv.models import tiny

ROOT = Path(__file__).resolve().parents[2]
SHORT = ["--images", "1000", "--steps", "6", "--batch-size", "32", "--workers", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trial run as a user starts it: its folders and what it printed."""
    root = tmp_path_factory.mktemp("train")
    line = [
        sys.executable,
        "data_scripts/train_tiny.py",
        *SHORT,
        "--out",
        root / "out",
        "--work",
        root / "work",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return root, done


@pytest.fixture
def main(monkeypatch):
    """The script's main with a checkpoint every other step; call it with a command line."""
    monkeypatch.syspath_prepend(str(ROOT / "data_scripts"))
    import train_tiny

    def often(*args, fit=train_tiny.fit, **how):
        return fit(*args, **{**how, "every": 2, "progress": False})

    def call(*line):
        monkeypatch.setattr(sys, "argv", ["train_tiny.py", *map(str, line)])
        train_tiny.main()

    monkeypatch.setattr(train_tiny, "fit", often)
    call.script = train_tiny
    return call


def sums(folder: Path) -> dict[str, str]:
    return {p.name: sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "provenance.json"}


@pytest.mark.slow
def test_it_writes_a_model_that_loads_and_says_how_it_was_made(trained):
    root, done = trained
    out = root / "out"
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [tiny.VOCABULARY, tiny.WEIGHTS, "open_clip_config.json", "provenance.json"]
    )
    about = json.loads((out / "provenance.json").read_text())
    assert about["command"].startswith("python data_scripts/train_tiny.py --images 1000 --steps 6")
    assert about["data"]["phantoms"] == 1000
    assert about["training"] == {
        "steps": 6,
        "batch_size": 32,
        "lr": 0.002,
        "weight_decay": 0.1,
        "dtype": "float32",
    }
    assert about["seed"] == 0
    assert set(about["final"]) == {"loss", "top1", "chance"}
    assert about["versions"]["torch"] == version("torch")
    assert about["sha256"] == sums(out)[tiny.WEIGHTS]
    vlm = tiny.load_tiny(out)
    assert vlm.encode_image(torch.rand(1, 3, 64, 64)).shape == (1, 128)
    assert tiny.tokenizer(out).vocab_size == 1024
    assert done.stdout.startswith("wrote ")
    assert "phantoms x 1000" in done.stderr, "a progress bar"
    assert "training" in done.stderr


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bits(trained, main, tmp_path, monkeypatch, capsys):
    root, _ = trained
    shutil.copytree(root / "work" / "phantoms", tmp_path / "work" / "phantoms")
    line = [*SHORT, "--out", tmp_path / "out", "--work", tmp_path / "work"]
    draw, calls = main.script.draw, []

    def killed(*args):
        calls.append(args[-1])
        if len(calls) == 6:
            raise KeyboardInterrupt
        return draw(*args)

    monkeypatch.setattr(main.script, "draw", killed)
    with pytest.raises(KeyboardInterrupt):
        main(*line)
    assert torch.load(tmp_path / "work" / "checkpoint.pt", weights_only=True)["done"] == 4
    assert not (tmp_path / "out" / tiny.WEIGHTS).exists(), "nothing half"
    main(*line)
    assert calls[-2:] == [4, 5], "steps five and six were done again, no others"
    assert set(calls[6:-2]) <= {0, 1, 2, 3}, "batches of the steps before are only looked at"
    assert sums(tmp_path / "out") == sums(root / "out")
    assert not list(tmp_path.rglob("*.part"))
    capsys.readouterr()


@pytest.mark.slow
def test_phantoms_are_those_of_the_package_and_batch_k_hangs_on_k_alone(trained, main):
    folder, pairs = trained[0] / "work" / "phantoms", phantoms(1000)
    images, captions = files = main.script.phantom_files(1000, folder, workers=1)
    for i in (0, 17, 999):
        assert tuple(captions[i]) == pairs.rows[i].captions
        assert (torch.from_numpy(images[0][i]) / 255 - pairs.load(i)[0]).abs().max() <= 0.5 / 255 + 1e-6
    drawn = [main.script.draw(*files, 60, k) for k in range(40)]
    for batch in drawn:
        rows = batch.index.tolist()
        assert len(set(rows)) == 60
        assert all(text in captions[i] for text, i in zip(batch.text, rows, strict=True))
        assert (batch.image[5] * 255 - torch.from_numpy(images[0][rows[5]])).abs().max() < 1e-4
    assert len({i for batch in drawn for i in batch.index.tolist()}) > 800
    again = main.script.draw(*files, 60, 7)
    assert again.text == drawn[7].text
    assert torch.equal(again.image, drawn[7].image)


def test_a_wrong_number_of_images_is_refused(main, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main("--images", "1500", "--out", tmp_path, "--work", tmp_path)
    assert stopped.value.code == 2
    assert "--images must be a multiple of 1000; got 1500" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "value"), [("--batch-size", 16), ("--images", 2000), ("--steps", 7), ("--lr", 0.01)]
)
def test_the_work_folder_of_another_run_is_refused(option, value, trained, main, tmp_path, capsys):
    root, work, out = trained[0], tmp_path / "work", tmp_path / "out"
    work.mkdir()
    for name in ("checkpoint.pt", "run.json"):
        shutil.copy(root / "work" / name, work)
    shutil.copytree(root / "out", out)
    held = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    line = [*SHORT, "--out", out, "--work", work]
    with pytest.raises(SystemExit) as stop:
        main(*line, option, value)  # the last one counts
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert f"holds a run with {option}" in told
    assert "Name another folder, or delete" in told
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == held
