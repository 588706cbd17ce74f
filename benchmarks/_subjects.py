"""The three classifiers every attack is run on: the shipped tiny Med-VLM, and two hardened copies of it.

    python benchmarks/_subjects.py    # trains the two copies (some minutes each) and keeps them under benchmarks/.cache

Hardened means: the image tower went on learning on phantoms that one random-start gradient step had moved (Wong et al.
2020, arXiv 2001.03994), against the same fixed sentences. They are made for timing attacks, not as examples of defence.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medadv.attacks.gradient import pgd
from medadv.data.phantoms import phantoms
from medadv.models import load
from medadv.models.head import ZeroShot
from medadv.objective import classify
from medadv.threat import Threat
from medadv.train.loop import fit
from medadv.types import Batch

CACHE = Path(__file__).parent / ".cache"
HELD_OUT = 1_000_000
# name: (what it was hardened against, steps of hardening, what it is attacked with)
SUBJECTS = {
    "plain": (None, 0, "linf:8/255"),
    "half-robust": ("linf:1/255", 150, "linf:2.25/255"),
    "robust": ("linf:4/255", 250, "linf:2.25/255"),
}


def subject(name: str, *, seed: int = 0, device: str = "cpu", progress: bool = True) -> tuple[ZeroShot, Threat]:
    """Return the classifier and the threat it is attacked with; harden it once and keep it."""
    against, steps, threat = SUBJECTS[name]
    head = zero_shot()
    if against is not None:
        kept = CACHE / f"{name}-{against.replace('/', '_').replace(':', '_')}-{steps}-{seed}.pt"
        if not kept.is_file():
            harden(head, Threat.parse(against), steps=steps, seed=seed, progress=progress)
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.save(head.state_dict(), kept)
        head.load_state_dict(torch.load(kept, weights_only=True))
    return head.eval().to(device), Threat.parse(threat)


def zero_shot() -> ZeroShot:
    """The shipped tiny Med-VLM with one sentence for each class."""
    return ZeroShot.from_prompts(load("tiny"), phantoms(1, seed=0, size=64).prompts)


def harden(head: ZeroShot, threat: Threat, *, steps: int, seed: int, images: int = 3000, progress: bool = True) -> None:
    """Let the image tower learn from moved images, against fixed sentences."""
    data = phantoms(images, seed=seed + 1, size=64)
    painted = data.batch(range(images)).image  # once; painting a batch takes as long as a step of training
    data = replace(data, load=lambda i: (painted[i], None))

    def step(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        noise = torch.Generator().manual_seed(int(batch.index[0]))
        want = classify(head, batch.label)
        moved = pgd(want, batch.image, threat, steps=1, step=1.25 * threat.eps, stop=False, generator=noise).image
        return {"loss": F.cross_entropy(head(moved), batch.label)}

    tower = head.vlm.model.visual
    fit(tower, data, step, steps=steps, batch_size=64, lr=1e-3, seed=seed, progress=progress)


def correct_images(head: ZeroShot, *, many: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Held-out phantoms that the subject gets right, and their classes."""
    device = next(head.parameters()).device
    batch = phantoms(2 * many + 32, seed=seed, size=64, start=HELD_OUT).batch(range(2 * many + 32)).to(device)
    with torch.no_grad():
        right = (head(batch.image).argmax(1) == batch.label).nonzero().flatten()[:many]
    if len(right) < many:
        raise RuntimeError(f"The subject gets only {len(right)} of {2 * many + 32} phantoms right; {many} are needed.")
    return batch.image[right], batch.label[right]


def main() -> None:
    """Harden both copies and say how they do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SUBJECTS))
    for name in parser.parse_args().names:
        head, _ = subject(name)
        held = phantoms(256, seed=0, size=64, start=HELD_OUT).batch(range(256))
        with torch.no_grad():
            right = float((head(held.image).argmax(1) == held.label).float().mean())
        image, label = correct_images(head, many=128)
        left = {}
        for eps in (1, 2, 2.25, 3, 4, 8):
            found = pgd(classify(head, label), image, Threat("linf", eps / 255), generator=torch.Generator())
            left[eps] = round(1 - float(found.won.float().mean()), 3)
        print(f"{name}: accuracy {right:.3f}; PGD-20 at eps / 255 leaves {left} of those", flush=True)


if __name__ == "__main__":
    main()
