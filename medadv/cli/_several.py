"""Several processes for one command, one for each device: Lightning Fabric starts them and makes them wait."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any


def check_devices(devices: int, *, shard: str | None, seconds: float | None, out: Path | None) -> None:
    """Refuse what does not go with several processes, before any is started."""
    if devices == 1:
        return
    other = "--shard" if shard is not None else "--seconds" if seconds is not None else None
    if other:
        raise ValueError(f"The --devices option shares the images itself, so {other} must be left out. Remove one.")
    if out is None:
        raise ValueError("The --devices option needs a folder that all processes write to. Add --out FOLDER.")


def started(devices: int, device: str) -> Any:
    """Run this command once for each device; every process comes out of here with a Fabric that knows which it is."""
    from medadv._device import pick

    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        raise ValueError("The --devices option needs Lightning Fabric. Run: pip install 'medadv[full]'.") from error
    kind = pick(device).type
    if kind == "mps":
        raise ValueError("The --devices option needs CPU or CUDA devices; mps is a single one. Leave it out.")
    patient = DDPStrategy(timeout=timedelta(days=30))  # who has little left to do waits for the others, however long
    fabric = Fabric(accelerator=kind, devices=devices, strategy=patient)
    fabric.launch()
    return fabric
