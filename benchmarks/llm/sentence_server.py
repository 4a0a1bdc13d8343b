"""The embedding server that a good engineer writes by hand: FastAPI, orjson and sentence-transformers, on all cores that are asked for.

Settings: MODEL_FOLDER, PORT, THREADS.
"""

import os
import threading

import orjson
import sentence_transformers
import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
model = sentence_transformers.SentenceTransformer(os.environ["MODEL_FOLDER"], device="cpu")
turn = threading.Lock()
app = FastAPI()


def encoded(texts: list[str]) -> bytes:
    with turn:  # one run has all cores; a second one beside it only slows both down
        vectors = model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    return orjson.dumps(vectors, option=orjson.OPT_SERIALIZE_NUMPY)


@app.post("/embed")
async def embed(request: Request) -> Response:
    texts = orjson.loads(await request.body())["inputs"]
    return Response(await run_in_threadpool(encoded, texts), media_type="application/json")


@app.get("/health")
async def health() -> Response:
    return Response()


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False, log_level="warning")
