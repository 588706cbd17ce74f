"""medadv data: what data there are, what a folder holds and declares, and how a folder is made from other layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option
from typer.core import TyperGroup

from medadv.cli import options as o
from medadv.cli import show
from medadv.cli.options import open_pairs, plain_errors

Mask = Annotated[str | None, Option(help='declare what is inside the masks: {"lesion": 1} or {"lesion": [255, 0, 0]}')]
Sums = Annotated[bool, Option("--write-checksums", help="write MD5SUMS for the files as they are now")]
Source = Annotated[Path, typer.Argument(help="folder with class folders or a table, or a csv table")]
Target = Annotated[Path, Option("--out", "-o", help="folder to make; must be new or empty")]
Table = Annotated[Path | None, Option(help="csv table, where the source holds several or none")]
Labels = Annotated[list[str] | None, Option("--label", help="column of the class; repeat it for one-hot columns")]
ImageColumn = Annotated[str | None, Option("--image", help="column of the file name")]
Patient = Annotated[str | None, Option(help="column that binds images together: patient or lesion")]
Rest = Annotated[str | None, Option(help="class of rows whose one-hot columns are all 0")]
Caption = Annotated[str | None, Option(help="sentence with {} for the class")]
Shares = Annotated[str, Option(help="shares of train, val and test")]


class _ShowUnlessNamed(TyperGroup):
    """`medadv data NAME` describes a data set; only `convert` is a command of its own (./convert is a folder)."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the hidden command before what is no command."""
        return super().parse_args(ctx, args if args and args[0] in self.commands else ["show", *args])


data = typer.Typer(cls=_ShowUnlessNamed, no_args_is_help=False, rich_markup_mode=None, add_completion=False)


@data.command("show")
@plain_errors
def describe(
    name: o.DataName = None,
    *,
    check: o.Check = False,
    label: o.Label = "label",
    window: o.Window = None,
    bits: o.Bits = None,
    mask: Mask = None,
    write_checksums: Sums = False,
    debug: o.Debug = False,
) -> None:
    """List the data sets, or describe one (classes, groups, sizes, pixel values, licences). --window, --bits and --mask
    declare something of all its files, in its folder.json. `medadv data convert` makes a folder from other layouts."""
    from medadv.data import folders
    from medadv.data.sources import SOURCES
    from medadv.data.tidy import verify_tidy
    from medadv.data.tidy import write_checksums as write_sums

    entries = _entries(window, bits, mask)
    if name in (None, "phantoms") and (check or write_checksums or entries):
        raise ValueError("The name of a folder is needed here. Write: medadv data FOLDER, then the options.")
    if name is None:
        show.show_places(folders(), list(SOURCES), console=show.console())
        return
    folder = None if name == "phantoms" else folders().get(name, Path(name))
    if folder is not None and (folder / "metadata.csv").is_file():
        _declare(folder, entries)
    pairs = open_pairs(name, split="test" if name == "phantoms" else "all", size=64, label=label)
    if write_checksums and folder is not None:
        typer.echo(f"written: {write_sums(folder)}")
    if check and folder is not None:
        problems = verify_tidy(folder)
        if problems:
            more = f" And {len(problems) - 1} more such problems." if problems[1:] else ""
            raise ValueError(f"{problems[0]}{more}")
        typer.echo(f"{folder.name}: every file is there, can be decoded, and has the checksum it should have.")
    show.show_pairs(pairs, folder=folder, console=show.console())


@data.command("convert")
@plain_errors
def make(
    source: Source,
    *,
    out: Target,
    table: Table = None,
    label: Labels = None,
    image: ImageColumn = None,
    patient: Patient = None,
    rest: Rest = None,
    caption: Caption = None,
    shares: Shares = "0.7,0.1,0.2",
    seed: o.Seed = 0,
    window: o.Window = None,
    bits: o.Bits = None,
    debug: o.Debug = False,
) -> None:
    """Make a folder with metadata.csv from class folders or a table (HAM10000 and ISIC csv are known)."""
    from medadv.data.convert import convert

    made = convert(
        source,
        out,
        table=table,
        label=label,
        image=image,
        patient=patient,
        rest=rest,
        caption=caption,
        shares=_numbers(shares, 3, "shares"),
        seed=seed,
        window=None if window is None else tuple(_numbers(window, 2, "window")),  # type: ignore[arg-type]
        bits=bits,
    )
    typer.echo(f"written: {made}. Look at it with: medadv data {made}")


def _entries(window: str | None, bits: int | None, mask: str | None) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    if window is not None:
        entries["window"] = _numbers(window, 2, "window")
    if bits is not None:
        entries["bits"] = bits
    if mask is not None:
        try:
            entries["mask"] = json.loads(mask)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"The --mask option must be JSON; got {mask[:40]}. Write, for example, '{{\"lesion\": 1}}'."
            ) from error
    return entries


def _declare(folder: Path, entries: dict[str, Any]) -> None:
    from medadv.data._settings import declare

    if entries:
        typer.echo(f"written: {declare(folder, **entries)}")
        if (folder / "MD5SUMS").is_file():
            typer.echo("The checksums of the folder do not know that file: run it again with --write-checksums.")


def _numbers(text: str, count: int, option: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise ValueError(
            f"The --{option} option must be {count} numbers with commas between them; got {text[:40]}. "
            f"Write, for example, --{option} {'0,4095' if count == 2 else '0.7,0.1,0.2'}."
        )
    return found
