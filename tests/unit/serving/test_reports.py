import os

from modelyard.core.deployments import DeploymentState
from modelyard.serving.reports import VersionReport, WorkerReport, read_reports, write_report


def report(slot, pid):
    versions = {7: VersionReport(state=DeploymentState.FAILED, reason="broken")}
    return WorkerReport(slot=slot, pid=pid, snapshot=3, written_ns=4, versions=versions, deployments={1: 2})


def test_what_a_worker_tells_is_read(tmp_path):
    for slot in (10, 2):
        write_report(tmp_path, report(slot, os.getpid()))
    assert read_reports(tmp_path) == [report(2, os.getpid()), report(10, os.getpid())]


def test_a_dead_workers_report_does_not_count(tmp_path):
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    write_report(tmp_path, report(0, child))
    assert read_reports(tmp_path) == []


def test_a_damaged_report_counts_as_none(tmp_path):
    (tmp_path / "worker-0.json").write_bytes(b'{"slot":')
    assert read_reports(tmp_path) == []
