"""The TensorFlow Serving REST API over real ONNX models."""

import json

import pytest

from integration.served import Served, classifier, half_plus_two, softmax
from modelyard.protocols.tensorflow_rest import PROTOCOL


@pytest.fixture(scope="module", params=[half_plus_two, classifier], ids=["half", "classifier"])
def any_model(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    request.param(path)
    made = Served(path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    path = tmp_path_factory.mktemp("half") / "model.onnx"
    half_plus_two(path)
    made = Served(path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def penguins(tmp_path_factory):
    path = tmp_path_factory.mktemp("penguins") / "model.onnx"
    classifier(path)
    made = Served(path)
    yield made
    made.close()


def test_the_example_of_the_reference_gives_its_answer(half):
    answer = half.ask(PROTOCOL, "POST", "/v1/models/demo:predict", {"instances": [1.0, 2.0, 5.0]})
    assert answer.json == {"predictions": [2.5, 3.0, 4.5]}
    assert half.ask(PROTOCOL, "POST", "/v1/models/demo:regress", {"examples": [{"x": 1.0}]}).json["results"] == [2.5]
    special = half.ask(PROTOCOL, "POST", "/v1/models/demo/labels/champion:predict", b'{"inputs": {"x": [NaN, -Infinity, 1e3]}}')
    assert special.body == b'{"outputs":[NaN,-Infinity,502.0]}'


def test_status_and_metadata_name_the_versions(any_model):
    status = any_model.ask(PROTOCOL, "GET", "/v1/models/demo").json["model_version_status"]
    assert [(entry["version"], entry["state"]) for entry in status] == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
    assert any_model.ask(PROTOCOL, "GET", "/v1/models/demo/labels/champion/metadata").json["model_spec"]["version"] == "2"
    assert any_model.ask(PROTOCOL, "GET", "/v1/models/demo/versions/7").status == 404
    assert any_model.ask(PROTOCOL, "GET", "/v1/models/other").status == 404


def test_named_columns_strings_and_bytes_pass_through(penguins):
    body = {"instances": [{"mass": 2.0, "island": "Biscoe"}, {"mass": None, "island": {"b64": "VG9yZ2Vyc2Vu"}}]}
    first, second = penguins.ask(PROTOCOL, "POST", "/v1/models/demo:predict", body).json["predictions"]
    assert (first["label"], first["island_bytes"]) == ("Gentoo", {"b64": "QmlzY29l"})
    assert first["probabilities"] == pytest.approx(softmax(2.0).tolist(), rel=1e-5)
    assert (second["label"], second["probabilities"], second["island_bytes"]) == ("Adelie", [0.5, 0.5], {"b64": "VG9yZ2Vyc2Vu"})


def test_classify_names_the_classes(penguins):
    body = {"context": {"island": "Dream"}, "examples": [{"mass": 0.0}]}
    answer = penguins.ask(PROTOCOL, "POST", "/v1/models/demo/versions/1:classify", body)
    assert answer.json["results"] == [[["Adelie", 0.5], ["Gentoo", 0.5]]]


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"mass": "2", "island": "a"}]},
        {"inputs": {"mass": [1.0]}},
        {"inputs": {"mass": [[1.0, 2.0]], "island": ["a"]}},
    ],
)
def test_what_does_not_fit_the_signature_is_a_400(penguins, body):
    answer = penguins.ask(PROTOCOL, "POST", "/v1/models/demo:predict", json.dumps(body).encode())
    assert (answer.status, list(answer.json)) == (400, ["error"])


def test_bytes_that_are_no_text_are_a_400(penguins):
    answer = penguins.ask(PROTOCOL, "POST", "/v1/models/demo:predict", {"inputs": {"mass": [1.0], "island": [{"b64": "/w=="}]}})
    assert answer.status == 400
