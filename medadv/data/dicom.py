"""DICOM files as pictures: stored values, rescale, window, then 8 bits; needs the package pydicom."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medadv._images import to_bytes

__all__ = ["dicom_window", "is_dicom", "read_dicom"]

_MOST_PIXELS = 1 << 27


def is_dicom(path: str | Path) -> bool:
    """Tell a DICOM file by its ending or by the letters DICM behind the preamble.

    Shapes   none.
    Units    none.
    Returns  bool.
    Raises   OSError if the file cannot be read.
    Source   DICOM PS3.10, section 7.1.
    """
    if str(path).lower().endswith((".dcm", ".dicom")):
        return True
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(path: str | Path, *, window: tuple[float, float] | None = None) -> Image.Image:
    """Read one DICOM image as an 8-bit picture.

    Shapes   a picture of Columns x Rows pixels, grey or RGB.
    Units    `window` is (low, high) in rescaled values (Hounsfield units for CT): low becomes black, high white.
    Returns  a PIL picture. Without `window` the file's own is used: its first window centre and width, else its
             BitsStored where the values are unsigned and not rescaled. MONOCHROME1 is inverted.
    Raises   ImportError without pydicom; ValueError for a file that cannot be decoded, that holds several frames
             or a palette, or that declares no window where one is needed.
    Source   DICOM PS3.3, sections C.11.1 (rescale) and C.11.2.1.2 (window; LINEAR and LINEAR_EXACT).
    """
    data = _open(path, header=False)
    kind = str(data.get("PhotometricInterpretation", ""))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # real files bend the standard in many small ways
            from pydicom.pixels import apply_modality_lut, pixel_array

            stored = pixel_array(data)
            values = apply_modality_lut(stored, data) if kind.startswith("MONOCHROME") else stored
    except Exception as error:  # pydicom raises many kinds for a damaged file
        raise ValueError(_cannot(path, error)) from error
    if not kind.startswith("MONOCHROME"):
        if values.dtype != np.uint8 or values.ndim != 3 or values.shape[2] != 3:
            raise ValueError(
                f"The DICOM file {path} holds {kind[:20] or 'unnamed'} pixels of another kind than grey or 8-bit RGB. "
                "Save it as PNG."
            )
        return Image.fromarray(values)
    if values.ndim != 2:
        raise ValueError(f"The DICOM file {path} must hold one grey picture; got {values.shape}. Save it as PNG.")
    scale = window or _declared(data, path)
    if scale is None:
        raise ValueError(
            f"The DICOM file {path} declares no window, and its values have no scale of their own. Declare one for "
            "the folder: medadv data FOLDER --window LOW,HIGH (window=(low, high) in Python)."
        )
    grey = to_bytes(values, scale)
    return Image.fromarray(255 - grey if kind == "MONOCHROME1" else grey)


def dicom_window(path: str | Path) -> tuple[float, float] | None:
    """Read the window that a DICOM file declares, from its header alone.

    Shapes   none.
    Units    rescaled values, as `window` of `read_dicom`.
    Returns  (low, high), or None where the file declares none.
    Raises   as `read_dicom`.
    Source   DICOM PS3.3, section C.11.2.1.2.
    """
    return _declared(_open(path, header=True), path)


def _open(path: str | Path, *, header: bool) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(
            f"Reading the DICOM file {path} needs the package pydicom. Install it: pip install 'medadv[pydicom]', or "
            "save the picture as PNG."
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path, stop_before_pixels=header)
            frames = int(data.get("NumberOfFrames") or 1)
            size = int(data.get("Rows") or 0) * int(data.get("Columns") or 0)
            str(data.get("PhotometricInterpretation", ""))
    except FileNotFoundError:
        raise
    except Exception as error:  # as above
        raise ValueError(_cannot(path, error)) from error
    if frames != 1:
        raise ValueError(
            f"The DICOM file {path} holds {frames} frames, and an image is one of them. Save the frames that you want "
            "as files of their own."
        )
    if not 0 < size <= _MOST_PIXELS:
        raise ValueError(f"The DICOM file {path} holds no picture, or one of {size:,} pixels. Take out its row.")
    return data


def _declared(data: Any, path: str | Path) -> tuple[float, float] | None:
    """Return the first window of the file, or the range of its bits where nothing is rescaled."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            centre, width = _first(data.get("WindowCenter")), _first(data.get("WindowWidth"))
            shape = str(data.get("VOILUTFunction") or "LINEAR")
            plain = not data.get("PixelRepresentation") and "ModalityLUTSequence" not in data
            plain = (
                plain and float(data.get("RescaleSlope") or 1) == 1 and float(data.get("RescaleIntercept") or 0) == 0
            )
            top = 2.0 ** int(data.get("BitsStored") or 0) - 1
    except Exception as error:
        raise ValueError(_cannot(path, error)) from error
    if centre is not None and width is not None:
        if shape not in ("LINEAR", "LINEAR_EXACT"):
            raise ValueError(
                f"The DICOM file {path} declares the window function {shape[:20]}, of which only LINEAR and "
                "LINEAR_EXACT are known. Declare a window for the folder: medadv data FOLDER --window LOW,HIGH."
            )
        # LINEAR counts grey levels, so its window is one narrower, and half a level lower.
        half, middle = (width / 2, centre) if shape == "LINEAR_EXACT" else ((width - 1) / 2, centre - 0.5)
        # A width of one is a threshold.
        low, high = middle - max(half, 1e-6), middle + max(half, 1e-6)
        if np.isfinite(low) and np.isfinite(high) and low < high and width >= 0:
            return low, high
    return (0.0, top) if plain and top > 0 and "VOILUTSequence" not in data else None


def _first(value: Any) -> float | None:
    """Return the first of several values; the reader of the standard may choose any."""
    if value is None or value == "":
        return None
    many = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
    return float(value[0] if many else value)


def _cannot(path: str | Path, error: Exception) -> str:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return f"The image {path} cannot be decoded as DICOM ({said}). Fetch it again, save it as PNG, or take out its row."
