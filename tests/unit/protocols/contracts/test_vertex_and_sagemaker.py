"""The container contracts, for the one deployment that they are bound to."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import Unavailable
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.protocols.sagemaker import create_protocol as sagemaker
from modelyard.protocols.vertex import create_protocol as vertex
from unit.protocols.fakes import GRANT, FakePlane, drive

BOUND = GRANT.__class__(workspace_id=1, key_id=0, public_id="contract", actions=GRANT.actions, deployments=frozenset({"demo"}))


def column(name, kind, *shape):
    return TensorSpec(name=name, datatype=Datatype(kind), shape=shape or (-1, 1))


PLANE = FakePlane(
    Signature(
        inputs=(column("island", "BYTES"), column("mass", "FP32")),
        outputs=(column("label", "BYTES", -1), column("probabilities", "FP32", -1, 2)),
        classes=("Adelie", "Gentoo"),
    ),
    lambda given: {
        "label": np.array(["Adelie"] * len(given["mass"]), dtype=object),
        "probabilities": np.concatenate([given["mass"] / 10, 1 - given["mass"] / 10], 1),
    },
)
PLANE.accepting = True
SAGEMAKER = sagemaker(lambda: BOUND)
VERTEX = vertex(lambda: BOUND, "/v1/endpoints/1", "/v1/endpoints/1:predict")
ROW = {"island": "Biscoe", "mass": 2}


def ask(protocol, path, body, kind=b"application/json"):
    return drive(protocol, PLANE, "POST", path, body, {b"content-type": kind}, BOUND)


def test_sagemaker_takes_what_mlflow_deploys():
    assert ask(SAGEMAKER, "/invocations", {"instances": [ROW]}).json == {"predictions": ["Adelie"]}
    assert ask(SAGEMAKER, "/invocations", b"mass,island\n2,Biscoe\n", b"text/csv").json == {"predictions": ["Adelie"]}
    assert ask(SAGEMAKER, "/invocations", {"instances": []}).status == 400


def test_vertex_takes_instances_and_gives_predictions():
    answer = ask(VERTEX, "/v1/endpoints/1:predict", {"instances": [ROW], "parameters": None})
    assert answer.json == {"predictions": [{"label": "Adelie", "probabilities": [0.2, 0.8]}]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "'instances'"),
        ([ROW], "'instances'"),
        ({"instances": [ROW], "inputs": 1}, "unknown key 'inputs'"),
        ({"instances": [ROW], "parameters": {"k": 1}}, "takes no 'parameters'"),
        ({"instances": [{"mass": 1}]}, "missing"),
    ],
)
def test_wrong_bodies_of_vertex_answer_400(body, said):
    answer = ask(VERTEX, "/v1/endpoints/1:predict", body)
    assert (answer.status, said in answer.json["error"]) == (400, True), answer.json


@pytest.mark.parametrize(("protocol", "path"), [(SAGEMAKER, "/ping"), (VERTEX, "/v1/endpoints/1")])
def test_health_is_that_of_the_deployment(protocol, path):
    assert drive(protocol, PLANE, "GET", path).status == 200
    loading = FakePlane(PLANE.signature, PLANE.compute, ready=False)
    loading.accepting = True
    assert drive(protocol, loading, "GET", path).status == 503


def test_health_is_bad_while_nothing_is_bound():
    def unbound():
        raise Unavailable("Nothing is deployed yet.")

    assert drive(sagemaker(unbound), PLANE, "GET", "/ping").status == 503


def test_only_health_has_no_right():
    for protocol in (SAGEMAKER, VERTEX):
        assert [route.method for route in protocol.routes if route.action is None] == ["GET"]


VALUE = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["mass", "island"]), inner, max_size=2),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["instances", "parameters", "x"]), VALUE, max_size=2))
def test_no_body_is_the_fault_of_the_server(body):
    assert ask(VERTEX, "/v1/endpoints/1:predict", json.dumps(body).encode()).status in (200, 400)
