"""Help, completion and laziness of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.cli.main import load, main
from modelyard.cli.table import COMMANDS

HEAVY = {"numpy", "httpx", "rich", "msgspec", "pydantic", "fastapi", "sqlalchemy", "onnxruntime", "yaml", "sklearn"}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelyard.cli.main", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"  modelyard {name}" in shown or f"| modelyard {name}" in shown
    assert load(name).help


@pytest.mark.parametrize("name", ["create", "list", "revoke"])
def test_every_command_of_a_group_does_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["keys", name, "--help"])
    assert f"  modelyard keys {name}" in capsys.readouterr().out


def test_the_help_lists_every_command_and_loads_none() -> None:
    script = "import sys; sys.argv = ['modelyard', '--help']\nfrom modelyard.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
    script += "print('LOADED', ' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    shown, _, loaded = done.stdout.partition("LOADED")
    assert not HEAVY & set(loaded.split())
    for name, entry in COMMANDS.items():
        assert f"  {name} " in shown
        assert entry.summary in shown


def test_summaries_and_help_say_the_same() -> None:
    for name, entry in COMMANDS.items():
        assert entry.summary[0].isupper()
        assert entry.summary.endswith("."), name


def test_shell_completion_knows_commands_and_options() -> None:
    done = run(_MODELYARD_COMPLETE="complete_bash", COMP_WORDS="modelyard pro", COMP_CWORD="1")
    assert done.stdout.split() == ["promote", "providers"]
    done = run(_MODELYARD_COMPLETE="complete_bash", COMP_WORDS="modelyard train --fo", COMP_CWORD="2")
    assert "--folds" in done.stdout
    done = run(_MODELYARD_COMPLETE="complete_bash", COMP_WORDS="modelyard keys re", COMP_CWORD="2")
    assert done.stdout.split() == ["revoke"]


def test_no_command_shows_the_help_and_the_version_is_told() -> None:
    assert "Usage: modelyard" in run().stdout + run().stderr
    assert run("--version").stdout.startswith("modelyard ")


def test_a_mistyped_command_suggests_the_nearest() -> None:
    done = run("depoly", "x")
    assert done.returncode == 2
    assert "Did you mean 'deploy'?" in done.stderr
    assert done.stdout == ""


def narrow(statement: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a command that prints does where standard output takes ASCII only."""
    script = f"""
import sys
from modelyard.cli import main, output
main.typer.main.get_command = lambda app: lambda *arguments, **options: {statement}
main.main([])
"""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"} | environment, capture_output=True, text=True)


def test_a_terminal_without_the_characters_gets_no_traceback() -> None:
    done = narrow("print('1 \u2192 2\u2026')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 ? 2?\n", "")


def test_json_stays_json_where_only_ascii_is_taken() -> None:
    done = narrow("output.print_json({'name': 'Mäder \u2192 \U0001f427'})")
    assert done.stdout.isascii()
    assert json.loads(done.stdout) == {"name": "Mäder \u2192 \U0001f427"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_output_that_cannot_be_written_is_no_traceback() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "modelyard.cli.main", "--version"], stdout=full, stderr=subprocess.PIPE, text=True, env=os.environ
        )
    assert "Traceback" not in done.stderr
