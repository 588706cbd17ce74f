"""Drawings that several chapters share give pictures, and say in words what they show."""

from __future__ import annotations

import torch

from medadv.course import plots
from medadv.course.figures import Figure, show
from medadv.evaluate.metrics import wilson

CLASSES = ("chest/normal", "chest/opacity", "chest/nodule", "fundus/normal")


def test_plots():
    found = {"a": {"x": wilson(8, 10), "y": wilson(2, 10)}, "b": {"x": wilson(5, 10), "y": wilson(0, 10)}}
    said = plots.say(found)
    assert said == "X in percent: a 80, b 50. Y in percent: a 20, b 0."
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    logits = torch.tensor([0.0, 9.0, 0.0, 0.0])
    assert plots.read_aloud(logits, CLASSES, true=1).endswith("which is right.")
    assert "the truth being chest/normal" in plots.read_aloud(logits, CLASSES, true=0)
    pictures = [
        plots.bars(found, chance=0.5),
        plots.curves([1, 2], {"a": [wilson(1, 2), wilson(2, 2)]}, xlabel="x"),
        plots.lines((1, 10), {"a": [0.1, 0.2]}, xlabel="x", ylabel="y", log="xy", limits=(0.01, 1)),
        plots.reading([image[0], image[1]], ["one", "two"], logits, CLASSES, true=1),
        plots.amplified(image[0], image[1]),
    ]
    assert all(isinstance(show(picture, alt=said), Figure) for picture in pictures)
