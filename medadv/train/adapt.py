"""From a general Med-VLM to one hospital's question: a probe, a tuned image tower, or contrastive tuning on
captions.

Several candidates are trained on the train split and the validation split chooses; the test split is not seen
here. On disk an adapted model is a model folder that open_clip's layout fits, its head, and how it was made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from medadv._atomic import write_text
from medadv._fingerprint import digest, image_mark, told_apart
from medadv._labels import as_logits, check_scores
from medadv._provenance import provenance
from medadv._quiet import quiet
from medadv._random import generator
from medadv.data.pairs import Pairs
from medadv.data.tidy import cache, grouped_folds
from medadv.models import load_head, save_folder, save_head
from medadv.models._files import WEIGHTS, read_json
from medadv.models._folder import FACTS, check_hashes, sha256
from medadv.models._head_file import read_head
from medadv.models.head import ZeroShot
from medadv.models.pooled import PooledProbe, install, load_pooled, pooled_features, save_pooled, solve
from medadv.models.vlm import VLM
from medadv.train.augment import augment
from medadv.train.loop import Step, draws, fit
from medadv.train.supervised import balanced_step, same_text_contrastive
from medadv.types import Batch

METHODS = ("probe", "finetune", "contrastive")
HEAD = "head.safetensors"
"""File of the head in the folder of an adapted model."""
_STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3)


@dataclass(frozen=True)
class Adapted:
    """A model made for one question, and how it was chosen."""

    vlm: VLM
    head: nn.Module
    """Pixels (B, 3, H, W) to logits (B, K)."""
    classes: tuple[str, ...]
    method: str
    tried: tuple[dict[str, Any], ...]
    """Every candidate with its macro AUC on the validation split, in the order of training."""
    chosen: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        what = f"{self.vlm.name}, {self.method}, {len(self.classes)} classes"
        return f"Adapted({what}, val macro AUC {self.chosen['val']:.3f})"


def adapt(
    vlm: VLM,
    train: Pairs,
    val: Pairs,
    *,
    method: str = "auto",
    steps: int = 500,
    lr: float | Sequence[float] = (1e-4, 3e-4),
    strength: Sequence[float] = _STRENGTHS,
    batch_size: int = 64,
    upright: bool = False,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Adapted:
    """Adapt a model to labelled images; the choice among candidates is made on `val` alone.

    Shapes   images of one size in both data sets; K classes.
    Units    lr at its peak, one candidate for each; strength is C of the probe; steps of batch_size images.
    Returns  Adapted; the model given stays as it was. `method` is probe (linear, on frozen features of every
             depth), finetune (the same head, then the image tower with it), contrastive (both towers,
             captions) or auto (probe and finetune). With `checkpoint`, a folder, a killed run goes on where
             it was.
    Raises   ValueError for an unknown method or data whose labels show fewer than two classes.
    Source   Kumar et al. 2022, arXiv 2202.10054 (first the probe, then the tower); Yang et al. 2022, arXiv
             2204.03610.
    """
    if method not in (*METHODS, "auto"):
        raise ValueError(
            f"The 'method' parameter of adapt must be one of {[*METHODS, 'auto']}; got {method!r}. Use auto."
        )
    if train.classes != val.classes:
        raise ValueError(
            "The 'val' parameter of adapt must have the classes of 'train'; got others. Read both from one table."
        )
    train, val = cache(train, progress=progress), cache(val, progress=progress)
    rates = (lr,) if isinstance(lr, (int, float)) else tuple(lr)
    wanted = ("probe", "finetune") if method == "auto" else (method,)
    options: dict[str, Any] = {
        "steps": steps,
        "batch_size": batch_size,
        "seed": seed,
        "upright": upright,
        "progress": progress,
    }
    tried: list[dict[str, Any]] = []
    best: tuple[float, VLM, nn.Module] | None = None

    def consider(facts: dict[str, Any], tower: VLM, head: nn.Module) -> None:
        nonlocal best
        tried.append({**facts, "val": _val_auc(head, val)})
        if best is None or tried[-1]["val"] > best[0]:
            best = (tried[-1]["val"], tower, head)

    if "probe" in wanted or "finetune" in wanted:
        probe = PooledProbe(deepcopy(vlm), train.classes)
        seen = pooled_features(probe, train, progress=progress)
        solutions = solve(probe, seen, train.labels, strength=strength, progress=progress)
        scores = [_val_auc(install(probe, solution), val) for solution in solutions]
        install(probe, solutions[int(np.argmax(scores))])
        if "probe" in wanted:
            for c, score in zip(strength, scores, strict=True):
                tried.append({"method": "probe", "C": c, "val": score})
            best = (max(scores), probe.vlm, probe)
    for rate in rates if "finetune" in wanted else ():
        head = deepcopy(probe)
        _run(head, train, balanced_step(train.labels, len(train.classes)), rate, checkpoint, options)
        consider({"method": "finetune", "lr": rate, "steps": steps}, head.vlm, head)
    for rate in rates if "contrastive" in wanted else ():
        tower = deepcopy(vlm)
        _run(tower, train, cast(Step, same_text_contrastive), rate, checkpoint, options)
        consider(
            {"method": "contrastive", "lr": rate, "steps": steps},
            tower,
            ZeroShot.from_prompts(tower, train.prompts or train.classes),
        )
    assert best is not None
    chosen = max(tried, key=lambda one: one["val"])
    return Adapted(best[1].eval(), best[2].eval(), train.classes, chosen["method"], tuple(tried), chosen)


@dataclass(frozen=True)
class Folds:
    """Out-of-fold scores: every image is scored by a model that saw neither it nor any other image of its
    patient."""

    output: Tensor
    """(N, K) logits."""
    fold: Tensor
    """(N,) number of the fold."""
    chosen: tuple[dict[str, Any], ...]
    """What the validation part chose in each fold."""


def cross_validate(
    vlm: VLM,
    pairs: Pairs,
    *,
    folds: int = 5,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> Folds:
    """Adapt once for each fold: one fold is kept for testing, the next one chooses, the others train.

    Shapes   pairs of N images; result.output (N, K).
    Units    log probabilities, so that the folds share one scale.
    Returns  Folds.
    Raises   ValueError if there are fewer patients than folds, fewer than three folds, or as `adapt`.
    Source   scikit-learn's StratifiedGroupKFold through grouped_folds; options as in `adapt`.
    """
    if folds < 3:
        raise ValueError(
            f"The 'folds' parameter of cross_validate must be at least 3 (train, choose, test); got {folds}. Use 5."
        )
    pairs = cache(pairs, progress=options.get("progress", True))
    fold, chosen = grouped_folds(pairs, k=folds, seed=seed), []
    output = torch.zeros(len(pairs), len(pairs.classes), dtype=torch.float32)
    for k in range(folds):
        test, choose = fold == k, fold == (k + 1) % folds
        place = None if checkpoint is None else Path(checkpoint) / f"fold{k}"
        done = adapt(vlm, pairs.select(~test & ~choose), pairs.select(choose), seed=seed, checkpoint=place, **options)
        output[test] = _scores(done.head, pairs.select(test)).log_softmax(1)
        chosen.append(done.chosen)
    return Folds(output, fold, tuple(chosen))


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


def _run(
    model: Any, train: Pairs, step: Step, rate: float, checkpoint: str | Path | None, options: dict[str, Any]
) -> None:
    plain, seed = draws(train, options["batch_size"], seed=options["seed"]), options["seed"]

    def seen(k: int) -> Batch:
        batch = plain(k)
        # Of (seed, k) alone, so that a resumed run sees the same views.
        views = generator(seed * 1_000_003 + k)
        image = augment(batch.image, generator=views, upright=options["upright"])
        return replace(batch, image=image, mask=None)

    base = model.vlm if isinstance(model, PooledProbe) else model
    if base is not model:
        name, params = "finetune", [*model.linear.parameters(), *base.model.visual.parameters()]
    else:
        name, params = "contrastive", [*model.parameters()]
    place = None
    if checkpoint is not None:  # another run in the same folder must not be taken for this one
        kept = {key: value for key, value in options.items() if key != "progress"}
        images = [image_mark(train.load(i)[0]) for i in range(len(train))]
        weights = told_apart(model, name="vlm", where="adapt", what="the model")
        mark = digest((train.name, train.labels, images, weights, rate, kept))
        place = Path(checkpoint) / f"{name}-{mark}.pt"
    same = {name: options[name] for name in ("steps", "seed", "progress")}
    fit(model, seen, step, lr=rate, params=params, norm=False, checkpoint=place, **same)


def _scores(head: nn.Module, pairs: Pairs) -> Tensor:
    with torch.no_grad(), quiet(head):
        return torch.cat([as_logits(head(batch.image), len(batch), "adapt").cpu() for batch in pairs.batches(128)])


def _val_auc(head: nn.Module, val: Pairs) -> float:
    """Mean one-against-rest AUC over the classes that the validation split shows; 0.5 where it shows only
    one."""
    known = (val.labels >= 0).numpy()
    scores = _scores(head, val)
    check_scores(scores, "The logits of the adapted model")
    label, share = val.labels.numpy()[known], scores.double().softmax(1).numpy()[known]
    shown = np.unique(label)
    return float(np.mean([roc_auc_score(label == k, share[:, k]) for k in shown])) if len(shown) > 1 else 0.5
