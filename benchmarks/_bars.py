"""What we promised, against what was measured; and the tables as Markdown."""

from __future__ import annotations

# attack, subject, what is divided by the best peer's, at most. None: every subject.
BARS = [
    ("pgd", "half-robust", "seconds", 0.6),
    ("pgd", "plain", "seconds", 0.25),
    ("pgd", "robust", "seconds", 1.0),
    ("apgd-ce", "half-robust", "seconds", 0.5),
    ("apgd-dlr", "half-robust", "seconds", 0.5),
    ("square", None, "forwards", 1.0),
    ("square", None, "seconds", 1.05),
    ("fgsm", None, "seconds", 1.0),
    ("pgd-defaults", None, "robust", 0.0),
    ("standard", None, "seconds", 0.5),
    ("standard", None, "robust", 0.005),
]


def best_peer(rows: list[dict]) -> dict | None:
    """The fastest library among those whose robust accuracy cannot be told from ours."""
    equal = [row for row in rows if row["runner"] != "medadv" and row["difference"][1] <= 0 <= row["difference"][2]]
    return min(equal, key=lambda row: row["seconds"], default=None)


def verdicts(rows: list[dict], overhead: list[dict]) -> list[dict]:
    """Hold every bar against every row it speaks of."""
    found = []
    for attack, subject, key, most in BARS:
        about = [row for row in rows if row["attack"] == attack and subject in (None, row["subject"])]
        for place in sorted({(row["subject"], row["batch"]) for row in about}):
            group = [row for row in about if (row["subject"], row["batch"]) == place]
            one = {"attack": attack, "subject": place[0], "batch": place[1], "what": key, "at_most": most}
            others = [row for row in group if row["runner"] != "medadv"]
            if key == "robust" and others:  # no higher than the best of the others, plus half a point
                lowest = min(others, key=lambda row: row["robust"])
                found.append({**one, "peer": lowest["runner"], "measured": lowest["difference"][0]})
            elif (peer := best_peer(group)) is not None:
                middle, low, high = peer[f"ratio_{key}"]
                found.append({**one, "peer": peer["runner"], "measured": middle, "range": [low, high]})
            elif others:
                found.append({**one, "peer": "none at equal robust accuracy", "measured": None})
    for row in overhead:
        middle, low, high = row["ratio"]
        one = {"attack": "one step of pgd", "subject": "plain", "batch": row["batch"], "what": "over bare passes"}
        found.append({**one, "at_most": 1.05, "peer": "the model alone", "measured": middle, "range": [low, high]})
    for one in found:
        one["holds"] = one["measured"] is not None and one["measured"] <= one["at_most"]
    return found


def markdown(rows: list[dict], *, bars: list[dict] | None = None, about: dict | None = None) -> str:
    """Write tables a person can read."""
    text = []
    if about:
        named = {**about["versions"], **about["peers"]}
        text += [f"`{about['command']}`, {about['date']}, {about['device']}, {about['threads']} thread(s), "
                 f"{about['clock']}; " + ", ".join(f"{k} {v}" for k, v in named.items()) + "\n"]  # fmt: skip
    if bars:
        text += ["| attack | subject | batch | what, ours over the best peer's | peer | at most | measured (range) | |",
                 "|---|---|---|---|---|---|---|---|"]  # fmt: skip
        for one in bars:
            spread = f" ({one['range'][0]} to {one['range'][1]})" if "range" in one else ""
            cells = [one[key] for key in ("attack", "subject", "batch", "what", "peer", "at_most")]
            cells += [f"{one['measured']}{spread}", "holds" if one["holds"] else "**missed**"]
            text.append("| " + " | ".join(map(str, cells)) + " |")
        text.append("")
    if rows:
        text += ["| attack | subject | batch | runner | s | forwards, backwards per image | robust accuracy | "
                 "outside | ours / theirs in s | robust accuracy, ours - theirs (95 %) |",
                 "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
        for row in rows:
            ratio = difference = ""
            if "ratio_seconds" in row:
                ratio = "{} ({} to {})".format(*row["ratio_seconds"])
                difference = "{:+.3f} ({:+.3f} to {:+.3f})".format(*row["difference"])
            text.append(f"| {row['attack']} {row['steps']} | {row['subject']} {row['threat']} | {row['batch']} | "
                        f"{row['runner']} | {row['seconds']} | {row['forwards']}, {row['backwards']} | "
                        f"{row['robust']:.3f} | {row['outside']} | {ratio} | {difference} |")  # fmt: skip
        text.append("")
    return "\n".join(text) + "\n"
