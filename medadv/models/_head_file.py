"""Heads on disk: weights and a few facts in one safetensors file, without the model they sit on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from medadv._atomic import whole_file
from medadv.models._files import check_finite, foreign, hash_weights, parse_json, read_safetensors, told
from medadv.models.head import LinearProbe, ZeroShot, width
from medadv.models.prompt import marked
from medadv.models.vlm import VLM

_log = logging.getLogger(__name__)


def save_head(head: ZeroShot | LinearProbe, *, path: str | Path) -> Path:
    """Write a head, without the model it sits on; what its certificates rest on goes with it.

    Shapes   none.
    Units    none.
    Returns  the path of the safetensors file, which appears whole or not at all.
    Raises   ValueError for anything but a ZeroShot or a LinearProbe; OSError if it cannot be written.
    Source   ours.
    """
    from safetensors.torch import save_file

    if type(head) not in (ZeroShot, LinearProbe):
        raise ValueError(
            f"The 'head' parameter of save_head must be a ZeroShot or a LinearProbe; got {type(head).__name__}. A "
            "learned prompt is kept as prompt.head(); a head that tunes itself on each image cannot be kept as one "
            "that does not: keep the prompt it starts from."
        )
    path = Path(path)
    facts = {"kind": type(head).__name__, "classes": list(head.classes), **kept_marks(head)}
    if isinstance(head, ZeroShot):
        facts["templates"] = list(head.templates)
    state = {name: one.cpu().contiguous() for name, one in head.state_dict().items() if not name.startswith("vlm.")}
    with whole_file(path) as part:
        save_file(state, part, metadata={"medadv_head": json.dumps(facts)})
    return path


def kept_marks(head: Any) -> dict[str, Any]:
    """Put into plain values the model of a head, and what certification asks: its guarantee, the noise it has seen."""
    streams = [[int(seed), str(role)] for seed, role in head.streams]
    model = {"model": head.vlm.name, "weights": hash_weights(head.vlm.model)}
    return {**model, "guarantee": head.guarantee, "streams": streams}


def restore_marks(head: Any, facts: dict[str, Any], path: Path) -> Any:
    """Put them back; a file that does not say them holds a head that was never fitted on noise.

    A model of other weights than the head was made on is logged, whatever its name; a file of before the weights were
    hashed says only the name.
    """
    name, vlm = facts.get("model"), head.vlm
    same = facts["weights"] == hash_weights(vlm.model) if "weights" in facts else name == vlm.name
    if not same:
        other = "other weights of " if name == vlm.name else ""
        _log.warning("the head in %s was made on %s%s and now sits on %s", path, other, told(name, 80), vlm.name)
    try:
        streams = tuple((int(seed), str(role)) for seed, role in facts.get("streams", ()))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} does not say which noise its head was fitted on. Write it with save_head.") from error
    return marked(head, guarantee=str(facts.get("guarantee", "fixed")), streams=streams)


def read_head(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the tensors of a head and the facts beside them, of any kind of head.

    Shapes   none.
    Units    none.
    Returns  (tensors by name, facts: at least kind and classes).
    Raises   ValueError for a file that is damaged, holds no head, or numbers that are not finite.
    Source   ours.
    """
    from safetensors import safe_open

    state = read_safetensors(path)
    with foreign(f"{path} holds no head of this package", "Write one with save_head."):
        with safe_open(str(path), framework="pt") as file:
            said = (file.metadata() or {}).get("medadv_head", "")
        facts = parse_json(said.encode())
    lists = [facts.get("classes"), facts.get("templates", [])] if isinstance(facts, dict) else [None]
    ok = lists[0] and all(isinstance(one, list) and all(isinstance(word, str) for word in one) for one in lists)
    if not ok or not isinstance(facts.get("kind"), str):
        raise ValueError(f"{path} holds no head of this package. Write one with save_head.")
    check_finite(state, where=str(path))
    return state, facts


def load_head(path: str | Path, *, vlm: VLM) -> ZeroShot | LinearProbe:
    """Read a head and put it on a model.

    Shapes   none.
    Units    none.
    Returns  the head on the model's device; a model of other weights is reported by logging.
    Raises   FileNotFoundError, or ValueError for a file that is damaged, no head, or of another size.
    Source   ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No head at {path}. Write one with save_head.")
    state, facts = read_head(path)
    kind, classes = facts["kind"], tuple(facts["classes"])
    rest = {"ZeroShot": "weight", "LinearProbe": "linear.weight"}
    if kind not in rest or rest[kind] not in state or (kind == "LinearProbe" and "linear.bias" not in state):
        raise ValueError(f"{path} holds no head of this package. Write one with save_head.")
    weight = state[rest[kind]]
    size = width(vlm)
    bias = state["linear.bias"] if kind == "LinearProbe" else None
    if weight.shape != (len(classes), size) or (bias is not None and bias.shape != (len(classes),)):
        raise ValueError(
            f"The head in {path} must fit embeddings of size {size}; got weights {tuple(weight.shape)} for "
            f"{len(classes)} classes, made on {told(facts.get('model'), 80)}. Load that model."
        )
    if kind == "ZeroShot":
        made = ZeroShot(vlm, weight, classes=classes, templates=facts.get("templates", ())).eval()
        return restore_marks(made, facts, path)
    head = LinearProbe(vlm, classes=classes)
    head.linear.load_state_dict({"weight": weight, "bias": bias})
    return restore_marks(head.eval(), facts, path)
