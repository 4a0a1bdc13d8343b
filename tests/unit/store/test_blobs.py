"""What only a folder can be asked; the rest is in the contract."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from modelyard.core.errors import Internal, InvalidRequest, Unavailable
from modelyard.store.blob_folder import shared
from modelyard.store.blobs import Blobs

DAY = 86400.0


@pytest.fixture
def blobs(tmp_path):
    return Blobs.open(str(tmp_path / "blobs"), tmp_path / "spool")


def place(tmp_path, digest):
    return tmp_path / "blobs" / "sha256" / digest[:2] / digest


def grow_old(path):
    old = path.stat().st_mtime - DAY
    os.utime(path, (old, old))


def test_a_damaged_blob_is_not_handed_out_and_heals_when_put_again(blobs, tmp_path):
    digest = blobs.put([b"abc"]).digest
    place(tmp_path, digest).write_bytes(b"abd")
    with pytest.raises(Internal, match="damaged"):
        blobs.fetch(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    blobs.put([b"abc"])
    assert blobs.fetch(digest, tmp_path / "copy").read_bytes() == b"abc"


def test_fetching_on_one_file_system_takes_no_room(blobs, tmp_path):
    digest = blobs.put([b"abc"]).digest
    assert blobs.fetch(digest, tmp_path / "copy").stat().st_ino == place(tmp_path, digest).stat().st_ino


def test_putting_again_makes_a_blob_young(blobs, tmp_path):
    digest = blobs.put([b"abc"]).digest
    grow_old(place(tmp_path, digest))
    assert [round(blob.age_seconds / DAY) for blob in blobs.list()] == [1]
    blobs.put([b"abc"])
    assert blobs.delete_older(digest, DAY / 2) is None
    assert blobs.exists(digest)


def test_a_deletion_waits_for_an_upload_and_then_sees_that_it_is_young(blobs, tmp_path):
    digest = blobs.put([b"abc"]).digest
    path = place(tmp_path, digest)
    grow_old(path)
    freed = []
    thread = threading.Thread(target=lambda: freed.append(blobs.delete_older(digest, DAY / 2)))
    with shared(tmp_path / "blobs" / ".lock"):  # as an upload does while it puts the file in its place
        thread.start()
        thread.join(0.05)
        assert path.exists()
        os.utime(path)
    thread.join(30)
    assert freed == [None]
    assert path.exists()


def test_what_killed_uploads_left_is_swept(blobs, tmp_path):
    left, fresh = (tmp_path / "blobs" / "incoming" / f"{name}.part" for name in ("left", "fresh"))
    for path in (left, fresh):
        path.write_bytes(b"x")
    grow_old(left)
    blobs.sweep(DAY / 2)
    assert (left.exists(), fresh.exists()) == (False, True)


def test_a_missing_target_folder_is_not_a_missing_blob(blobs, tmp_path):
    digest = blobs.put([b"abc"]).digest
    with pytest.raises(Unavailable):
        blobs.fetch(digest, tmp_path / "no" / "folder")


@pytest.mark.parametrize("url", ["s3://", "nonsense://place"])
def test_urls_that_cannot_be_used_are_refused(url, tmp_path):
    with pytest.raises(InvalidRequest):
        Blobs.open(url, tmp_path)


def test_an_object_store_that_is_away_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    blobs = Blobs.open("s3://bucket?endpoint_url=http://127.0.0.1:1&key=a&secret=b", tmp_path)
    with pytest.raises(Unavailable):
        blobs.exists("0" * 64)


def test_a_full_disk_leaves_nothing_and_says_so(blobs, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unavailable, match="No space left"):
        blobs.put([b"abc"])
    assert list(blobs.list()) == []


_PUT = """
import sys
from pathlib import Path
from modelyard.store.blobs import Blobs
def chunks():
    while True:
        yield b"x" * 65536
        print("more", flush=True)
Blobs.open(sys.argv[1], Path(sys.argv[2])).put(chunks())
"""


def test_a_killed_upload_leaves_no_blob(blobs, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", _PUT, str(tmp_path / "blobs"), str(tmp_path / "spool")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"more\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert list(blobs.list()) == []
    blobs.sweep(0.0)
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []
