"""medadv models and medadv data: what there is to work with."""

from __future__ import annotations

from pathlib import Path

import typer

from medadv.cli import options as o
from medadv.cli import show
from medadv.cli.options import open_pairs, plain_errors


@plain_errors
def models(pattern: o.Pattern = "*", *, debug: o.Debug = False) -> None:
    """List the models that have a name."""
    from medadv.models import CARDS, names

    found = names(pattern)
    if not found:
        CARDS.get(pattern)  # says which names are near
    show.show_models([CARDS.get(name) for name in found], console=show.console())


@plain_errors
def data(name: o.DataName = None, *, check: o.Check = False, label: o.Label = "label", debug: o.Debug = False) -> None:
    """List the data sets, or describe one (classes, groups, sizes, licences)."""
    from medadv.data import folders
    from medadv.data.sources import SOURCES
    from medadv.data.tidy import verify_tidy

    if name is None:
        show.show_places(folders(), list(SOURCES), console=show.console())
        return
    pairs = open_pairs(name, split="test" if name == "phantoms" else "all", size=64, label=label)
    folder = None if name == "phantoms" else folders().get(name, Path(name))
    if check and folder is not None:
        problems = verify_tidy(folder)
        if problems:
            more = f" And {len(problems) - 1} more such problems." if problems[1:] else ""
            raise ValueError(f"{problems[0]}{more}")
        typer.echo(f"{folder.name}: every file is there, can be decoded, and has the checksum it should have.")
    show.show_pairs(pairs, folder=folder, console=show.console())
