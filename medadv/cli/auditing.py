"""What medadv certify --audit does: hold a log against what it is said to come from."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import typer

from medadv.cli.attacking import show_frame
from medadv.cli.show import console

OWN_SCALE = ("composed", "routed")
"""Guarantees whose votes are worth another sigma or alpha than the log's: their radii are those of no plain count."""


def audit_and_show(
    path: Path, *, sigma: float | None, n: int | None, alpha: float, digits: int | None, radii: Sequence[float] | None,
    out: Path | None,
) -> None:  # fmt: skip
    """Hold a log against what it is said to come from, and count its certified accuracy again."""
    from medadv.certify.log_check import audit_log
    from medadv.certify.records import read_log
    from medadv.reports.certification import certified_report

    log = read_log(path)
    level = sigma if sigma is not None else float(log["sigma"].iloc[0]) if "sigma" in log else None
    votes = n if n is not None else int(log["n"].max()) if "n" in log else None
    if level is None or votes is None:
        raise ValueError(f"The --audit option needs --sigma and --n: {path.name} does not say them.")
    found, skipped, fits = [], [], []
    ours = {"head", "plan", "guarantee"} <= set(log)
    for name, part in log.groupby("head", sort=False) if ours else [("", log)]:
        if ours and (not part["plan"].iloc[0].startswith("fixed") or part["guarantee"].iloc[0] in OWN_SCALE):
            skipped.append(str(name))  # its radii are rungs, or another sigma's: no plateau to read
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # every finding is printed below
            made = audit_log(part, sigma=level, n=votes, alpha=alpha, digits=digits or (12 if ours else None))
        found += [f"{name}: {one}" if name else one for one in made.findings]
        if made.plateau is None and not made.findings and made.fits:
            fits.append(f"{name}: {_fit(made.fits)}" if name else _fit(made.fits))
    settings = {"data": path.name, "sigma": level, "n": votes, "alpha": alpha, "findings": found}
    report = certified_report(log, sigma=level, radii=radii, settings=settings)
    show_frame(report.wide(), f"{path.name}, counted again", console())
    for one in found:
        typer.echo(f"FOUND  {one}")
    for one in fits:
        typer.echo(one)
    if not found and len(skipped) < len(set(log.get("head", ["log"]))):
        typer.echo(f"Nothing was found that does not fit sigma {level:g}, n {votes} and alpha {alpha:g}.")
    if skipped:
        typer.echo(f"Not held against them, for its radii are not those of n votes: {', '.join(skipped)}.")
    if out is not None:
        typer.echo(f"written: {report.save(out / 'audit.json')}")


def _fit(alphas: Sequence[float]) -> str:
    """Say which alphas are possible where none can be read from a plateau."""
    told = ", ".join(f"{alpha:g}" for alpha in alphas)
    return f"No three images share the largest radius, so alpha cannot be read from it; these would fit: {told}."
