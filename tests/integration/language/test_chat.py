"""``modelyard chat`` against a model on a socket, by its real process."""

from __future__ import annotations

import json
import os
import pty
import subprocess

import pytest

from integration.language.live_language import KEY, LiveLanguage
from modelyard.testing.language_model import RepeatingModel
from modelyard.testing.platform import quick_command


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with LiveLanguage(tmp_path_factory.mktemp("live"), RepeatingModel(context_length=4096)) as live:
        yield live


def environment(live):
    own = {"MODELYARD_KEY": KEY, "MODELYARD_URL": live.url, "MODELYARD_INFERENCE_URL": live.url}
    return {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")} | own


def run(live, *arguments, lines=""):
    return subprocess.run(
        [*quick_command(), "chat", "demo", *arguments], env=environment(live), input=lines, capture_output=True, text=True, timeout=60
    )


def test_one_message_is_answered(live):
    done = run(live, "--message", "hello there", "--max-tokens", "2")
    assert (done.returncode, done.stdout) == (0, "hello there\n")


def test_lines_are_a_conversation_that_the_model_is_told_whole(live):
    done = run(live, "--system", "sys", "--json", lines="one\n\ntwo\n")
    told = json.loads(done.stdout)
    assert [message["role"] for message in told["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    first, second = told["messages"][2]["content"], told["messages"][4]["content"]
    assert first.startswith("sys one")
    assert second.startswith("sys one sys one")
    assert told["usage"]["completion_tokens"] > 0
    assert told["finish"] == "length"


def at_a_terminal(live, deployment, typed):
    master, terminal = pty.openpty()
    command = [*quick_command(), "chat", deployment, "--max-tokens", "2"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment(live), stdin=terminal, stdout=pipe, stderr=pipe, text=True)
    os.close(terminal)
    os.write(master, typed.encode())
    out, errors = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 0
    return out, errors


def test_at_a_terminal_it_goes_on_until_told(live):
    out, errors = at_a_terminal(live, "demo", "first words\n/what\n/clear\nnew words\n/exit\n")
    assert "first words" in out
    assert "new words" in out
    assert "/clear forgets" in errors


def test_at_a_terminal_an_error_is_no_end(live):
    _, errors = at_a_terminal(live, "nothing", "a\nb\n/exit\n")
    assert errors.count("no deployment 'nothing'") == 2


@pytest.mark.parametrize(
    ("arguments", "said"), [(("--json",), "nothing to say"), (("--message", "x", "--temperature", "9"), "less than or equal to 2")]
)
def test_what_is_wrong_is_said(live, arguments, said):
    done = run(live, *arguments)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_deployment_that_is_not_there_is_said(live):
    done = subprocess.run(
        [*quick_command(), "chat", "nothing", "-m", "x"],
        env=environment(live),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no deployment 'nothing'" in done.stderr
