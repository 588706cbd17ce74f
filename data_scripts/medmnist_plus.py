"""MedMNIST v2 and MedMNIST+: one of the twelve flat sets, at 28, 64, 128 or 224 pixels, as a tidy folder.

    python data_scripts/medmnist_plus.py --name NAME --out DIR [--source FILE_OR_DIR] [--size 64] [--limit N]

--source is the npz file of the set, or a folder that holds it. `medadv.data.medmnist.read_medmnist` reads
the same npz file without making a folder. Of chestmnist, which is multi-label, --finding chooses what is
told from the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from _common import begin, limited, parser, run, source_text
from PIL import Image
from tqdm.auto import tqdm

from medadv.data.medmnist import SIZES, medmnist_source, names, read_medmnist
from medadv.data.sources import fetch
from medadv.data.tidy import write_tidy
from medadv.data.tidy_write import save_picture


def main(argv: list[str] | None = None) -> int | None:
    """Make the folder."""
    every = [medmnist_source(name, size=size) for name in names() for size in SIZES]
    made = parser(__doc__ or "", every, size=64, sizes=SIZES)
    made.add_argument("--name", required=True, help="which set: " + ", ".join(names()))
    made.add_argument("--finding", help="only for chestmnist")
    args = made.parse_args(argv)
    source = medmnist_source(args.name, size=args.size)
    if not begin(
        args.out,
        script="medmnist_plus",
        name=args.name,
        size=args.size,
        limit=args.limit,
        finding=args.finding,
    ):
        return None
    place = args.out / "_downloads" if args.source is None else _place(args.source, source.file)
    if args.source is None:
        fetch(source.url, place / source.file, checksum=source.checksum)
    parts = {
        split: read_medmnist(args.name, size=args.size, split=split, root=place, finding=args.finding)
        for split in ("train", "val", "test")
    }
    any_part = parts["test"]
    rows = []
    for split, pairs in parts.items():
        for i, row in enumerate(pairs.rows):
            rows.append(
                {
                    "image": f"images/{split}_{i:06d}.png",
                    "split": split,
                    "label": any_part.classes[row.label],
                    "label_id": row.label,
                    "caption": row.captions[0],
                    "licence": source.licence,
                    "source": args.name,
                    "row": i,
                }
            )
    rows = limited(rows, args.limit)
    for row in tqdm(rows, desc=args.name):
        if not (args.out / row["image"]).exists():
            image = parts[row["split"]].load(row["row"])[0].mul(255).round().to(torch.uint8)
            save_picture(Image.fromarray(image.permute(1, 2, 0).numpy()), args.out / row["image"])
    for row in rows:
        del row["row"]
    text = source_text(f"{args.name} {args.size}", [source], "No patient numbers are published with the set.")
    classes = dict(zip(any_part.classes, any_part.prompts, strict=True))
    write_tidy(args.out, rows, classes=classes, source=text)
    print(f"{args.out}: {len(rows)} images, licence {source.licence}.")
    return None


def _place(source: Path, file: str) -> Path:
    if source.is_file() and source.name != file:
        raise ValueError(f"The '--source' parameter must be the file {file} or its folder; got {source}.")
    return source.parent if source.is_file() else source


if __name__ == "__main__":
    sys.exit(run(main))
