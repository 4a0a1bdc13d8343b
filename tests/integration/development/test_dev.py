"""``modelyard dev`` as somebody who writes a model uses it."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

MODEL = """
import words

class Model:
    def predict(self, text: str) -> str:
        return words.greeting() + text
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "words.py").write_text("def greeting():\n    return 'hello '\n")
    return tmp_path


def wait_for(check, seconds=30):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            if check():
                return
        time.sleep(0.05)
    raise AssertionError("It did not happen in time.")


def test_a_model_is_served_and_served_anew_when_its_files_change(folder):
    command = [sys.executable, "-m", "modelyard.cli.main", "dev", str(folder / "model.py"), "--port", "0"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    output = folder / "output.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    try:
        wait_for(lambda: "/v2/" in output.read_text())
        url = output.read_text().split("/v2/")[0]

        def answer():
            body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["you"]}]}
            reply = httpx.post(f"{url}/v2/models/model/infer", json=body, timeout=10)
            return reply.json()["outputs"][0]["data"][0] if reply.status_code == 200 else ""

        wait_for(lambda: answer() == "hello you")
        records = httpx.post(f"{url}/v1/deployments/model/predict", json={"records": [{"text": "all"}]}, timeout=10)
        assert "hello all" in records.text
        (folder / "words.py").write_text("def greeting():\n    return 'good evening '\n")
        wait_for(lambda: answer() == "good evening you")
        (folder / "model.py").write_text("class Model:\n    def predict(self, text: str) -> str\n")
        wait_for(lambda: "SyntaxError" in output.read_text())
        assert "The one before goes on." in output.read_text()
        assert answer() == "good evening you"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(10)


def test_a_file_that_is_not_there_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "modelyard.cli.main", "dev", str(tmp_path / "nothing.py")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "There is no file" in done.stderr
