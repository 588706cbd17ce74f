"""HopSkipJump and DDN beside the same attacks of other libraries, on a small world."""

from __future__ import annotations

import pytest
import torch
from _measure import Counted
from _peers import get, minimal_peers
from published import world
from searches import _distance, _judge, _rows, hopskipjump_of_art

from medadv.attacks import ddn, hopskipjump
from medadv.objective import classify
from medadv.threat import Threat


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_hopskipjump_comes_as_near_as_that_of_art_for_as_many_queries(norm):
    if get("art") is None:
        pytest.skip("adversarial-robustness-toolbox is not installed; benchmarks/README.md says how to have it")
    model, image, label = world(4)
    took: dict = {}
    ours = []
    for seed in range(2):
        counted = Counted(model).eval()
        theirs = hopskipjump_of_art(norm, 4)(counted, image, label, seed)
        _judge(took, "ART", model, image, theirs, label, norm, 1.0, counted)
        queries, noise = counted.forwards // len(image), torch.Generator().manual_seed(seed)
        found = hopskipjump(classify(model, label), image, Threat(norm, 1e-6), queries=queries, generator=noise)
        assert found.cost.forwards <= counted.forwards
        ours.append(found.eps)

    def ratio(key):
        return float((torch.cat(ours) / torch.cat(took["ART"][key])).log().mean().exp())

    assert ratio("distance") < 1, "ART returns the point of its last step, which lies behind the boundary"
    # Both draw at random: on a few images another seed changes a fifth.
    assert ratio("led_back") < 1.4


@pytest.mark.parametrize("library", ["adv_lib ddn", "foolbox ddn"])
def test_ddn_comes_as_near_as_that_of_others(library):
    if library not in minimal_peers():
        pytest.skip(f"{library} is not installed; benchmarks/README.md says how to have it")
    model, image, label = world(16)
    ours = ddn(classify(model, label), image, steps=50)
    theirs = minimal_peers()[library](model, image, label, steps=50)
    distance = _distance(model, image, theirs, label, "l2")
    assert ours.won.all()
    assert float(ours.eps.median()) <= 1.02 * float(distance.median())


def test_ratios_are_ours_over_theirs_image_by_image():
    took = {
        runner: {"distance": [torch.tensor(far)], "led_back": [], "seconds": [s], "forwards": [5], "backwards": [2]}
        for runner, far, s in (("medadv", [1.0, 2.0], 3.0), ("other", [2.0, 4.0], 6.0))
    }
    ours, other = _rows(took, {"part": "ddn"})
    assert "ratio_distance" not in ours
    assert (other["ratio_distance"], other["ratio_seconds"]) == (0.5, [0.5, 0.5, 0.5])
    assert (ours["distance"], other["failed"]) == (1.0, 0)
