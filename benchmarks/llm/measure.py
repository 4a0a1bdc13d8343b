"""Tokens a second and time to the first text: OpenVINO GenAI and our engine in process, our server, and the servers of others.

usage: python benchmarks/llm/measure.py [--size medium] [--tokens 64] [--rounds 2] [--streams 1 8 32] [--peers] [--seconds 90] [--json FILE]

One decoder of random parameters (float16 weights, two threads): ``small`` has about 5 million, ``medium`` 30, ``large`` 90. The same
prompts of 32 token ids, greedy, each stream on to the same length. Every round asks all ways in turn, so that what else the machine does
meets all of them; rates and times to the first text (of a stream, from sending its request) are medians over rounds, and ratios are
medians of each round's own. Text and not tokens, because a stream shows nothing of a token that is less than a character. A way that has
not ended after ``--seconds`` is cut off there: what it gave until then counts.

``--peers`` starts ``transformers serve`` with continuous batching, and llama-cpp-python's server where LLAMA_PYTHON names the Python
that has it (it builds from source: ``pip install 'llama-cpp-python[server]'``). They get the prompts as text; see ``peers.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import queue
import re
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import openvino as ov
import openvino_genai
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))
from peers import peers_of
from platform_under_test import platform
from tokenizers import Tokenizer

from modelyard import Client
from modelyard.core.generation import GenerateRequest, Sampling, TokenChunk
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.generative.conversion import convert_decoder
from modelyard.runtimes.generative.gguf_file import Precision, write_gguf
from modelyard.runtimes.generative.weights import read_config
from modelyard.runtimes.openvino import RUNTIME
from modelyard.testing.decoders import DecoderShape, write_decoder

SHAPES = {
    "small": DecoderShape(vocabulary=4096, hidden=256, feed_forward=704, layers=6, heads=8, key_heads=4, context_length=1024),
    "medium": DecoderShape(vocabulary=8192, hidden=512, feed_forward=1408, layers=8, heads=8, key_heads=4, context_length=1024),
    "large": DecoderShape(vocabulary=16384, hidden=768, feed_forward=2048, layers=12, heads=12, key_heads=6, context_length=1024),
}
STREAMS = (1, 8, 32)
OURS = "our server"
HEAD = (
    b"POST /v1/completions HTTP/1.1\r\nhost: %s\r\nauthorization: Bearer %s\r\ncontent-type: application/json\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n"
)
THREADS = 2
ROOT = Path(__file__).parents[2]


def prompts(count, round_):
    random = np.random.default_rng(count * 100 + round_)
    return [random.integers(300, 1000, size=32).tolist() for _ in range(count)]


def direct(pipeline, tokenizer, ids, tokens):
    config = openvino_genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True)
    began, first, out, given = time.perf_counter(), {}, 0, [[] for _ in ids]
    handles = [pipeline.add_request(at, ov.Tensor(np.array([one], dtype=np.int64)), config) for at, one in enumerate(ids)]
    while pipeline.has_non_finished_requests():
        pipeline.step()
        for at, handle in enumerate(handles):
            while handle.can_read():
                new = [token for one in handle.read().values() for token in one.generated_ids]
                out += len(new)
                given[at] += new
                if at not in first and says_something(tokenizer.decode(given[at])):
                    first[at] = time.perf_counter() - began
    ended = time.perf_counter() - began
    return out / ended, statistics.median(first.get(at, ended) for at in range(len(ids)))


def says_something(text):
    """Whether a text has begun: a token may be less than a character, and then a stream has nothing to say yet."""
    return bool(text) and not text.endswith("\ufffd")


def engine(model, ids, tokens):
    items = queue.SimpleQueue()
    sampling = Sampling(max_tokens=tokens, temperature=0.0, ignore_end=True)
    began, first, out, left = time.perf_counter(), {}, 0, len(ids)
    for at, one in enumerate(ids):
        model.generate(GenerateRequest(token_ids=tuple(one), sampling=sampling), lambda item, at=at: items.put((at, item)))
    while left:
        at, item = items.get(timeout=120)
        assert isinstance(item, TokenChunk), item
        out += len(item.token_ids)
        if item.text or item.last:
            first.setdefault(at, time.perf_counter() - began)
        left -= item.last
    return out / (time.perf_counter() - began), statistics.median(first.values())


def served(url, key, ids, tokens, seconds):
    asked = {"model": "measured", "ignore_eos": True, "stream_options": {"include_usage": True}}
    return streamed(url, key, ids, asked | {"max_tokens": tokens, "temperature": 0}, seconds)


class Stream:
    """One answer as it comes, read with as little work as can be: whatever reads takes its time from the servers' cores."""

    def __init__(self, seconds):
        self.first, self.used = seconds, 0  # what has not begun when time is over had its first token no earlier

    async def read(self, url, key, asked):
        address, body = urlsplit(url), json.dumps(asked).encode()
        began, begun, kept = time.perf_counter(), False, b""
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(HEAD % (address.netloc.encode(), key.encode(), len(body)) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.split(b" ", 2)[1] == b"200", head + await reader.read(2000)
            while data := await reader.read(1 << 16):
                if not begun and b"data:" in data:
                    self.first, begun = time.perf_counter() - began, True
                kept = (kept + data)[-4096:]
                self.used += data.count(b"data:")  # about a token each, for whoever is cut off before usage is told
            assert b'{"error"' not in kept, kept  # a text may well be "error"
            if told := re.findall(rb'"completion_tokens": ?(\d+)', kept):
                self.used = int(told[-1])
        finally:
            writer.close()


def streamed(url, key, prompts, more, seconds):
    """Tokens a second and the time to the first, through an OpenAI-compatible server."""

    async def main():
        began, found = time.perf_counter(), [Stream(seconds) for _ in prompts]
        reading = [one.read(url, key, {"prompt": prompt, "stream": True} | more) for one, prompt in zip(found, prompts, strict=True)]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*reading)
        except TimeoutError:
            print(f"{url} was cut off after {seconds:g} s", file=sys.stderr)
        return sum(one.used for one in found) / (time.perf_counter() - began), statistics.median(one.first for one in found)

    return uvloop.run(main())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SHAPES, default="medium")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llm-bench-") as temporary, platform(workers=1) as running:
        folder, made = Path(temporary) / "decoder", Path(temporary) / "made"
        write_decoder(folder, [path.read_text() for path in (ROOT / "LICENSE", ROOT / "README.md")], SHAPES[arguments.size])
        made.mkdir()
        convert_decoder(folder, made)
        write_gguf(folder, read_config(folder), made / "decoder.gguf", Precision.F16)
        write_gguf(folder, read_config(folder), made / "whole.gguf", Precision.F16, tokenizer=True)
        running.run("push", str(folder), "--name", "measured")
        with Client(running.url, running.admin_key) as client:
            client.deployments.put("measured", ["measured@1"], policy={"replicas": {"threads": THREADS}})
        with ExitStack() as peers:
            others = peers_of(folder, made / "whole.gguf", THREADS, peers) if arguments.peers else {}
            measure(running, (folder, made), others, arguments)


def measure(running, folders, others, arguments):
    ways, model = ways_of(running, folders, others, arguments)
    until = time.monotonic() + 60
    while True:  # the replica loads
        try:
            ways[OURS](prompts(1, 999))
            break
        except AssertionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
    for run in ways.values():
        run(prompts(1, 998))
    print(f"{arguments.size}, {arguments.tokens} tokens")
    print("| streams | way | tokens/s | first token, ms | our server's tokens/s of it | its first token of our server's |", flush=True)
    found = {}
    for streams in arguments.streams:
        rounds = [{way: run(prompts(streams, round_)) for way, run in ways.items()} for round_ in range(arguments.rounds)]
        found[streams] = {way: summary(rounds, way) for way in ways}
        for way, (speed, first, faster, sooner) in found[streams].items():
            print(f"| {streams} | {way} | {speed:.0f} | {first * 1000:.0f} | {faster:.2f} | {sooner:.2f} |", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=2))
    model.close()


def summary(rounds, way):
    """Rate, time to the first token, and both of our server against it: medians."""
    ratios = [(round_[OURS][0] / round_[way][0], round_[way][1] / round_[OURS][1]) for round_ in rounds]
    return [
        statistics.median(column)
        for column in zip(*(round_[way] + ratio for round_, ratio in zip(rounds, ratios, strict=True)), strict=True)
    ]


def ways_of(running, folders, others, arguments):
    """By name: what asks prompts and gives tokens a second and the time to the first; and the model to close."""
    folder, made = folders
    tokens, seconds = arguments.tokens, arguments.seconds
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size, scheduler.max_num_seqs, scheduler.max_num_batched_tokens = 1, 64, 512
    options = {"INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32"}
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(made / "decoder.gguf"), scheduler, "CPU", options)
    model = RUNTIME.load(made, "openvino_model.xml", LoadOptions(threads=THREADS))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ways = {
        "OpenVINO GenAI in process": lambda ids: direct(pipeline, tokenizer, ids, tokens),
        "our engine in process": lambda ids: engine(model, ids, tokens),
        OURS: lambda ids: served(running.inference, running.admin_key, ids, tokens, seconds),
    }
    for name, (url, more) in others.items():
        asked = more | {"max_tokens": tokens, "temperature": 0}
        ways[name] = lambda ids, url=url, asked=asked: streamed(url, "none", [tokenizer.decode(one) for one in ids], asked, seconds)
    return ways, model


if __name__ == "__main__":
    main()
