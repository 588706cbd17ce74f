"""Kvasir-SEG: 1,000 endoscopic images with polyps, and their masks.

    python data_scripts/kvasir_seg.py --out DIR [--source DIR_OR_ZIP] [--size 256] [--limit N]

--source is kvasir-seg.zip or what it unpacks to (Kvasir-SEG/images and Kvasir-SEG/masks). The set has no
official split and no patient numbers: images are dealt 80/10/10 by the md5 of their name. Every image shows
a polyp, so the classes are its size.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from _common import begin, dealt, limited, obtain, parser, picture, run, source_text, stretched_mask, unpacked
from PIL import Image
from tqdm.auto import tqdm

from medadv.data.sources import sources
from medadv.data.tidy import write_tidy
from medadv.data.tidy_write import save_picture

CLASSES = {"small": "a small polyp", "medium": "a medium-sized polyp", "large": "a large polyp"}

TRAPS = """No patient numbers: frames of one patient may be in two splits. A green box in some images shows
the position of the endoscope. Masks are JPEG files, cut at half of the range. small: under 5 %
of the image, large: over 20 %."""


def main(argv: list[str] | None = None) -> int | None:
    """Make the folder."""
    args = parser(__doc__ or "", sources("kvasir_seg")).parse_args(argv)
    if not begin(args.out, script="kvasir_seg", size=args.size, limit=args.limit):
        return None
    root = _root(unpacked(obtain("kvasir_seg", args), args.out))
    names = sorted(path.name for path in (root / "images").iterdir() if path.suffix.lower() in (".jpg", ".png"))
    if not names:
        raise ValueError(f"{root / 'images'} must hold JPEG or PNG files; it holds none.")
    split = dealt(names)
    rows = limited([{"name": name, "split": split[name]} for name in names], args.limit)
    made = [_convert(root, row["name"], row["split"], args.out, args.size) for row in tqdm(rows, desc="kvasir_seg")]
    text = source_text("Kvasir-SEG", sources("kvasir_seg"), TRAPS, f"Stretched to {args.size} px.")
    write_tidy(args.out, made, classes=CLASSES, source=text)
    print(f"{args.out}: {len(made)} images.")
    return None


def _root(folder: Path) -> Path:
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if (place / "images").is_dir() and (place / "masks").is_dir():
            return place
    raise ValueError(f"{folder} must hold images/ and masks/ of Kvasir-SEG; it does not.")


def _convert(root: Path, name: str, split: str, out: Path, size: int) -> dict:
    stem = Path(name).stem
    image, mask = out / "images" / f"{stem}.jpg", out / "masks" / f"{stem}.png"
    if not (root / "masks" / name).is_file():
        raise FileNotFoundError(f"The mask {root / 'masks' / name} does not exist. Unpack the whole archive.")
    if not image.exists():
        full = picture((root / "images" / name).read_bytes(), name, at_least=2 * size).convert("RGB")
        save_picture(full.resize((size, size), Image.Resampling.BICUBIC), image)
    if not mask.exists():
        found = picture((root / "masks" / name).read_bytes(), f"masks/{name}")
        save_picture(stretched_mask(found, (size, size), f"masks/{name}"), mask)
    with Image.open(mask) as made:
        inside = np.asarray(made) > 127
    share = float(inside.mean())
    label = "small" if share < 0.05 else "large" if share > 0.2 else "medium"
    return {
        "image": f"images/{stem}.jpg",
        "split": split,
        "label": label,
        "label_id": list(CLASSES).index(label),
        "sex": "",
        "age": "",
        "mask": f"masks/{stem}.png",
        "lesion_fraction": f"{share:.4f}",
        "caption": "An endoscopic image showing a polyp.",
        "prompt_location": f"one polyp region in the {_place(inside)} of the endoscopic image" if share else "",
        "licence": "research and education",
        "source": "Kvasir-SEG",
    }


def _place(inside: np.ndarray) -> str:
    """Name the ninth of the image in which the centre of the mask lies."""
    rows, columns = np.nonzero(inside)
    down = ("top", "middle", "bottom")[min(2, int(3 * rows.mean() / inside.shape[0]))]
    across = ("left", "centre", "right")[min(2, int(3 * columns.mean() / inside.shape[1]))]
    return "centre" if (down, across) == ("middle", "centre") else f"{down} {across}"


if __name__ == "__main__":
    sys.exit(run(main))
