"""The server that a good engineer writes by hand today: FastAPI, uvicorn, orjson and ONNX Runtime, tuned.

It answers the same models as ours, with no keys, limits, usage records or versions. The model runs inline in the event loop of
an `async def` handler on the raw body, which was the fastest of its usual forms. Settings: MODEL_FILE, DTYPE, PORT, WORKERS.
"""

import os

import numpy as np
import onnxruntime as ort
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"])
dtype = os.environ.get("DTYPE", "float32")
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> Response:
    x = np.asarray(orjson.loads(await request.body())["instances"], dtype)
    y = session.run(None, {"x": x})[0]
    return Response(orjson.dumps({"predictions": y}, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


if __name__ == "__main__":
    workers = int(os.environ.get("WORKERS", "2"))
    uvicorn.run(
        "fastapi_server:app", host="127.0.0.1", port=int(os.environ["PORT"]), workers=workers, access_log=False, log_level="warning"
    )
