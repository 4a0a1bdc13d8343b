"""SIGKILL of the process that carries out predictions, at any moment: nothing is lost, no result changes."""

import json
import os
import signal
import subprocess
import sys

from modelyard.core.clock import SystemClock
from modelyard.serving.prediction_files import Outcome, PredictionFiles, Submission, new_id
from modelyard.store.database import Store
from modelyard.store.predictions import PredictionStatus

RUNNER = """
import sys, threading, uuid
from pathlib import Path
from modelyard.core.clock import SystemClock
from modelyard.serving.prediction_files import PredictionFiles
from modelyard.serving.predictions import PredictionRunner, RunnerOptions
from modelyard.store.database import Store

home, seconds = Path(sys.argv[1]), float(sys.argv[2])

def call(submission):
    threading.Event().wait(seconds)
    print("executed", flush=True)
    return 200, b'{"predictions":["%s"]}' % uuid.uuid4().hex.encode()

def post(url, headers, body):
    return 204

store = Store.open(f"sqlite:///{home}/db")
files, options = PredictionFiles(home / "predictions"), RunnerOptions(concurrency=2, poll_seconds=0.01)
runner = PredictionRunner(files, store, call, post, secret=b"s", clock=SystemClock(), options=options)
runner.run(threading.Event())
"""


def start(home, seconds):
    return subprocess.Popen([sys.executable, "-c", RUNNER, str(home), str(seconds)], stdout=subprocess.PIPE, text=True)


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_killed_at_any_moment_it_loses_nothing_and_changes_nothing(tmp_path):
    files, clock = PredictionFiles(tmp_path / "predictions"), SystemClock()
    store = Store.open(f"sqlite:///{tmp_path}/db")
    store.migrate()
    made = []
    for _ in range(12):
        now = clock.time_ns()
        made.append(new_id(now))
        files.submit(
            Submission(id=made[-1], workspace_id=1, key_id=1, deployment="d", body="{}", webhook="https://example.org", created_ns=now)
        )
    seen = {}
    for executed in (1, 2, 3):
        process = start(tmp_path, 0.001)
        try:
            for _ in range(executed):
                process.stdout.readline()
        finally:
            kill(process)  # in the middle of storing, of the row, of the spool or of a webhook
        for name in made:
            outcome = files.outcome(1, name)
            assert isinstance(files.find(1, name), Outcome if outcome else Submission)
            if outcome is not None:
                assert seen.setdefault(name, bytes(outcome.result)) == bytes(outcome.result)
    process = start(tmp_path, 0)
    try:
        while len(done(store)) < len(made):
            assert process.poll() is None
    finally:
        kill(process)
    results = {name: bytes(files.outcome(1, name).result) for name in made}
    assert {name: results[name] for name in seen} == seen
    assert len(set(results.values())) == len(made)
    assert all(json.loads(result)["predictions"] for result in results.values())
    store.close()


def done(store):
    with store.read() as session:
        rows = session.predictions.list(1)
    return [row for row in rows if row.status is PredictionStatus.SUCCEEDED and row.delivered_ns]
