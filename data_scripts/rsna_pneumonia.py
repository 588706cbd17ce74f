"""RSNA pneumonia detection 2018: 26,684 chest radiographs with boxes, sex and age (behind a Kaggle account).

    python data_scripts/rsna_pneumonia.py --out DIR --source DIR [--size 256] [--limit N]

--source is the unpacked competition folder (stage_2_train_images, stage_2_train_labels.csv,
stage_2_detailed_class_info.csv). Without it the steps to get them are printed. Reading DICOM needs the
package pydicom.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from _common import begin, dealt, limited, parser, run, source_text, table
from PIL import Image, ImageDraw
from tqdm.auto import tqdm

from medadv.data.dicom import read_dicom
from medadv.data.sources import sources
from medadv.data.tidy import write_tidy
from medadv.data.tidy_write import save_picture

STEPS = """The RSNA pneumonia images cannot be fetched by a script.
A Kaggle account has to accept the competition rules.
1. Open https://www.kaggle.com/c/rsna-pneumonia-detection-challenge, log in and accept the rules.
2. Download and unpack everything (about 3.7 GB), for example with
   kaggle competitions download -c rsna-pneumonia-detection-challenge
3. pip install 'medadv[pydicom]', then run this script again with --source DIR."""

CLASSES = {
    "normal": "a normal chest",
    "other_abnormality": "an abnormality that is not a lung opacity",
    "lung_opacity": "a lung opacity",
}

NAMES = {
    "Normal": "normal",
    "No Lung Opacity / Not Normal": "other_abnormality",
    "Lung Opacity": "lung_opacity",
}

TRAPS = """The splits here are dealt by the md5 of the patient number (80/10/10): the official test labels
are not public. The images come from NIH ChestX-ray14, so do not test on one what was trained on
the other. Masks are filled boxes. AP images are sicker."""


def main(argv: list[str] | None = None) -> int | None:
    """Make the folder, or say how to get the data."""
    args = parser(__doc__ or "", sources("rsna_pneumonia")).parse_args(argv)
    if args.source is None:
        print(STEPS)
        return None
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(
            "Reading DICOM needs the package pydicom. Install it: pip install 'medadv[pydicom]'"
        ) from error
    kinds = _table(args.source, "stage_2_detailed_class_info.csv", ("patientId", "class"))
    boxes = _table(args.source, "stage_2_train_labels.csv", ("patientId", "x", "y", "width", "height"))
    if not begin(args.out, script="rsna_pneumonia", size=args.size, limit=args.limit):
        return None
    found: dict[str, list[tuple[float, ...]]] = {}
    for row in boxes:
        if row["x"]:
            found.setdefault(row["patientId"], []).append(tuple(float(row[k]) for k in ("x", "y", "width", "height")))
    label = {row["patientId"]: row["class"] for row in kinds}
    split = dealt(label)
    rows = limited([{"key": key, "split": split[key]} for key in sorted(label)], args.limit)
    made = []
    for row in tqdm(rows, desc="rsna_pneumonia"):
        path = args.source / "stage_2_train_images" / f"{row['key']}.dcm"
        made.append(_convert(pydicom, path, row, label[row["key"]], found.get(row["key"], []), args))
    text = source_text("RSNA pneumonia 2018", sources("rsna_pneumonia"), TRAPS)
    write_tidy(args.out, made, classes=CLASSES, source=text)
    print(f"{args.out}: {len(made)} images.")
    return None


def _table(folder: Path, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not (folder / name).is_file():
        raise FileNotFoundError(f"The '--source' parameter must hold {name}; got {folder}.")
    return table((folder / name).read_bytes(), name, columns)


def _convert(pydicom, path: Path, row: dict, kind: str, boxes: list, args) -> dict:
    if kind not in NAMES:
        raise ValueError(
            f"stage_2_detailed_class_info.csv, {row['key']}: class must be one of {list(NAMES)}; got {kind!r}."
        )
    if not path.is_file():
        raise FileNotFoundError(f"The image {path} does not exist. Unpack the whole archive.")
    image, mask = f"images/{row['key']}.png", f"masks/{row['key']}.png" if boxes else ""
    full = read_dicom(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the files write ages without the unit the standard asks for
        dicom = pydicom.dcmread(path, stop_before_pixels=True)
        sex, digits = str(dicom.get("PatientSex", "")), str(dicom.get("PatientAge", "")).rstrip("Y")
    if not (args.out / image).exists():
        save_picture(full.resize((args.size, args.size), Image.Resampling.BICUBIC), args.out / image)
    if mask and not (args.out / mask).exists():
        drawn = Image.new("L", full.size)
        for x, y, width, height in boxes:
            ImageDraw.Draw(drawn).rectangle((x, y, x + width, y + height), fill=255)
        save_picture(drawn.resize((args.size, args.size), Image.Resampling.NEAREST), args.out / mask)
    label = NAMES[kind]
    sex = {"F": "female", "M": "male"}.get(sex, "")
    age = int(digits) if digits.isdecimal() and int(digits) <= 120 else ""  # a few ages are typing errors
    return {
        "image": image,
        "patient_id": row["key"],
        "split": row["split"],
        "label": label,
        "label_id": list(CLASSES).index(label),
        "projection": str(dicom.get("ViewPosition", "")).lower(),
        "sex": sex,
        "age": age,
        "group": f"{sex}_{'lt50' if age < 50 else 'ge50'}" if sex and isinstance(age, int) else "",
        "mask": mask,
        "caption": f"A frontal chest radiograph with {CLASSES[label]}.",
        "licence": "RSNA / NIH competition rules",
        "source": "RSNA Pneumonia Detection Challenge 2018",
    }


if __name__ == "__main__":
    sys.exit(run(main))
