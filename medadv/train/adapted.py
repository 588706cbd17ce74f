"""An adapted model on disk: a model folder that open_clip's layout fits, its head, and how it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from medadv._atomic import write_text
from medadv._provenance import provenance
from medadv.models import load_head, save_folder, save_head
from medadv.models._files import WEIGHTS, read_json
from medadv.models._folder import FACTS, check_hashes, sha256
from medadv.models._head_file import read_head
from medadv.models.pooled import PooledProbe, load_pooled, save_pooled
from medadv.models.vlm import VLM
from medadv.train.adapt import Adapted

HEAD = "head.safetensors"


def save_adapted(adapted: Adapted, folder: str | Path, *, facts: dict[str, Any] | None = None) -> Path:
    """Write an adapted model so that "local-dir:FOLDER" reads it and `load_adapted` reads its head too.

    Shapes   none.
    Units    none.
    Returns  the folder; every file is whole or not there, adapted.json is written last.
    Raises   OSError if the folder cannot be written, ValueError if the model's configuration is not known.
    Source   ours; `facts` (what data, which command) are kept in adapted.json beside the candidates and the
             choice.
    """
    folder = save_folder(adapted.vlm, folder=folder)
    adapted.vlm.name = f"local-dir:{folder}"  # what it is from now on; the head remembers it
    if isinstance(adapted.head, PooledProbe):
        save_pooled(adapted.head, path=folder / HEAD)
    else:
        save_head(adapted.head, path=folder / HEAD)  # type: ignore[arg-type]
    whole = {
        "classes": list(adapted.classes),
        "method": adapted.method,
        "chosen": adapted.chosen,
        "tried": list(adapted.tried),
        **(facts or {"versions": provenance(device=adapted.vlm.device)}),
        "sha256": {name: sha256(folder / name) for name in (WEIGHTS[0], HEAD)},
    }
    write_text(folder / FACTS, json.dumps(whole, indent=1) + "\n")
    return folder


def load_adapted(path: str | Path, *, vlm: VLM) -> tuple[nn.Module, tuple[str, ...]]:
    """Read the head of an adapted model and put it on the model.

    Shapes   none.
    Units    none.
    Returns  (head, classes): pixels (B, 3, H, W) to logits (B, K), and the names of the K classes.
    Raises   FileNotFoundError if there is no head; ValueError if it is damaged or was made on another model.
    Source   ours; path is the folder or the head's own file.
    """
    path = Path(path)
    file = path / HEAD if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"No head at {file}. Make one with medadv train.")
    if file.name == HEAD:
        check_hashes(file.parent, file=file, warn=False)  # the weights' turn came in load
    if read_head(file)[1]["kind"] == "PooledProbe":
        probe = load_pooled(file, vlm=vlm)
        return probe, probe.classes
    head = load_head(file, vlm=vlm)
    facts = file.parent / FACTS
    classes = read_json(facts).get("classes") if facts.is_file() else list(head.classes)
    if not isinstance(classes, list) or list(map(type, classes)) != [str] * len(head.classes):
        raise ValueError(f"{facts} must name the {len(head.classes)} classes of its head. Copy the whole folder again.")
    return head, tuple(classes)


def adapted_folder(name: str) -> Path | None:
    """Return the folder of a "local-dir:FOLDER" name if it holds a head, else None.

    Shapes   none.
    Units    none.
    Returns  path or None.
    Raises   nothing.
    Source   ours.
    """
    kind, _, rest = name.partition(":")
    folder = Path(rest).expanduser() if kind == "local-dir" else None
    return folder if folder is not None and (folder / HEAD).is_file() else None
