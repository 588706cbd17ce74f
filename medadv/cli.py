"""The command line: look at models and data, ask zero-shot, retrieve, adapt, evaluate.

Every command is a few calls of the package; whatever is wrong with the input is one sentence and exit code 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from medadv import __version__, _show
from medadv import _options as o
from medadv._commands import evaluate, train
from medadv._options import check_folder, open_pairs, plain_errors

app = typer.Typer(
    name="medadv",
    help="Run, adapt and evaluate medical vision-language models. Data are phantoms, a folder with a "
    "metadata.csv, or the name of such a folder below the directory that MEDADV_DATA names.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def top(version: o.Version = False) -> None:
    if version:
        typer.echo(f"medadv {__version__}")
        raise typer.Exit


@app.command()
@plain_errors
def models(pattern: o.Pattern = "*", *, debug: o.Debug = False) -> None:
    """List the models that have a name."""
    from medadv.models import CARDS, names

    found = names(pattern)
    if not found:
        CARDS.get(pattern)  # says which names are near
    _show.show_models([CARDS.get(name) for name in found], console=_show.console())


@app.command()
@plain_errors
def data(name: o.DataName = None, *, check: o.Check = False, label: o.Label = "label", debug: o.Debug = False) -> None:
    """List the data sets, or describe one (classes, groups, sizes, licences)."""
    from medadv.data import folders
    from medadv.data.sources import SOURCES
    from medadv.data.tidy import verify_tidy

    if name is None:
        _show.show_places(folders(), list(SOURCES), console=_show.console())
        return
    pairs = open_pairs(name, split="test" if name == "phantoms" else "all", size=64, label=label)
    folder = None if name == "phantoms" else folders().get(name, Path(name))
    if check and folder is not None:
        problems = verify_tidy(folder)
        if problems:
            more = f" And {len(problems) - 1} more such problems." if problems[1:] else ""
            raise ValueError(f"{problems[0]}{more}")
        typer.echo(f"{folder.name}: every file is there, can be decoded, and has the checksum it should have.")
    _show.show_pairs(pairs, folder=folder, console=_show.console())


@app.command()
@plain_errors
def zeroshot(
    *,
    model: o.Model = "tiny",
    data: o.Data = "phantoms",
    split: o.Split = "test",
    template: o.Template = None,
    classes: o.Phrases = None,
    label: o.Label = "label",
    size: o.Size = None,
    limit: o.Limit = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "float32",
    batch_size: o.BatchSize = 128,
    seed: o.Seed = 0,
    out: o.Out = None,
    debug: o.Debug = False,
) -> None:
    """Classify images, or one picture, by sentences alone."""
    from medadv.evaluate import study
    from medadv.evaluate.asking import ask
    from medadv.models import TEMPLATES, ZeroShot, load

    check_folder(out)
    phrases = [phrase.strip() for phrase in (classes or "").split("|") if phrase.strip()]
    templates = tuple(template or TEMPLATES)
    if Path(data).is_file() and len(phrases) < 2:
        raise ValueError("The --classes option must hold two phrases or more for a file, as 'a naevus|a melanoma'.")
    vlm = load(model, device=device, dtype=dtype)
    if Path(data).is_file():
        _show.finish({"ask": ask(vlm, data, phrases, templates=templates)}, out)
        return
    pairs = open_pairs(data, split=split, size=size or vlm.image_size, limit=limit, seed=seed, label=label)
    if phrases and len(phrases) != len(pairs.classes):
        raise ValueError(
            f"The --classes option must hold one phrase for each of {', '.join(pairs.classes)}; got {len(phrases)}."
        )
    head = ZeroShot.from_prompts(vlm, phrases or list(pairs.prompts or pairs.classes), templates=templates)
    facts = {
        "task": "zero-shot",
        "model": model,
        "split": split,
        "prompts": list(head.classes),
        "templates": templates,
    }
    report = study.head_report(head, pairs, batch_size=batch_size, seed=seed, settings=facts, progress=True)
    _show.finish({"zeroshot": report}, out)


@app.command()
@plain_errors
def retrieve(
    *,
    model: o.Model = "tiny",
    data: o.Data = "phantoms",
    split: o.Split = "test",
    k: o.Ranks = None,
    captions: o.Captions = None,
    size: o.Size = None,
    limit: o.Limit = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "float32",
    batch_size: o.BatchSize = 128,
    seed: o.Seed = 0,
    out: o.Out = None,
    debug: o.Debug = False,
) -> None:
    """Find captions by images and images by captions (recall@k)."""
    from medadv.evaluate import study
    from medadv.models import load

    check_folder(out)
    vlm = load(model, device=device, dtype=dtype)
    pairs = open_pairs(data, split=split, size=size or vlm.image_size, limit=limit, seed=seed)
    facts = {"task": "retrieval", "model": model, "split": split}
    options: dict[str, Any] = {
        "k": k or (1, 5, 10),
        "captions": captions,
        "batch_size": batch_size,
        "seed": seed,
    }
    _show.finish({"retrieve": study.retrieve_report(vlm, pairs, settings=facts, progress=True, **options)}, out)


app.command()(train)
app.command()(evaluate)


def main() -> None:
    """Run the command line."""
    app()
