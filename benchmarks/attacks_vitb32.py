"""What a step of PGD costs on a model of real size: time and memory of ViT-B/32 at 224 pixels, fp32 and bf16.

    python benchmarks/attacks_vitb32.py                    # writes results/attacks_vitb32.json and .md
    python benchmarks/attacks_vitb32.py --device cuda      # writes results/attacks_vitb32_cuda.json and .md

The weights are random: a step costs the same. PGD with nobody leaving, on 20 classes whose text is not needed. In bf16
the tower runs under autocast; loss, sign and projection stay in fp32. Beside it, bare passes of the same model.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import open_clip
import torch
from _measure import peak, reset_peak, timed
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from medadv._atomic import write_text
from medadv._provenance import provenance
from medadv.attacks import pgd
from medadv.objective import classify
from medadv.threat import Threat

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Head(nn.Module):
    """Pixels in [0, 1] to the logits of 20 random sentences."""

    mean: Tensor
    std: Tensor
    text: Tensor

    def __init__(self, name: str, dtype: torch.dtype):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.visual = open_clip.create_model(name, pretrained=None).visual
            text = F.normalize(torch.randn(20, self.visual.output_dim), dim=-1)
        for key, value in (("text", text), ("mean", torch.tensor(MEAN)), ("std", torch.tensor(STD))):
            self.register_buffer(key, value)
        self.dtype = dtype

    def forward(self, image: Tensor) -> Tensor:
        image = (image - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)
        with torch.autocast(image.device.type, self.dtype, enabled=self.dtype != torch.float32):
            embedding = self.visual(image)
        return 100 * F.normalize(embedding.float(), dim=-1) @ self.text.T


def row(name: str, dtype: str, *, batch: int, steps: int, repeats: int, size: int, device: str, threads: int) -> dict:
    """Time one batch size: a step of PGD, and a bare forward and backward pass. Its memory is a process's own."""
    torch.set_num_threads(threads)
    place = torch.device(device)
    head = Head(name, getattr(torch, dtype)).eval().to(place)
    image = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(place)
    label = torch.zeros(batch, dtype=torch.int64, device=place)
    threat = Threat.parse("linf:4/255")

    def attack(steps: int = steps) -> None:
        pgd(classify(head, label), image, threat, steps=steps, stop=False, random_start=False)

    def bare() -> None:
        for _ in range(steps):
            x = image.detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(head(x), label, reduction="sum"), x)
        with torch.no_grad():
            head(image)  # pgd scores its last point too

    held = reset_peak(place)
    attack(1)  # the first pass, before the allocator has kept anything
    top = peak(place)
    times: dict[str, list[float]] = {"pgd": [], "bare": []}
    for turn in range(repeats):
        for one in ("pgd", "bare") if turn % 2 else ("bare", "pgd"):
            times[one].append(timed({"pgd": attack, "bare": bare}[one], place)[1])
    ratios = [a / b for a, b in zip(times["pgd"], times["bare"], strict=True)]
    step = median(times["pgd"]) / steps
    return {
        "dtype": dtype,
        "batch": batch,
        "ms_per_step": round(1000 * step, 1),
        "images_per_second_and_step": round(batch / step, 1),
        "over_bare_passes": round(median(ratios), 3),
        "weights_MB": round(sum(p.numel() * p.element_size() for p in head.parameters()) / 1e6, 1),
        "peak_MB_above_idle": None if held is None or top is None else round((top - held) / 1e6, 1),
    }


def main() -> None:
    """Time all rows and record the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32", help="any open_clip architecture")
    parser.add_argument("--batch", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device, rows = torch.device(options.device), []
    shared = {key: getattr(options, key) for key in ("steps", "repeats", "size", "device", "threads")}
    for dtype, batch in tqdm([(dtype, batch) for dtype in options.dtypes for batch in options.batch]):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            rows.append(fresh.submit(row, options.model, dtype, batch=batch, **shared).result())
    about = provenance(seed=0, device=device)
    about["command"] = "python benchmarks/" + about["command"]
    about |= {"model": options.model, "size": options.size, "threads": options.threads}
    about["clock"] = "processor seconds" if device.type == "cpu" else "wall seconds, synchronised"
    name = "attacks_vitb32.json" if device.type == "cpu" else f"attacks_vitb32_{device.type}.json"
    out = options.out or Path(__file__).parent / "results" / name
    write_text(out, json.dumps({"provenance": about, "rows": rows}, indent=1) + "\n")
    lines = [f"`{about['command']}`, {about['date']}, {about['device']}, {about['clock']}\n",
             "| " + " | ".join(key.replace("_", " ") for key in rows[0]) + " |", "|---" * len(rows[0]) + "|",
             *("| " + " | ".join(map(str, one.values())) + " |" for one in rows)]  # fmt: skip
    write_text(out.with_suffix(".md"), "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
