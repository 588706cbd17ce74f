"""Small tidy folders written by hand, without our writer."""

from __future__ import annotations

import numpy as np
from PIL import Image

from medadv.data.tidy_write import save_picture


def picture(i, size=(20, 12)):
    grey = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(grey)


def folder_of(tmp_path, n=6, masks=True, **more):
    """Write n images by hand, with metadata.csv but without our writer."""
    rows = []
    for i in range(n):
        save_picture(picture(i), tmp_path / f"images/{i}.png")
        if masks:
            half = np.zeros((12, 20), np.uint8)
            half[:, :10] = 255
            save_picture(Image.fromarray(half), tmp_path / f"masks/{i}.png")
        rows.append(
            {
                "image": f"images/{i}.png",
                "split": "train" if i < n - 2 else "test",
                "label": "cat" if i % 2 else "dog",
                "label_id": str(int(i % 2 == 0)),
                "sex": ("female", "male")[i % 2],
                "age": str(30 + 10 * i),
                "group": ("a", "b", "")[i % 3],
                "mask": f"masks/{i}.png" if masks else "",
                "caption": f"An image of a pet, number {i}.",
                "patient_id": f"p{i}",
                **{name: value[i] for name, value in more.items()},
            }
        )
    save_table(tmp_path, rows)
    return rows


def save_table(folder, rows):
    lines = [",".join(rows[0])] + [",".join('"' + row[name].replace('"', '""') + '"' for name in row) for row in rows]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
