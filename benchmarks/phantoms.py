"""How fast are phantoms made? Whole samples (scene, captions, picture) a second, on one core, by modality.

python benchmarks/phantoms.py
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch

from medadv._atomic import write_text
from medadv._provenance import provenance
from medadv.data.phantoms import MODALITIES, phantoms


def rate(modalities: tuple[str, ...] | None, *, n: int, size: int, repeats: int) -> float:
    """Return the median number of whole samples a second, after one warm-up."""
    speeds = []
    for k in range(repeats + 1):
        begun = time.perf_counter()
        pairs = phantoms(n, start=k * n, size=size, modalities=modalities)
        for i in range(n):
            pairs.load(i)
        speeds.append(n / (time.perf_counter() - begun))
    return round(median(speeds[1:]), 1)


def main() -> None:
    """Time all modalities, together and one by one, and record the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "phantoms.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    how = {"n": options.n, "size": options.size, "repeats": options.repeats}
    rows = [{"modality": "all", "samples_per_second": rate(None, **how)}]
    rows += [{"modality": name, "samples_per_second": rate((name,), **how)} for name in MODALITIES]
    about = provenance(command="python benchmarks/phantoms.py", seed=0, device="cpu")
    write_text(options.out, json.dumps({"provenance": {**about, **how, "threads": 1}, "rows": rows}, indent=2) + "\n")
    for one in rows:
        print(f"{one['modality']:12} {one['samples_per_second']:8.1f} samples/s")


if __name__ == "__main__":
    main()
