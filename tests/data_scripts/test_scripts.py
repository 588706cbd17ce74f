"""What every data script does: help, exit codes, one line for bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"
NAMES = ("isic2017", "hannover_cxr", "medmnist_plus", "kvasir_seg", "harvard_fairvlmed", "rsna_pneumonia")


@pytest.mark.parametrize("name", NAMES)
def test_help_tells_sources_licence_and_what_is_unchecked(script, capsys, name):
    with pytest.raises(SystemExit) as caught:
        script(name)("--help")
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for word in ("--out", "--source", "--size", "--limit", "https://", "licence", "citation"):
        assert word in said
    assert ("UNCHECKED" in said) == (name in ("isic2017", "kvasir_seg", "rsna_pneumonia"))


@pytest.mark.parametrize("size", ["0", "-3", "big"])
def test_bad_sizes_are_refused(script, tmp_path, capsys, size):
    with pytest.raises(SystemExit) as caught:
        script("isic2017")("--out", tmp_path / "o", "--size", size)
    assert caught.value.code == 2
    assert "positive whole number" in capsys.readouterr().err


def test_as_a_program(tmp_path):
    command = [
        sys.executable,
        str(SCRIPTS / "kvasir_seg.py"),
        "--out",
        str(tmp_path / "o"),
        "--source",
        str(tmp_path / "none"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: The '--source' parameter must be a folder or file")
    assert done.stdout == ""
