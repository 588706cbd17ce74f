"""Run attacks over a data set batch by batch, with little in memory, and keep a few pictures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medadv import _random
from medadv._fingerprint import digest, told_apart
from medadv._labels import as_logits, check_scores
from medadv._quiet import quiet
from medadv._resume import DAMAGED, alike, read_state, write_state
from medadv._resume import State as Part
from medadv.attacks.registry import AttackCall
from medadv.data.pairs import Pairs
from medadv.reports._entry import place_of
from medadv.reports._robustness_rows import SAVED, Scored, probability
from medadv.threat import Threat
from medadv.types import Batch


@dataclass(frozen=True)
class Picture:
    """One image before and after an attack, for the eye."""

    label: int
    threat: str
    attack: str
    clean: Tensor
    """(3, H, W)."""
    adversarial: Tensor
    """(3, H, W)."""
    before: np.ndarray
    """(K,) probabilities."""
    after: np.ndarray
    """(K,) probabilities."""

    @property
    def fooled(self) -> bool:
        """Whether the model changed its mind."""
        return int(self.before.argmax()) != int(self.after.argmax())


def run_parts(
    head: Callable[[Tensor], Tensor],
    pairs: Pairs,
    threats: list[Threat],
    calls: dict[str, AttackCall],
    *,
    target: int | None,
    batch_size: int,
    seed: int,
    show: int,
    folder: Path | None,
    keep_images: bool,
    save_8bit: bool,
    region: str | None,
    progress: bool,
) -> Iterator[Part]:
    """Attack each batch with everything; a batch that lies in the folder already is read instead."""
    place = place_of(head)
    study = "" if folder is None else key_of(
        head, calls, data=pairs.name, rows=[[row.name, row.label] for row in pairs.rows],
        threats=list(map(str, threats)), attacks=list(calls), target=target, seed=seed, batch=batch_size,
        images=keep_images, show=show, rounded=save_8bit, region=region,
    )  # fmt: skip
    shown: Counter[int] = Counter()
    for start, batch in zip(
        range(0, len(pairs), batch_size), pairs.batches(batch_size, progress=progress), strict=True
    ):
        assert batch.label is not None  # Pairs always says, if only -1
        image, label = batch.image.to(place), batch.label.to(place)
        for threat in threats:
            threat.check(image)
        clean = _logits(head, image, pairs, start, "clean images")
        free = {} if region is None else {"region": region_of(batch, region).to(place)}
        key = "" if folder is None else f"{study} {digest((batch.image, batch.mask))}"
        part = read_part(folder, start, key=key, clean=clean)
        if part is None:
            rows = _choose(clean, batch.label, shown, show)
            part = {"clean": clean, "label": batch.label, "shown": rows, "image shown": batch.image[rows]}
            part |= {"image": batch.image} if keep_images else {}
            aim = None if target is None else torch.full_like(label, target)
            for j, (threat, name) in enumerate((threat, name) for threat in threats for name in calls):
                generator = _generator(calls[name].attack.by_image, seed, start, j, image)
                result = calls[name](head, image, label, aim, threat, generator, **free)
                mine, found = f"{threat} {name}", result.image.detach()
                part[f"{mine} logits"] = _logits(head, found, pairs, start, f"images of {name}")
                part[f"{mine} size"] = threat.size(found, image).cpu()
                spent = result.cost.forwards, result.cost.backwards, result.cost.seconds
                part[f"{mine} cost"] = torch.tensor(spent, dtype=torch.float64) / len(image)
                part[f"{mine} shown"] = found[rows.to(place)].cpu()
                part |= {f"{mine} image": found.cpu()} if keep_images else {}
                if save_8bit:
                    rounded = (found * 255).round() / 255
                    part[f"{mine}{SAVED} logits"] = _logits(head, rounded, pairs, start, f"rounded images of {name}")
                    part[f"{mine}{SAVED} size"] = threat.size(rounded, image).cpu()
                    part[f"{mine}{SAVED} cost"] = part[f"{mine} cost"].clone()
            write_part(folder, start, part, key=key)
        shown.update(part["label"][part["shown"]].tolist())
        yield {name: value for name, value in part.items() if name != "image" and not name.endswith(" image")}


def scored_of(parts: list[Part], names: list[tuple[str, str]], pairs: Pairs, **facts: Any) -> Scored:
    """Put the parts together, one row for each image."""

    def column(name: str) -> np.ndarray:
        return torch.cat([part[name].double() for part in parts]).numpy()

    sizes = [len(part["label"]) for part in parts]
    return Scored(
        label=np.concatenate([part["label"].numpy() for part in parts]),
        clean=column("clean"),
        under={key: column(f"{key[0]} {key[1]} logits") for key in names},
        size={key: column(f"{key[0]} {key[1]} size") for key in names},
        cost={
            key: np.repeat([part[f"{key[0]} {key[1]} cost"].numpy() for part in parts], sizes, axis=0) for key in names
        },
        batch=np.repeat(np.arange(len(sizes)), sizes),
        patients=np.asarray(pairs.patients) if len(set(pairs.patients)) < len(pairs) else None,
        **facts,
    )


def pictures_of(parts: list[Part], names: list[tuple[str, str]], show: int) -> tuple[Picture, ...]:
    """For each threat the same few images, each with the attack that harmed it most; one that resisted among them."""
    found = []
    for threat in dict.fromkeys(threat for threat, _ in names):
        mine = [_picture(part, row, k, threat, [a for t, a in names if t == threat and not a.endswith(SAVED)])
                for part in parts for k, row in enumerate(part["shown"].tolist())]  # fmt: skip
        fooled, held = [one for one in mine if one.fooled], [one for one in mine if not one.fooled]
        few = max(show - len(fooled), min(1, len(held))) if show else 0
        found += [*fooled[: show - few], *held[:few]]
    return tuple(found)


def region_of(batch: Batch, region: str) -> Tensor:
    """Pixels (B, 1, H, W) that may change: those inside the masks of the data, or those outside."""
    assert batch.mask is not None  # the door asked every image
    inside = batch.mask > 0.5
    return inside if region == "mask" else ~inside


def _generator(by_image: bool, seed: int, start: int, j: int, image: Tensor) -> torch.Generator:
    """Of its own for each attack: a study that goes on draws what it would have drawn.

    Our attacks draw for each image by itself, so no verdict depends on the other images or on the batch size.
    """
    if by_image:
        return _random.Streams.of(torch.arange(start, start + len(image), device=image.device), seed, j)
    return _random.generator(seed, start, j, device=image.device)


def _logits(head: Callable[[Tensor], Tensor], image: Tensor, pairs: Pairs, start: int, which: str) -> Tensor:
    with quiet(head), torch.no_grad():
        logits = as_logits(head(image), len(image), "attacked").cpu()
    if logits.shape != (len(image), len(pairs.classes)):
        raise ValueError(
            f"The 'head' parameter of attacked must give {len(pairs.classes)} logits, one for each class of "
            f"{pairs.name}; got shape {tuple(logits.shape)} for {len(image)} images. Make the head for these classes."
        )
    check_scores(logits, f"The logits of the {which}", rows=range(start, start + len(image)))
    return logits


def _choose(clean: Tensor, label: Tensor, shown: Counter[int], show: int) -> Tensor:
    """Rows to keep as pictures: images that are right, two of a class at most, twice as many as will be shown."""
    rows: list[int] = []
    seen = Counter(shown)
    for row in (clean.argmax(1) == label).nonzero().flatten().tolist():
        if seen.total() < 2 * show and seen[int(label[row])] < 2:
            rows.append(row)
            seen[int(label[row])] += 1
    return torch.tensor(rows, dtype=torch.int64)


def _picture(part: Part, row: int, k: int, threat: str, attacks: list[str]) -> Picture:
    label = int(part["label"][row])
    after = {name: probability(part[f"{threat} {name} logits"][row : row + 1].numpy())[0] for name in attacks}
    hardest = min(attacks, key=lambda name: after[name][label])
    before = probability(part["clean"][row : row + 1].numpy())[0]
    adversarial = part[f"{threat} {hardest} shown"][k]
    return Picture(label, threat, hardest, part["image shown"][k], adversarial, before, after[hardest])


def key_of(head: Any, calls: Any, **facts: Any) -> str:
    """Return a short name for everything that a part depends on but its images."""
    made_by = [
        told_apart(head, name="head", where="attacked", what="it"),
        told_apart(calls, name="attacks", where="attacked", what="one of them"),
    ]
    return digest((made_by, json.dumps(facts, sort_keys=True, default=str)))


def read_part(folder: Path | None, start: int, *, key: str, clean: Tensor) -> Part | None:
    """Read the part that begins at a row, or None; refuse one of another study, another model or other images."""
    file = None if folder is None else folder / f"{start:06d}.safetensors"
    if file is None or not file.is_file():
        return None
    try:
        part, facts = read_state(file)
    except DAMAGED as error:
        raise ValueError(
            f"The file {file} is damaged ({error}). Delete it; the batch is then attacked again."
        ) from error
    if facts.get("key") != key or not alike(part.get("clean"), clean):
        raise ValueError(
            f"The 'folder' parameter of attacked must be new, or of the same study; {file} was made with another "
            "model, other data or other settings. Choose another folder, or delete it."
        )
    return part


def write_part(folder: Path | None, start: int, part: Part, *, key: str) -> None:
    """Write a part, whole or not at all."""
    if folder is not None:
        write_state(folder / f"{start:06d}.safetensors", part, key=key)
