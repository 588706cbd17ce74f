"""Sets behind forms: the steps are printed, a copy is read."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from layouts import cells, colours, put

from medadv.data.tidy import read_tidy, verify_tidy


def fairvlmed(folder, glaucoma=("yes", "no", "no")):
    head = "filename,age,gender,race,ethnicity,language,maritalstatus,note,gpt4_summary,glaucoma,use\n"
    text = head
    for i, use in enumerate(("training", "validation", "test")):
        who = f"{40.5 + 10 * i},Female,Black,Non-Hispanic,English,Unknown"
        text += f'data_{i:05d}.npz,{who},"a note","a 50-year-old",{glaucoma[i]},{use}\n'
        place = folder / use.capitalize()
        place.mkdir(parents=True, exist_ok=True)
        np.savez(
            place / f"data_{i:05d}.npz",
            slo_fundus=colours(i, (40, 30))[..., 0],
            glaucoma=np.array(int(i == 0)),
        )
    put(folder / "data_summary.csv", text)
    return folder


def test_fairvlmed(script, tmp_path, capsys):
    run, out = script("harvard_fairvlmed"), tmp_path / "out"
    assert run("--out", out) == 0
    assert "agree to the terms" in capsys.readouterr().out
    assert not out.exists()
    source = fairvlmed(tmp_path / "source")
    assert run("--out", out, "--source", source, "--size", 16) == 0
    assert verify_tidy(out, progress=False) == []
    pairs = read_tidy(out, group="race")
    assert pairs.labels.tolist() == [1, 0, 0]
    assert [row.split for row in pairs.rows] == ["train", "val", "test"]
    assert pairs.rows[0].attributes["race"] == "black"
    assert pairs.rows[0].attributes["age_group"] == "under_50"
    assert "maritalstatus" not in pairs.rows[0].attributes
    assert pairs.rows[0].captions == ("A scanning laser ophthalmoscopy fundus image of an eye with glaucoma.",)
    assert read_tidy(out, caption="caption_note").rows[0].captions == ("a 50-year-old",)


def test_fairvlmed_refuses(script, tmp_path, capsys):
    run = script("harvard_fairvlmed")
    (tmp_path / "empty").mkdir()
    assert run("--out", tmp_path / "o0", "--source", tmp_path / "empty") == 2
    assert "must hold data_summary.csv" in capsys.readouterr().err
    assert run("--out", tmp_path / "o1", "--source", fairvlmed(tmp_path / "s1", ("maybe", "no", "no"))) == 2
    assert "glaucoma yes or no; got 'training' and 'maybe'" in capsys.readouterr().err
    assert run("--out", tmp_path / "o2", "--source", fairvlmed(tmp_path / "s2", ("no", "no", "no"))) == 2
    assert "but data_summary.csv says no_glaucoma" in capsys.readouterr().err
    source = fairvlmed(tmp_path / "s3")
    np.savez(source / "Training/data_00000.npz", slo_fundus=np.array([{}], dtype=object))
    assert run("--out", tmp_path / "o3", "--source", source) == 2
    assert "cannot be read as a FairVLMed file" in capsys.readouterr().err


def rsna(folder):
    """Write three DICOM files and the two tables of the competition."""
    pydicom = pytest.importorskip("pydicom")
    kinds = {"a": "Normal", "b": "No Lung Opacity / Not Normal", "c": "Lung Opacity"}
    put(
        folder / "stage_2_detailed_class_info.csv",
        "patientId,class\n" + "".join(f"{k},{v}\n" for k, v in kinds.items()),
    )
    boxes = "patientId,x,y,width,height,Target\na,,,,,0\nb,,,,,0\nc,0,0,20,32,1\nc,4.0,4.0,4.0,4.0,1\n"
    put(folder / "stage_2_train_labels.csv", boxes)
    (folder / "stage_2_train_images").mkdir()
    for i, key in enumerate(kinds):
        made = pydicom.Dataset()
        made.file_meta = pydicom.dataset.FileMetaDataset()
        made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        made.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
        made.SOPInstanceUID = pydicom.uid.generate_uid()
        made.PatientSex, made.ViewPosition = "FMF"[i], "AP"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the real files write the age so, against the standard
            made.PatientAge = ("35", "148", "060Y")[i]
        made.PhotometricInterpretation = "MONOCHROME1" if key == "b" else "MONOCHROME2"
        made.Rows, made.Columns, made.SamplesPerPixel, made.PixelRepresentation = 32, 40, 1, 0
        made.BitsAllocated = made.BitsStored = 8
        made.HighBit = 7
        made.PixelData = np.full((32, 40), 200, np.uint8).tobytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.save_as(folder / "stage_2_train_images" / f"{key}.dcm", enforce_file_format=True)
    return folder


def test_rsna(script, tmp_path, capsys):
    run, out = script("rsna_pneumonia"), tmp_path / "out"
    assert run("--out", out) == 0
    assert "accept the rules" in capsys.readouterr().out
    source = rsna(tmp_path / "source")
    assert run("--out", out, "--source", source, "--size", 16) == 0
    assert verify_tidy(out, progress=False) == []
    rows = {row["patient_id"]: row for row in cells(out)}
    assert [rows[key]["label"] for key in "abc"] == ["normal", "other_abnormality", "lung_opacity"]
    assert (rows["a"]["group"], rows["b"]["age"], rows["b"]["group"]) == ("female_lt50", "", "")
    pairs = read_tidy(out)
    place = {Path(row.name).stem: i for i, row in enumerate(pairs.rows)}
    assert pairs.load(place["c"])[1].mean() == 0.5
    assert pairs.load(place["a"])[1] is None
    assert pairs.load(place["a"])[0].mean() == pytest.approx(200 / 255)
    assert pairs.load(place["b"])[0].mean() == pytest.approx(55 / 255)  # MONOCHROME1 is inverted
    (source / "stage_2_train_images/b.dcm").write_bytes(b"nothing")
    assert run("--out", tmp_path / "o2", "--source", source) == 2
    assert "b.dcm cannot be decoded" in capsys.readouterr().err


def test_rsna_says_what_to_install(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert script("rsna_pneumonia")("--out", tmp_path / "out", "--source", tmp_path) == 2
    assert "pip install 'medadv[pydicom]'" in capsys.readouterr().err
