"""Open a picture that somebody gave us, DICOM included; damaged, deep and huge ones are answered by one sentence."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from medadv._images import deep, to_pixels
from medadv.data.dicom import is_dicom, read_dicom

BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, ArithmeticError, struct.error)
_STACKS = ("TIFF", "GIF", "PNG", "WEBP", "AVIF")


def open_picture(path: str | Path, *, scale: tuple[float, float] | None = None) -> Image.Image:
    """Decode one file; `scale` is what the folder declares for pictures deeper than 8 bits, and for DICOM."""
    if is_dicom(path):
        return read_dicom(path, window=scale)
    limit = Image.MAX_IMAGE_PIXELS or 1 << 27
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow: a large picture, odd metadata
            with Image.open(path) as picture:
                wide, high = picture.size
                frames = getattr(picture, "n_frames", 1) if picture.format in _STACKS else 1
                raw = _raw_mode(picture)
                if wide * high <= limit and frames == 1:
                    picture.load()
    except (FileNotFoundError, PermissionError):
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(f"The image {path} has more than {2 * limit:,} pixels. Save a smaller copy.") from error
    except (*BROKEN, MemoryError) as error:
        raise ValueError(
            f"The image {path} cannot be decoded ({_said(error)}). Fetch it again, or take out its row."
        ) from error
    if wide * high > limit:
        raise ValueError(f"The image {path} has {wide} x {high} pixels, more than {limit:,}. Save a smaller copy.")
    if frames != 1:
        raise ValueError(
            f"The image {path} holds {frames} pictures, and a row is one of them. Save each as a file of its own."
        )
    # Pillow keeps the upper byte of 16-bit colours, which is right only where all 16 bits are in use.
    if picture.mode in ("RGB", "RGBA", "LA") and "16" in raw and scale != (0.0, 65535.0):
        raise ValueError(
            f"The image {path} has 16 bits a colour, which are read only where all of them are in use. Declare that, "
            "with medadv data FOLDER --bits 16 (bits=16 in Python), or save it with 8 bits a colour."
        )
    return picture


def pixels_of(path: str | Path, picture: Image.Image, *, size: int | None, scale: tuple[float, float] | None) -> Any:
    """Turn an opened picture into pixels; a deep one without a declared scale is refused by the name of its file."""
    if deep(picture) and scale is None:
        raise ValueError(
            f"The image {path} has values of {picture.mode} (deeper than 8 bits), which have no scale of their own. "
            "Declare one for the folder: medadv data FOLDER --bits 12, or --window LOW,HIGH (bits=, window= in Python)."
        )
    return to_pixels(picture, size=size, window=scale if deep(picture) else None)


def _raw_mode(picture: Image.Image) -> str:
    tile = getattr(picture, "tile", None) or [("", (), 0, "")]
    arguments = tile[0][3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
