"""What the commands attack and evaluate share: run the attacks, print the tables, write the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.measure import Measurement
from rich.table import Table

from medadv.cli.show import console

THREATS, ATTACKS = ("linf:1/255",), ("apgd",)
"""What is done where nothing is named."""
EXAMINED = 32
"""Images that the doctor sees."""


def check_attacks(*, out: Path | None, threats, attacks, save_images: bool, **how: Any) -> None:
    """Refuse threats, attacks and options that do not exist, before anything is loaded."""
    from medadv.attacks.registry import attack_calls
    from medadv.reports._entry import check_region
    from medadv.threat import Threat

    for text in threats or THREATS:
        Threat.parse(text)
    asked = {"towards": how["target"] is not None, "region": how["region"] is not None}
    attack_calls(attacks or ATTACKS, options=_options(how), **asked)
    if how["region"] is not None:
        check_region(how["region"])
    if save_images and out is None:
        raise ValueError("The --save-images option needs a folder to write to. Add --out FOLDER.")


def attack_and_show(
    head: Any,
    pairs: Any,
    *,
    threats: list[str] | None,
    attacks: list[str] | None,
    within: str | None,
    doctor: bool,
    save_images: bool,
    save_8bit: bool,
    region: str | None,
    batch_size: int,
    seed: int,
    out: Path | None,
    facts: dict[str, Any],
    **how: Any,
) -> None:
    """Attack, print, and write attack.json and attack.html; the parts are deleted unless the images are wanted."""
    from medadv.reports.html.robustness import save_page
    from medadv.reports.robustness import attacked, attacked_within

    threats, attacks = list(threats or THREATS), list(attacks or ATTACKS)
    if within:
        pairs.groups(within)  # a wrong name must not cost an attack
    parts = None if out is None else out / ("attack_images" if save_images else "attack_parts")
    report = attacked(
        head, pairs, threats=threats, attacks=attacks, options=_options(how), target=how["target"], seed=seed,
        batch_size=batch_size, folder=parts, keep_images=save_images, save_8bit=save_8bit, region=region,
        settings=facts, progress=True,
    )  # fmt: skip
    more = {f"attack_within_{within}": attacked_within(report, pairs, within, seed=seed)} if within else {}
    flags = examine(head, pairs, threats[0], seed=seed) if doctor else []
    for name, one in {"attack": report, **more}.items():
        _show(one, console())
        if out is not None:
            typer.echo(f"written: {one.save(out / f'{name}.json')}")
    if flags:
        _show_flags(flags, console())
    if out is not None:
        named = {name.removeprefix("attack_"): one for name, one in more.items()}
        typer.echo(f"written: {save_page(report, out / 'attack.html', flags=flags, more=named)}")
    if parts is not None and save_images:
        typer.echo(f"written: {parts} (one safetensors file for each batch)")
    elif parts is not None:
        shutil.rmtree(parts, ignore_errors=True)


def examine(head: Any, pairs: Any, threat: str, *, seed: int) -> list[Any]:
    """Let the doctor see a few images, drawn by the seed."""
    import numpy as np

    from medadv.reports._entry import place_of
    from medadv.reports.doctor import doctor
    from medadv.threat import Threat

    known = (pairs.labels >= 0).nonzero().flatten().numpy()
    batch = pairs.batch(np.random.default_rng(seed).permutation(known)[:EXAMINED].tolist()).to(place_of(head))
    return doctor(head, batch.image, batch.label, Threat.parse(threat), seed=seed, progress=True)


@contextmanager
def compiled(head: Any, wanted: bool) -> Iterator[None]:
    """Compile the image tower for batches of any length; say in one sentence if this machine cannot."""
    if not wanted:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    getattr(head, "vlm", head).model.visual.compile(dynamic=True)
    try:
        yield
    except TorchDynamoException as error:
        said = str(error).strip().splitlines()[0]
        raise ValueError(f"The image tower cannot be compiled here ({said}). Leave out --compile.") from error


def _options(how: dict[str, Any]) -> dict[str, Any]:
    return {name: how[name] for name in ("steps", "restarts") if how.get(name) is not None}


def _show(report: Any, console: Any) -> None:
    """Print a report under attack: what is left, what it took, and the classes in the worst case."""
    from medadv.reports.html.robustness import notes_of, short, summary

    wide, took = report.wide(), ["moved, mean (most)", "passes per image", "seconds per image"]
    if "within" in report.settings:
        show_frame(wide, f"within {report.settings['within']}", console)
        return
    whole = short(wide)
    clean_only = [name for name in whole if whole[name].notna().sum() == 1]
    robust = whole.drop(columns=[name for name in [*took, *clean_only] if name in whole])
    show_frame(robust, "under attack, {model}, {data}".format(**report.settings), console)
    show_frame(whole.loc[whole["threat"] != "none", ["threat", "attack", *took]], "what it took", console)
    show_frame(report.by_class(), "by class, in the worst case", console)
    console.print(summary(report), highlight=False)
    for note in notes_of(report.settings):
        console.print(note, highlight=False)
    left = report.settings["left out"]
    console.print(f"Attack success rate: {report.settings['success']}." + f" Left out: {left} images." * bool(left))


def _show_flags(flags: list[Any], console: Any) -> None:
    """Print what the doctor found."""
    passes, seconds = (
        sum(f.cost.forwards + f.cost.backwards for f in flags) / EXAMINED,
        sum(f.cost.seconds for f in flags),
    )
    title = f"could these numbers lie? {EXAMINED} images, {passes:.0f} passes each, {seconds:.0f} s"
    table = Table("check", "", "what was seen", title=title, title_justify="left")
    for flag in flags:
        verdict = "FOUND" if flag.found else "-" if flag.evidence.startswith("Not run") else "fine"
        table.add_row(flag.name, verdict, f"{flag.evidence} {flag.remedy}" if flag.found else flag.evidence)
    console.print(table)


def show_frame(frame: Any, title: str, console: Any) -> None:
    """Print a frame whose cells are texts or estimates; where it is too wide, intervals stand below their value."""
    for between in (" ", "\n"):
        table = Table(title=title, title_justify="left")
        for name in map(str, frame.columns):  # what a certificate rests on is never cut short
            table.add_column(name, no_wrap=name == "guarantee", overflow="fold")
        for _, line in frame.iterrows():
            cells = ["" if cell != cell else cell for cell in line]  # nan: this metric is not of this line
            table.add_row(*(cell if isinstance(cell, str) else _told(cell, between) for cell in cells))
        if Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width:
            break
    console.print(table)


def _told(made: Any, between: str) -> str:
    return f"{made.value:.3f}{between}[{made.low:.3f},{between}{made.high:.3f}]"
