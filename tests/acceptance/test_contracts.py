"""Container contracts of the whole product: no key, one deployment, and nothing else on that port."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.testing.platform import running_platform

ROUTES = {
    "sagemaker": ("/ping", "/invocations"),
    "vertex": ("/v1/endpoints/7/health", "/v1/endpoints/7:predict"),
}

MLFLOW = """
import json, sys
import pandas
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

client = ScoringServerClient("127.0.0.1", int(sys.argv[1]))
client.wait_server_ready(timeout=20)
answer = client.invoke(pandas.DataFrame({"a": [1.0, 3.0], "b": [2.0, 4.0]}))
print(json.dumps(answer.get_predictions().values.tolist()))
"""
"""MLflow's own client of its scoring servers; it sends no key, which a container asks none for."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("contract", ROUTES)
def test_calls_need_no_key_and_reach_one_deployment_only(contract: str, tmp_path: Path) -> None:
    health, predict = ROUTES[contract]
    settings = {"contract": contract, "grpc_port": "-1", "contract_deployment": "adder"}
    settings |= {"contract_health_route": "/v1/endpoints/7/health", "contract_predict_route": "/v1/endpoints/7:predict"}
    with (
        running_platform(tmp_path / "home", workers=1, settings=settings) as platform,
        Client(platform.url, platform.admin_key) as client,
        httpx.Client(base_url=platform.inference) as caller,
    ):
        assert caller.get(health).status_code == 503
        for name, amount in (("adder", 5.0), ("other", 7.0)):
            client.push(write_adder(tmp_path / "adder.onnx", amount), name)
            client.deploy(f"{name}@1", name)
        until = time.monotonic() + 20
        while caller.get(health).status_code != 200 and time.monotonic() < until:
            pass
        answer = caller.post(predict, json={"instances": [[1, 2]]})
        assert (answer.status_code, answer.json()) == (200, {"predictions": [[6.0, 7.0]]})
        if contract == "sagemaker":
            port = str(httpx.URL(platform.inference).port)
            done = subprocess.run([sys.executable, "-c", MLFLOW, port], capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, done.stderr[-4000:]
            assert json.loads(done.stdout) == [[6.0, 7.0], [8.0, 9.0]]
        # Everything else keeps away: other protocols are not there, and management wants its key.
        for path in (
            "/v2/models/other/infer",
            "/v1/deployments/other/predict",
            "/deployments/other/invocations",
            "/v1/models/other:predict",
        ):
            assert caller.post(path, json={"instances": [[1, 2]]}).status_code == 404
        assert httpx.get(f"{platform.url}/api/v1/models").status_code == 401


@pytest.mark.timeout(180)
def test_a_sagemaker_endpoint_of_many_models_loads_calls_and_unloads_them(tmp_path: Path) -> None:
    """What SageMaker does with a multi-model endpoint: each model lies in a folder of its own, and goes when another one needs its room."""
    names = ("4f1c9e", "Opaque Name/7", "third")
    for amount in range(len(names)):
        folder = tmp_path / f"models-{amount}" / "model"
        folder.mkdir(parents=True)
        write_adder(folder / "model.onnx", float(amount))
    url = {name: str(tmp_path / f"models-{amount}" / "model") for amount, name in enumerate(names)}
    settings = {"contract": "sagemaker", "contract_models": "yes", "grpc_port": "-1", "contract_memory_bytes": "8GiB"}
    with (
        running_platform(tmp_path / "home", workers=2, settings=settings) as platform,
        httpx.Client(base_url=platform.inference, timeout=60) as caller,
    ):

        def load(name: str) -> httpx.Response:
            return caller.post("/models", json={"model_name": name, "url": url[name]})

        def invoke(name: str) -> list[int]:
            """The statuses that calls over several connections get: every worker answers some."""
            path, body = f"/models/{quote(name, safe='')}/invoke", {"instances": [[1, 2]]}
            return [httpx.post(platform.inference + path, json=body).status_code for _ in range(12)]

        assert caller.get("/ping").status_code == 200
        assert caller.get("/models").json() == {"models": []}
        assert invoke(names[0]) == [404] * 12
        for name in names[:2]:
            answer = load(name)
            assert answer.status_code == 200, answer.text
            assert invoke(name) == [200] * 12
            assert load(name).status_code == 409
        body = caller.post("/models/Opaque%20Name%2F7/invoke", json={"instances": [[1, 2]]}).json()
        assert body == {"predictions": [[2.0, 3.0]]}
        assert caller.get("/models").json()["models"] == [{"modelName": name, "modelUrl": url[name]} for name in sorted(names[:2])]
        first = caller.get("/models?limit=1").json()
        assert first["nextPageToken"] == names[0]
        assert caller.get("/models", params={"next_page_token": first["nextPageToken"]}).json()["models"][0]["modelName"] == names[1]
        assert caller.get(f"/models/{names[0]}").json() == {"modelName": names[0], "modelUrl": url[names[0]]}

        missing = caller.post("/models", json={"model_name": "missing", "url": str(tmp_path / "nowhere")})
        assert (missing.status_code, "no file or folder" in missing.json()["message"]) == (400, True)
        (tmp_path / "models-2" / "model" / "model.onnx").write_bytes(b"no model")
        assert load(names[2]).status_code == 400

        assert caller.delete(f"/models/{names[0]}").status_code == 200
        assert invoke(names[0]) == [404] * 12
        assert caller.delete(f"/models/{names[0]}").status_code == 404
        assert load(names[0]).status_code == 200
        assert invoke(names[0]) == [200] * 12
        # Nothing else is on that port, and management still wants its key.
        assert caller.post("/invocations", json={"instances": [[1, 2]]}).status_code == 404
        assert httpx.get(f"{platform.url}/api/v1/models").status_code == 401


@pytest.mark.timeout(180)
def test_a_model_without_room_answers_507_until_another_one_goes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_adder(tmp_path / name / "model.onnx", 1.0)
    with (tmp_path / "b" / "weights.bin").open("wb") as file:
        file.truncate(600 << 20)
    settings = {"contract": "sagemaker", "contract_models": "yes", "grpc_port": "-1", "contract_memory_bytes": "500MiB"}
    with (
        running_platform(tmp_path / "home", workers=1, settings=settings) as platform,
        httpx.Client(base_url=platform.inference, timeout=60) as caller,
    ):
        assert caller.post("/models", json={"model_name": "a", "url": str(tmp_path / "a")}).status_code == 200
        refused = caller.post("/models", json={"model_name": "b", "url": str(tmp_path / "b")})
        assert (refused.status_code, refused.json()["error_code"]) == (507, "RESOURCE_EXHAUSTED")
        (tmp_path / "b" / "weights.bin").unlink()
        assert caller.delete("/models/a").status_code == 200
        assert caller.post("/models", json={"model_name": "b", "url": str(tmp_path / "b")}).status_code == 200
        assert [model["modelName"] for model in caller.get("/models").json()["models"]] == ["b"]


@pytest.mark.timeout(120)
def test_a_container_serves_the_model_that_its_environment_names(tmp_path: Path) -> None:
    """Vertex says in AIP_STORAGE_URI where the model lies; nobody has to deploy it."""
    (tmp_path / "model").mkdir()
    write_adder(tmp_path / "model" / "model.onnx", 5.0)
    settings = {"contract": "vertex", "grpc_port": "-1", "contract_model": f"file://{tmp_path / 'model'}"}
    with (
        running_platform(tmp_path / "home", workers=1, settings=settings) as platform,
        httpx.Client(base_url=platform.inference) as caller,
    ):
        until = time.monotonic() + 60
        while caller.get("/ping").status_code != 200 and time.monotonic() < until:
            time.sleep(0.02)
        answer = caller.post("/predict", json={"instances": [[1, 2]]})
        assert (answer.status_code, answer.json()) == (200, {"predictions": [[6.0, 7.0]]})
