"""What every test may count on: one thread, and the real data where they are."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch

# A busy machine is no defect of the code. The suite draws the same inputs in every run; MEDADV_FUZZ draws new ones.
hypothesis.settings.register_profile("suite", deadline=None, derandomize="MEDADV_FUZZ" not in os.environ)
hypothesis.settings.load_profile("suite")
# Two processes of one thread are faster than one of two. `make portable` asks for two threads by OMP_NUM_THREADS.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))

FOLDERS = ("isic2017_256", "mhh_covid_cxr", "busi_us256")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images. Without it a test is skipped; where a server promised it, the test fails."""
    root = os.environ.get("MEDADV_DATA", "")
    if not root:
        pytest.skip("MEDADV_DATA is not set: give it the absolute path of the folder of real images")
    missing = [name for name in FOLDERS if not (Path(root) / name / "metadata.csv").is_file()]
    if missing and os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"MEDADV_DATA is {root}, where {', '.join(missing)} cannot be found")
    if missing:
        pytest.skip(f"MEDADV_DATA is {root}, where {', '.join(missing)} cannot be found")
    return Path(root)
