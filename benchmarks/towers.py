"""Which image tower should the tiny Med-VLM have? Time small open_clip towers at 64 px on this machine.

    python benchmarks/towers.py

For each: parameters, and the median milliseconds for 128 images of a forward pass, of an attack step (forward and
gradient
to the pixels) and of a training step (forward and gradient to the weights).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch
from open_clip.model import CLIP
from tqdm.auto import tqdm

from medadv._atomic import write_text
from medadv._provenance import provenance
from medadv.models import tiny

TEXT = tiny.CONFIG["model_cfg"]["text_cfg"]
TOWERS = {
    "tiny (shipped)": tiny.CONFIG["model_cfg"]["vision_cfg"],
    "ResNet 1-1-1-1 width 24": {"layers": [1, 1, 1, 1], "width": 24, "head_width": 32},
    "ViT patch 8 width 128 layers 4": {"layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
    "ViT patch 16 width 192 layers 6": {"layers": 6, "width": 192, "head_width": 48, "patch_size": 16},
    **{name: {"timm_model_name": name, "timm_pool": "avg", "timm_proj": "linear"} for name in (
        "edgenext_xx_small", "convnext_atto", "mobilenetv2_050", "regnetx_002",
    )},
}  # fmt: skip


def milliseconds(run, *, repeats: int) -> float:
    """Return the median time of a call after one warm-up."""
    run()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return round(1000 * median(times), 1)


def row(name: str, vision: dict, *, batch: int, repeats: int) -> dict:
    """Time one tower."""
    model = CLIP(128, {"image_size": 64, **vision}, TEXT).eval()
    image = torch.rand(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def forward():
        with torch.no_grad():
            model.encode_image(image)

    def attack():
        pixels = image.clone().requires_grad_()
        torch.autograd.grad(model.encode_image(pixels).sum(), pixels)

    def train():
        weights = list(model.visual.parameters())
        torch.autograd.grad(model.encode_image(image).sum(), weights, allow_unused=True)

    return {
        "tower": name,
        "parameters_M": round(sum(p.numel() for p in model.visual.parameters()) / 1e6, 2),
        "forward_ms": milliseconds(forward, repeats=repeats),
        "attack_step_ms": milliseconds(attack, repeats=repeats),
        "training_step_ms": milliseconds(train, repeats=repeats),
    }


def main() -> None:
    """Time all towers and record the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "towers.json")
    options = parser.parse_args()
    rows = [row(name, vision, batch=options.batch, repeats=options.repeats) for name, vision in tqdm(TOWERS.items())]
    about = provenance(command="python benchmarks/towers.py", seed=0, device="cpu")
    about["threads"] = torch.get_num_threads()
    write_text(options.out, json.dumps({"provenance": about, "rows": rows}, indent=2) + "\n")
    for one in rows:
        print("  ".join(f"{key} {value}" for key, value in one.items()))


if __name__ == "__main__":
    main()
