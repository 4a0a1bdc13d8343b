"""Other servers of language models, started on the same decoder: ``transformers serve`` and llama-cpp-python's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from modelyard.testing.platform import free_port, wait_until_answers


def peers_of(folder: Path, gguf: Path, threads: int, stack: ExitStack) -> dict[str, tuple[str, dict[str, object]]]:
    """By name: the base URL, and what is asked besides the prompt. ``stack`` ends them."""
    found = {"transformers serve": (_transformers(folder, threads, stack), {"model": str(_endless(folder))})}
    if python := os.environ.get("LLAMA_PYTHON"):
        # Ends are made unlikely: there is no option to ignore them.
        found["llama-cpp-python server"] = (_llama(python, gguf, threads, stack), {"model": "large", "logit_bias": {"0": -100, "2": -100}})
    return found


def _endless(folder: Path) -> Path:
    """The decoder without tokens that end a text, since the server has no option to ignore them."""
    target = folder.parent / "endless"
    if not target.exists():
        shutil.copytree(folder, target)
        config = json.loads((target / "config.json").read_text()) | {"eos_token_id": None}
        (target / "config.json").write_text(json.dumps(config))
        (target / "generation_config.json").write_text(json.dumps({"pad_token_id": 0}))
    return target


def _transformers(folder: Path, threads: int, stack: ExitStack) -> str:
    port = free_port()
    program = str(Path(sys.executable).parent / "transformers")
    command = [program, "serve", str(_endless(folder)), "--continuous-batching", "--device", "cpu", "--dtype", "float32"]
    # By itself it takes 60 % of the memory and steps of 8192 tokens, whose attention masks alone take seconds on a CPU.
    command += ["--cb-num-blocks", "64", "--cb-max-batch-tokens", "512"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    process = _started([*command, "--host", "127.0.0.1", "--port", str(port)], environment, stack)
    wait_until_answers(f"http://127.0.0.1:{port}/health", process, 180)
    return f"http://127.0.0.1:{port}"


def _llama(python: str, gguf: Path, threads: int, stack: ExitStack) -> str:
    port = free_port()
    command = [python, "-m", "llama_cpp.server", "--model", str(gguf), "--model_alias", "large", "--n_ctx", "1024"]
    # Unless told otherwise it breaks an answer off when the next call comes.
    command += ["--n_threads", str(threads), "--interrupt_requests", "false", "--host", "127.0.0.1", "--port", str(port)]
    process = _started(command, dict(os.environ), stack)
    wait_until_answers(f"http://127.0.0.1:{port}/v1/models", process, 120)
    return f"http://127.0.0.1:{port}"


def _started(command: list[str], environment: dict[str, str], stack: ExitStack) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end() -> None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    stack.callback(end)
    return process
