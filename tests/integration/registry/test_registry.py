"""The registry with real models, real trials and real kills."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.core.clock import SystemClock
from modelyard.core.errors import Conflict, InvalidArtifact
from modelyard.core.events import Actor
from modelyard.core.models import Reference
from modelyard.registry.artifacts import ArtifactCache
from modelyard.registry.service import Registry
from modelyard.registry.submission import NewVersion
from modelyard.registry.validate import ProbeLimits, Prober
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store

_spec = importlib.util.spec_from_file_location("graphs", Path(__file__).with_name("graphs.py"))
graphs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(graphs)

ACTOR = Actor(name="ana", workspace_id=1)
COMMAND = [sys.executable, "-m", "modelyard.server.entrypoints.probe"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    return f"sqlite:///{tmp_path / 'x.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def store(url):
    store = Store.open(url)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def blobs(tmp_path):
    return Blobs.open(str(tmp_path / "blobs"), tmp_path / "spool")


@pytest.fixture
def registry(store, blobs):
    return Registry(store, blobs, Prober(COMMAND, ProbeLimits(seconds=2.0)), SystemClock())


def source(path):
    return NewVersion(folder=path.parent, entry=path.name, format="onnx")


def test_a_pushed_model_is_tried_stored_and_laid_out(registry, blobs, tmp_path):
    version = registry.create_version(ACTOR, "m", source(graphs.linear(tmp_path / "in" / "m.onnx")))
    assert version.profile.row_independent
    assert version.signature.classes == ("a", "b", "c")
    place = ArtifactCache(tmp_path / "cache", blobs).materialize(version.artifact)
    assert (place / "m.onnx").read_bytes() == (tmp_path / "in" / "m.onnx").read_bytes()
    assert registry.collect_garbage(0.0).removed == 0


def test_a_flagged_version_takes_no_alias_in_either_database(registry, tmp_path):
    path = graphs.linear(tmp_path / "in" / "m.onnx")
    reports = [
        {"optimization": {"verdict": {"kept": not reasons, "reasons": reasons}}} for reasons in ([], ["larger: 2 bytes instead of 1"])
    ]
    for report in reports:
        registry.create_version(ACTOR, "m", NewVersion(folder=path.parent, entry=path.name, format="onnx", report=report))
    registry.set_alias(ACTOR, Reference("m", "1"), "champion")
    with pytest.raises(Conflict, match=r"m@2 cannot take an alias.*larger: 2 bytes"):
        registry.set_alias(ACTOR, Reference("m", "2"), "champion")
    assert registry.model(1, "m").aliases == {"champion": 1}


@pytest.mark.parametrize("make", [graphs.greedy, graphs.outside])
def test_hostile_models_leave_nothing(registry, blobs, tmp_path, make):
    with pytest.raises(InvalidArtifact) as caught:
        registry.create_version(ACTOR, "m", source(make(tmp_path / "in" / "m.onnx")))
    assert "\n" not in caught.value.message
    assert registry.models(1) == []
    assert list(blobs.list()) == []


_PUSH = """
import signal, sys
from pathlib import Path
from modelyard.core.clock import SystemClock
from modelyard.core.events import Actor
from modelyard.core.models import Profile
from modelyard.core.signature import Signature
from modelyard.registry.service import Registry
from modelyard.registry.submission import NewVersion
from modelyard.registry.validate import ProbeResult
from modelyard.store.audit import AuditTable
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store

url, root, where, first, last = sys.argv[1:]

class Good:
    def probe(self, folder, entry, format_name):
        return ProbeResult(signature=Signature(inputs=(), outputs=()), profile=Profile())

def stop(*_, **__):
    print("here", flush=True)
    signal.pause()

if where == "audit":  # the version's row is written, its transaction is not committed
    AuditTable.append = stop
elif where == "blobs":  # one of two blobs is put
    original = Blobs.put_file
    Blobs.put_file = lambda self, path: stop() if path.name == "z" else original(self, path)

registry = Registry(Store.open(url), Blobs.open(root + "/blobs", Path(root) / "spool"), Good(), SystemClock())
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(first), int(last)):
    folder = Path(root) / f"push-{number}"
    folder.mkdir()
    (folder / "m.onnx").write_text(str(number))
    (folder / "z").write_text("weights")
    made = registry.create_version(Actor(name="ana", workspace_id=1), "m", NewVersion(folder=folder, entry="m.onnx", format="onnx"))
    print(made.number, flush=True)
"""


def push(url, root, where, first, last):
    command = [sys.executable, "-c", _PUSH, url, str(root), where, str(first), str(last)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("where", ["audit", "blobs"])
def test_a_kill_in_the_middle_leaves_no_half_version(registry, store, url, tmp_path, where):
    process = push(url, tmp_path, where, 0, 1)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "here\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert registry.models(1) == []
    with store.read() as session:
        assert session.audit.list(1) == []
        assert session.versions.artifact_digests() == set()
    assert registry.collect_garbage(0.0).kept == 0
    version = registry.create_version(ACTOR, "m", source(graphs.linear(tmp_path / "in" / "m.onnx")))
    assert version.number == 1


def test_two_processes_that_push_at_once_get_consecutive_numbers(registry, store, url, tmp_path):
    processes = [push(url, tmp_path, "", first, first + 10) for first in (0, 10)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    made = [[int(line) for line in process.communicate(timeout=60)[0].split()] for process in processes]
    assert sorted(made[0] + made[1]) == list(range(1, 21))
    assert [version.number for version in registry.versions(1, "m")] == list(range(20, 0, -1))
    with store.read() as session:
        assert session.audit.first_broken(1) == 0
        assert len(session.audit.list(1)) == 20
    assert registry.version(1, Reference("m", "latest")).number == 20
