"""Container contracts of the whole product: no key, one deployment, and nothing else on that port."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.testing.platform import running_platform

ROUTES = {
    "sagemaker": ("/ping", "/invocations"),
    "vertex": ("/v1/endpoints/7/health", "/v1/endpoints/7:predict"),
}


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
        # Everything else keeps away: other protocols are not there, and management wants its key.
        for path in (
            "/v2/models/other/infer",
            "/v1/deployments/other/predict",
            "/deployments/other/invocations",
            "/v1/models/other:predict",
        ):
            assert caller.post(path, json={"instances": [[1, 2]]}).status_code == 404
        assert httpx.get(f"{platform.url}/api/v1/models").status_code == 401
