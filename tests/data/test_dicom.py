"""DICOM files as pictures: rescaled, then windowed; the values follow from the standard by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from dicom_files import write_dicom

from medadv.data.dicom import dicom_window, is_dicom, read_dicom
from medadv.data.tidy import read_tidy

RAMP = np.array([[0, 1000, 2000, 3000, 4095]], np.uint16)


def grey(path, **more):
    return np.asarray(read_dicom(path, **more))[0].tolist()


def test_without_a_window_the_bits_stored_are_the_scale(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=12)
    assert dicom_window(path) == (0, 4095)
    assert grey(path) == [round(v / 4095 * 255) for v in (0, 1000, 2000, 3000, 4095)]


def test_rescale_slope_and_intercept_come_before_the_window(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=12, RescaleSlope=1, RescaleIntercept=-1024)
    assert grey(path, window=(-1024, 3071)) == [round(v / 4095 * 255) for v in (0, 1000, 2000, 3000, 4095)]
    path = write_dicom(tmp_path / "b.dcm", RAMP, bits=12, RescaleSlope=2, RescaleIntercept=-1000)
    assert grey(path, window=(-1000, 3000)) == [0, 128, 255, 255, 255]


def test_signed_values_below_zero_are_kept(tmp_path):
    values = np.array([[-1000, 0, 1000]], np.int16)
    path = write_dicom(
        tmp_path / "a.dcm", values, bits=16, WindowCenter=0, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT"
    )
    assert dicom_window(path) == (-1000, 1000)
    assert grey(path) == [0, 128, 255]


def test_the_linear_window_is_that_of_the_standard(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=12, WindowCenter=[2048, 40], WindowWidth=[4096, 400])
    assert dicom_window(path) == (0, 4095)


def test_monochrome1_is_inverted(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=12, PhotometricInterpretation="MONOCHROME1")
    assert grey(path)[0] == 255
    assert grey(path)[-1] == 0


def test_rescaled_values_without_a_window_are_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=12, RescaleIntercept=-1024)
    assert dicom_window(path) is None
    with pytest.raises(ValueError, match="declares no window.*--window LOW,HIGH"):
        read_dicom(path)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"NumberOfFrames": 3}, "holds 3 frames"),
        ({"WindowCenter": 0, "WindowWidth": 10, "VOILUTFunction": "SIGMOID"}, "window function SIGMOID"),
        ({"Rows": 0}, "holds no picture"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "another kind than grey or 8-bit RGB"),
    ],
)
def test_what_cannot_be_one_picture_is_refused(tmp_path, more, says):
    with pytest.raises(ValueError, match=says):
        read_dicom(write_dicom(tmp_path / "a.dcm", RAMP, bits=12, **more))


def test_a_damaged_file_is_one_sentence(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=12)
    whole = path.read_bytes()
    for cut in (10, 140, len(whole) - 4):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="cannot be decoded as DICOM|holds no picture"):
            read_dicom(path)


def test_a_folder_of_dicom_files_is_read_with_one_window(tmp_path):
    for i in range(3):
        write_dicom(tmp_path / f"{i}.dcm", RAMP, bits=12, RescaleIntercept=-1024)
    (tmp_path / "2.dcm").rename(tmp_path / "2")  # DICOM files often have no ending
    assert is_dicom(tmp_path / "2")
    (tmp_path / "metadata.csv").write_text("image,label\n0.dcm,a cat\n1.dcm,a dog\n2,a dog\n")
    pairs = read_tidy(tmp_path, window=(-1024, 3071))
    assert all(pairs.load(i)[0][0, 0].mul(255).round().tolist()[1] == 62 for i in range(3))


def test_without_pydicom_the_remedy_is_the_extra(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=12)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"pip install 'medadv\[pydicom\]'"):
        read_dicom(path)
