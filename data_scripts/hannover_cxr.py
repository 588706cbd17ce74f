"""Hannover chest radiographs: 243 images of 71 patients, with sex, projection and intensive-care status.

    python data_scripts/hannover_cxr.py --out DIR [--source DIR_OR_ZIP] [--size N] [--limit N]

--source is a clone of github.com/ml-workgroup/covid-19-image-repository (png/ and data.csv) or its archive.
Folds and splits are by patient. With --size the shorter side is brought to N pixels; without it the files
are copied unchanged.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from _common import begin, limited, obtain, parser, picture, run, source_text, table, unpacked
from PIL import Image
from tqdm.auto import tqdm

from medadv.data.sources import HANNOVER_COMMIT, sources
from medadv.data.tidy import write_tidy
from medadv.data.tidy_write import save_bytes, save_picture

CLASSES = {
    "non_icu": "a patient treated outside the intensive care unit",
    "icu": "a patient treated in the intensive care unit",
}

# sha256 of the sorted lines "md5  file name" of the 243 images at HANNOVER_COMMIT: a checksum of the content,
# because the archive itself is packed anew by the server.
CONTENT = "6ffae2b9b19e56446d16ce0417d9e7677f849e3b4a8ff0916efb4395617385f8"
IMAGES = 243

_PLACE = {
    "in_icu": "treated in the intensive care unit",
    "never_icu": "treated outside the intensive care unit",
    "before_icu": "before transfer to the intensive care unit",
    "after_icu": "after discharge from the intensive care unit",
}

TRAPS = """No healthy controls. Every ICU image is AP and no PA image is ICU: the projection is a perfect
shortcut in one direction. Lines and tubes mark ICU. Some images carry "L", "R" or
"Bettaufnahme" (bedside) marks. With 13 test patients prefer five folds to the fixed split.
Captions are templates filled from the record, not reports."""


def main(argv: list[str] | None = None) -> int | None:
    """Make the folder."""
    args = parser(__doc__ or "", sources("hannover_cxr"), size=None).parse_args(argv)
    if not begin(args.out, script="hannover_cxr", size=args.size, limit=args.limit):
        return None
    root = _root(unpacked(obtain("hannover_cxr", args), args.out))
    needed = (
        "patient_id",
        "image_id",
        "sex",
        "admission_offset",
        "icu_admission_offset",
        "icu_release_offset",
        "projection",
    )
    record = table((root / "data.csv").read_bytes(), "data.csv", needed)
    _check_content(root, record)
    rows = limited(_rows(record), args.limit)
    for row in tqdm(rows, desc="hannover_cxr"):
        _convert(root / "png" / Path(row["image"]).name, args.out / row["image"], args.size)
    text = source_text("Hannover chest radiographs", sources("hannover_cxr"), TRAPS)
    if (root / "LICENSE").is_file():
        save_bytes((root / "LICENSE").read_bytes(), args.out / "LICENSE-CC-BY-3.0.txt")
    write_tidy(args.out, rows, classes=CLASSES, source=text)
    print(f"{args.out}: {len(rows)} images of {len({row['patient_id'] for row in rows})} patients.")
    return None


def _root(folder: Path) -> Path:
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if (place / "data.csv").is_file() and (place / "png").is_dir():
            return place
    raise ValueError(f"{folder} must hold data.csv and png/ of the repository; it does not.")


def _check_content(root: Path, record: list[dict[str, str]]) -> None:
    for row in record:
        if not (root / "png" / f"{row['image_id']}.png").is_file():
            raise FileNotFoundError(f"The image png/{row['image_id']}.png named in data.csv does not exist in {root}.")
    if len(record) == IMAGES:
        lines = sorted(
            f"{hashlib.md5((root / 'png' / (row['image_id'] + '.png')).read_bytes()).hexdigest()}  "
            f"{row['image_id']}.png"
            for row in record
        )
        found = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        if found != CONTENT:
            raise ValueError(
                f"The {IMAGES} images have the checksum {found}, not {CONTENT} of commit {HANNOVER_COMMIT[:12]}."
            )


def _rows(record: list[dict[str, str]]) -> list[dict]:
    states = [_icu_state(row) for row in record]
    dead = {row["patient_id"] for row in record if row.get("death_offset")}
    fold = _folds(record, states)
    rows = []
    for row, state in zip(record, states, strict=True):
        sex = {"f": "female", "m": "male"}.get(row["sex"].lower(), "")
        days = -_number(row, "admission_offset")
        view = {"ap": "anteroposterior", "pa": "posteroanterior"}.get(row["projection"].lower(), "unknown")
        what = f"Chest radiograph in {view} projection of a {{}}patient with COVID-19"
        caption = f"{what}, {_PLACE[state]}, {_when(days)}."
        level = _short(row.get("crp_val", ""))
        label = "icu" if state == "in_icu" else "non_icu"
        rows.append(
            {
                "image": f"images/{row['image_id']}.png",
                "patient_id": row["patient_id"],
                "split": {1: "val", 3: "test"}.get(fold[row["patient_id"]], "train"),
                "fold": fold[row["patient_id"]],
                "label": label,
                "label_id": list(CLASSES).index(label),
                "icu_state": state,
                "died": int(row["patient_id"] in dead),
                "projection": row["projection"].lower(),
                "modality": row.get("modality", ""),
                "sex": sex,
                "age": row.get("age", ""),
                "group": sex,
                "caption": caption.format(""),
                "caption_attr": caption.format(f"{sex} " if sex else ""),
                "note": caption.format("")
                + (f" C-reactive protein {level} mg/l." if level and "inf" not in level else ""),
                "days_since_admission": days,
                "crp_mg_l": level,
                "po2_mmhg": _short(row.get("po2_val", "")),
                "pco2_mmhg": _short(row.get("pco2_val", "")),
                "ldh_u_l": _short(row.get("ldh_val", "")),
                "lymphocytes": _short(row.get("lymphocytes_val", "")),
                "neutrophils": _short(row.get("neutrophils_val", "")),
                "licence": "CC-BY-3.0",
                "source": "Hannover Medical School COVID-19 Image Repository",
            }
        )
    return sorted(rows, key=lambda row: (row["patient_id"], row["days_since_admission"], row["image"]))


def _folds(record: list[dict[str, str]], states: list[str]) -> dict[str, int]:
    """Deal the patients of each stratum (sex, ever in ICU) in turn, in the order of the md5 of their id."""
    ever = {row["patient_id"] for row, state in zip(record, states, strict=True) if state != "never_icu"}
    strata: dict[tuple[str, bool], set[str]] = {}
    for row in record:
        strata.setdefault((row["sex"], row["patient_id"] in ever), set()).add(row["patient_id"])
    fold = {}
    for key in sorted(strata):
        for i, patient in enumerate(sorted(strata[key], key=lambda p: hashlib.md5(p.encode()).hexdigest())):
            fold[patient] = i % 5
    return fold


def _icu_state(row: dict[str, str]) -> str:
    if not row["icu_admission_offset"]:
        return "never_icu"
    if _number(row, "icu_admission_offset") > 0:
        return "before_icu"
    released = row["icu_release_offset"]
    return "after_icu" if released and _number(row, "icu_release_offset") < 0 else "in_icu"


def _number(row: dict[str, str], name: str) -> int:
    try:
        return int(float(row[name]))
    except ValueError:
        raise ValueError(
            f"data.csv, image {row['image_id']}: {name} must be a number of days; got {row[name]!r}."
        ) from None


def _when(days: int) -> str:
    if days == 0:
        return "on the day of admission"
    return f"{abs(days)} day{'s' if abs(days) > 1 else ''} {'after' if days > 0 else 'before'} admission"


def _short(text: str) -> str:
    return text.removesuffix(".0")


def _convert(source: Path, target: Path, size: int | None) -> None:
    if target.exists():
        return
    full = picture(source.read_bytes(), source.name)
    if size is None:
        save_bytes(source.read_bytes(), target)
        return
    scale = size / min(full.size)
    new = (max(size, round(full.size[0] * scale)), max(size, round(full.size[1] * scale)))
    save_picture(full.convert("L").resize(new, Image.Resampling.BICUBIC), target)


if __name__ == "__main__":
    sys.exit(run(main))
