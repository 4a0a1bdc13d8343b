"""The supervisor with real processes that pretend to be controller and workers."""

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from modelyard.server.instance import find, stop
from modelyard.server.settings import Settings
from modelyard.server.supervisor import Notice, Told
from modelyard.store.home import Home
from modelyard.testing.engine_contract import alive, wait_until_gone

PLATFORM = str(Path(__file__).with_name("pretend_platform.py"))
SECRET = "an-admin-key-from-outside"


class Platform:
    def __init__(self, home, controller="controller", worker="worker", **settings):
        chosen = Settings(home=home, port=settings.pop("port", 0), management_port=0, grpc_port=0, workers=2, admin_key=SECRET, **settings)
        self.home = Home(home)
        self.process = subprocess.Popen(
            [sys.executable, PLATFORM, controller, worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "MODELYARD_ADMIN_KEY": SECRET},
        )
        self.process.stdin.write(msgspec.json.encode(chosen.encode()) + b"\n")
        self.process.stdin.close()
        self.notices = []

    def until(self, told):
        for line in self.process.stdout:
            notice = msgspec.json.decode(line, type=Notice)
            self.notices.append(notice)
            if notice.told is told:
                return notice
        raise AssertionError(f"It never told {told}: {self.notices}")

    def ask(self, listener="inference_url", path="/"):
        """Name, process and the rest of an answer."""
        address = urlsplit(getattr(find(self.home), listener))
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode().split(" ", 2)
        finally:
            connection.close()

    def workers(self):
        """Process ids of both workers."""
        found = {}
        until = time.monotonic() + 20
        while len(found) < 2 and time.monotonic() < until:
            name, pid, _ = self.ask()
            found[name] = int(pid)
        return found


@pytest.fixture
def start(tmp_path):
    started = []

    def starting(*roles, **settings):
        started.append(Platform(settings.pop("home", tmp_path / "home"), *roles, **settings))
        return started[-1]

    yield starting
    for platform in started:
        platform.process.kill()
        platform.process.wait()
        platform.process.stdout.close()


def test_start_serves_on_both_listeners_and_tells_the_first_key(start):
    platform = start()
    platform.until(Told.READY)
    assert [notice.told for notice in platform.notices] == [Told.LISTENING, Told.ADMIN_KEY, Told.READY]
    assert platform.notices[1].text == "my_first_key"
    assert platform.ask("management_url")[0] == "controller"
    assert set(platform.workers()) == {"worker-0", "worker-1"}
    assert find(platform.home).ready


def test_secrets_reach_children_neither_by_environment_nor_by_command_line(start):
    platform = start()
    platform.until(Told.READY)
    _, pid, rest = platform.ask("management_url")
    assert rest.split(" ", 2)[:2] == [SECRET, "False"]
    for process in (int(pid), *platform.workers().values()):
        assert SECRET.encode() not in Path(f"/proc/{process}/environ").read_bytes()
        assert SECRET.encode() not in Path(f"/proc/{process}/cmdline").read_bytes()
    logs = b"".join(path.read_bytes() for path in platform.home.logs.iterdir())
    assert SECRET.encode() not in logs


def test_killed_worker_is_started_again_and_service_goes_on(start):
    platform = start()
    platform.until(Told.READY)
    victim = platform.workers()["worker-1"]
    os.kill(victim, signal.SIGKILL)
    for _ in range(20):
        platform.ask()
    assert "worker-1 was ended by signal 9" in platform.until(Told.WARNING).text
    heirs = platform.workers()
    assert heirs["worker-1"] != victim


def test_killed_controller_is_started_again_while_workers_go_on(start):
    platform = start()
    platform.until(Told.READY)
    before = platform.workers()
    old = int(platform.ask("management_url")[1])
    os.kill(old, signal.SIGKILL)
    assert platform.ask()[0].startswith("worker")
    platform.until(Told.WARNING)
    assert int(platform.ask("management_url")[1]) != old
    assert platform.workers() == before


def test_orderly_stop_lets_calls_in_flight_end(start):
    platform = start()
    platform.until(Told.READY)
    address = urlsplit(find(platform.home).inference_url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
    connection.request("GET", "/slow")
    time.sleep(0.2)  # let the worker take it
    platform.process.send_signal(signal.SIGTERM)
    answer = connection.getresponse()
    assert answer.status == 200
    answer.read()
    connection.close()
    assert platform.process.wait(20) == 0
    assert find(platform.home) is None
    assert not (platform.home.run / "supervisor.json").exists()


def test_what_does_not_end_in_time_is_killed(start):
    platform = start("controller", "worker+stubborn", drain_seconds=0.0)
    platform.until(Told.READY)
    pids = platform.workers().values()
    platform.process.send_signal(signal.SIGINT)
    platform.until(Told.STOPPING)
    platform.process.send_signal(signal.SIGINT)
    assert platform.process.wait(20) == 0
    assert not any(alive(pid) for pid in pids)


def test_children_die_with_a_killed_supervisor_and_the_home_is_free_again(start):
    platform = start("controller+stubborn", "worker+stubborn")
    platform.until(Told.READY)
    pids = [*platform.workers().values(), int(platform.ask("management_url")[1])]
    platform.process.kill()
    for pid in pids:
        wait_until_gone(pid)
    start().until(Told.READY)


def test_second_instance_on_a_home_is_refused_by_name(start):
    first = start()
    first.until(Told.READY)
    second = start()
    assert f"process {first.process.pid}" in second.until(Told.FATAL).text
    assert second.process.wait(20) == 1
    assert find(first.home).ready


def test_taken_port_is_refused(start, tmp_path):
    first = start()
    port = urlsplit(first.until(Told.LISTENING).inference_url).port
    second = start(home=tmp_path / "other", port=port)
    assert str(port) in second.until(Told.FATAL).text
    assert second.process.wait(20) == 1


def test_fatal_word_of_a_child_ends_the_start(start):
    platform = start("controller+fatal")
    assert platform.until(Told.FATAL).text == "The database is too new."
    assert platform.process.wait(20) == 1


def test_child_that_always_crashes_ends_the_start(start):
    platform = start("crash")
    assert "5 times before it was ready" in platform.until(Told.FATAL).text
    assert platform.process.wait(20) == 1


def test_down_stops_a_platform_and_waits_for_it(start):
    platform = start()
    platform.until(Told.READY)
    assert stop(platform.home, 20).pid == platform.process.pid
    assert platform.process.wait(20) == 0
    assert stop(platform.home, 1) is None


def test_home_of_a_newer_version_is_refused_and_left_alone(start, tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    home.layout_file.write_text("999")
    assert "newer Modelyard" in start().until(Told.FATAL).text
    assert home.layout_file.read_text() == "999"
