"""Texts embedded a second: our server, ONNX Runtime in process, and FastAPI with sentence-transformers.

usage: python benchmarks/llm/embeddings.py [--rounds 3] [--calls 12] [--json FILE]

One encoder of the size of MiniLM-L6 (6 layers, width 384, 22 million random parameters), 32 texts a call, of 4 to 120 words; two cores
for each way. In process the texts of a call are sorted by length and run in groups of eight, padded to the longest of each, by one
thread on each core, tokenizing included. Both servers get the same calls from four connections; what they answer is read and not
parsed. Rounds of all ways in turn; medians. Needs: pip install sentence-transformers.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import tokenizers

sys.path.insert(0, str(Path(__file__).parent.parent))
from platform_under_test import platform

from modelyard import Client
from modelyard.testing.platform import free_port, wait_until_answers

BATCH, CONNECTIONS, GROUP, CORES = 32, 4, 8, 2
WORDS = [path.read_text().split() for path in (Path(__file__).parents[2] / "LICENSE", Path(__file__).parents[2] / "README.md")]
Way = Callable[[Sequence[list[str]]], None]


def write_model(folder: Path) -> None:
    """As sentence-transformers saves it: BERT and mean pooling."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    words = sorted({word.lower() for text in WORDS for word in text})
    vocabulary = folder / "vocab.txt"
    folder.mkdir()
    pieces = [chr(code) for code in range(33, 127)]
    known = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *[f"##{piece}" for piece in pieces], *words])
    vocabulary.write_text("\n".join(known))
    transformers.BertTokenizerFast(vocab=str(vocabulary), model_max_length=256).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, max_position_embeddings=512
    )
    transformers.BertModel(config).eval().save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256, "do_lower_case": False}))


def batches(count: int, round_: int) -> list[list[str]]:
    random = np.random.default_rng(round_)
    words = WORDS[0]

    def text() -> str:
        at = int(random.integers(0, len(words) - 120))
        return " ".join(words[at : at + int(4 + 116 * random.random() ** 2)])

    return [[text() for _ in range(BATCH)] for _ in range(count)]


def in_process(folder: Path) -> Way:
    """ONNX Runtime on the exported graph of the version, called directly."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    sessions = [ort.InferenceSession(folder / "model.onnx", settings, providers=["CPUExecutionProvider"]) for _ in range(CORES)]
    reader = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reader.enable_truncation(256)
    reader.no_padding()
    names = [one.name for one in sessions[0].get_inputs()]

    def call(session: ort.InferenceSession, texts: list[str]) -> np.ndarray:
        encoded = [reader.encode(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda row: len(encoded[row].ids))
        made = np.empty((len(texts), 384), np.float32)
        for start in range(0, len(order), GROUP):
            rows = order[start : start + GROUP]
            width = len(encoded[rows[-1]].ids)
            ids, mask = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.int64)
            for at, row in enumerate(rows):
                ids[at, : len(encoded[row].ids)], mask[at, : len(encoded[row].ids)] = encoded[row].ids, 1
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            found = session.run(None, {name: feed[name] for name in names})[0]
            if found.ndim == 3:
                found = (found * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
            made[rows] = found / np.linalg.norm(found, axis=1, keepdims=True)
        return made

    def run(asked: Sequence[list[str]]) -> None:
        with ThreadPoolExecutor(CORES) as threads:
            list(threads.map(lambda at: [call(sessions[at], texts) for texts in asked[at::CORES]], range(CORES)))

    return run


def served(netloc: str, path: str, key: str = "") -> Way:
    """A server called over HTTP."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}

    def caller(bodies: list[str]) -> None:
        connection = http.client.HTTPConnection(netloc, timeout=300)
        for body in bodies:
            connection.request("POST", path, body, headers)
            reply = connection.getresponse()
            answer = reply.read()
            if reply.status != 200:
                raise RuntimeError(f"{path} answers {reply.status}: {answer[:300]!r}")
        connection.close()

    def run(asked: Sequence[list[str]]) -> None:
        bodies = [json.dumps({"inputs": texts}) for texts in asked]
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(lambda at: caller(bodies[at::CONNECTIONS]), range(CONNECTIONS)))

    return run


def measure(ways: dict[str, Way], rounds: int, calls: int) -> dict[str, dict[str, float]]:
    for run in ways.values():
        run(batches(CONNECTIONS * 2, 999))
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(rounds):
        asked = batches(calls, round_)
        for way, run in ways.items():
            began = time.perf_counter()
            run(asked)
            rates[way].append(calls * BATCH / (time.perf_counter() - began))
    ours = rates["our server"]
    return {
        way: {
            "texts_per_s": statistics.median(found),
            "ours_over_it": statistics.median(mine / other for mine, other in zip(ours, found, strict=True)),
        }
        for way, found in rates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=12)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="embeddings-bench-") as temporary, platform(workers=CORES) as running:
        folder, port = Path(temporary) / "encoder", free_port()
        write_model(folder)
        environment = os.environ | {"MODEL_FOLDER": str(folder), "PORT": str(port), "HF_HUB_OFFLINE": "1"}
        has_peer = importlib.util.find_spec("sentence_transformers") is not None
        peer = (
            subprocess.Popen([sys.executable, str(Path(__file__).with_name("sentence_server.py"))], env=environment) if has_peer else None
        )
        try:
            with Client(running.url, running.admin_key, timeout=600) as client:
                version = client.push(folder, "encoder")
                client.deploy("encoder@1", timeout=120)
            artifact = next((running.home / "cache" / "artifacts").glob(f"{version.artifact.digest}"))
            kept = Path(temporary) / "exported"
            shutil.copytree(artifact, kept)
            ours = served(running.inference.removeprefix("http://"), "/deployments/encoder/embed", running.admin_key)
            ways = {"our server": ours, "ONNX Runtime in process": in_process(kept)}
            if peer is not None:
                wait_until_answers(f"http://127.0.0.1:{port}/health", peer, 120)
                ways["FastAPI and sentence-transformers"] = served(f"127.0.0.1:{port}", "/embed")
            found = measure(ways, arguments.rounds, arguments.calls)
        finally:
            if peer is not None:
                peer.terminate()
                peer.wait(20)
    for way, values in found.items():
        print(f"| {way} | {values['texts_per_s']:.0f} | {values['ours_over_it']:.2f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
