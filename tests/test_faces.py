"""What users import: the faces of the packages, and modules that no function of the same name hides."""

from __future__ import annotations

import subprocess
import sys

import medadv


def test_the_loop_is_part_of_the_training_package():
    from medadv.train import fit, loop

    assert fit is loop.fit is medadv.fit


def test_the_package_of_phantoms_is_not_hidden_by_its_function():
    import medadv.data.phantoms as p

    assert "chest" in p.MODALITIES
    assert medadv.phantoms is p.phantoms


def test_threats_on_words_are_as_near_as_threats_on_pixels():
    assert medadv.TextThreat(2).words == 2


def test_a_fresh_interpreter_finds_every_package():
    rooms = ("attacks", "certify", "data", "evaluate", "models", "objective", "reports", "train")
    asked = f"import medadv; rooms = [getattr(medadv, name) for name in {rooms}]; "
    asked += "[getattr(room, name) for room in rooms for name in getattr(room, '__all__', dir(room))]"
    subprocess.run([sys.executable, "-W", "ignore", "-c", asked], check=True, timeout=300)
