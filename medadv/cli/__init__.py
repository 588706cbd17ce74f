"""The command line: look at models and data, ask zero-shot, retrieve, adapt, evaluate, attack, certify.

Every command is a few calls of the package; whatever is wrong with the input is one sentence and exit code 2.
"""

from __future__ import annotations

import typer

from medadv import __version__
from medadv.cli import options as o
from medadv.cli.ask import retrieve, zeroshot
from medadv.cli.attack import attack
from medadv.cli.certify import certify
from medadv.cli.data import data
from medadv.cli.evaluate import evaluate
from medadv.cli.look import models
from medadv.cli.train import train

__all__ = ["app", "main"]

app = typer.Typer(
    name="medadv",
    help="Run, adapt, evaluate, attack and certify medical vision-language models. Data are phantoms, a folder with a "
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


app.add_typer(data, name="data")
for _command in (models, zeroshot, retrieve, train, evaluate, attack, certify):
    app.command()(_command)


def main() -> None:
    """Run the command line."""
    app()
