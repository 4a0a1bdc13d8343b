"""A program that is called and answers as ``vllm serve`` does, over our own engine: what stands in for vLLM where there is no GPU.

It knows the options that the platform passes and a few of vLLM's own, refuses others as vLLM's parser does, listens on a Unix socket,
and answers ``/health`` and ``/v1/completions`` with token ids, log probabilities by id, usage in each chunk and structured outputs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

import fastapi
import uvicorn
from fastapi.responses import JSONResponse, StreamingResponse

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.generation import GenerateRequest, Grammar, GrammarKind, Sampling
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.openvino import RUNTIME

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "presence_penalty", "frequency_penalty", "min_tokens")


def request_of(body):
    structured = body.get("structured_outputs") or {}
    grammar = None
    if body["n"] > 1 and body.get("temperature") == 0:
        raise InvalidRequest(f"n must be 1 when using greedy sampling, got {body['n']}.")
    if structured.get("json_object"):
        grammar = Grammar(GrammarKind.JSON)
    elif "json" in structured:
        grammar = Grammar(GrammarKind.JSON_SCHEMA, json.dumps(structured["json"]))
    elif "regex" in structured:
        grammar = Grammar(GrammarKind.REGEX, structured["regex"])
    more = {name: body[name] for name in SAMPLING if name in body}
    more["logit_bias"] = {int(token): bias for token, bias in (body.get("logit_bias") or {}).items()}
    sampling = Sampling(max_tokens=body["max_tokens"], stop=tuple(body.get("stop") or ()), ignore_end=body["ignore_eos"], **more)
    return GenerateRequest(token_ids=tuple(body["prompt"]), sampling=sampling, grammar=grammar, n=body["n"], logprobs=body.get("logprobs"))


def logprobs(chunk):
    if not chunk.logprobs:
        return None
    return {
        "tokens": [f"token_id:{one.token_id}" for one in chunk.logprobs],
        "token_logprobs": [one.logprob for one in chunk.logprobs],
        "top_logprobs": [{f"token_id:{other.token_id}": other.logprob for other in one.top} for one in chunk.logprobs],
        "text_offset": [0 for _ in chunk.logprobs],
    }


def event(chunk, out):
    """``out`` are the tokens of the chunk's choice so far: that is what is told on the way."""
    usage = chunk.usage
    return {
        "object": "text_completion",
        "choices": [
            {
                "index": chunk.choice,
                "text": chunk.text,
                "token_ids": list(chunk.token_ids),
                "logprobs": logprobs(chunk),
                "finish_reason": chunk.finish.value if chunk.finish else None,
                "stop_reason": chunk.stop or None,
            }
        ],
        "usage": {
            "prompt_tokens": usage.tokens_in,
            "completion_tokens": out,
            "total_tokens": usage.tokens_in + out,
            "prompt_tokens_details": {"cached_tokens": usage.tokens_cached} if usage.tokens_cached else None,
        },
    }


def application(model):
    app = fastapi.FastAPI()

    @app.get("/health")
    async def health():
        return fastapi.Response()

    @app.post("/v1/completions")
    async def completions(raw: fastapi.Request):
        body = await raw.json()
        assert body["stream"]
        assert body["return_token_ids"]
        assert body["return_tokens_as_token_ids"]
        loop, items = asyncio.get_running_loop(), asyncio.Queue()
        try:
            request = request_of(body)
            request.check()
        except ModelyardError as error:
            return JSONResponse({"error": {"message": error.message, "type": "BadRequestError", "code": 400}}, 400)
        cancel = model.generate(request, lambda item: loop.call_soon_threadsafe(items.put_nowait, item))
        first = await items.get()
        if isinstance(first, ModelyardError):
            return JSONResponse({"error": {"message": first.message, "type": "BadRequestError", "code": 400}}, 400)

        async def stream():
            item, out = first, Counter()
            try:
                while True:
                    out[item.choice] += len(item.token_ids)
                    yield f"data: {json.dumps(event(item, out[item.choice]))}\n\n"
                    if item.last:
                        break
                    item = await items.get()
                yield "data: [DONE]\n\n"
            finally:
                cancel()

        return StreamingResponse(stream(), media_type="text/event-stream")

    return app


def main():
    parser = argparse.ArgumentParser(prog="vllm")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve")
    serve.add_argument("model")
    serve.add_argument("--uds", required=True)
    serve.add_argument("--served-model-name", required=True)
    serve.add_argument("--enable-prompt-tokens-details", action="store_true")
    serve.add_argument("--structured-outputs-config", type=json.loads, default={})
    serve.add_argument("--max-model-len", type=int)
    serve.add_argument("--max-num-seqs", type=int)
    serve.add_argument("--gpu-memory-utilization", type=float)
    serve.add_argument("--enable-prefix-caching", action=argparse.BooleanOptionalAction)
    arguments = parser.parse_args()
    if arguments.gpu_memory_utilization and arguments.gpu_memory_utilization > 1:
        print("ValueError: gpu_memory_utilization must be at most 1", file=sys.stderr)
        sys.exit(1)
    # The folder has safetensors for vLLM; what this stand-in computes with lies elsewhere.
    converted = os.environ.get("STAND_IN_MODEL") or Path(arguments.model).parent / "converted"
    model = RUNTIME.load(Path(converted), "openvino_model.xml", LoadOptions(threads=1))
    print("INFO serving", arguments.served_model_name, flush=True)
    uvicorn.run(application(model), uds=arguments.uds, log_level="warning")


if __name__ == "__main__":
    main()
