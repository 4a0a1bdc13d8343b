"""Backups hold everything, show damage, and restore whole or not at all."""

import fcntl
import io
import json
import tarfile

import pytest
from sqlalchemy import text

from modelyard.core.clock import ManualClock
from modelyard.core.errors import Conflict, InvalidData, Unavailable
from modelyard.core.models import Artifact, ArtifactFile, Dataset
from modelyard.store.backup import backup, backup_to_file, migrate_after_backup
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store
from modelyard.store.home import Home
from modelyard.store.restore import restore
from modelyard.store.tables import HEAD
from modelyard.store.upgrade import prepare_home
from modelyard.testing.store_contract import ACTOR, version_of


class Platform:
    """A home with rows and blobs."""

    def __init__(self, root, url="", blob_url=""):
        self.home = Home(root)
        prepare_home(self.home)
        self.store = Store.open(url or f"sqlite:///{self.home.database}", ManualClock())
        self.blobs = Blobs.open(blob_url or str(self.home.blobs), self.home.temporary)

    def fill(self):
        self.store.migrate()
        digests = [self.blobs.put([content]).digest for content in (b"table", b"model", b"w", b"plot")]
        with self.store.write() as session:
            files = tuple(ArtifactFile(path=f"f{index}", digest=digest, size=1) for index, digest in enumerate(digests[1:3]))
            artifact = Artifact(format="onnx", digest="f" * 64, files=files, entry="f0")
            plots = (ArtifactFile(path="p.svg", digest=digests[3], size=4),)
            session.versions.add(version_of(session, 1, "penguins", artifact=artifact, attachments=plots))
            session.aliases.set(1, "penguins", "champion", 1)
            session.datasets.add(
                Dataset(id=0, workspace_id=1, name="birds", number=0, digest=digests[0], size=5, filename="b.csv", schema={"null": None})
            )
            for number in range(3):
                session.audit.append(ACTOR, "a.b", str(number), after={"x": 0.1})
        (self.home.predictions / "ab").mkdir()
        (self.home.predictions / "ab" / "result.json").write_text("{}")
        (self.home.jobs / "7").mkdir()
        (self.home.jobs / "7" / "log.txt").write_text("trained\n")
        return self

    def state(self):
        with self.store.read() as session:
            return (
                session.versions.list(1, "penguins"),
                session.models.list(1),
                session.aliases.history(1, "penguins", "champion"),
                session.datasets.list(1),
                session.audit.list(1),
                session.audit.first_broken(1),
            )

    def close(self):
        self.store.close()


@pytest.fixture
def source(tmp_path):
    platform = Platform(tmp_path / "source").fill()
    yield platform
    platform.close()


@pytest.fixture
def archive(source, tmp_path):
    backup_to_file(source.store, source.blobs, source.home, tmp_path / "b.tar")
    return tmp_path / "b.tar"


def read(blobs, digest):
    with blobs.open_blob(digest) as stream:
        return stream.read()


def contents(blobs):
    return sorted(read(blobs, blob.digest) for blob in blobs.list())


def test_a_restored_home_is_as_the_old_one(source, archive, tmp_path):
    manifest = restore(archive, Home(tmp_path / "new"))
    restored = Platform(tmp_path / "new")
    assert restored.state() == source.state()
    assert contents(restored.blobs) == [b"model", b"plot", b"table", b"w"]
    assert (restored.home.predictions / "ab" / "result.json").read_text() == "{}"
    assert (restored.home.jobs / "7" / "log.txt").read_text() == "trained\n"
    assert manifest.missing == ()
    with restored.store.write() as session:
        assert session.versions.add(version_of(session, 1, "penguins")).number == 2
        session.audit.append(ACTOR, "a.b", "on")
        assert session.audit.first_broken(1) == 0
    restored.close()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["b.tar", "new", "source"]


def test_a_backup_moves_between_databases_and_blob_stores(source, archive, tmp_path, postgres_url, s3_url):
    restore(archive, Home(tmp_path / "new"), database_url=postgres_url, blob_url=s3_url)
    moved = Platform(tmp_path / "new", postgres_url, s3_url)
    assert moved.state() == source.state()
    with moved.store.write() as session:  # sequences go on behind what was restored
        session.versions.add(version_of(session, 1, "penguins"))
        session.workspaces.create("other")
        session.audit.append(ACTOR, "a.b", "on")
    backup_to_file(moved.store, moved.blobs, moved.home, tmp_path / "back.tar")
    restore(tmp_path / "back.tar", Home(tmp_path / "third"))
    third = Platform(tmp_path / "third")
    assert third.state() == moved.state()
    for platform in (moved, third):
        platform.close()


def test_a_backup_is_taken_while_others_write(source, tmp_path):
    class Writer(io.BytesIO):
        """Writes a row whenever a part of the archive arrives."""

        def write(self, data):
            with source.store.write() as session:
                session.audit.append(ACTOR, "a.b", "meanwhile")
            return super().write(data)

    out = Writer()
    before = source.state()
    backup(source.store, source.blobs, source.home, out)
    (tmp_path / "b.tar").write_bytes(out.getvalue())
    restore(tmp_path / "b.tar", Home(tmp_path / "new"))
    restored = Platform(tmp_path / "new")
    assert restored.state() == before
    restored.close()


def test_a_lost_blob_is_told(source):
    [lost] = [blob.digest for blob in source.blobs.list() if read(source.blobs, blob.digest) == b"w"]
    source.blobs.delete(lost)
    assert backup(source.store, source.blobs, source.home, io.BytesIO()).missing == (lost,)


def test_only_an_empty_home_is_restored_into(archive, tmp_path):
    other = Platform(tmp_path / "other").fill()
    before = other.state()
    with pytest.raises(Conflict, match="not empty"):
        restore(archive, other.home)
    assert other.state() == before
    other.close()


def test_a_prepared_but_unused_home_can_be_restored_into(source, archive, tmp_path):
    home = Home(tmp_path / "new")
    prepare_home(home)
    restore(archive, home)
    restored = Platform(tmp_path / "new")
    assert restored.state() == source.state()
    restored.close()


def test_a_mounted_volume_is_filled(source, archive, tmp_path, monkeypatch):
    home = Home(tmp_path / "volume")
    prepare_home(home)
    identity = home.root.stat().st_ino
    monkeypatch.setattr("pathlib.Path.is_mount", lambda path: path == home.root)
    restore(archive, home)
    assert home.root.stat().st_ino == identity
    restored = Platform(tmp_path / "volume")
    assert restored.state() == source.state()
    restored.close()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["b.tar", "source", "volume"]
    assert not [item for item in home.root.iterdir() if "restore" in item.name]


def test_a_home_that_comes_into_use_meanwhile_is_left_alone(archive, tmp_path, monkeypatch):
    other = []
    monkeypatch.setattr(
        "modelyard.store.restore.load", lambda *_: other.append(Platform(tmp_path / "new").fill()) or manifest_rows(archive)
    )
    with pytest.raises(Conflict, match="not empty"):
        restore(archive, Home(tmp_path / "new"))
    assert other[0].state()[0]
    other[0].close()


def manifest_rows(archive):
    with tarfile.open(archive) as opened:
        return json.load(opened.extractfile("manifest.json"))["rows"]


def test_a_place_that_cannot_be_written_is_told_in_one_sentence(archive, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Unavailable, match="choose another folder"):
        restore(archive, Home(tmp_path / "file" / "home"))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_home_in_use_is_refused(archive, tmp_path):
    home = Home(tmp_path / "new")
    prepare_home(home)
    with home.lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="runs on"):
            restore(archive, home)


def test_a_database_in_use_is_refused(archive, tmp_path, postgres_url):
    used = Platform(tmp_path / "used", postgres_url).fill()
    with pytest.raises(Conflict, match="holds data already"):
        restore(archive, Home(tmp_path / "new"), database_url=postgres_url)
    used.close()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_an_archive_that_was_cut_off_is_refused(archive, tmp_path, kept):
    whole = archive.read_bytes()
    end = whole.rstrip(b"\0")
    archive.write_bytes(end[: int(len(end) * kept)])
    with pytest.raises(InvalidData):
        restore(archive, Home(tmp_path / "new"))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["b.tar", "source"]


def rewritten(archive, change):
    """The archive with each member's name and content passed through ``change``."""
    out = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            for name, content in change(member.name, old.extractfile(member).read()):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))
    archive.write_bytes(out.getvalue())


@pytest.mark.parametrize(
    "change",
    [
        lambda name, content: [(name, content.replace(b"model", b"modem"))],
        lambda name, content: [(name, content)] * (2 if name.startswith("blobs/") else 1),
        lambda name, content: [] if name.startswith("blobs/") else [(name, content)],
        lambda name, content: [] if name.startswith("database") else [(name, content)],
        lambda name, content: [(name.replace("files/jobs/7", "files/jobs/../../.."), content)],
        lambda name, content: [(name.replace("files/jobs/7/log.txt", "/etc/evil"), content)],
        lambda name, content: [(name, b"{}" if name == "manifest.json" else content)],
        lambda name, content: [(name, b"not json" if name == "header.json" else content)],
        lambda name, content: [(name, content.replace(b"trained", b"tainted"))],
    ],
)
def test_a_changed_archive_is_refused(archive, tmp_path, change):
    rewritten(archive, change)
    with pytest.raises(InvalidData):
        restore(archive, Home(tmp_path / "new"))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["b.tar", "source"]


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "b.tar").write_text("hello")
    with pytest.raises(InvalidData):
        restore(tmp_path / "b.tar", Home(tmp_path / "new"))


def test_an_archive_of_a_newer_version_is_refused(archive, tmp_path):
    rewritten(archive, lambda name, content: [(name, content.replace(b'"format":1', b'"format":9'))])
    with pytest.raises(Conflict, match="newer"):
        restore(archive, Home(tmp_path / "new"))


def test_a_database_of_another_schema_is_backed_up_before_it_is_migrated(source):
    assert migrate_after_backup(source.store, source.blobs, source.home) is None
    with source.store.write() as session:
        session.connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(Conflict):
        migrate_after_backup(source.store, source.blobs, source.home)
    [kept] = (source.home.root / "backups").iterdir()
    with tarfile.open(kept) as archive:
        assert archive.getnames()[0] == "header.json"
    with source.store.write() as session:
        session.connection.execute(text(f"UPDATE alembic_version SET version_num = '{HEAD}'"))
    assert migrate_after_backup(source.store, source.blobs, source.home) is None
