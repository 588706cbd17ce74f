"""The options of the command line, each written once, and what all commands do at their door."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from medadv.attacks import ATTACKS, PAIR_ATTACKS


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


Model = Annotated[
    str, Option("--model", "-m", help="tiny, a name of `medadv models`, hf-hub:ORG/REPO or local-dir:FOLDER")
]
Adapted = Annotated[str, Option("--model", "-m", help="local-dir:FOLDER, or the model a --head was made on")]
Head = Annotated[Path | None, Option(help="head.safetensors of an adapted model")]
Data = Annotated[str, Option("--data", "-d", help="phantoms, a folder, or a name of `medadv data`")]
DataName = Annotated[str | None, typer.Argument(help="phantoms, a folder, or a name of the list")]
Pattern = Annotated[str, typer.Argument(help="shell pattern, for example '*clip*'")]
Check = Annotated[bool, Option("--check", help="read every file and compare its md5")]
Window = Annotated[
    str | None, Option(help="LOW,HIGH: the values that become black and white in pictures deeper than 8 bits")
]
Bits = Annotated[int | None, Option(help="bits in use in pictures deeper than 8 bits, such as 12")]
Split = Annotated[str, Option(help="train, val or test; all for every row")]
Label = Annotated[str, Option(help="column of metadata.csv that holds the label")]
Size = Annotated[int | None, Option(min=8, help="side in pixels at which images are read  [default: the model's]")]
Device = Annotated[str, Option(help="auto, cpu, cuda, cuda:N or mps")]
Dtype = Annotated[str, Option(help="float32, bfloat16 or float16 (autocast of the towers)")]
BatchSize = Annotated[int, Option(min=1, help="images at a time")]
Seed = Annotated[int, Option(min=0, help="seed of all that is drawn: phantoms, resamples, training")]
Out = Annotated[Path | None, Option("--out", "-o", help="folder for the JSON report")]
Folder = Annotated[Path, Option("--out", "-o", help="folder for the adapted model, its head and its report")]
Limit = Annotated[int | None, Option("--limit", min=1, help="only N images, drawn by the seed (phantoms: make N)")]
Template = Annotated[
    list[str] | None,
    Option("--template", "--templates", help="sentence with {} for the class; may be repeated"),
]
Phrases = Annotated[
    str | None,
    Option("--classes", help="phrases for the classes, separated by |; needed for a single picture"),
]
Ranks = Annotated[list[int] | None, Option("--k", min=1, help="rank; may be repeated  [default: 1, 5, 10]")]
Captions = Annotated[int | None, Option(min=1, help="use only the first captions of each image")]
Method = Annotated[str, Option(help="probe, finetune, contrastive, or auto (probe and finetune; val chooses)")]
Steps = Annotated[int, Option("--steps", min=1, help="steps of each candidate that is fine-tuned")]
Rates = Annotated[list[float] | None, Option("--lr", help="learning rate; may be repeated, val chooses")]
Upright = Annotated[bool, Option("--upright", help="images have an up, as radiographs do: never mirrored")]
Folds = Annotated[int, Option(min=0, help="cross-validate by patient in K folds instead of using the splits")]
Within = Annotated[
    str | None, Option(help="attribute that may be a shortcut, such as projection: score inside each value")
]
Threats = Annotated[
    list[str] | None,
    Option("--threat", help="linf:1/255, l2:0.5, l1:10 or linf:1/255:grey; may be repeated  [default: linf:1/255]"),
]
Attacks = Annotated[
    list[str] | None,
    Option(
        "--attack",
        help=f"{_either(ATTACKS)}  [default: apgd]; for retrieval {_either(PAIR_ATTACKS)}  [default: sga]; "
        "may be repeated",
    ),
]
AttackSteps = Annotated[int | None, Option("--steps", min=1, help="steps of the attacks that take steps")]
Task = Annotated[str, Option(help="classify: attack images; retrieval: attack images and captions together")]
Words = Annotated[int, Option(min=0, help="words of each caption that may change (retrieval)")]
Restarts = Annotated[int | None, Option(min=1, help="random starts of the attacks that take them")]
Target = Annotated[str | None, Option(help="class that the attacker wants to see, instead of any wrong one")]
Doctor = Annotated[bool, Option("--doctor", help="look for signs that the attacks were blind")]
SaveImages = Annotated[bool, Option("--save-images", help="keep the adversarial images in --out")]
Save8bit = Annotated[bool, Option("--save-8bit", help="score the adversarial images also after rounding to 8 bits")]
Region = Annotated[
    str | None, Option(help="mask: only pixels inside the masks of the data may change; outside: only those outside")
]
Compile = Annotated[bool, Option("--compile", help="compile the image tower (torch.compile)")]
Debug = Annotated[bool, Option("--debug", help="show the traceback of an error")]
Version = Annotated[bool, Option("--version", help="print the version and leave")]


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what is wrong with the input into one sentence on stderr and exit code 2.

    Shapes   none.
    Units    none.
    Returns  the command, with the same options; --debug lets the traceback through.
    Raises   typer.Exit with code 2.
    Source   ours.
    """

    @functools.wraps(command)
    def run(**options: Any) -> None:
        import torch

        try:
            command(**options)
        except (ValueError, OSError, ArithmeticError, ImportError, torch.OutOfMemoryError) as error:
            if options.get("debug"):
                raise
            said = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, torch.OutOfMemoryError):
                said = "The memory of the device is too small for this. Choose a smaller --batch-size."
            typer.echo(f"medadv: {said}", err=True)
            raise typer.Exit(2) from None

    return run


def open_pairs(
    data: str, *, split: str, size: int, limit: int | None = None, seed: int = 0, label: str = "label"
) -> Any:
    """Open the data that the options name.

    Shapes   images (3, size, size).
    Units    none.
    Returns  Pairs; with `limit` a sample drawn by the seed.
    Raises   ValueError or FileNotFoundError as `medadv.data.load`.
    Source   ours.
    """
    from medadv.data import load

    if data == "phantoms" and label != "label":
        raise ValueError(f"The --label option must be left out for phantoms; got {label!r}. They have one label.")
    part = None if split == "all" else split
    found = {} if data == "phantoms" else {"label": label}
    return load(data, size=size, split=part, n=limit, seed=seed, **found)


def check_folder(path: Path | None) -> None:
    """Refuse an output folder that could not be made or written, before any work goes into it; make nothing.

    Shapes   none.
    Units    none.
    Returns  nothing.
    Raises   ValueError that names what stands in the way.
    Source   ours.
    """
    if path is None:
        return
    there = Path(path).expanduser().absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise ValueError(f"The --out option must be a folder; got {path}, and {there} is a file. Choose another.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"The --out option must be a folder that can be written; got {path}, and {there} cannot. Choose another."
        )
