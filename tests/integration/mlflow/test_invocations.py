"""MLflow scoring through front, handler, gate and a real model."""

import gzip
import json
from functools import partial

import pytest

from integration.live import READER, SCOPED, TWO, WIDE, Live
from integration.served import classifier, softmax
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.mlflow import PROTOCOL

BODY = {"dataframe_split": {"columns": ["island", "mass"], "data": [["Biscoe", 2.0], [None, None]]}}


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with Live(tmp_path_factory.mktemp("live"), partial(classifier, echo=False), (PROTOCOL,)) as made:
        yield made


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def test_a_key_for_one_deployment_needs_no_name_and_the_call_is_recorded(live):
    before = len(live.records())
    answer = live.client.post(
        "/invocations", json={"dataframe_split": BODY["dataframe_split"], "params": {"pyfunc_predict_fn": "predict_proba"}}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0] == pytest.approx(softmax(2.0).tolist(), rel=1e-5)
    (record,) = live.records()[before:]
    assert (record.protocol, record.kind, record.status) == (ProtocolId.MLFLOW, CallKind.INFER, 200)
    assert (record.workspace_id, record.key_id, record.deployment_id, record.rows) == (1, 2, 1, 2)


@pytest.mark.parametrize(("key", "said"), [(WIDE, "any deployment of its workspace"), (TWO, "may call 2 deployments")])
def test_other_keys_are_told_what_to_do(live, key, said):
    answer = live.client.post("/invocations", json=BODY, headers=bearer(key))
    assert answer.status_code == 400
    assert said in answer.json()["message"]
    assert "/deployments/NAME/invocations" in answer.json()["message"]


def test_with_the_name_in_the_path_every_key_works_that_may(live):
    for key in (WIDE, TWO, SCOPED):
        answer = live.client.post("/deployments/demo/invocations", json=BODY, headers=bearer(key))
        assert (answer.status_code, answer.json()) == (200, {"predictions": ["Gentoo", "Adelie"]})
    for path, key, status in (("foreign", WIDE, 404), ("none", WIDE, 404), ("demo", READER, 403), ("demo", "my_xyz_nothing_at_all", 401)):
        answer = live.client.post(f"/deployments/{path}/invocations", json=BODY, headers=bearer(key))
        assert (answer.status_code, set(answer.json())) == (status, {"error_code", "message"})


def test_csv_and_compressed_bodies(live):
    csv = live.client.post("/invocations", content="mass,island,id\n2,Biscoe,1\n,NA,2\n", headers={"content-type": "text/csv"})
    assert csv.json() == {"predictions": ["Gentoo", "Adelie"]}
    packed = gzip.compress(json.dumps(BODY).encode())
    answer = live.client.post("/invocations", content=packed, headers={"content-type": "application/json", "content-encoding": "gzip"})
    assert answer.json() == csv.json()
    assert live.client.post("/invocations", content=b"x", headers={"content-type": "image/png"}).status_code == 415


def test_pings_need_no_key_and_the_version_does(live):
    del live.client.headers["authorization"]
    try:
        for path in ("/ping", "/health"):
            assert live.client.get(path).status_code == 200
        for path in ("/version", "/deployments/demo/ping"):
            assert live.client.get(path).status_code == 401
        assert live.client.post("/invocations", json=BODY).status_code == 401
    finally:
        live.client.headers.update(bearer(SCOPED))
