"""ISIC 2017: 2,750 dermoscopic images of nevi, melanomas and seborrheic keratoses, with masks, sex and age.

    python data_scripts/isic2017.py --out DIR [--source DIR_OR_ZIP] [--size 256] [--limit N]

--source is a folder that holds the official archives or what they unpack to (Training_Data, Part1 and Part3
files, and the same of Validation and Test_v2). Images are stretched to a square, as most copies of the set
do.
"""

from __future__ import annotations

import sys

import numpy as np
from _common import (
    Files,
    begin,
    files_in,
    limited,
    obtain,
    parser,
    picture,
    run,
    source_text,
    stretched_mask,
    table,
)
from PIL import Image
from tqdm.auto import tqdm

from medadv.data.sources import sources
from medadv.data.tidy import write_tidy
from medadv.data.tidy_write import save_picture

SPLITS = {"train": "Training", "val": "Validation", "test": "Test_v2"}

CLASSES = {
    "nevus": "a melanocytic nevus",
    "melanoma": "a melanoma",
    "seborrheic_keratosis": "a seborrheic keratosis",
}

# Near-duplicates found by thumbnail correlation of at least 0.96 after a high-pass filter, four more by eye;
# ten of the pairs link train or val to test. For a clean test, drop test rows that have a dup_group.
DUPLICATES = (
    "0000162 0014826, 0000164 0014795, 0000165 0014788, 0000171 0015124, 0000174 0015071, 0000193 0015436, "
    "0000201 0015023, 0000222 0014846, 0012970 0012127, 0012152 0015979, 0012175 0015982, 0012216 0016001, "
    "0012221 0016002, 0012222 0016003, 0012271 0016018, 0012290 0013594, 0012672 0012673, 0012756 0013184, "
    "0012887 0012989, 0013163 0013109, 0015986 0015987"
)

TRAPS = """Rulers, ink, gel bubbles, dark corners and coloured patches go together with the label; skin is
almost only light; keratosis under 50 is rare; the aspect ratio is not kept. Sex and age are
given for train and val only."""


def main(argv: list[str] | None = None) -> int | None:
    """Make the folder."""
    args = parser(__doc__ or "", sources("isic2017")).parse_args(argv)
    if not begin(args.out, script="isic2017", size=args.size, limit=args.limit):
        return None
    files = files_in(obtain("isic2017", args))
    rows = limited([row for split in SPLITS for row in _rows(files, split)], args.limit)
    if not rows:
        raise ValueError(
            f"{args.source} must hold ISIC-2017_*_Part3_GroundTruth.csv of at least one split; it holds none."
        )
    for row in tqdm(rows, desc="isic2017"):
        _convert(files, row, args.out, args.size)
    text = source_text("ISIC 2017", sources("isic2017"), TRAPS, f"Stretched to {args.size} px.")
    write_tidy(args.out, rows, classes=CLASSES, source=text)
    print(f"{args.out}: {len(rows)} images.")
    return None


def _rows(files: Files, split: str) -> list[dict]:
    name = f"ISIC-2017_{SPLITS[split]}_Part3_GroundTruth.csv"
    if name not in files:
        return []
    about = f"ISIC-2017_{SPLITS[split]}_Data_metadata.csv"
    known = {}
    if about in files:
        known = {row["image_id"]: row for row in table(files[about](), about, ("image_id", "age_approximate", "sex"))}
    twins = {f"ISIC_{key}": str(i + 1) for i, pair in enumerate(DUPLICATES.split(", ")) for key in pair.split()}
    rows = []
    for row in table(files[name](), name, ("image_id", "melanoma", "seborrheic_keratosis")):
        key, label = row["image_id"], _label(row, name)
        more = known.get(key, {})
        sex = more.get("sex", "") if more.get("sex") in ("female", "male") else ""
        age = more.get("age_approximate", "")
        age = str(int(float(age))) if age.replace(".", "", 1).isdecimal() else ""
        caption = f"A dermoscopic image of {CLASSES[label]}"
        who = f" of a {age}-year-old {sex} patient" if age and sex else f" of a {sex} patient" if sex else ""
        rows.append(
            {
                "image": f"images/{key}.jpg",
                "isic_id": key,
                "split": split,
                "label": label,
                "label_id": list(CLASSES).index(label),
                "melanoma": int(label == "melanoma"),
                "sex": sex,
                "age": age,
                "group": f"{sex}_{'lt50' if int(age) < 50 else 'ge50'}" if age and sex else "",
                "mask": f"masks/{key}.png" if f"{key}_segmentation.png" in files else "",
                "lesion_fraction": "",
                "caption": caption + ".",
                "caption_attr": caption + who + ".",
                "dup_group": twins.get(key, ""),
                "label_source": "official",
                "licence": "CC0-1.0 (check per image)",
                "source": "ISIC Challenge 2017",
            }
        )
    return rows


def _label(row: dict[str, str], name: str) -> str:
    try:
        melanoma, keratosis = float(row["melanoma"]), float(row["seborrheic_keratosis"])
    except ValueError:
        melanoma = keratosis = -1.0
    if (melanoma, keratosis) not in ((0, 0), (1, 0), (0, 1)):
        raise ValueError(
            f"{name}, {row['image_id']}: melanoma and seborrheic_keratosis must be 0 or 1 and not both 1; "
            f"got {row['melanoma']!r} and {row['seborrheic_keratosis']!r}."
        )
    return "melanoma" if melanoma else "seborrheic_keratosis" if keratosis else "nevus"


def _convert(files: Files, row: dict, out, size: int) -> None:
    key = row["isic_id"]
    if f"{key}.jpg" not in files:
        raise ValueError(f"The source must hold the image {key}.jpg; it does not. Is the {row['split']} archive there?")
    if not (out / row["image"]).exists():
        full = picture(files[f"{key}.jpg"](), f"{key}.jpg", at_least=2 * size).convert("RGB")
        save_picture(full.resize((size, size), Image.Resampling.BICUBIC), out / row["image"])
    if row["mask"]:
        if not (out / row["mask"]).exists():
            name = f"{key}_segmentation.png"
            save_picture(stretched_mask(picture(files[name](), name), (size, size), name), out / row["mask"])
        with Image.open(out / row["mask"]) as mask:
            row["lesion_fraction"] = f"{(np.asarray(mask) > 127).mean():.4f}"


if __name__ == "__main__":
    sys.exit(run(main))
