"""Phantoms: synthetic medical images with physics in them, for everything that must run without a download.

One file per modality. Each says which findings it knows, draws a scene (all geometry in unit coordinates, so the
same parameters give any size), renders it, and states the facts from which captions are written.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from medadv.data.pairs import Pairs
from medadv.data.phantoms._scene import ATTRIBUTES, MODALITIES, Controls, Scene, picture, scene

__all__ = ["ATTRIBUTES", "MODALITIES", "Controls", "Scene", "phantoms", "picture", "scene"]


def phantoms(
    n: int,
    *,
    seed: int = 0,
    size: int = 64,
    start: int = 0,
    modalities: tuple[str, ...] | None = None,
    controls: Controls | None = None,
    group_by: str = "sex",
) -> Pairs:
    """Make a phantom data set. Sample i depends on (seed, i) and the controls alone, not on n, size or order.

    Shapes   images (3, size, size), masks (1, size, size).
    Units    size in pixels, 32 to 512; images in [0, 1].
    Returns  Pairs over samples start to start + n - 1; samples 2p and 2p + 1 are one patient.
    Raises   ValueError for a size out of range or an unknown modality.
    Source   ours; the physics of each modality is told in its file.
    """
    if n < 0 or start < 0:
        raise ValueError(f"The 'n' and 'start' parameters of phantoms must not be negative; got {n} and {start}.")
    if not 32 <= size <= 512:
        raise ValueError(f"The 'size' parameter of phantoms must be from 32 to 512; got {size}. Resize afterwards.")
    chosen = tuple(MODALITIES) if modalities is None else tuple(modalities)
    if not chosen or any(name not in MODALITIES for name in chosen):
        raise ValueError(f"The 'modalities' parameter of phantoms must be among {list(MODALITIES)}; got {chosen}.")
    make = partial(scene, seed=seed, modalities=chosen, controls=controls or Controls())
    classes = [(name, finding) for name in chosen for finding in MODALITIES[name].PROMPTS]
    return Pairs(
        name=f"phantoms (seed {seed}, {size} px)",
        classes=tuple(f"{name}/{finding}" for name, finding in classes),
        rows=tuple(make(i).row for i in range(start, start + n)),
        load=partial(_load, make, size, start),
        prompts=tuple(MODALITIES[name].PROMPTS[finding] for name, finding in classes),
        group_by=group_by,
        domains=tuple(name for name, _ in classes),
    )


def _load(make, size: int, start: int, i: int) -> tuple[Tensor, Tensor]:
    return picture(make(start + i, words=False), size)
