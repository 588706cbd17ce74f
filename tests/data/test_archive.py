"""Archives that are good, broken or evil."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from medadv.data.sources import extract

BODY = bytes(range(256)) * 400


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def tarred(path, *members):
    with tarfile.open(path, "w:gz") as file:
        for name, data, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(data), "/etc/passwd"
            file.addfile(info, io.BytesIO(data))
    return path


def unpack(archive, folder, **more):
    return extract(archive, folder, progress=False, **more)


def test_archives_come_out(tmp_path):
    for archive in (
        zipped(tmp_path / "a.zip", [("d/", b""), ("d/x.txt", b"1"), ("y.txt", b"22")]),
        tarred(
            tmp_path / "a.tgz",
            ("d", b"", tarfile.DIRTYPE),
            ("d/x.txt", b"1", tarfile.REGTYPE),
            ("y.txt", b"22", tarfile.REGTYPE),
        ),
    ):
        folder = tmp_path / archive.suffix
        assert [path.relative_to(folder).as_posix() for path in unpack(archive, folder)] == [
            "d/x.txt",
            "y.txt",
        ]
        assert (folder / "d/x.txt").read_bytes() == b"1"
        first = (folder / "y.txt").stat().st_mtime_ns
        unpack(archive, folder)
        assert (folder / "y.txt").stat().st_mtime_ns == first


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil", "a\n/evil"])
def test_no_path_leaves_the_folder(tmp_path, name):
    for archive in (
        zipped(tmp_path / "a.zip", [("good", b"1"), (name, b"2")]),
        tarred(tmp_path / "a.tgz", ("good", b"1", tarfile.REGTYPE), (name, b"2", tarfile.REGTYPE)),
    ):
        with pytest.raises(ValueError, match="a path that leaves its folder"):
            unpack(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_no_links_and_devices_in_tar(tmp_path, kind):
    with pytest.raises(ValueError, match="a link or device"):
        unpack(tarred(tmp_path / "a.tgz", ("x", b"", kind)), tmp_path / "out")


def test_no_links_in_zip(tmp_path):
    info = zipfile.ZipInfo("x")
    info.external_attr = 0o120777 << 16
    with pytest.raises(ValueError, match="holds a link"):
        unpack(zipped(tmp_path / "a.zip", [(info, "/etc/passwd")]), tmp_path / "out")


def test_no_more_bytes_than_agreed(tmp_path):
    with pytest.raises(ValueError, match="holds 1,000 bytes, more than the limit of 999"):
        unpack(zipped(tmp_path / "a.zip", [("x", b"0" * 1000)]), tmp_path / "out", limit=999)
    assert not (tmp_path / "out").exists()


def test_broken_archives(tmp_path):
    whole = zipped(tmp_path / "a.zip", [("x", bytes(1000))]).read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[:500])
    (tmp_path / "bad.zip").write_bytes(whole[:200] + b"\xff" * 20 + whole[220:])
    good = tarred(tmp_path / "a.tgz", ("x", BODY, tarfile.REGTYPE)).read_bytes()
    (tmp_path / "half.tgz").write_bytes(good[: len(good) // 2])
    for name, sentence in [
        ("half.zip", "neither a zip nor a tar"),
        ("bad.zip", "cannot be unpacked"),
        ("half.tgz", "cannot be unpacked"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            unpack(tmp_path / name, tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*.part")) if (tmp_path / "out").exists() else True
    with pytest.raises(FileNotFoundError, match="does not exist"):
        unpack(tmp_path / "none.zip", tmp_path / "out")
