"""What a worker notes of answered requests."""

import json

from modelyard.core.access import ALL_ACTIONS, Grant
from modelyard.core.usage import ProtocolId
from modelyard.observability.access_log import AccessLog
from modelyard.observability.exports import export_path, read_exports
from modelyard.observability.exposition import render
from modelyard.protocols.call import Call
from modelyard.protocols.routing import Protocol
from modelyard.server.telemetry import Telemetry
from modelyard.serving.dataplane import DataPlane
from modelyard.testing.fakes import MemoryExchange


def call(name="penguins", rows=2):
    protocol = Protocol("open-inference-rest", ProtocolId.OPEN_INFERENCE_REST, (), lambda error: (500, (), b""))
    made = Call(MemoryExchange("POST", f"/v2/models/{name}/infer", b"12345"), protocol, DataPlane(), "r1")
    made.cost.rows, made.cost.compute_us = rows, 30
    made.grant = Grant(workspace_id=1, key_id=1, public_id="ab12", actions=ALL_ACTIONS, deployments=frozenset())
    made.params = {"name": name}
    return made


def never(seconds, run):
    """A loop that does not come to it."""


def page(folder):
    return render(read_exports(folder)).decode()


def test_answers_are_counted_and_logged(tmp_path):
    telemetry = Telemetry(export_path(tmp_path, 0), AccessLog(tmp_path / "access.log"), never)
    telemetry.connections = lambda: 3
    telemetry.note(call(), 200, 40)
    telemetry.note(call(), 429, 10)
    telemetry.flush()
    telemetry.export()
    where = 'deployment="penguins",protocol="open-inference-rest"'
    assert f'modelyard_requests_total{{{where},status="200"}} 1.0' in page(tmp_path)
    assert f'modelyard_requests_total{{{where},status="429"}} 1.0' in page(tmp_path)
    assert f"modelyard_rows_total{{{where}}} 4.0" in page(tmp_path)
    assert f"modelyard_request_seconds_count{{{where}}} 2.0" in page(tmp_path)
    assert "modelyard_connections 3.0" in page(tmp_path)
    first = json.loads((tmp_path / "access.log").read_text().splitlines()[0])
    assert (first["key"], first["deployment"], first["bytes_in"], first["bytes_out"], first["rows"]) == ("ab12", "penguins", 5, 40, 2)


def test_names_that_may_be_made_up_make_no_series(tmp_path):
    telemetry = Telemetry(export_path(tmp_path, 0), None, never)
    for number in range(3):
        telemetry.note(call(f"made-up-{number}"), 404, 10)
    telemetry.flush()
    telemetry.export()
    assert "made-up" not in page(tmp_path)
    assert 'modelyard_requests_total{deployment="",protocol="open-inference-rest",status="404"} 3.0' in page(tmp_path)


def test_successor_in_a_slot_counts_on(tmp_path):
    for _ in range(2):
        telemetry = Telemetry(export_path(tmp_path, 1), None, never)
        telemetry.note(call(), 200, 1)
        telemetry.flush()
        telemetry.export()
    assert 'status="200"} 2.0' in page(tmp_path)


def test_notes_are_worked_off_together_soon_after_the_first(tmp_path):
    asked = []
    telemetry = Telemetry(export_path(tmp_path, 0), AccessLog(tmp_path / "access.log"), lambda seconds, run: asked.append(run))
    for _ in range(3):
        telemetry.note(call(), 200, 1)
    (run,) = asked
    run()
    assert len((tmp_path / "access.log").read_text().splitlines()) == 3
    telemetry.note(call(), 200, 1)
    assert len(asked) == 2


def test_lines_that_the_disk_does_not_keep_pace_with_are_counted(tmp_path):
    path, works, room = tmp_path / "access.log", [], [False, True]

    def behind(work):
        works.append(work)
        return room.pop(0)

    telemetry = Telemetry(export_path(tmp_path, 0), AccessLog(path), never, behind)
    for _ in range(2):
        telemetry.note(call(), 200, 1)
        telemetry.note(call(), 200, 1)
        telemetry.flush()
    works[1]()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["dropped"] == 2
    assert [line["status"] for line in lines[1:]] == [200, 200]
