"""What every blob store must do. Subclass ``BlobContract`` in a test module with a ``blob_url`` fixture that names an empty place."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidRequest, NotFound, TooLarge
from modelyard.store.blobs import Blobs

DAY = 86400.0


class BlobContract:
    """Content goes in once, whole, and comes out as it was."""

    @pytest.fixture
    def blobs(self, blob_url: str, tmp_path: Path) -> Blobs:
        return Blobs.open(blob_url, tmp_path / "spool")

    def test_what_was_put_comes_back(self, blobs: Blobs, tmp_path: Path) -> None:
        content = bytes(range(256)) * 5000
        blob = blobs.put(io.BytesIO(content))
        assert (blob.digest, blob.size) == (hashlib.sha256(content).hexdigest(), len(content))
        with blobs.open_blob(blob.digest) as stream:
            assert stream.read() == content
        assert blobs.fetch(blob.digest, tmp_path / "copy").read_bytes() == content
        assert (blobs.exists(blob.digest), blobs.size(blob.digest)) == (True, len(content))
        [found] = blobs.list()
        assert (found.digest, found.size) == (blob.digest, len(content))
        assert found.age_seconds < DAY

    def test_chunks_files_and_nothing_can_be_put(self, blobs: Blobs, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"abc")
        assert blobs.put([b"a", b"", b"bc"]) == blobs.put_file(tmp_path / "file")
        empty = blobs.put([])
        assert blobs.fetch(empty.digest, tmp_path / "empty").read_bytes() == b""

    def test_the_same_content_is_kept_once(self, blobs: Blobs) -> None:
        assert blobs.put([b"abc"]) == blobs.put([b"abc"])
        assert len(list(blobs.list())) == 1

    def test_what_is_missing_says_so(self, blobs: Blobs, tmp_path: Path) -> None:
        digest = "0" * 64
        assert not blobs.exists(digest)
        assert list(blobs.list()) == []
        for ask in (lambda: blobs.size(digest), lambda: blobs.open_blob(digest), lambda: blobs.fetch(digest, tmp_path / "x")):
            with pytest.raises(NotFound):
                ask()
        assert list(tmp_path.glob("*x*")) == []
        blobs.delete(digest)

    @pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "0" * 62 + "/a"])
    def test_what_is_no_digest_is_refused(self, blobs: Blobs, digest: str) -> None:
        with pytest.raises(InvalidRequest):
            blobs.open_blob(digest)
        with pytest.raises(InvalidRequest):
            blobs.delete(digest)

    def test_an_upload_over_its_limit_leaves_nothing(self, blobs: Blobs) -> None:
        with pytest.raises(TooLarge):
            blobs.put([b"abc", b"def"], limit=5)
        assert blobs.put([b"abc", b"de"], limit=5).size == 5
        assert len(list(blobs.list())) == 1

    def test_an_upload_that_breaks_off_leaves_nothing(self, blobs: Blobs) -> None:
        def broken() -> Iterator[bytes]:
            yield b"abc"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            blobs.put(broken())
        assert list(blobs.list()) == []

    def test_only_old_blobs_are_deleted(self, blobs: Blobs) -> None:
        blob = blobs.put([b"abc"])
        assert blobs.delete_older(blob.digest, DAY) is None
        assert blobs.exists(blob.digest)
        assert blobs.delete_older(blob.digest, 0.0) == 3
        assert not blobs.exists(blob.digest)

    def test_many_writers_of_one_content_do_not_disturb_each_other(self, blobs: Blobs) -> None:
        content = b"x" * 100_000
        made: list[str] = []
        threads = [threading.Thread(target=lambda: made.append(blobs.put([content]).digest)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [hashlib.sha256(content).hexdigest()] * 6
        with blobs.open_blob(made[0]) as stream:
            assert stream.read() == content
