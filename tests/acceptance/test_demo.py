from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from modelyard.testing.platform import answers


def test_the_demo_fails_loudly_when_a_step_does_not_work(tmp_path: Path) -> None:
    occupied = tmp_path / "home"
    occupied.write_text("a file where the home should be")
    command = [sys.executable, "-m", "modelyard.cli.main", "demo", "--exit", "--home", str(occupied)]
    here = os.environ | {"TMPDIR": str(tmp_path)}  # a failed demo keeps its folder
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=here)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "cannot hold a home" in done.stderr


@pytest.mark.timeout(300)
def test_the_demo_trains_deploys_calls_serves_until_it_is_interrupted_and_does_it_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-u", "-m", "modelyard.cli.main", "demo", "--home", str(home)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    # Whoever runs the tests behind a shell has the keyboard's interrupt ignored, which children would inherit.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, env=environment, preexec_fn=heard)  # noqa: PLW1509  # this process starts no threads
    assert process.stdout is not None
    inference = said = ""
    for line in process.stdout:
        said += line
        if "inference http" in line:
            inference = line.split("inference ")[1].split(",")[0]
        if "Serving until Ctrl-C" in line:
            break
    assert answers(f"{inference}/readyz"), said
    assert "penguins@1" in said
    assert said.count("Adelie") >= 2
    assert "curl -s http://127.0.0.1:" in said
    assert (home / "modelyard.db").is_file()
    process.send_signal(signal.SIGINT)
    with process.stdout:
        process.stdout.read()
    assert process.wait(60) == 0
    assert not answers(f"{inference}/readyz")
    again = subprocess.run([*command, "--exit"], capture_output=True, text=True, timeout=120, env=environment, stdin=subprocess.DEVNULL)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("Adelie") >= 2
