"""Protocols on one port: no clash of routes, and nothing heavy in a worker."""

import subprocess
import sys

from modelyard.core.clock import ManualClock
from modelyard.protocols.mlflow import PROTOCOL as MLFLOW
from modelyard.protocols.open_inference_rest.routes import PROTOCOL as OPEN_INFERENCE
from modelyard.protocols.predictions import create_protocol
from modelyard.protocols.records import PROTOCOL as RECORDS
from modelyard.protocols.routing import RouteTable
from modelyard.protocols.tensorflow_rest import PROTOCOL as TENSORFLOW
from modelyard.protocols.text_embeddings.routes import PROTOCOL as TEXT_EMBEDDINGS
from modelyard.serving.prediction_files import PredictionFiles

HEAVY = ("httpx", "sqlalchemy", "fastapi", "pydantic", "sklearn", "onnx", "onnxruntime", "pyarrow")


def test_their_routes_do_not_clash(tmp_path):
    predictions = create_protocol(PredictionFiles(tmp_path), ManualClock())
    table = RouteTable([TENSORFLOW, OPEN_INFERENCE, RECORDS, MLFLOW, TEXT_EMBEDDINGS, predictions])
    for method, path, name in (
        ("POST", "/v1/models/a:predict", "tensorflow-rest"),
        ("GET", "/v1/models/a/labels/b/metadata", "tensorflow-rest"),
        ("POST", "/v1/deployments/a/predict", "records"),
        ("GET", "/v1/deployments/a/openapi.json", "records"),
        ("POST", "/v2/models/a/infer", "open-inference-rest"),
        ("POST", "/invocations", "mlflow"),
        ("POST", "/deployments/a/invocations", "mlflow"),
        ("POST", "/embed", "text-embeddings"),
        ("POST", "/deployments/a/rerank", "text-embeddings"),
        ("DELETE", "/v1/deployments/a/predictions/b", "predictions"),
    ):
        protocol, route, _, _ = table.find(method, path)
        assert (protocol.name, route is not None) == (name, True)


def test_they_load_nothing_heavy():
    code = (
        "import sys, modelyard.protocols.tensorflow_rest, modelyard.protocols.records, modelyard.protocols.predictions;"
        "import modelyard.protocols.mlflow, modelyard.protocols.open_inference_rest.routes;"
        "import modelyard.protocols.text_embeddings.routes;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
