"""Triton's gRPC clients, unmodified, in a process of their own: ``clients.py sync|aio HOST:PORT KEY``. Prints one JSON document."""

from __future__ import annotations

import asyncio
import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException


def inputs(mass=(2.0, np.nan), island=("Biscoe", "")):
    first = triton.InferInput("mass", [len(mass), 1], "FP32")
    first.set_data_from_numpy(np.array(mass, np.float32).reshape(-1, 1))
    second = triton.InferInput("island", [len(island), 1], "BYTES")
    second.set_data_from_numpy(np.array(island, object).reshape(-1, 1))
    return [first, second]


def refusal(error):
    return [str(error.status()), error.message()]


def answer(result):
    return {
        "label": [text.decode() for text in result.as_numpy("label")],
        "probabilities": result.as_numpy("probabilities").tolist(),
        "version": result.get_response().model_version,
        "id": result.get_response().id,
    }


def sync(address, key):
    said = {}
    with triton.InferenceServerClient(address) as client:
        said["live"], said["ready"] = client.is_server_live(), client.is_server_ready()
        with_key = {"headers": {"authorization": f"Bearer {key}", "x-request-id": "my-own"}}
        refused = {
            "no key": lambda: client.infer("demo", inputs()),
            "unknown": lambda: client.infer("none", inputs(), **with_key),
            "foreign": lambda: client.get_model_metadata("foreign", **with_key),
            "version": lambda: client.infer("demo", inputs(), model_version="9", **with_key),
            "shape": lambda: client.infer("demo", inputs(island=("a",)), **with_key),
            "unload": lambda: client.unload_model("demo", **with_key),
            "files": lambda: client.load_model("demo", config="{}", **with_key),
            "method": lambda: client.get_trace_settings(**with_key),
        }
        for name, ask in refused.items():
            try:
                ask()
            except InferenceServerException as error:
                said[name] = refusal(error)
        said["model ready"] = client.is_model_ready("demo", "champion", **with_key)
        said["server"] = client.get_server_metadata(as_json=True, **with_key)["name"]
        said["metadata"] = client.get_model_metadata("demo", as_json=True, **with_key)
        said["config"] = client.get_model_config("demo", as_json=True, **with_key)["config"]
        said["infer"] = answer(client.infer("demo", inputs(), model_version="champion", request_id="7", client_timeout=20, **with_key))
        wished = [triton.InferRequestedOutput("probabilities", class_count=1)]
        said["classes"] = [row[0].decode() for row in client.infer("demo", inputs(), outputs=wished, **with_key).as_numpy("probabilities")]
        packed = client.infer("demo", inputs(), compression_algorithm="gzip", **with_key)
        said["compressed"] = answer(packed)["label"]
        said["statistics"] = client.get_inference_statistics("demo", "champion", as_json=True, **with_key)["model_stats"]
        said["all statistics"] = [entry["name"] for entry in client.get_inference_statistics(as_json=True, **with_key)["model_stats"]]
        said["index"] = client.get_model_repository_index(as_json=True, **with_key)["models"]
        client.load_model("demo", **with_key)
        done = queue.Queue()
        client.start_stream(lambda result, error: done.put((result, error)), **with_key)
        for number in range(40):
            client.async_stream_infer("demo" if number != 3 else "none", inputs(mass=(float(number), 0.0)), request_id=str(number))
        answers = [done.get(timeout=20) for _ in range(40)]
        client.stop_stream()
        said["stream"] = [answer(result)["id"] if error is None else error.message() for result, error in answers]
        client.start_stream(lambda result, error: done.put((result, error)))
        client.async_stream_infer("demo", inputs())
        said["stream without key"] = refusal(done.get(timeout=20)[1])
        client.stop_stream()
        later = queue.Queue()
        client.async_infer("demo", inputs(), lambda result, error: later.put(answer(result)), **with_key)
        said["later"] = later.get(timeout=20)["label"]
    return said


async def aio(address, key):
    headers = {"x-api-key": key}
    async with triton_aio.InferenceServerClient(address) as client:
        said = {"ready": await client.is_server_ready()}
        results = await asyncio.gather(
            *[client.infer("demo", inputs(mass=(number / 10, 1.0)), request_id=str(number), headers=headers) for number in range(64)]
        )
        said["infer"] = [answer(result) for result in results]

        async def requests():
            for number in range(5):
                yield {"model_name": "demo", "inputs": inputs(), "request_id": str(number)}

        said["stream"] = [answer(result)["id"] async for result, error in client.stream_infer(requests(), headers=headers)]
        try:
            await client.infer("demo", inputs(), headers={"x-api-key": "my_wrong_key_of_nobody"})
        except InferenceServerException as error:
            said["wrong key"] = refusal(error)
        return said


if __name__ == "__main__":
    kind, where, secret = sys.argv[1:]
    print(json.dumps(sync(where, secret) if kind == "sync" else asyncio.run(aio(where, secret))))
