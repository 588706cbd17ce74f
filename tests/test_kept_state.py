"""What a long run keeps to go on with, and generators that depend on their keys alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medadv._random import generator
from medadv._resume import DAMAGED, alike, read_state, write_state


def test_a_state_comes_back_with_its_facts(tmp_path):
    state = {"clean": torch.randn(3, 2).T, "number": torch.arange(4)}
    path = write_state(tmp_path / "run" / "state", state, key="k")
    there, facts = read_state(path)
    assert facts == {"key": "k"}
    assert there.keys() == state.keys()
    assert all(torch.equal(there[name], state[name]) for name in state)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DAMAGED):
        read_state(path)


def test_logits_of_another_machine_are_alike_and_others_are_not():
    here = torch.tensor([[1.0, torch.nan]])
    assert alike(here + 1e-3, here)
    assert not alike(here + 1.0, here)
    assert not alike(here[:, :1], here)
    assert not alike(None, here)


def test_a_generator_depends_on_its_seed_and_its_keys():
    def drawn(*keys):
        return torch.rand(3, generator=generator(*keys)).tolist()

    assert drawn(7) == torch.rand(3, generator=torch.Generator().manual_seed(7)).tolist()
    assert drawn(7, 1, 2) == drawn(7, 1, 2)
    assert len({tuple(drawn(*keys)) for keys in ((7,), (7, 1), (7, 2), (7, 1, 2), (8, 1, 2))}) == 5
    seed = int(np.random.SeedSequence((7, 1, 2)).generate_state(1)[0])
    assert generator(7, 1, 2).initial_seed() == seed
