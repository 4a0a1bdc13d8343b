import io
import stat
import tarfile
import zipfile

import pytest

from modelyard.core.errors import InvalidArtifact
from modelyard.importers.archive import ArchiveLimits, extract, is_archive


def zipped(path, members, *, mode=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            if mode is not None:
                info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def tarred(path, members, compression=""):
    with tarfile.open(path, f"w:{compression}") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            info.linkname = "../outside" if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE} else ""
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_plain_files_come_out_of_a_tar(tmp_path, target, compression):
    path = tarred(
        tmp_path / "a", [("./m/x", tarfile.REGTYPE, b"1"), ("m", tarfile.DIRTYPE, b""), ("y", tarfile.REGTYPE, b"22")], compression
    )
    assert is_archive(path)
    assert extract(path, target) == 3
    assert (target / "m" / "x").read_bytes() == b"1"


def test_plain_files_come_out_of_a_zip(tmp_path, target):
    assert extract(zipped(tmp_path / "a", [("m/", b""), ("m/x", b"1")]), target) == 1
    assert (target / "m" / "x").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["../up", "/etc/absolute", "a/../../up", "a\\..\\up", "c:/x", "a//b", "nul\0"[:3] + "\x01"])
def test_no_member_leaves_the_target(tmp_path, target, name):
    for path in (zipped(tmp_path / "z", [(name, b"x")]), tarred(tmp_path / "t", [(name, tarfile.REGTYPE, b"x")])):
        with pytest.raises(InvalidArtifact):
            extract(path, target)
    assert [path.name for path in tmp_path.iterdir() if path.name not in {"z", "t", "target"}] == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, target, kind):
    with pytest.raises(InvalidArtifact, match="plain files only"):
        extract(tarred(tmp_path / "t", [("x", kind, b"")]), target)
    assert list(target.iterdir()) == []


def test_links_in_a_zip_are_refused(tmp_path, target):
    with pytest.raises(InvalidArtifact, match="plain files only"):
        extract(zipped(tmp_path / "z", [("x", b"/etc/passwd")], mode=stat.S_IFLNK | 0o777), target)


def test_bombs_are_refused_before_they_fill_the_disk(tmp_path, target):
    path = zipped(tmp_path / "z", [("zeros", bytes(64 << 20))])
    with pytest.raises(InvalidArtifact, match="times its size"):
        extract(path, target, ArchiveLimits(ratio=100, ratio_from=1 << 20))
    assert sum(file.stat().st_size for file in target.iterdir()) <= 8 << 20
    with pytest.raises(InvalidArtifact, match="more than the 1000 allowed"):
        extract(path, tmp_path, ArchiveLimits(bytes=1000))


def test_many_files_and_doubles_are_refused(tmp_path, target):
    with pytest.raises(InvalidArtifact, match="more than 3 files"):
        extract(zipped(tmp_path / "z", [(str(at), b"") for at in range(5)]), target, ArchiveLimits(files=3))
    with pytest.raises(InvalidArtifact, match="twice"):
        extract(tarred(tmp_path / "t", [("x", tarfile.REGTYPE, b"1"), ("X", tarfile.REGTYPE, b"2")]), tmp_path)


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_damaged_archives_are_refused_in_one_sentence(tmp_path, target, cut):
    whole = zipped(tmp_path / "z", [("x", bytes(range(256)) * 8)]).read_bytes()
    (tmp_path / "broken").write_bytes(whole[:cut])
    with pytest.raises(InvalidArtifact) as caught:
        extract(tmp_path / "broken", target)
    assert "Traceback" not in caught.value.message
    assert not is_archive(tmp_path / "broken") or cut > 60
