"""How a number was made: what every stored result carries."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import medadv

_PACKAGES = ("torch", "open_clip_torch", "numpy", "scikit-learn")


def provenance(
    *, command: str | None = None, seed: int | None = None, device: str | torch.device | None = None
) -> dict:
    """Say how a number was made: command, seed, device, versions, commit, date.

    Shapes   none.
    Units    the date is UTC.
    Returns  dict ready for JSON; the data folder of this machine is written as $MEDADV_DATA.
    Raises   nothing.
    Source   ours.
    """
    if command is None:
        name = Path(sys.argv[0]).name
        command = " ".join(["medadv" if name == "__main__.py" else name, *sys.argv[1:]])
    if os.environ.get("MEDADV_DATA"):
        command = command.replace(os.environ["MEDADV_DATA"].rstrip("/"), "$MEDADV_DATA")
    where = torch.device(device or "cpu")
    return {
        "command": command,
        "seed": seed,
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else f"{where.type} ({platform.machine()})",
        "versions": {
            "python": platform.python_version(),
            "medadv": medadv.__version__,
            **{name: _version(name) for name in _PACKAGES},
        },
        "commit": _commit(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit(module: str | Path = __file__) -> str | None:
    """Return the commit of the source tree this package runs from, with a plus sign where files other than stored
    results were changed since."""
    here = Path(module).resolve()

    def git(*words):
        done = subprocess.run(["git", *words], cwd=here.parent, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # not a virtual environment inside some other project
        # A study that has just stored its table did not change the code that the next one runs.
        changed = git(
            "status",
            "--porcelain",
            "-uno",
            "--",
            ":/",
            ":(top,exclude,glob)book/*/results/**",
            ":(top,exclude,glob)benchmarks/results/**",
        )
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
