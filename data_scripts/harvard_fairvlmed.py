"""Harvard-FairVLMed: 10,000 SLO fundus images, glaucoma labels, notes, protected attributes (behind terms).

    python data_scripts/harvard_fairvlmed.py --out DIR --source DIR [--size 256] [--limit N]

--source is the folder with data_summary.csv and the npz files (in any subfolders). Without it the steps to
get them are printed.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
from _common import begin, limited, parser, run, source_text, table
from PIL import Image
from tqdm.auto import tqdm

from medadv._images import to_pixels
from medadv.data.sources import sources
from medadv.data.tidy import write_tidy
from medadv.data.tidy_write import save_picture

STEPS = """Harvard-FairVLMed cannot be fetched by a script.
Its licence (CC BY-NC-ND 4.0, research only) forbids passing it on.
1. Open https://huggingface.co/datasets/harvardairobotics/FairVLMed, log in and agree to the terms.
2. Download data_summary.csv and the npz files (Training, Validation, Test), for example with
   huggingface-cli download --repo-type dataset harvardairobotics/FairVLMed --local-dir DIR
3. Run this script again with --source DIR.
   Keep the result to yourself: the licence allows no derived copies in public."""

CLASSES = {"no_glaucoma": "an eye without glaucoma", "glaucoma": "an eye with glaucoma"}

TRAPS = """caption_note holds the summarised note; notes name age, sex and race, so it is not the default
caption. Spanish speakers are too few for a language group. One image per patient."""

NEEDED = ("filename", "age", "gender", "race", "ethnicity", "language", "maritalstatus", "glaucoma", "use")


def main(argv: list[str] | None = None) -> int | None:
    """Make the folder, or say how to get the data."""
    args = parser(__doc__ or "", sources("harvard_fairvlmed")).parse_args(argv)
    if args.source is None:
        print(STEPS)
        return None
    summary = args.source / "data_summary.csv"
    if not summary.is_file():
        raise FileNotFoundError(f"The '--source' parameter must hold data_summary.csv; got {args.source}.")
    if not begin(args.out, script="harvard_fairvlmed", size=args.size, limit=args.limit):
        return None
    files = {path.name: path for path in sorted(args.source.rglob("*.npz"))}
    record = table(summary.read_bytes(), "data_summary.csv", NEEDED)
    rows = limited([_row(row) for row in record], args.limit)
    for row in tqdm(rows, desc="harvard_fairvlmed"):
        name = row.pop("file")
        if name not in files:
            raise FileNotFoundError(f"The file {name} named in data_summary.csv does not exist below {args.source}.")
        if not (args.out / row["image"]).exists():
            save_picture(_picture(files[name], row["label"], args.size), args.out / row["image"])
    text = source_text("Harvard-FairVLMed", sources("harvard_fairvlmed"), TRAPS)
    write_tidy(args.out, rows, classes=CLASSES, source=text)
    print(f"{args.out}: {len(rows)} images. Do not pass them on.")
    return None


def _row(row: dict[str, str]) -> dict:
    stem = Path(row["filename"]).stem
    split = {"tr": "train", "va": "val", "te": "test"}.get(row["use"].lower()[:2])
    label = {"yes": "glaucoma", "1": "glaucoma", "no": "no_glaucoma", "0": "no_glaucoma"}.get(row["glaucoma"].lower())
    if split is None or label is None:
        raise ValueError(
            f"data_summary.csv, {row['filename']}: use must be training, validation or test and glaucoma yes "
            "or no; "
            f"got {row['use']!r} and {row['glaucoma']!r}."
        )
    known = {name: _known(row[name]) for name in ("gender", "race", "ethnicity", "language", "maritalstatus")}
    age = row["age"] if row["age"].replace(".", "", 1).isdecimal() else ""
    return {
        "image": f"images/{stem}.png",
        "file": f"{stem}.npz",
        "patient_id": stem,
        "split": split,
        "label": label,
        "label_id": list(CLASSES).index(label),
        "sex": known["gender"],
        "age": age,
        "group": known["race"],
        **{name: known[name] for name in ("race", "ethnicity", "language", "maritalstatus")},
        "caption": f"A scanning laser ophthalmoscopy fundus image of {CLASSES[label]}.",
        "caption_note": row.get("gpt4_summary") or row.get("note", ""),
        "licence": "CC-BY-NC-ND-4.0",
        "source": "Harvard-FairVLMed",
    }


def _known(text: str) -> str:
    return "" if text.strip().lower() in ("", "unknown", "-1", "nan") else text.strip().lower()


def _picture(path: Path, label: str, size: int) -> Image.Image:
    try:
        with np.load(path, allow_pickle=False) as file:
            image = np.asarray(file["slo_fundus"])
            flag = file["glaucoma"] if "glaucoma" in file.files else None
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as a FairVLMed file ({error}). Fetch it again.") from error
    if flag is not None and int(np.asarray(flag).reshape(-1)[0]) != list(CLASSES).index(label):
        raise ValueError(f"{path} says glaucoma {flag}, but data_summary.csv says {label}.")
    if image.dtype != np.uint8:
        image = (image * 255 if image.max() <= 1 else image).round().clip(0, 255).astype(np.uint8)
    pixels = to_pixels(image, size=size).mul(255).round().byte()
    return Image.fromarray(pixels[0].numpy())


if __name__ == "__main__":
    sys.exit(run(main))
