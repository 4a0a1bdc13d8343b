import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import Internal, InvalidArtifact, NotFound
from modelyard.core.models import ArtifactFile
from modelyard.registry.artifacts import ArtifactCache, artifact_digest, check_files, check_path, describe, lay_out, scan
from modelyard.store.blobs import Blobs

DAY = 86400.0


@pytest.fixture
def blobs(tmp_path):
    return Blobs.open(str(tmp_path / "blobs"), tmp_path / "spool")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "data" / "w.bin").write_bytes(b"weights")
    return folder


@pytest.fixture
def artifact(folder, blobs):
    made = describe(folder, "model.onnx", "onnx")
    for file in made.files:
        blobs.put_file(folder / file.path)
    return made


def file(path, letter="a"):
    return ArtifactFile(path=path, digest=letter * 64, size=1)


def test_equal_content_has_an_equal_digest_wherever_it_lies(folder, tmp_path):
    copy = folder.rename(tmp_path / "elsewhere")
    first = describe(copy, "model.onnx", "onnx")
    assert [found.path for found in first.files] == ["data/w.bin", "model.onnx"]
    assert first.digest == describe(copy, "data/w.bin", "other").digest
    (copy / "data" / "w.bin").rename(copy / "data" / "v.bin")
    assert describe(copy, "model.onnx", "onnx").digest != first.digest


@given(st.permutations([file("a"), file("b", "b"), file("c/d", "c")]))
def test_the_order_of_files_does_not_matter(files):
    assert artifact_digest(files) == artifact_digest([file("a"), file("b", "b"), file("c/d", "c")])


def test_a_missing_entry_names_the_nearest(folder):
    with pytest.raises(InvalidArtifact, match=r"Did you mean 'model.onnx'"):
        describe(folder, "modell.onnx", "onnx")


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), lambda path: path.symlink_to("model.onnx"), os.mkfifo])
def test_links_and_pipes_are_refused(folder, make):
    make(folder / "odd")
    with pytest.raises(InvalidArtifact, match="'odd' is"):
        scan(folder)


def test_a_linked_folder_is_refused(folder):
    (folder / "etc").symlink_to("/etc")
    with pytest.raises(InvalidArtifact, match="a link"):
        scan(folder)


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\\b", "a\nb", "c:x", "a\0b", "x" * 256, "a/" * 300 + "b"]
)
def test_paths_that_could_leave_the_folder_are_refused(path):
    with pytest.raises(InvalidArtifact):
        check_path(path)


@given(st.text(max_size=60))
def test_an_accepted_path_stays_inside_its_folder(path):
    try:
        check_path(path)
    except InvalidArtifact:
        return
    assert os.path.normpath(os.path.join("/root/of/it", path)) == "/root/of/it/" + path  # noqa: PTH118 -- as the system joins them


@pytest.mark.parametrize("paths", [("a", "A"), ("ß", "SS"), ("a", "a"), ("a", "a/b"), ("A", "a/b/c"), ("é", "e\u0301")])
def test_paths_that_collide_somewhere_are_refused(paths):
    with pytest.raises(InvalidArtifact, match="rename one"):
        check_files(file(path) for path in paths)


def test_a_cached_artifact_is_laid_out_once(artifact, blobs, tmp_path):
    cache = ArtifactCache(tmp_path / "cache", blobs)
    place = cache.materialize(artifact)
    assert (place / "data" / "w.bin").read_bytes() == b"weights"
    for found in blobs.list():
        blobs.delete(found.digest)
    assert cache.materialize(artifact) == place
    assert [item.name for item in (tmp_path / "cache").iterdir()] == [artifact.digest]


def test_a_missing_or_damaged_blob_leaves_no_folder(artifact, blobs, tmp_path):
    cache = ArtifactCache(tmp_path / "cache", blobs)
    [path] = [path for path in (tmp_path / "blobs" / "sha256").glob("*/*") if path.read_bytes() == b"weights"]
    path.write_bytes(b"heights")
    with pytest.raises(Internal, match="damaged"):
        cache.materialize(artifact)
    path.unlink()
    with pytest.raises(NotFound):
        cache.materialize(artifact)
    assert list((tmp_path / "cache").iterdir()) == []


def test_hostile_lists_are_not_laid_out(blobs, tmp_path):
    digest = blobs.put([b"x"]).digest
    with pytest.raises(InvalidArtifact):
        lay_out([ArtifactFile(path="../evil", digest=digest, size=1)], blobs, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_unused_folders_are_pruned(artifact, blobs, tmp_path):
    cache = ArtifactCache(tmp_path / "cache", blobs)
    place = cache.materialize(artifact)
    assert cache.prune({artifact.digest}, 0.0) == 0
    assert cache.prune(set(), DAY) == 0
    assert cache.prune(set(), 0.0) == 1
    assert not place.exists()


_LAY_OUT = """
import sys
from pathlib import Path
import msgspec
from modelyard.core.models import Artifact
from modelyard.registry.artifacts import ArtifactCache
from modelyard.store.blobs import Blobs
blobs = Blobs.open(sys.argv[1], Path(sys.argv[2]))
artifact = msgspec.json.decode(sys.argv[4], type=Artifact)
print("ready", flush=True)
sys.stdin.readline()
print(ArtifactCache(Path(sys.argv[3]), blobs).materialize(artifact))
"""


def test_several_processes_may_want_one_artifact_at_once(artifact, blobs, tmp_path):

    arguments = [str(tmp_path / "blobs"), str(tmp_path / "spool"), str(tmp_path / "cache"), msgspec.json.encode(artifact).decode()]
    processes = [
        subprocess.Popen([sys.executable, "-c", _LAY_OUT, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    answers = [process.communicate("go\n", timeout=60)[0].strip() for process in processes]
    assert answers == [str(tmp_path / "cache" / artifact.digest)] * 3
    assert [item.name for item in (tmp_path / "cache").iterdir()] == [artifact.digest]
