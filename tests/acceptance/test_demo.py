from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.testing.platform import answers


@pytest.mark.timeout(180)
def test_the_demo_trains_deploys_and_calls_over_two_protocols_and_exits_clean(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "modelyard.cli.main", "demo", "--exit", "--home", str(home)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "penguins@1" in done.stdout
    assert done.stdout.count("Adelie") >= 2
    assert "curl -s http://127.0.0.1:" in done.stdout
    assert (home / "modelyard.db").is_file()


def test_the_demo_fails_loudly_when_a_step_does_not_work(tmp_path: Path) -> None:
    occupied = tmp_path / "home"
    occupied.write_text("a file where the home should be")
    command = [sys.executable, "-m", "modelyard.cli.main", "demo", "--exit", "--home", str(occupied)]
    here = os.environ | {"TMPDIR": str(tmp_path)}  # a failed demo keeps its folder
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=here)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "cannot hold a home" in done.stderr


@pytest.mark.timeout(180)
def test_the_demo_serves_until_it_is_interrupted_and_then_stops_everything(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "modelyard.cli.main", "demo", "--home", str(tmp_path / "home")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    inference = ""
    for line in process.stdout:
        if "inference http" in line:
            inference = line.split("inference ")[1].split(",")[0]
        if "Serving until Ctrl-C" in line:
            break
    assert answers(f"{inference}/readyz")
    process.send_signal(signal.SIGINT)
    with process.stdout:
        process.stdout.read()
    assert process.wait(60) == 0
    assert not answers(f"{inference}/readyz")
