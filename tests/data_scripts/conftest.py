"""Data scripts are not a package: load them as if they were run from their folder."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"


@pytest.fixture
def script(monkeypatch):
    """Load a script as if it were run from its folder; call it with a command line."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name):
        module, common = importlib.import_module(name), importlib.import_module("_common")
        return lambda *arguments: common.run(module.main, [str(argument) for argument in arguments])

    return load
