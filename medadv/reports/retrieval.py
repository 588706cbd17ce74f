"""Retrieval, without an attacker and under attack: how often the right thing is found, and how much an attack took.

Which side is changed says what is asked and what is searched. `image`: changed images and clean texts; `text`: clean
images and changed texts; `both`: changed images and changed texts. So in every case the whole gallery is the changed
one too, as in Co-Attack and SGA. `worst` counts a query as right only if it is right in all of these and clean.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from tqdm.auto import tqdm

from medadv import _random
from medadv._labels import check_scores
from medadv.attacks.candidates import misspellings, synonyms
from medadv.attacks.multimodal import PairsResult, TextAttack
from medadv.attacks.registry import PAIR_ATTACKS
from medadv.attacks.text import TextResult, swap_words
from medadv.data.pairs import Pairs
from medadv.data.text_labels import report_meaning
from medadv.evaluate.intervals import Estimate, weighted
from medadv.evaluate.retrieval import _ahead, _share, check_ranks, recall_at_k, same_meaning
from medadv.models.encode import image_features, text_features
from medadv.models.vlm import VLM
from medadv.objective import Objective
from medadv.reports.report import Report, provenance
from medadv.threat import TextThreat, Threat

_log = logging.getLogger(__name__)
CHANGED = {"image": (True, False), "text": (False, True), "both": (True, True)}
"""Which side is changed: images, texts."""
FORMULAS = {
    "ASR drop": "recall@k clean minus recall@k under attack, over all queries (as Co-Attack counts)",
    "ASR lost": "share of the queries right when clean that are wrong under attack (as SGA counts)",
}


def retrieve_report(
    vlm: VLM,
    pairs: Pairs,
    *,
    k: Sequence[int] = (1, 5, 10),
    captions: int | None = None,
    batch_size: int = 128,
    settings: dict[str, Any] | None = None,
    versions: dict[str, Any] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Measure how well images find their captions and captions their images.

    Shapes   N images with all their captions, or the first `captions` of each.
    Units    proportions.
    Returns  Report of recall@k in both directions, counted twice: `same wording`, where every text is asked
             once and any image that carries it is right, and `own only`, where just the caption's own image
             is (and twins count as mistakes).
    Raises   ValueError if an image has no caption, or the model returns NaN.
    Source   Radford et al. 2021; wording-level relevance as in ECCV Caption, Chun et al. 2022.
    """
    texts = [list(row.captions[:captions]) for row in pairs.rows]
    if not all(texts):
        raise ValueError(
            f"The 'pairs' parameter of retrieve_report must have captions; {pairs.name} lacks some. Add the column."
        )
    owner = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
    unique, meaning = np.unique([text for own in texts for text in own], return_inverse=True)
    image = image_features(vlm, pairs, batch_size=batch_size, progress=progress)
    text = text_features(vlm, unique.tolist(), batch_size=batch_size)
    check_scores(image, "The image embeddings of retrieve_report")
    check_scores(text, "The text embeddings of retrieve_report")
    similarity = (image @ text.T).numpy().astype(np.float64)
    true = np.zeros(similarity.shape, dtype=bool)
    true[owner, meaning] = True
    rows = []
    for counts in ("same wording", "own only"):
        for direction in ("i2t", "t2i"):
            if counts == "same wording":
                found = recall_at_k(similarity, equivalent=true, k=k, direction=direction, seed=seed)
            else:
                found = recall_at_k(similarity[:, meaning], owner, k=k, direction=direction, seed=seed)
            rows += [
                {"metric": f"recall@{m}", "direction": direction, "right": counts, "estimate": e}
                for m, e in found.items()
            ]
    settings = {
        "data": pairs.name,
        "images": len(pairs),
        "texts": len(owner),
        "wordings": len(unique),
        **(settings or {}),
    }
    return Report(tuple(rows), settings, provenance(seed=seed) if versions is None else versions)


@dataclass(frozen=True, repr=False)
class AttackedPairs(Report):
    """A report of retrieval under attack, with the clean pairs and what each attack found (both are not saved)."""

    image: Tensor = field(default_factory=lambda: torch.empty(0), compare=False)
    """(B, 3, H, W), clean."""
    text: list[str] = field(default_factory=list)
    """M texts, clean."""
    owner: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64), compare=False)
    """(M,) the image of each text."""
    results: dict[str, PairsResult] = field(default_factory=dict, compare=False)
    """What each attack found; with several threats the name of an attack is followed by that of the threat."""


def attacked_pairs(
    vlm: VLM,
    pairs: Pairs,
    *,
    threats: Sequence[str | Threat],
    attacks: Sequence[str] | Mapping[str, Callable[..., PairsResult]] = ("sga",),
    words: int = 1,
    steps: int | None = None,
    captions: int | None = None,
    meaning: Callable[[str], Hashable] = report_meaning,
    text_attack: TextAttack | None = None,
    k: Sequence[int] = (1, 5, 10),
    batch_size: int = 64,
    settings: dict[str, Any] | None = None,
    n: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> AttackedPairs:
    """Attack the images and captions of a data set together, and measure how often they still find each other.

    Shapes   N images with all their captions, or the first `captions` of each.
    Units    words counts words of a caption that may change; steps are those of each attack, its own where None.
    Returns  AttackedPairs: the rows of `under_attack`, the clean pairs, and what each attack found. `attacks` are names
             of PAIR_ATTACKS, or functions of your own by name. Words give way to synonyms and misspellings as long as
             `meaning` of the caption stays the same (`phantom_meaning` fits phantoms); a `text_attack` of your own
             takes their place. A caption whose image is no longer the nearest is attacked further, for deeper ranks.
    Raises   ValueError for unknown attacks or threats, an image without a caption, and as `under_attack`.
    Source   Zhang et al. 2022, arXiv 2206.09391; Lu et al. 2023, arXiv 2307.14061.
    """
    if not threats or not attacks:
        raise ValueError(
            "The 'threats' and 'attacks' parameters of attacked_pairs must not be empty. Name one of each."
        )
    verbs = dict(attacks) if isinstance(attacks, Mapping) else {name: PAIR_ATTACKS.get(name) for name in attacks}
    wanted = {str(threat): Threat.of(threat) for threat in threats}
    text, owner = _captions_of(pairs, captions)
    image = torch.cat([batch.image for batch in pairs.batches(batch_size, progress=progress)]).to(vlm.device)
    if text_attack is None:
        text_attack = partial(_reworded, vlm=vlm, words=words, seed=seed, classes=pairs.classes, meaning=meaning)
        candidates = "synonyms and misspellings"
    else:
        candidates = "as given"
    results: dict[str, PairsResult] = {}
    chosen = list(product(verbs, wanted))
    for name, threat in tqdm(chosen, desc="attack", leave=False, disable=not progress):
        how: dict[str, Any] = {} if steps is None else {"steps": steps}
        how |= {"owner": torch.tensor(owner), "batch_size": batch_size}
        how["generator"] = _random.generator(seed, device=vlm.device)
        key = name if len(wanted) < 2 else f"{name} {threat}"
        results[key] = verbs[name](vlm, image, text, wanted[threat], text_attack=text_attack, **how)
    facts = {"data": pairs.name, "words": words, "threats": list(wanted), "steps": steps, "candidates": candidates}
    found = {"clean": text, **{name: result.text for name, result in results.items()}}
    long = {"texts cut at the context": {name: _cut_of(vlm, texts) for name, texts in found.items()}}
    report = under_attack(
        vlm, image, text, results, owner=owner, k=k, batch_size=batch_size, n=n, seed=seed,
        groups=pairs.patients if len(set(pairs.patients)) < len(pairs) else None,
        settings={**facts, **(settings or {}), **long},
    )  # fmt: skip
    return AttackedPairs(
        report.rows, report.settings, report.versions, report.raw, image, text, torch.tensor(owner), results
    )


def under_attack(
    vlm: VLM,
    image: Tensor,
    text: Sequence[str],
    results: Mapping[str, Any],
    *,
    owner: ArrayLike | Tensor | None = None,
    equivalent: ArrayLike | Tensor | None = None,
    groups: ArrayLike | None = None,
    k: Sequence[int] = (1, 5, 10),
    batch_size: int = 128,
    settings: dict[str, Any] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> Report:
    """Score attacked pairs on a model: the one they were made on, or any other (transfer).

    Shapes   image (B, 3, H, W) and M texts, clean; results {name: PairsResult} of these; owner (M,) the image of each
             text (one each where None); equivalent (B, M) bool, the texts that are right for an image; groups (B,)
             the patient of each image.
    Units    proportions.
    Returns  Report: recall@k, clean and under attack, then the two attack success rates (settings say their
             formulas, and at which ranks each attack was carried to the end), each for i2t and t2i, and the worst case
             per query. Texts that read the same to the model, before the attack or after it, count as each other where
             `equivalent` is None. With several attacks, the rows `all` hold the worst case over every one of them.
    Raises   ValueError if a result has other images or texts than were given, for wrong shapes, for ranks below 1, or
             for embeddings that are NaN or infinite.
    Source   Zhang et al. 2022, arXiv 2206.09391, and Lu et al. 2023, arXiv 2307.14061: one name, two formulas.
    """
    text = list(text)
    owner = np.arange(len(text)) if owner is None else np.asarray(torch.as_tensor(owner).cpu())
    equivalent = None if equivalent is None else np.asarray(torch.as_tensor(equivalent).cpu())
    _check(image, text, owner, results)
    check_ranks(k, "under_attack")
    cut = getattr(vlm, "truncated", 0)
    pixels = {"none": image, **{name: result.image for name, result in results.items()}}
    seen = {name: image_features(vlm, one, batch_size=batch_size) for name, one in pixels.items()}
    words = {"none": text, **{name: list(result.text) for name, result in results.items()}}
    told = {name: text_features(vlm, one, batch_size=batch_size) for name, one in words.items()}
    tokenizer = getattr(vlm, "tokenizer", None)
    alike = {name: same_meaning(one, owner, len(image), tokenizer=tokenizer) for name, one in words.items()}
    # How many wrong ones come before the first right one, for every query: all else is counted from these.
    ahead: dict[tuple[str, str, str], np.ndarray] = {}
    for name in words:
        for changed, (image_too, text_too) in CHANGED.items() if name != "none" else [("nothing", (False, False))]:
            images, texts = name if image_too else "none", name if text_too else "none"
            right = equivalent
            if equivalent is None:  # changed words may run into those of somebody else, who is right then too
                right = alike["none"] | alike[texts]
            for direction in ("i2t", "t2i"):
                ahead[name, changed, direction] = _ahead(seen[images] @ told[texts].T, owner, direction, right)[0]
    for direction in ("i2t", "t2i"):
        clean = ahead["none", "nothing", direction]
        worst = {name: np.max([clean, *(ahead[name, c, direction] for c in CHANGED)], axis=0) for name in results}
        ahead.update({(name, "worst", direction): places for name, places in worst.items()})
        if len(results) > 1:
            ahead["all", "worst", direction] = np.max(list(worst.values()), axis=0)

    patient = np.arange(len(image)) if groups is None else np.asarray(groups)
    by = {"i2t": patient, "t2i": patient[owner]}
    rows = []
    for metric, many in product(("recall", *FORMULAS), k):
        for (name, changed, direction), places in ahead.items():
            if name == "none" and metric != "recall":
                continue
            clean = ahead["none", "nothing", direction] < many
            estimate = _estimate(metric, clean, places < many, by[direction], n, seed)
            cells = {"metric": f"{metric}@{many}", "attack": name, "changed": changed, "direction": direction}
            rows.append({**cells, "estimate": estimate})
    about = {
        "task": "retrieval under attack",
        "model": vlm.name,
        "images": len(image),
        "texts": len(text),
        "right": "texts that read the same" if equivalent is None else "as given",
        "formulas": FORMULAS,
        "attacks": {name: repr(result) for name, result in results.items()},
        "attacked": {name: _ends(name, result, max(k)) for name, result in results.items()},
        "texts cut at the context": getattr(vlm, "truncated", 0) - cut,
    }
    return Report(tuple(rows), {**about, **(settings or {})}, provenance(seed=seed, device=vlm.device))


def _captions_of(pairs: Pairs, captions: int | None) -> tuple[list[str], list[int]]:
    """The captions of all images, and the image of each; an image without one is refused."""
    texts = [list(row.captions[:captions]) for row in pairs.rows]
    for row, own in zip(pairs.rows, texts, strict=True):
        if not own or not all(one.strip() for one in own):
            name = row.name or "an image"
            raise ValueError(
                f"The captions of {pairs.name} must hold words; that of {name} is empty. Fill the caption column."
            )
    return [one for own in texts for one in own], [i for i, own in enumerate(texts) for _ in own]


def _cut_of(vlm: VLM, texts: list[str]) -> int:
    """How many texts are longer than the model's context."""
    before = vlm.truncated
    vlm.tokenize(texts)
    return vlm.truncated - before


def _reworded(
    want: Objective,
    text: list[str],
    *,
    vlm: VLM,
    words: int,
    seed: int,
    classes: Sequence[str],
    meaning: Callable[[str], Hashable],
) -> TextResult:
    """Exchange words for synonyms and slips of the keyboard, as long as the caption says the same.

    A caption whose image is no longer the nearest is attacked further: deeper ranks are counted too.
    """
    return swap_words(
        want, text, TextThreat(words), encode=vlm.encode_text, sources=[synonyms(), misspellings(seed)],
        meaning=meaning, finding=set(re.findall(r"[a-z]{4,}", " ".join(classes).lower())), stop=False,
    )  # fmt: skip


def _ends(name: str, result: Any, deepest: int) -> str:
    """Say at which ranks an attack was carried to the end; one that stopped at the first says little of the others."""
    sides = {"images": result, "words": getattr(result, "words", None)}
    stopped = [side for side, one in sides.items() if getattr(one, "early_stop", False)]
    if not stopped:
        return "to the end, for every rank"
    if deepest > 1:
        _log.warning(
            "The attack %s stopped where rank 1 was lost, so recall at deeper ranks looks better than it is. Attack "
            "the %s with stop=False.",
            name,
            " and the ".join(stopped),
        )
    return f"until rank 1 was lost ({' and '.join(stopped)}): recall at deeper ranks is an upper bound"


def _estimate(metric: str, clean: np.ndarray, hit: np.ndarray, by: np.ndarray, n: int, seed: int) -> Estimate:
    if metric == "recall":
        return _share(hit, by, n, seed)
    if metric == "ASR lost":
        return _share(~hit[clean], by[clean], n, seed)
    change = clean.astype(int) - hit.astype(int)
    if (change >= 0).all():  # nobody gained, so it is the share of all queries that were lost
        return _share(change > 0, by, n, seed)
    return weighted(lambda counts: counts @ change / counts.sum(1), len(change), groups=by, n=n, seed=seed)


def _check(image: Tensor, text: list[str], owner: np.ndarray, results: Mapping[str, Any]) -> None:
    if not len(image) or set(owner.tolist()) != set(range(len(image))) or owner.shape != (len(text),):
        raise ValueError(
            f"The 'owner' parameter of under_attack must be ({len(text)},) and name each of the {len(image)} images; "
            f"got shape {owner.shape}. Pass the number of the image each text was written for."
        )
    for name, result in results.items():
        if name in ("none", "all"):
            raise ValueError(f"The 'results' parameter of under_attack must not name an attack {name!r}. Rename it.")
        if result.image.shape != image.shape or len(result.text) != len(text):
            raise ValueError(
                f"The 'results' parameter of under_attack must hold attacks on these {len(image)} images and "
                f"{len(text)} texts; got {len(result.image)} and {len(result.text)} in {name!r}. "
                "Pass the clean pairs that were attacked."
            )
