"""A small random Med-VLM and a small folder of images, made by the tests that need a whole program to run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def write_model(folder: Path, seed: int = 0) -> Path:
    """Write a random CLIP in the folder layout of open_clip."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**CONFIG)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    half = {"mean": [0.5] * 3, "std": [0.25] * 3}
    whole = {"model_cfg": CONFIG, "preprocess_cfg": half}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    return folder


def write_images(folder: Path, n: int = 48, seed: int = 0) -> Path:
    """Write n images: red naevi and blue melanomas, two images a patient, projection going with the label."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        patient = i // 2
        label, split = patient % 2, ("train", "train", "val", "test")[(patient // 2) % 4]
        pixels = rng.integers(0, 120, size=(40, 40, 3))
        pixels[..., 2 * label] += 100
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{i}.png")
        rows.append(
            {
                "image": f"images/{i}.png",
                "patient_id": f"p{patient}",
                "split": split,
                "label": ("naevus", "melanoma")[label],
                "label_id": label,
                "projection": "ap" if label or patient % 5 == 0 else "pa",
                "sex": ("female", "male")[patient % 3 % 2],
                "caption": f"A picture of a {('naevus', 'melanoma')[label]}.",
                "licence": "CC0-1.0",
            }
        )
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder
