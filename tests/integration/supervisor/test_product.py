"""The real processes: started in the background, found, killed, and stopped."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from modelyard.server.detach import start_detached
from modelyard.server.instance import find, stop
from modelyard.server.settings import Settings
from modelyard.server.supervisor import Told
from modelyard.store.home import Home
from modelyard.testing.engine_contract import wait_until_gone

HEAVY = (
    "grpc",
    "google.protobuf",
    "sqlalchemy",
    "fastapi",
    "starlette",
    "uvicorn",
    "pydantic",
    "prometheus_client",
    "onnx",
    "sklearn",
    "pandas",
    "torch",
)


def get(url, path, key=""):
    """Status and body of an answer."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"} if key else {})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "home")
    yield made
    stop(made, 60)


def start(home, **changes):
    notices = []
    settings = Settings(home=home.root, port=0, management_port=0, grpc_port=0, workers=2, **changes)
    started = start_detached(settings, notices.append)
    return started, notices


def test_platform_starts_in_the_background_serves_and_stops(home):
    started, notices = start(home)
    assert started
    (key,) = [notice.text for notice in notices if notice.told is Told.ADMIN_KEY]
    running = find(home)
    assert running.ready
    for url in (running.inference_url, running.management_url):
        assert get(url, "/livez")[0] == 200
        assert get(url, "/readyz")[0] == 200
    assert get(running.management_url, "/api/v1/whoami", key)[0] == 200
    assert get(running.inference_url, "/v2")[0] == 401
    assert get(running.inference_url, "/v2", key)[0] == 200
    status, page = get(running.management_url, "/metrics", key)
    assert status == 200
    assert "modelyard_workers 2.0" in page
    assert all(key not in path.read_text() for path in home.logs.iterdir())
    assert home.root.stat().st_mode & 0o077 == 0
    assert stop(home, 60).pid == running.pid
    wait_until_gone(running.pid)
    assert find(home) is None


def test_key_is_told_at_the_first_start_only_and_counters_do_not_go_back(home):
    _, notices = start(home)
    (key,) = [notice.text for notice in notices if notice.told is Told.ADMIN_KEY]
    first = find(home)
    for _ in range(5):
        assert get(first.inference_url, "/v2", key)[0] == 200
    stop(home, 60)
    started, notices = start(home)
    assert started
    assert Told.ADMIN_KEY not in {notice.told for notice in notices}
    page = get(find(home).management_url, "/metrics", key)[1]
    line = next(line for line in page.splitlines() if line.startswith("modelyard_requests_total") and "open-inference" in line)
    assert float(line.split()[-1]) == 5


def test_given_admin_key_works_and_is_on_no_command_line_and_in_no_log(home):
    secret = "given-admin-key-0123456789"
    started, notices = start(home, admin_key=secret)
    assert started
    assert Told.ADMIN_KEY not in {notice.told for notice in notices}
    running = find(home)
    status, text = get(running.management_url, "/api/v1/status", secret)
    assert status == 200
    document = json.loads(text)
    pids = [running.pid, document["controller"]["pid"], *(worker["pid"] for worker in document["workers"])]
    for pid in pids:
        for file in ("cmdline", "environ"):
            assert secret.encode() not in Path(f"/proc/{pid}/{file}").read_bytes()
    assert all(secret not in path.read_text() for path in home.logs.iterdir())


def test_inference_goes_on_while_the_controller_is_dead(home):
    _, notices = start(home)
    (key,) = [notice.text for notice in notices if notice.told is Told.ADMIN_KEY]
    running = find(home)
    pid = json.loads(get(running.management_url, "/api/v1/status", key)[1])["controller"]["pid"]
    os.kill(pid, signal.SIGKILL)
    assert all(get(running.inference_url, "/v2", key)[0] == 200 for _ in range(20))
    # The listening socket outlives the controller, so this waits for the next one instead of being refused.
    assert get(running.management_url, "/readyz")[0] == 200
    assert json.loads(get(running.management_url, "/api/v1/status", key)[1])["controller"]["pid"] != pid


def test_worker_that_is_asked_to_end_fails_no_call_and_is_replaced(home):
    _, notices = start(home)
    (key,) = [notice.text for notice in notices if notice.told is Told.ADMIN_KEY]
    running = find(home)
    stopping, problems, answered = threading.Event(), [], []

    def call():
        with httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=20, trust_env=False) as client:
            while not stopping.is_set():
                try:
                    status = client.get(f"{running.inference_url}/v2").status_code
                    (answered if status == 200 else problems).append(status)
                except httpx.TransportError as error:
                    problems.append(repr(error))

    def workers():
        return {worker["pid"] for worker in json.loads(get(running.management_url, "/api/v1/status", key)[1])["workers"]}

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for pid in sorted(workers()):
        os.kill(pid, signal.SIGTERM)
        wait_until_gone(pid)
        while len(workers()) < 2:
            assert not problems
    stopping.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(answered) > 20


def test_start_that_cannot_succeed_says_why(home):
    home.create()
    (home.root / "LAYOUT").write_text("1\n")
    home.database.write_bytes(b"this is no database" * 100)
    started, notices = start(home)
    assert not started
    assert notices[-1].told is Told.FATAL
    assert notices[-1].text


@pytest.mark.parametrize("module", ["modelyard.server.wiring.worker", "modelyard.server.supervisor"])
def test_light_processes_import_nothing_heavy(module):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_home_that_is_a_file_is_refused(tmp_path):
    place = tmp_path / "home"
    place.write_text("not a folder")
    command = [sys.executable, "-m", "modelyard.cli.main", "up", "--home", str(place), "--port", "0", "--management-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "cannot hold a home" in done.stderr
    assert "Traceback" not in done.stderr
