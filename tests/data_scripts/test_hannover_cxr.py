"""Hannover radiographs: states, captions and folds from the record, the checksum of the content, refusals."""

from __future__ import annotations

import hashlib
import importlib
import zipfile
from pathlib import Path

from layouts import cells, colours, encoded, put

from medadv.data.tidy import read_tidy, verify_tidy

HEAD = (
    "patient_id,image_id,sex,age,admission_offset,icu_admission_offset,icu_release_offset,death_offset,"
    "modality,projection,crp_val,po2_val"
)


def hannover(folder):
    lines = [
        HEAD,
        "pat1,img1,m,,-7,0.0,1.0,,CR,ap,44.0,105.0",
        "pat1,img2,m,,-9,-9.0,-8.0,,CR,ap,-inf,",
        "pat2,img3,f,,0,,,,DX,pa,,",
        "pat3,img4,m,,4,4.0,26.0,20.0,CR,pa,81.0,25.0",
        "pat3,img5,m,,-1,0.0,,20.0,CR,ap,81.5,25.0",
    ]
    put(folder / "data.csv", "\n".join(lines) + "\n")
    put(folder / "LICENSE", "CC BY 3.0 in full")
    for i in range(1, 6):
        put(folder / "png" / f"img{i}.png", encoded(colours(i)[..., 0]))
    return folder


def test_hannover(script, tmp_path):
    source, out = hannover(tmp_path / "source" / "covid-19-image-repository-abc"), tmp_path / "out"
    assert script("hannover_cxr")("--out", out, "--source", source.parent) == 0
    assert verify_tidy(out, progress=False) == []
    rows = {Path(row["image"]).stem: row for row in cells(out)}
    assert [rows[f"img{i}"]["icu_state"] for i in range(1, 6)] == [
        "in_icu",
        "after_icu",
        "never_icu",
        "before_icu",
        "in_icu",
    ]
    assert [rows[f"img{i}"]["label"] for i in (1, 2, 3)] == ["icu", "non_icu", "non_icu"]
    assert rows["img1"]["caption"] == (
        "Chest radiograph in anteroposterior projection of a patient with COVID-19, "
        "treated in the intensive care unit, 7 days after admission."
    )
    assert rows["img1"]["note"].endswith(" C-reactive protein 44 mg/l.")
    assert rows["img2"]["note"] == rows["img2"]["caption"]  # below the detection limit
    assert rows["img3"]["caption_attr"].startswith("Chest radiograph in posteroanterior projection of a female patient")
    assert rows["img4"]["caption"].endswith("before transfer to the intensive care unit, 4 days before admission.")
    assert rows["img4"]["died"] == rows["img5"]["died"] == "1"
    folds: dict[str, set[str]] = {}
    for row in rows.values():
        folds.setdefault(row["patient_id"], set()).add(row["fold"])
    assert all(len(fold) == 1 for fold in folds.values())
    assert (out / "images/img1.png").read_bytes() == (source / "png/img1.png").read_bytes()
    assert (out / "LICENSE-CC-BY-3.0.txt").exists()
    assert read_tidy(out, size=16).classes == ("non_icu", "icu")


def test_hannover_from_an_archive_and_smaller(script, tmp_path):
    source, out = hannover(tmp_path / "clone"), tmp_path / "out"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                file.write(path, f"covid-19-image-repository-abc/{path.relative_to(source)}")
    assert script("hannover_cxr")("--out", out, "--source", tmp_path / "a.zip", "--size", 16) == 0
    assert read_tidy(out).load(0)[0].shape == (3, 16, 24)


def test_hannover_refuses_bad_sources(script, tmp_path, capsys):
    run = script("hannover_cxr")
    (tmp_path / "empty").mkdir()
    assert run("--out", tmp_path / "o1", "--source", tmp_path / "empty") == 2
    assert "must hold data.csv and png/" in capsys.readouterr().err
    source = hannover(tmp_path / "s")
    (source / "png/img3.png").unlink()
    assert run("--out", tmp_path / "o2", "--source", source) == 2
    assert "png/img3.png named in data.csv does not exist" in capsys.readouterr().err
    put(source / "png/img3.png", b"")
    assert run("--out", tmp_path / "o3", "--source", source) == 2
    assert "img3.png cannot be decoded" in capsys.readouterr().err
    put(source / "data.csv", (source / "data.csv").read_text().replace("-7,0.0", "-7,soon"))
    assert run("--out", tmp_path / "o4", "--source", source) == 2
    assert "icu_admission_offset must be a number of days; got 'soon'" in capsys.readouterr().err
    lines = [HEAD] + [f"pat{i},img{i},m,,0,,,,CR,ap,," for i in range(243)]
    put(source / "data.csv", "\n".join(lines) + "\n")
    for i in range(243):
        put(source / "png" / f"img{i}.png", b"x")
    assert run("--out", tmp_path / "o5", "--source", source) == 2
    assert "The 243 images have the checksum" in capsys.readouterr().err
    for name in ("o1", "o2", "o3", "o4", "o5"):
        assert not (tmp_path / name / "metadata.csv").exists()


def test_hannover_content_is_that_of_the_real_folder(script, real_data):
    script("hannover_cxr")
    lines = [
        line.replace("images/", "")
        for line in (real_data / "mhh_covid_cxr/MD5SUMS").read_text().splitlines()
        if "images/" in line
    ]
    found = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
    assert found == importlib.import_module("hannover_cxr").CONTENT


def test_hannover_deals_the_real_folds(script, real_data):
    script("hannover_cxr")
    module = importlib.import_module("hannover_cxr")
    rows = cells(real_data / "mhh_covid_cxr")
    record = [{"patient_id": row["patient_id"], "sex": row["sex"][0]} for row in rows]
    fold = module._folds(record, [row["icu_state"] for row in rows])
    assert all(str(fold[row["patient_id"]]) == row["fold"] for row in rows)
