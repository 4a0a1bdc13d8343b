import os
import struct

import numpy as np
import pytest

from modelyard.core.access import Key
from modelyard.core.cost import Cost
from modelyard.core.deployments import Deployment, Target
from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.journal import Journal
from modelyard.ledger.fold import Folder
from modelyard.ledger.trace import Tracer, spans_of
from modelyard.store.segments import RECORD_SIZE
from modelyard.store.usage_segments import SegmentSpan

PREFIX = b"workerAB"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def journal(folder, clock):
    journal = Journal(folder, b"b" * 16, 0, segment_bytes=RECORD_SIZE * 17, clock=clock)
    yield journal
    journal.close()


@pytest.fixture
def named(store):
    """Ids of a deployment and a key."""
    with store.write() as session:
        deployment = session.deployments.add(Deployment(id=0, workspace_id=1, name="iris", targets=(Target(model="m", version="1"),)))
        return deployment.id, session.keys.add(Key(id=0, workspace_id=1, public_id="abc", digest="0" * 64, label="shop")).id


def request_id(number, prefix=PREFIX):
    return prefix + number.to_bytes(8, "big")


def append(journal, numbers, named, *, workspace=1, make=request_id):
    for number in numbers:
        caller = (make(number), workspace, named[1], named[0])
        journal.append(caller, 200, Cost(rows=number), ProtocolId.RECORDS, CallKind.INFER, 1, 2)
        if journal._maker is not None:
            journal._maker.join()


def test_a_call_is_found_before_and_after_folding_and_in_the_archive(store, journal, folder, clock, named):
    append(journal, range(1, 60), named)
    tracer, fold = Tracer(store, folder), Folder(store, folder, clock)
    for _ in range(2):
        for number in (1, 30, 59):
            found = tracer.trace(1, request_id(number).hex())
            assert (found.rows, found.status, found.deployment, found.key, found.key_label) == (number, 200, "iris", "abc", "shop")
            assert (found.protocol, found.kind, found.version) == ("records", "infer", "")
        fold.fold()
    journal.close()
    fold.fold()
    assert not list(folder.glob("*.journal"))
    assert tracer.trace(1, request_id(17).hex().upper()).rows == 17


def test_only_segments_that_may_hold_it_are_opened(store, journal, folder, clock, named):
    append(journal, range(1, 60), named)
    journal.close()
    Folder(store, folder, clock).fold()
    with store.read() as session:
        assert len(session.usage_segments.holding(PREFIX.hex(), 20)) == 1
        assert session.usage_segments.holding(PREFIX.hex(), 60) == []
        assert session.usage_segments.holding("0" * 16, 20) == []


def test_what_is_not_the_callers_is_not_there(store, journal, folder, named):
    append(journal, [1], named)
    append(journal, [2], named, workspace=2)
    tracer = Tracer(store, folder)
    assert tracer.trace(1, request_id(1).hex(), may=frozenset({"iris"})).rows == 1
    for workspace, number, may in ((2, 1, frozenset()), (1, 2, frozenset()), (1, 1, frozenset({"churn"})), (1, 3, frozenset())):
        with pytest.raises(NotFound):
            tracer.trace(workspace, request_id(number).hex(), may=may)


@pytest.mark.parametrize("text", ["", "mine", "0" * 31, "0" * 33, "g" * 32, "../../etc/passwd"])
def test_what_is_no_request_id_is_refused(store, folder, text):
    with pytest.raises(InvalidRequest, match="x-modelyard-request-id"):
        Tracer(store, folder).trace(1, text)


def test_what_is_gone_is_told_by_its_number(store, journal, folder):
    append(journal, [1], (7, 9))
    found = Tracer(store, folder).trace(1, request_id(1).hex())
    assert (found.deployment, found.key) == ("#7", "#9")


def test_ids_of_another_making_are_found_all_the_same(store, journal, folder, clock, named):
    ids = [os.urandom(16) for _ in range(100)]
    append(journal, range(100), named, make=lambda number: ids[number])
    journal.close()
    Folder(store, folder, clock).fold()
    tracer = Tracer(store, folder)
    assert [tracer.trace(1, ids[number].hex()).rows for number in (0, 50, 99)] == [0, 50, 99]


def test_an_id_that_stands_elsewhere_in_a_record_is_no_find(store, journal, folder, named):
    # Row counts and sizes may look like an id; only whole records in their places count.
    append(journal, [1], named)
    (path,) = [path for path in folder.glob("*.journal") if path.name.endswith("000000.journal")]
    content = bytearray(path.read_bytes())
    content[RECORD_SIZE * 3 : RECORD_SIZE * 3 + 16] = request_id(5)
    content[RECORD_SIZE * 4 + 8 : RECORD_SIZE * 4 + 24] = request_id(6)
    path.write_bytes(bytes(content))
    for number in (5, 6):
        with pytest.raises(NotFound):
            Tracer(store, folder).trace(1, request_id(number).hex())


def test_the_index_goes_with_the_archive(store, journal, folder, clock, named):
    append(journal, [1], named)
    journal.close()
    Folder(store, folder, clock).fold()
    for path in (folder / "archive").iterdir():
        os.utime(path, (0, 0))
    Folder(store, folder, clock, retention_seconds=10.0).fold()
    with store.read() as session:
        assert session.usage_segments.holding(PREFIX.hex(), 1) == []


def test_spans_are_by_worker():
    ids = [request_id(number, prefix) for prefix in (b"A" * 8, b"B" * 8) for number in (3, 9, 5)]
    array = np.frombuffer(b"".join(ids), "V16")
    assert spans_of("s", array) == [SegmentSpan(segment="s", prefix=(letter * 8).hex(), first=3, last=9) for letter in (b"A", b"B")]
    assert spans_of("s", array[:0]) == []
    assert spans_of("s", np.frombuffer(struct.pack(">QQ", 1, 1 << 63), "V16"))[0].prefix == ""
