"""medadv attack --task retrieval: images and captions attacked together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from medadv.cli.attacking import THREATS, show_frame
from medadv.cli.options import open_pairs
from medadv.cli.show import console


def check_pair_attacks(
    attacks: list[str] | None, threats: list[str] | None, *, out: Path | None, save_images: bool, **foreign: Any
) -> None:
    """Refuse what the attacks on pairs do not know, before anything is loaded."""
    from medadv.attacks import PAIR_ATTACKS
    from medadv.threat import Threat

    for name in attacks or ():
        PAIR_ATTACKS.get(name)
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
    from safetensors.torch import save

    from medadv._atomic import write_bytes, write_text
    from medadv.cli.attacking import compiled
    from medadv.data.text_labels import phantom_meaning, report_meaning
    from medadv.models import load
    from medadv.reports.html.retrieval import found_table, page_pairs, said_of_ends, said_of_words
    from medadv.reports.retrieval import attacked_pairs

    vlm = load(model, device=device, dtype=dtype)
    pairs = open_pairs(data, size=size or vlm.image_size, seed=seed, **opened)
    with compiled(vlm, compile):
        report = attacked_pairs(
            vlm, pairs, threats=threats or THREATS, attacks=attacks or ("sga",), words=words, steps=steps,
            captions=captions, meaning=phantom_meaning if data == "phantoms" else report_meaning,
            batch_size=batch_size, seed=seed, settings={"dtype": dtype, "compile": compile}, progress=True,
        )  # fmt: skip
    image, text, results = report.image, report.text, report.results
    show_frame(found_table(report), f"retrieval under attack, {model}, {pairs.name}", console())
    for line in [*said_of_words(results), *said_of_ends(report)]:
        console().print(line, highlight=False)
    long = report.settings["texts cut at the context"]
    if any(long.values()):
        counts = ", ".join(f"{many} of {name}" for name, many in long.items() if many)
        typer.echo(f"Texts longer than {vlm.context_length} tokens, which were cut: {counts} (of {len(text)} each).")
    if out is None:
        return
    page = page_pairs(report, results, image=image, text=text, owner=report.owner)
    typer.echo(f"written: {report.save(out / 'attack.json')}")
    typer.echo(f"written: {write_text(out / 'attack.html', page)}")
    if save_images:
        kept = {"image": image.cpu(), **{name: result.image.cpu().contiguous() for name, result in results.items()}}
        path = write_bytes(out / "attack_images" / "images.safetensors", save(kept))
        typer.echo(f"written: {path}")
