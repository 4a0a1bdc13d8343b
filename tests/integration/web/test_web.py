"""Calls without a key, from pages of other origins, in traces and with deadlines, on a running platform."""

from __future__ import annotations

import json
import re
import socket
import time

import grpc
import httpx
import numpy as np
import pytest

from integration.web.conftest import PAGE
from modelyard import Client
from modelyard.core.errors import InvalidRequest
from modelyard.protocols.open_inference_grpc.stubs import message

BODY = {"records": [{"x": 1.0}]}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def http(platform):
    with httpx.Client(base_url=platform.inference, timeout=20) as client:
        yield client


def key(platform):
    return {"authorization": f"Bearer {platform.admin_key}"}


def predict(http, name, headers=None):
    return http.post(f"/v1/deployments/{name}/predict", json=BODY, headers=headers)


# Without a key


def test_a_public_deployment_answers_callers_without_a_key_on_every_protocol(http, platform):
    assert predict(http, "open").json()["predictions"] == [{"y": 2.5}]
    assert http.post("/v1/models/open:predict", json={"instances": [1.0]}).json() == {"predictions": [2.5]}
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}
    assert http.post("/v2/models/open/infer", json={"inputs": [tensor]}).json()["outputs"][0]["data"] == [2.5]
    assert http.get("/v2/models/open").status_code == 200
    request = message("ModelInferRequest")(model_name="open", raw_input_contents=[np.array([1], np.float32).tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=[1])
    address = json.loads((platform.home / "run" / "supervisor.json").read_text())["grpc_address"]
    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = message("ModelInferResponse").FromString(infer(request.SerializeToString(), timeout=20))
        assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [2.5]
        request.model_name = "closed"
        with pytest.raises(grpc.RpcError) as refused:
            infer(request.SerializeToString(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_nothing_else_is_opened_by_it(http):
    unknown = predict(http, "no-such-deployment")
    for answer in (predict(http, "closed"), http.get("/v2/models/closed"), http.get("/v1/models/closed")):
        assert answer.status_code == 401
    assert predict(http, "closed").json() == unknown.json()
    for path in ("/v1/deployments", "/v2", "/v1/deployments/open/predictions/x"):
        assert http.get(path).status_code == 401, path
    assert http.post("/v1/deployments/open/predictions", json=BODY).status_code == 401
    assert predict(http, "open", {"authorization": "Bearer my_bad_0000000000000"}).status_code == 401


def test_callers_without_a_key_share_a_limit_that_callers_with_one_have_not(http, platform):
    answers = [predict(http, "scarce").status_code for _ in range(6)]
    assert answers.count(200) in (3, 6)  # six, when a minute ended in between
    assert 429 in answers or answers.count(200) == 6
    assert predict(http, "scarce", key(platform)).status_code == 200


def test_an_address_has_a_limit_of_its_own(http):
    answers = [predict(http, "polite") for _ in range(6)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1


def test_it_ends_when_the_policy_does(http, platform):
    with Client(platform.url, platform.admin_key) as client:
        client.deployments.put("brief", ["half@1"], policy={"public": {}})
        client.deployments.wait("brief")
        assert predict(http, "brief").status_code == 200
        client.deployments.put("brief", ["half@1"], policy={})
        until = time.monotonic() + 10
        while predict(http, "brief").status_code == 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert predict(http, "brief").status_code == 401


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"public": {"requests_per_second": -1}}, "public.requests_per_second"),
        ({"public": {"per_second": 1}}, "per_second"),
        ({"cors": {"origins": ["app.example"]}}, "cors.origins"),
        ({"cors": {"origins": []}}, "cors.origins"),
        ({"caching": {"max_age_seconds": -5}}, "caching.max_age_seconds"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused_by_the_name_of_its_field(platform, policy, told):
    with Client(platform.url, platform.admin_key) as client, pytest.raises(InvalidRequest, match=told):
        client.deployments.put("wrong", ["half@1"], policy=policy)


# Pages of other origins


def preflight(http, name, origin, method="POST"):
    headers = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": "authorization"}
    return http.options(f"/v1/deployments/{name}/predict", headers=headers)


def test_a_preflight_is_answered_for_declared_origins_only_and_tells_nothing_else(http):
    allowed = preflight(http, "paged", PAGE)
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    assert allowed.headers["access-control-max-age"] == "600"
    others = [preflight(http, "paged", "https://evil.example"), preflight(http, "closed", PAGE), preflight(http, "no-such", PAGE)]
    others.append(preflight(http, "paged", PAGE, method="PATCH"))
    assert {(answer.status_code, answer.text) for answer in others} == {(401, others[0].text)}
    assert all("access-control-allow-origin" not in answer.headers for answer in others)


def test_the_page_may_read_its_answers_and_refusals(http, platform):
    answer = predict(http, "paged", key(platform) | {"origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert "origin" in answer.headers["vary"]
    bad = http.post("/v1/deployments/paged/predict", content=b"{", headers=key(platform) | {"origin": PAGE})
    assert (bad.status_code, bad.headers["access-control-allow-origin"]) == (400, PAGE)
    foreign = predict(http, "paged", key(platform) | {"origin": "https://evil.example"})
    for other in (foreign, predict(http, "closed", key(platform) | {"origin": PAGE})):
        assert other.status_code == 200
        assert "access-control-allow-origin" not in other.headers


# Traces and deadlines


def logged(platform, request_id):
    until = time.monotonic() + 20
    file = platform.home / "logs" / "access-0.log"
    while time.monotonic() < until:
        for line in file.read_text().splitlines() if file.exists() else ():
            if json.loads(line)["request_id"] == request_id:
                return json.loads(line)
        time.sleep(0.05)
    raise AssertionError(f"{request_id} is not in the access log")


def test_a_trace_goes_into_the_answer_and_the_log(http, platform):
    headers = key(platform) | {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "x-request-id": "traced"}
    answer = predict(http, "closed", headers)
    found = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", answer.headers["traceresponse"])
    assert found is not None
    line = logged(platform, "traced")
    assert (line["trace"], line["span"], line["parent"], line["sampled"]) == (TRACE, found[1], "00f067aa0ba902b7", True)


MALFORMED = [
    "",
    "00",
    f"00-{TRACE}-00f067aa0ba902b7",
    f"ff-{TRACE}-00f067aa0ba902b7-01",
    f"00-{'0' * 32}-00f067aa0ba902b7-01",
    f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
    f"00-{TRACE}-00f067aa0ba902b7-01-x",
]


@pytest.mark.parametrize("value", MALFORMED)
def test_a_malformed_trace_is_ignored(http, platform, value):
    answer = predict(http, "closed", key(platform) | {"traceparent": value})
    assert answer.status_code == 200
    assert "traceresponse" not in answer.headers


def test_a_call_whose_deadline_has_passed_is_not_computed(http, platform):
    def computed():
        stats = http.get("/v2/models/closed/stats", headers=key(platform)).json()["model_stats"][0]
        return stats["inference_count"]

    before = computed()
    late = predict(http, "closed", key(platform) | {"x-request-timeout": "0.000001"})
    assert late.status_code == 504
    assert computed() == before
    assert predict(http, "closed", key(platform) | {"x-request-timeout": "20s"}).status_code == 200


@pytest.mark.parametrize("value", ["soon", "-1", "0", "1h", "1e9"])
def test_a_timeout_that_is_none_is_refused(http, platform, value):
    answer = predict(http, "closed", key(platform) | {"x-request-timeout": value})
    assert answer.status_code == 400
    assert "X-Request-Timeout" in answer.text


# The front's own answers


def raw(platform, data, *more):
    url = httpx.URL(platform.inference)
    with socket.create_connection((url.host, url.port), 20) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(65536):
            answer += part
            if more and answer.endswith(b"\r\n\r\n"):
                connection.sendall(more[0])
                more = ()
    return answer


def test_a_refusal_of_the_front_has_a_request_id_that_the_log_knows(platform):
    answer = raw(platform, b"GET / HTTP/1.1\r\n\r\n").decode()
    found = re.search(r"x-request-id: ([0-9a-f]{32})\r\n", answer)
    assert answer.startswith("HTTP/1.1 400")
    assert found is not None
    until = time.monotonic() + 20
    while found[1] not in (platform.home / "logs" / "worker-0.log").read_text():  # written behind the calls
        assert time.monotonic() < until
        time.sleep(0.02)


def test_who_has_no_valid_key_is_not_asked_for_the_body(platform):
    head = "POST /v1/deployments/closed/predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n"
    head += "content-length: {}\r\n{}\r\n"
    body = json.dumps(BODY).encode()
    refused = raw(platform, head.format(10_000_000, "x-api-key: my_bad_000000000000\r\n").encode())
    assert refused.startswith(b"HTTP/1.1 401")
    assert b"100 Continue" not in refused
    admitted = raw(platform, head.format(len(body), f"x-api-key: {platform.admin_key}\r\n").encode(), body)
    assert admitted.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
