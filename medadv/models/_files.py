"""Other people's weight files: looked at before they are read, compared with the model before they are used.

open_clip only warns when weights are missing; a model that is random without saying so is worse than none.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
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
# The number formats of safetensors in bytes; those of less than a byte are not for weights of these models.
_BYTES = {
    **dict.fromkeys(["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"], 1),
    **dict.fromkeys(["U16", "I16", "F16", "BF16"], 2),
    **dict.fromkeys(["U32", "I32", "F32"], 4),
    **dict.fromkeys(["U64", "I64", "F64", "C64"], 8),
}
_LONGEST_HEADER, _LARGEST_JSON, _DEEPEST = 100_000_000, 20_000_000, 64


def short(error: Exception) -> str:
    """Say in a few words what a library raised: the first line of its message, or its kind."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    line = re.sub(r" object at 0x[0-9a-f]+", "", lines[0]).strip().rstrip(".") if lines else ""
    return f"{type(error).__name__}: {line[:160]}" if line else type(error).__name__


@contextmanager
def foreign(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever a library raises over somebody's file into one sentence.

    Shapes   none.
    Units    none.
    Returns  a context manager. Only calls of libraries belong inside: a mistake in our own code must be seen.
    Raises   ValueError "what (what was raised). remedy" with the error as its cause.
    Source   ours. torch, safetensors, transformers and open_clip raise some thirty kinds over damaged files.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what} ({short(error)}). {remedy}") from error


def listed(names: Iterable[str]) -> str:
    """Name the first two of some tensors; names in a damaged file may be of any length and hold any character."""
    kept = [re.sub(r"[^ -~]", "?", name[:60]) for name in sorted(names)]
    return ", ".join(kept[:2])


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
    raise FileNotFoundError(f"No weights in {folder}: it must hold {' or '.join(names[::4])}; it holds {here}.")


def read_json(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Shapes   none.
    Units    none.
    Returns  the dictionary in it.
    Raises   FileNotFoundError if it is missing, ValueError if it is no JSON dictionary.
    Source   ours; a byte order mark is skipped.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No {path.name} in {path.parent}. Copy it there from where the model was published.")
    if path.stat().st_size > _LARGEST_JSON:
        raise ValueError(f"{path} must be a configuration; got {path.stat().st_size} bytes. Copy the file again.")
    with foreign(f"{path} is not readable as JSON", "Copy the file again."):
        found = parse_json(path.read_bytes())
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON dictionary; got {type(found).__name__}. Copy the file again.")
    return found


def parse_json(content: bytes) -> Any:
    """Parse JSON that is nested less deep than Python's stack."""
    text = content.decode("utf-8-sig")
    steps = (1 if one in "[{" else -1 for one in re.findall(r"[\[\]{}]", text))
    if max(accumulate(steps), default=0) > _DEEPEST:
        raise ValueError(f"nested more than {_DEEPEST} deep")
    return json.loads(text)


def check_safetensors(path: Path) -> None:
    """Compare every number that the header promises with the others and with the size of the file.

    Shapes   none.
    Units    bytes.
    Returns  nothing.
    Raises   ValueError for a file that is empty, cut short, contradicts itself, or is something else.
    Source   the safetensors format: 8 bytes of header length, JSON header, data without holes.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if first[:7] == b"version":
            raise ValueError(f"{path} is a pointer of Git LFS, not the weights. Fetch the file itself (git lfs pull).")
        if len(first) < 8 or length + 8 > size:
            raise ValueError(f"{path} is cut short or no safetensors file ({size} bytes). Download it again.")
        if length > _LONGEST_HEADER:
            raise ValueError(f"{path} has a header of {length} bytes, more than the format allows. Download it again.")
        with foreign(f"{path} has no readable safetensors header", "Download it again."):
            header = parse_json(file.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{path} has no readable safetensors header ({type(header).__name__}). Download it again.")
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(one, str) for one in notes.values()):
        raise ValueError(f"{path} has no readable safetensors header (__metadata__). Download it again.")
    spans = [_span(name, entry, path) for name, entry in header.items()]
    end = max((stop for _, stop in spans), default=0)
    if 8 + length + end != size:
        raise ValueError(
            f"{path} is cut short: {size} bytes where its header says {8 + length + end}. Download it again."
        )
    place = 0
    for start, stop in sorted(spans):
        if start != place:
            raise ValueError(f"{path} holds tensors that overlap or leave holes at byte {place}. Download it again.")
        place = stop


def _span(name: str, entry: Any, path: Path) -> tuple[int, int]:
    """Return where a tensor lies, after its shape, number format and place were found to agree."""
    entry = entry if isinstance(entry, dict) else {}
    shape, place, kind = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    whole = all(
        isinstance(values, list) and all(type(one) is int and 0 <= one < 2**62 for one in values)
        for values in (shape, place)
    )
    bytes_each = _BYTES.get(kind) if isinstance(kind, str) else None
    if not whole or bytes_each is None or len(place) != 2 or place[1] - place[0] != math.prod(shape) * bytes_each:
        raise ValueError(
            f"{path} has a header that contradicts itself: shape {str(shape)[:40]}, dtype {str(kind)[:20]} and "
            f"offsets {str(place)[:50]} of {listed([name])} do not agree. Download it again."
        )
    return place[0], place[1]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dictionary without running any code that may be in the file.

    Shapes   none.
    Units    none.
    Returns  names to tensors on the CPU; a wrapping "state_dict" and a prefix "module." are taken off.
    Raises   ValueError for a file that is cut short, holds code, holds no tensors, or numbers that are not finite.
    Source   safetensors, or torch.load with weights_only=True.
    """
    found: Any
    if path.suffix == ".safetensors":
        found = read_safetensors(path)
    else:
        found = _read_pickle(path)
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{path} holds no table of tensors. Use the weight file of an open_clip or HF CLIP model.")
    odd = [name for name, one in found.items() if not _plain(one)]
    if odd:
        raise ValueError(
            f"{path} holds no table of tensors: {listed(odd)} is none that is stored in full. "
            "Use the weight file of an open_clip or HF CLIP model."
        )
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): one for name, one in found.items()}
    check_finite(found, where=str(path))
    return found


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file whose header was checked; files without any are allowed."""
    from safetensors.torch import load_file

    check_safetensors(path)
    with foreign(f"{path} is damaged", "Download it again."):
        return dict(load_file(path))


def _read_pickle(path: Path) -> Any:
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with foreign(f"{path} is cut short or damaged", "Download it again."), zipfile.ZipFile(path) as whole:
            unpacked = sum(one.file_size for one in whole.infolist())
        if unpacked > size:  # torch stores without compressing
            raise ValueError(f"{path} unpacks to {unpacked} bytes from {size}. Use a safetensors file instead.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, or is damaged, and would have to run code to be read. "
            "Use a safetensors file, or download it again."
        ) from error
    except Exception as error:  # as `foreign`: torch raises many kinds over a damaged archive
        raise ValueError(
            f"{path} is cut short or damaged ({size} bytes; {short(error)}). Download it again."
        ) from error


def _plain(one: Any) -> bool:
    """Tell whether something is a dense tensor whose every number is stored; one number may pretend to be many."""
    return (
        isinstance(one, Tensor)
        and one.layout == torch.strided
        and one.device.type == "cpu"
        and not one.is_quantized
        and one.numel() * one.element_size() <= one.untyped_storage().nbytes()
    )


def check_finite(state: dict[str, Tensor], *, where: str) -> None:
    """Refuse weights with NaN or infinity: a model that holds them answers with NaN, and NaN has a largest class.

    Shapes   any.
    Units    none.
    Returns  nothing.
    Raises   ValueError that counts and names the tensors.
    Source   ours. Numbers beyond float32 count as infinite, as the model computes in it.
    """
    bad = [
        name
        for name, one in state.items()
        if (one.is_floating_point() or one.is_complex())
        and not torch.isfinite(one if one.is_complex() else one.float()).all()
    ]
    if bad:
        raise ValueError(
            f"The weights in {where} must be finite numbers; got NaN or infinity in {len(bad)} tensor(s) "
            f"({listed(bad)}). Take a checkpoint from before the training diverged, or download the file again."
        )


def check_fit(own: dict[str, Tensor], state: dict[str, Tensor], *, where: str) -> None:
    """Compare weights with the architecture that they should fill; the architecture may be on the meta device.

    Shapes   as in the model.
    Units    none.
    Returns  nothing.
    Raises   ValueError that counts and names what is missing, left over, of another shape or number format, and for
             values that no model has (a variance below 0, a temperature that overflows).
    Source   ours.
    """
    missing, extra = own.keys() - state.keys(), state.keys() - own.keys()
    both = own.keys() & state.keys()
    other = [name for name in both if own[name].shape != state[name].shape]
    kind = [name for name in both if own[name].is_floating_point() != state[name].is_floating_point()]
    said = [("missing", missing), ("left over", extra), ("of another shape", other), ("of another number format", kind)]
    what = "; ".join(f"{len(names)} {fault} ({listed(names)})" for fault, names in said if names)
    if what:
        raise ValueError(
            f"The weights in {where} must fit the architecture of its configuration; got {what}. "
            "Take weights and configuration from one and the same model."
        )
    below = [name for name in both if name.endswith("running_var") and state[name].numel() and state[name].min() < 0]
    if "logit_scale" in both and not torch.isfinite(state["logit_scale"].float().exp()).all():
        below.append("logit_scale")
    if below:
        raise ValueError(
            f"The weights in {where} must hold variances of at least 0 and a logit_scale whose exponential is finite; "
            f"got others in {listed(below)}. Download the file again."
        )


def fill(model: nn.Module, state: dict[str, Tensor], *, where: str) -> None:
    """Copy weights into a model if, and only if, names and shapes are exactly those of the model.

    Shapes   as in the model.
    Units    none.
    Returns  nothing; the model is changed in place.
    Raises   ValueError that counts and names what is missing, left over, or of another shape.
    Source   ours.
    """
    check_fit(model.state_dict(), state, where=where)
    check_finite(state, where=where)
    model.load_state_dict(state, strict=True)


def hash_weights(model: nn.Module) -> str:
    """Hash the weights of a model, wherever it is: two models of one name may hold other numbers.

    Shapes   any.
    Units    none.
    Returns  16 hexadecimal digits over names, shapes, number formats and values, in the order of the names.
    Raises   nothing.
    Source   ours, blake2b.
    """
    total = hashlib.blake2b(digest_size=8)
    for name, one in sorted(model.state_dict().items()):
        values = one.detach().cpu().contiguous()
        total.update(f"{name} {tuple(values.shape)} {values.dtype}\n".encode())
        total.update(values.reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()
