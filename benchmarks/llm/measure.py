"""Tokens a second and time to the first token: OpenVINO GenAI and our engine in process, our server, and the servers of others.

usage: python benchmarks/llm/measure.py [--tokens 64] [--rounds 2] [--streams 1 8 32] [--peers] [--json FILE]

One decoder of about 100 million random parameters (float16 weights, two threads), the same prompts of 32 token ids, greedy, each stream
on to the same length. Time to the first token is the median over streams, from sending a request to its first token.

``--peers`` starts ``transformers serve`` with continuous batching, and llama-cpp-python's server where LLAMA_PYTHON names the Python
that has it (it builds from source: ``pip install 'llama-cpp-python[server]'``). They get the prompts as text; see ``peers.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import queue
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import openvino as ov
import openvino_genai

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

SHAPE = DecoderShape(vocabulary=16384, hidden=768, feed_forward=2048, layers=12, heads=12, key_heads=6, context_length=1024)
STREAMS = (1, 8, 32)
THREADS = 2
ROOT = Path(__file__).parents[2]


def prompts(count, round_):
    random = np.random.default_rng(count * 100 + round_)
    return [random.integers(300, 1000, size=32).tolist() for _ in range(count)]


def direct(pipeline, ids, tokens):
    config = openvino_genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True)
    began, first, out = time.perf_counter(), {}, 0
    handles = [pipeline.add_request(at, ov.Tensor(np.array([one], dtype=np.int64)), config) for at, one in enumerate(ids)]
    while pipeline.has_non_finished_requests():
        pipeline.step()
        for at, handle in enumerate(handles):
            while handle.can_read():
                out += sum(len(one.generated_ids) for one in handle.read().values())
                first.setdefault(at, time.perf_counter() - began)
    return out / (time.perf_counter() - began), statistics.median(first.values())


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
        first.setdefault(at, time.perf_counter() - began)
        left -= item.last
    return out / (time.perf_counter() - began), statistics.median(first.values())


def served(url, key, ids, tokens):
    asked = {"model": "large", "ignore_eos": True, "stream_options": {"include_usage": True}}
    return streamed(url, key, ids, asked | {"max_tokens": tokens, "temperature": 0})


def streamed(url, key, prompts, more):
    """Tokens a second and the time to the first, through an OpenAI-compatible server."""

    async def one(client, prompt):
        asked = {"prompt": prompt, "stream": True} | more
        began, first, used = time.perf_counter(), 0.0, 0
        async with client.stream("POST", f"{url}/v1/completions", json=asked) as reply:
            assert reply.status_code == 200, await reply.aread()
            async for line in reply.aiter_lines():
                if not line.startswith("data:") or line.endswith("[DONE]"):
                    continue
                first = first or time.perf_counter() - began
                event = json.loads(line[5:])
                # Who says nothing of usage sends a token with each event.
                used = event["usage"]["completion_tokens"] if event.get("usage") else used + bool(event["choices"])
        return first, used

    async def main():
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=600, limits=limits, trust_env=False) as client:
            began = time.perf_counter()
            found = await asyncio.gather(*(one(client, prompt) for prompt in prompts))
            return sum(used for _, used in found) / (time.perf_counter() - began), statistics.median(first for first, _ in found)

    return asyncio.run(main())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llm-bench-") as temporary, platform(workers=1) as running:
        folder, made = Path(temporary) / "decoder", Path(temporary) / "made"
        write_decoder(folder, [path.read_text() for path in (ROOT / "LICENSE", ROOT / "README.md")], SHAPE)
        made.mkdir()
        convert_decoder(folder, made)
        write_gguf(folder, read_config(folder), made / "decoder.gguf", Precision.F16)
        write_gguf(folder, read_config(folder), made / "whole.gguf", Precision.F16, tokenizer=True)
        running.run("push", str(folder), "--name", "large")
        with Client(running.url, running.admin_key) as client:
            client.deployments.put("large", ["large@1"], policy={"replicas": {"threads": THREADS}})
        with ExitStack() as peers:
            others = peers_of(folder, made / "whole.gguf", THREADS, peers) if arguments.peers else {}
            found = measure(running, (folder, made), others, arguments)
    for streams, by_way in found.items():
        for way, (speed, first) in by_way.items():
            print(f"| {streams} | {way} | {speed:.0f} | {first * 1000:.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(found))


def measure(running, folders, others, arguments):
    folder, made = folders
    tokens = arguments.tokens
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size, scheduler.max_num_seqs, scheduler.max_num_batched_tokens = 1, 64, 512
    options = {"INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32"}
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(made / "decoder.gguf"), scheduler, "CPU", options)
    model = RUNTIME.load(made, "openvino_model.xml", LoadOptions(threads=THREADS))
    ways = {
        "OpenVINO GenAI in process": lambda ids: direct(pipeline, ids, tokens),
        "our engine in process": lambda ids: engine(model, ids, tokens),
        "our server": lambda ids: served(running.inference, running.admin_key, ids, tokens),
    }
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for name, (url, more) in others.items():
        ways[name] = lambda ids, url=url, more=more: streamed(
            url, "none", [tokenizer.decode(one) for one in ids], more | {"max_tokens": tokens, "temperature": 0}
        )
    until = time.monotonic() + 60
    while True:  # the replica loads
        try:
            served(running.inference, running.admin_key, prompts(1, 999), 2)
            break
        except AssertionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
    found = {}
    for run in ways.values():
        run(prompts(1, 998))
    for streams in arguments.streams:
        rows = {way: [] for way in ways}
        for round_ in range(arguments.rounds):
            for way, run in ways.items():
                rows[way].append(run(prompts(streams, round_)))
        found[streams] = {way: tuple(statistics.median(column) for column in zip(*each, strict=True)) for way, each in rows.items()}
    model.close()
    return found


if __name__ == "__main__":
    main()
