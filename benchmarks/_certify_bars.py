"""What certification promised, against what was measured; and the tables as Markdown."""

from __future__ import annotations

from typing import Any

SHARES = (0.25, 0.5, 1, 2)
# part, start of the runner's name, which number, bound, whether the number must lie below it
BARS = [
    ("loop", "CERTIFY loop, same noise", "ratio", 1.1, True),
    ("loop", "CERTIFY loop, text in every batch", "ratio", 1.0, True),
    ("loop", "ART", "ratio", 1.0, True),
    *(("tests", f"planned looks at {r} sigma, n = 10,000", "times_fewer", 5.0, False) for r in SHARES),
    *(("tests", f"planned looks at {r} sigma, n = 100,000", "times_fewer", 25.0, False) for r in SHARES),
    ("tests", "ladder of ten radii, n = 10,000", "times_fewer", 1.3, False),
    ("heads", "8 heads", "ratio", 1.2, True),
    ("training", "few-shot, embeddings made", "ratio", 30.0, False),
    ("training", "few-shot, on embeddings", "ratio", 30.0, False),
    ("training", "15 few-shot prompts", "ratio", 30.0, False),
]


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hold every bar against the row it speaks of; a part that was not run has none."""
    found = []
    for part, start, key, bound, below in BARS:
        for row in rows:
            if row["part"] == part and row["runner"].startswith(start):
                value = row[key][0] if isinstance(row[key], list) else row[key]
                holds = value <= bound if below else value >= bound
                side = "at most" if below else "at least"
                one = {"part": part, "what": f"{row['runner']}: {key}", "bound": bound, "side": side}
                found.append({**one, "measured": value, "holds": holds})
    return found


def markdown(rows: list[dict[str, Any]], bars: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """Write tables a person can read."""
    text = []
    if about:
        named = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
        where = f"{about['device']}, {about['threads']} thread(s), processor seconds"
        text.append(f"`{about['command']}`, {about['date']}, {where}; {named}. Of the published training a few steps "
                    "are measured and multiplied; of fifteen prompts one.\n")  # fmt: skip
    if bars:
        text += ["| part | what | bar | measured | |", "|---|---|---|---|---|"]
        for one in bars:
            verdict = "holds" if one["holds"] else "**missed**"
            text.append(
                f"| {one['part']} | {one['what']} | {one['side']} {one['bound']:g} | {one['measured']} | {verdict} |"
            )
        text.append("")
    names = ("images", "draws", "seconds", "theirs", "ratio", "times_fewer", "times_faster", "peak_MB", "equal")
    text += ["| part | runner | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for row in rows:
        cells = [row.get(name, "") for name in names]
        cells = ["{} ({} to {})".format(*cell) if isinstance(cell, list) else cell for cell in cells]
        text.append(f"| {row['part']} | {row['runner']} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(text) + "\n"
