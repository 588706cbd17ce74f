"""What a notebook asserts, in words that stay the same on every machine, and stored results with their
origin."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

_made: list[tuple[str, bool]] = []


def claim(text: str, holds) -> None:
    """Print whether a sentence about the numbers above holds; nbval compares this line, not the digits.

    Shapes   holds is one truth value, or a tensor of one element.
    Units    none.
    Returns  nothing; the line is printed and kept for `claims`.
    Raises   ValueError if `holds` is not one truth value.
    Source   ours.
    """
    try:
        truth = bool(holds)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(
            f"The 'holds' parameter of claim must be one truth value; got {type(holds).__name__}. Use .all()."
        ) from error
    _made.append((text, truth))
    print(("HOLDS: " if truth else "DOES NOT HOLD: ") + text)


def claims() -> tuple[tuple[str, bool], ...]:
    """List the claims made so far in this process.

    Shapes   one (text, truth) for each claim.
    Units    none.
    Returns  a tuple in the order in which they were made.
    Raises   nothing.
    Source   ours.
    """
    return tuple(_made)


@dataclass(frozen=True)
class Stored:
    """A result computed elsewhere: a table, and the line that says how to make it again."""

    data: dict[str, Any]
    path: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table."""
        return self.data.get("rows", [])

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What was found, one dictionary for each claim of a paper."""
        return self.data.get("findings", [])

    @property
    def provenance(self) -> str:
        """One line: command, seed, versions, device, date, commit."""
        facts = dict(self.data)
        if "command" in self.data.get("versions", {}):  # a saved Report keeps its whole provenance there
            facts.update(self.data["versions"])
        facts.update(self.data.get("provenance", {}))
        said = []
        for key in ("command", "seed", "versions", "device", "date", "commit"):
            value = facts.get(key)
            if isinstance(value, dict):
                value = ", ".join(f"{name} {number}" for name, number in value.items())
            said.append(f"{key}: {'not recorded' if value is None or value == '' else value}")
        return "; ".join(said)

    def frame(self):
        """Return the rows as a pandas table, with every value and its interval in one column."""
        import pandas as pd

        table = pd.DataFrame([_flat(row) for row in self.rows])
        for name in [c[: -len("_low")] for c in table.columns if c.endswith("_low")]:
            if name in table and f"{name}_high" in table:
                cells = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
                table[name] = [
                    _cell(v) if low is None or low != low else f"{_cell(v)} [{_cell(low)}, {_cell(high)}]"
                    for v, low, high in cells
                ]
                table = table.drop(columns=[f"{name}_low", f"{name}_high"])
        return table

    def _repr_html_(self) -> str:
        table = self.frame()
        head = "".join(f'<th scope="col">{escape(str(c)).replace("_", " ")}</th>' for c in table.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_cell(value))}</td>" for value in row) + "</tr>"
            for row in table.itertuples(index=False)
        )
        title = escape(str(self.data.get("title", self.path)))
        return (
            f'<table class="dataframe"><caption>{title}</caption><thead><tr>{head}</tr></thead>'
            f'<tbody>{body}</tbody></table><p class="mv-provenance">'
            f"<small>Stored result. {escape(self.provenance)}</small></p>"
        )

    def __repr__(self) -> str:
        return f"Stored({self.path}: {len(self.rows)} rows)"


def stored(path: str | Path) -> Stored:
    """Read a stored result and show it as a table with its origin.

    Shapes   the file holds `rows` (a list of flat dictionaries), `provenance` and, for papers, `findings`.
    Units    as named in the columns; `x_low` and `x_high` are the interval of `x`.
    Returns  a Stored that a notebook draws; `.rows`, `.findings`, `.frame()` and `.provenance` answer
             questions.
    Raises   FileNotFoundError if there is no such file, ValueError if it is not JSON of this form.
    Source   ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"The 'path' parameter of stored must be a result file; got {path}. "
            "Its chapter says which command makes it."
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"The 'path' parameter of stored must be a JSON file; got {path}. {error}") from error
    rows = data.get("rows") if isinstance(data, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(
            f"The 'path' parameter of stored must hold an object with a list 'rows' of objects; got {path}. "
            "Write it with the script named in its chapter."
        )
    return Stored(data, path.as_posix())


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Open the estimate of a Report's row into three columns that `frame` joins again."""
    kept = {name: value for name, value in row.items() if name != "estimate"}
    made = row.get("estimate")
    if isinstance(made, dict):
        kept.update(value=made.get("value"), value_low=made.get("low"), value_high=made.get("high"), n=made.get("n"))
    return kept


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 0.01 and value else f"{value:.3f}"
    return str(value)
