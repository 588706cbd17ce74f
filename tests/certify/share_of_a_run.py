"""One process of a run, as test_smooth_processes.py starts it: python share_of_a_run.py LOG [copies to live for]."""

from __future__ import annotations

import os
import sys

import torch
from linear import Linear, Prototypes, Tower, images

from medadv.certify.shards import processes
from medadv.certify.smooth import certify


class Mortal(Linear):
    """Kills its process without any goodbye once it has seen so many noisy copies."""

    life = float("inf")

    def forward(self, image):
        if self.calls >= self.life:
            os.kill(os.getpid(), 9)
        return super().forward(image)


if __name__ == "__main__":
    torch.set_num_threads(1)
    head = Mortal()
    head.life = float(sys.argv[2]) if len(sys.argv) > 2 else head.life
    heads = {"far": head, "near": Prototypes(Tower(), 1, classes=2)}
    certify(heads, images(7), sigma=0.4, n0=50, n=150, labels=[0, 1, 0, 1, 0, 1, 0], file=sys.argv[1],
            shard=processes(), progress=False)  # fmt: skip
