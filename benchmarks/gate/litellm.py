"""Our remote runtime and LiteLLM's proxy in front of one local upstream, with keys and a budget on both.

usage: python benchmarks/gate/litellm.py --litellm PATH/TO/bin/litellm [--rounds 3] [--seconds 6] [--connections 32]

The upstream answers a chat completion of eight words at once; whoever stands in front of it checks a key, counts the call against a
budget of money, passes it on and meters what it used. Both get the same requests from wrk, in turns. ``--litellm`` is the command of
an environment of its own: pip install 'litellm[proxy]'. Its virtual keys and their budgets need a database of its own; without one it
checks its master key and its proxy-wide budget, which is less work for it. Writes benchmarks/out/litellm.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "serve")]
from measure import Load, wrk  # noqa: E402  # beside this folder, not installed
from platform_under_test import cpu_seconds, platform  # noqa: E402

from modelyard.testing.platform import free_port, wait_until_answers  # noqa: E402  # after the path

WORDS = "one two three four five six seven eight"
ASKED = {"model": "echo", "messages": [{"role": "user", "content": "Say eight words."}], "max_tokens": 16}
USED = {"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": 13}
SHARED = {"id": "x", "created": 1, "model": "echo"}
WHOLE = json.dumps(
    SHARED
    | {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}],
        "usage": USED,
    }
).encode()


def _event(choices: list[object], **more: object) -> bytes:
    return b"data: " + json.dumps(SHARED | {"object": "chat.completion.chunk", "choices": choices} | more).encode() + b"\n\n"


STREAM = (
    _event([{"index": 0, "delta": {"role": "assistant", "content": WORDS}, "finish_reason": None}])
    + _event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    + _event([], usage=USED)
    + b"data: [DONE]\n\n"
)
MASTER = "sk-benchmark-master"


class Upstream(asyncio.Protocol):
    """Just enough of HTTP/1.1 for the two clients: requests with a content length, one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._data = transport, b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._data) < end + 4 + size:
                return
            body, self._data = self._data[end + 4 : end + 4 + size], self._data[end + 4 + size :]
            streams = b'"stream":true' in body.replace(b" ", b"")
            answer, kind = (STREAM, b"text/event-stream") if streams else (WHOLE, b"application/json")
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(answer), answer))


def serve(port: int) -> None:
    import uvloop

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(run())


@contextmanager
def process(command: list[str], url: str, environment: dict[str, str] | None = None) -> Iterator[int]:
    """A server in a process group of its own; its process id."""
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
    started = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_until_answers(url, started, seconds=120)
        yield started.pid
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(20)


def config(folder: Path, upstream: str) -> Path:
    """LiteLLM's own; JSON is YAML."""
    path = folder / "config.yaml"
    parameters = {
        "model": "openai/echo",
        "api_base": upstream,
        "api_key": "none",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-6,
    }
    path.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "echo", "litellm_params": parameters}],
                "litellm_settings": {"max_budget": 1e6, "budget_duration": "30d", "telemetry": False},
                "general_settings": {"master_key": MASTER},
            }
        )
    )
    return path


def ours(running: object, folder: Path, upstream: str) -> Load:
    """Deploys the upstream, with a price, and a key with a budget."""
    far = folder / "far"
    far.mkdir()
    (far / "remote.json").write_text(json.dumps({"protocol": "openai", "endpoints": [{"url": upstream, "model": "echo"}]}))
    running.json("push", str(far), "--name", "echo")
    running.json("deploy", "echo@1")
    running.json("prices", "set", "--deployment", "echo", "--tokens-in", "0.001", "--tokens-out", "0.001", "--currency", "USD")
    key = running.json("keys", "create", "--deployment", "echo")
    running.json("limits", "set", "--key", key["id"], "1000000 USD/month")
    return load(running.inference, key["key"], running.process.pid)


def load(url: str, key: str, pid: int, connections: int = 32) -> Load:
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    return Load(f"{url}/v1/chat/completions", headers, json.dumps(ASKED).encode(), connections, server=pid)


def check(each: Load) -> None:
    """Raises where the answer is not the upstream's."""
    request = urllib.request.Request(each.url, each.body, each.headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.loads(answer.read())
    assert found["choices"][0]["message"]["content"] == WORDS, found
    assert found["usage"]["total_tokens"] == USED["total_tokens"], found


def measured(loads: dict[str, Load], rounds: int, seconds: int) -> dict[str, dict[str, float]]:
    for each in loads.values():
        check(each)
        wrk(each, 2)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in loads}
    for _ in range(rounds):
        for name, each in loads.items():
            before = cpu_seconds(each.server)
            rate = float(wrk(each, seconds)["rps"])
            used = cpu_seconds(each.server) - before
            found[name].append((rate, used / (rate * seconds) * 1e6))
    return {
        name: {
            "rps": round(statistics.median(rate for rate, _ in one), 1),
            "cpu_us_per_call": round(statistics.median(us for _, us in one)),
        }
        for name, one in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--litellm", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    port, proxy = free_port(), free_port()
    upstream = f"http://127.0.0.1:{port}/v1"
    echo = [sys.executable, __file__, "--litellm", "", "--upstream", str(port)]
    with tempfile.TemporaryDirectory() as name, process(echo, f"http://127.0.0.1:{port}/ready"), platform() as running:
        folder = Path(name)
        command = [options.litellm, "--config", str(config(folder, upstream)), "--port", str(proxy), "--host", "127.0.0.1"]
        with process(command, f"http://127.0.0.1:{proxy}/health/liveliness", dict(os.environ)) as pid:
            loads = {
                "modelyard": ours(running, folder, upstream),
                "litellm": load(f"http://127.0.0.1:{proxy}", MASTER, pid),
                "upstream alone": load(f"http://127.0.0.1:{port}", "x", os.getpid()),
            }
            for each in loads.values():
                each.connections = options.connections
            table = measured(loads, options.rounds, options.seconds)
    for name, row in table.items():
        print(f"{name:15} {row['rps']:>9} requests/s {row['cpu_us_per_call']:>7} us of processor time a call", flush=True)
    (HERE.parent / "out").mkdir(exist_ok=True)
    (HERE.parent / "out" / "litellm.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    if "--upstream" in sys.argv:
        serve(int(sys.argv[sys.argv.index("--upstream") + 1]))
    else:
        main()
