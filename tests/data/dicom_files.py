"""DICOM files for tests, written field by field."""

from __future__ import annotations

import warnings

import pytest


def write_dicom(path, values, *, bits, **fields):
    """Write one grey picture; `fields` are DICOM keywords."""
    pydicom = pytest.importorskip("pydicom")
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    made.SOPInstanceUID = pydicom.uid.generate_uid()
    made.PhotometricInterpretation = "MONOCHROME2"
    made.Rows, made.Columns, made.SamplesPerPixel = *values.shape, 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    made.BitsAllocated = 8 * values.dtype.itemsize
    made.BitsStored, made.HighBit = bits, bits - 1
    made.PixelData = values.tobytes()
    if "RescaleIntercept" in fields or "RescaleSlope" in fields:
        fields = {"RescaleSlope": 1, "RescaleIntercept": 0, **fields}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in fields.items():
            setattr(made, name, value)
        made.save_as(path, enforce_file_format=True)
    return path
