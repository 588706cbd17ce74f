"""medadv attack --task retrieval: images and captions attacked together."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import typer

from medadv.cli.attacking import THREATS, show_frame
from medadv.cli.options import open_pairs
from medadv.cli.show import console

KNOWN = ("separate", "co_attack", "sga")


def check_pair_attacks(
    attacks: list[str] | None, threats: list[str] | None, *, out: Path | None, save_images: bool, **foreign: Any
) -> None:
    """Refuse what the attacks on pairs do not know, before anything is loaded."""
    from medadv._registry import nearest
    from medadv.threat import Threat

    for name in attacks or ():
        if name not in KNOWN:
            near = nearest(name, KNOWN) or KNOWN
            raise ValueError(f"There is no attack on pairs named {name!r}. Did you mean {', '.join(near)}?")
    for text in threats or THREATS:
        Threat.parse(text)
    if save_images and out is None:
        raise ValueError("The --save-images option needs a folder to write to. Add --out FOLDER.")
    for name, value in foreign.items():
        if value:
            raise ValueError(
                f"The --{name.replace('_', '-')} option is of --task classify. Leave it out for retrieval."
            )


def attack_pairs(
    model: str,
    *,
    data: str,
    threats: list[str] | None,
    attacks: list[str] | None,
    words: int,
    steps: int | None,
    captions: int | None,
    save_images: bool,
    compile: bool,
    size: int | None,
    device: str,
    dtype: str,
    batch_size: int,
    seed: int,
    out: Path | None,
    **opened: Any,
) -> None:
    """Attack images and captions, score retrieval both ways, print the tables and write the page."""
    import torch
    from safetensors.torch import save
    from tqdm.auto import tqdm

    from medadv import _random
    from medadv._atomic import write_bytes, write_text
    from medadv.attacks import multimodal
    from medadv.cli.attacking import compiled
    from medadv.evaluate.page_pairs import found_table, page_pairs, said_of_ends, said_of_words
    from medadv.evaluate.under_attack import under_attack
    from medadv.models import load
    from medadv.threat import Threat

    vlm = load(model, device=device, dtype=dtype)
    pairs = open_pairs(data, size=size or vlm.image_size, seed=seed, **opened)
    text, owner = captions_of(pairs, captions)
    image = torch.cat([batch.image for batch in pairs.batches(batch_size, progress=True)]).to(vlm.device)
    results: dict[str, Any] = {}
    chosen = [(name, threat) for name in attacks or ("sga",) for threat in threats or THREATS]
    with compiled(vlm, compile):
        for name, threat in tqdm(chosen, desc="attack", leave=False):
            generator = _random.generator(seed, device=vlm.device)
            verb, key = getattr(multimodal, name), name if len(threats or ()) < 2 else f"{name} {threat}"
            how: dict[str, Any] = {} if steps is None else {"steps": steps}
            how |= {"owner": torch.tensor(owner), "batch_size": batch_size, "generator": generator}
            reword = partial(reworded, vlm=vlm, words=words, seed=seed, pairs=pairs, phantoms=data == "phantoms")
            results[key] = verb(vlm, image, text, Threat.parse(threat), text_attack=reword, **how)
        groups = pairs.patients if len(set(pairs.patients)) < len(pairs) else None
        facts = {"data": pairs.name, "words": words, "threats": threats or list(THREATS), "steps": steps}
        facts |= {"candidates": "synonyms and misspellings", "dtype": dtype, "compile": compile}
        report = under_attack(vlm, image, text, results, owner=owner, groups=groups, batch_size=batch_size, seed=seed)
    found = {"clean": text, **{name: result.text for name, result in results.items()}}
    long = {name: cut_of(vlm, texts) for name, texts in found.items()}
    report.settings.update(facts, **{"texts cut at the context": long})
    show_frame(found_table(report), f"retrieval under attack, {model}, {pairs.name}", console())
    for line in [*said_of_words(results), *said_of_ends(report)]:
        console().print(line, highlight=False)
    if any(long.values()):
        counts = ", ".join(f"{many} of {name}" for name, many in long.items() if many)
        typer.echo(f"Texts longer than {vlm.context_length} tokens, which were cut: {counts} (of {len(text)} each).")
    if out is None:
        return
    page = page_pairs(report, results, image=image.cpu(), text=text, owner=torch.tensor(owner))
    typer.echo(f"written: {report.save(out / 'attack.json')}")
    typer.echo(f"written: {write_text(out / 'attack.html', page)}")
    if save_images:
        kept = {"image": image.cpu(), **{name: result.image.cpu().contiguous() for name, result in results.items()}}
        path = write_bytes(out / "attack_images" / "images.safetensors", save(kept))
        typer.echo(f"written: {path}")


def captions_of(pairs: Any, captions: int | None) -> tuple[list[str], list[int]]:
    """Return the captions of all images, and the image of each; an image without one is refused."""
    texts = [list(row.captions[:captions]) for row in pairs.rows]
    for row, own in zip(pairs.rows, texts, strict=True):
        if not own or not all(one.strip() for one in own):
            name = row.name or "an image"
            raise ValueError(
                f"The captions of {pairs.name} must hold words; that of {name} is empty. Fill the caption column."
            )
    return [one for own in texts for one in own], [i for i, own in enumerate(texts) for _ in own]


def cut_of(vlm: Any, texts: list[str]) -> int:
    """Count the texts that are longer than the model's context."""
    before = vlm.truncated
    vlm.tokenize(texts)
    return vlm.truncated - before


def reworded(want: Any, text: list[str], *, vlm: Any, words: int, seed: int, pairs: Any, phantoms: bool) -> Any:
    """Exchange words for synonyms and slips of the keyboard, as long as the caption says the same.

    A caption whose image is no longer the nearest is attacked further: deeper ranks are printed too.
    """
    import re

    from medadv.attacks.candidates import misspellings, synonyms
    from medadv.attacks.text import swap_words
    from medadv.data.text_labels import phantom_meaning, report_meaning
    from medadv.threat import TextThreat

    return swap_words(
        want, text, TextThreat(words), encode=vlm.encode_text, sources=[synonyms(), misspellings(seed)],
        meaning=phantom_meaning if phantoms else report_meaning,
        finding=set(re.findall(r"[a-z]{4,}", " ".join(pairs.classes).lower())), stop=False,
    )  # fmt: skip
