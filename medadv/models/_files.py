"""Other people's weight files: looked at before they are read, compared with the model before they are used.

open_clip only warns when weights are missing; a model that is random without saying so is worse than none.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# open_clip's own order first, then that of transformers.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)


def find_weights(folder: Path, *, names: tuple[str, ...] = WEIGHTS) -> Path:
    """Find the weight file of a model folder.

    Shapes   none.
    Units    none.
    Returns  the first of the known names that is there.
    Raises   FileNotFoundError if there is none.
    Source   the order of open_clip.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    here = ", ".join(sorted(one.name for one in folder.iterdir())[:12]) or "nothing"
    raise FileNotFoundError(f"No weights in {folder}: it must hold {names[0]} or {names[-4]}; it holds {here}.")


def read_json(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Shapes   none.
    Units    none.
    Returns  the dictionary in it.
    Raises   FileNotFoundError if it is missing, ValueError if it is no JSON dictionary.
    Source   ours.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No {path.name} in {path.parent}. Copy it there from where the model was published.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable as JSON ({error}). Copy the file again.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON dictionary; got {type(found).__name__}. Copy the file again.")
    return found


def check_safetensors(path: Path) -> None:
    """Compare what the header promises with the size of the file.

    Shapes   none.
    Units    bytes.
    Returns  nothing.
    Raises   ValueError for a file that is empty, cut short, or something else.
    Source   the safetensors format: 8 bytes of header length, JSON header, data.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if first[:7] == b"version":
            raise ValueError(f"{path} is a pointer of Git LFS, not the weights. Fetch the file itself (git lfs pull).")
        if len(first) < 8 or length + 8 > size:
            raise ValueError(f"{path} is cut short or no safetensors file ({size} bytes). Download it again.")
        try:
            header = json.loads(file.read(length))
            end = max((one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} has no readable safetensors header. Download it again.") from error
    if 8 + length + end != size:
        raise ValueError(
            f"{path} is cut short: {size} bytes where its header says {8 + length + end}. Download it again."
        )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dictionary without running any code that may be in the file.

    Shapes   none.
    Units    none.
    Returns  names to tensors on the CPU; a wrapping "state_dict" and a prefix "module." are taken off.
    Raises   ValueError for a file that is cut short, holds code, or holds no tensors.
    Source   safetensors, or torch.load with weights_only=True.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        check_safetensors(path)
        return dict(load_file(path))
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, or is damaged, and would have to run code to be read. "
            "Use a safetensors file, or download it again."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is cut short or damaged ({path.stat().st_size} bytes). Download it again.") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(one, Tensor) for one in found.values()):
        raise ValueError(f"{path} holds no table of tensors. Use the weight file of an open_clip or HF CLIP model.")
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): one for name, one in found.items()}
    return found


def fill(model: nn.Module, state: dict[str, Tensor], *, where: str) -> None:
    """Copy weights into a model if, and only if, names and shapes are exactly those of the model.

    Shapes   as in the model.
    Units    none.
    Returns  nothing; the model is changed in place.
    Raises   ValueError that counts and names what is missing, left over, or of another shape.
    Source   ours.
    """
    own = model.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    other = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if missing or extra or other:
        said = [("missing", missing), ("left over", extra), ("of another shape", other)]
        what = "; ".join(f"{len(names)} {kind} ({', '.join(names[:2])})" for kind, names in said if names)
        raise ValueError(
            f"The weights in {where} must fit the architecture of its configuration; got {what}. "
            "Take weights and configuration from one and the same model."
        )
    model.load_state_dict(state, strict=True)
