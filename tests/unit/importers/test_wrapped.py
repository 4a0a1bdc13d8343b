"""What others packed is recognised by what is inside, and what it says beside the model is kept."""

import json
import pickle

import numpy as np
import pytest
import yaml

import estimators
import hostile
import onnx_graphs
from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.policy import parse_policy
from modelyard.importers.brought import Brought
from modelyard.importers.mlflow_signature import read_signature
from modelyard.importers.table import recognise
from modelyard.importers.text_proto import parse
from modelyard.testing.importer_contract import imported

CONFIG = """
name: "adder"  # of numbers
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
version_policy: { POLICY }
"""


def triton(folder, policy):
    for number in ("1", "2", "10"):
        (folder / "adder" / number).mkdir(parents=True)
        onnx_graphs.adder(folder / "adder" / number / "model.onnx", float(number))
    (folder / "adder" / "config.pbtxt").write_text(CONFIG.replace("POLICY", policy))
    return Brought(folder)


@pytest.mark.parametrize(
    ("policy", "numbers"),
    [("all {}", [1, 2, 10]), ("latest { num_versions: 2 }", [2, 10]), ("specific { versions: [1, 10] }", [1, 10]), ("", [10])],
)
def test_a_triton_repository_gives_the_versions_of_its_policy(tmp_path, policy, numbers):
    parts = recognise(triton(tmp_path, policy))
    assert [part.number for part in parts] == numbers
    assert {part.importer for part in parts} == {"onnx"}
    assert parts[0].kept["triton"]["dynamic_batching"]["preferred_batch_size"] == [4, 8]
    assert parts[0].kept["triton"]["max_batch_size"] == 8


@pytest.mark.parametrize(
    ("said", "policy", "note"),
    [
        ("dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 1500 }", {"max_rows": 8, "delay_ms": 1.5}, ""),
        ("dynamic_batching { }", {"max_rows": 16}, ""),
        ("", {"max_rows": 16}, "dynamic_batching is not set"),
        ("dynamic_batching { max_queue_delay_microseconds: 9000000 }", {"max_rows": 16, "delay_ms": 1000.0}, ""),
    ],
)
def test_batching_of_a_triton_model_becomes_a_policy(tmp_path, said, policy, note):
    brought = triton(tmp_path, "")
    config = brought.folder / "adder" / "config.pbtxt"
    text = f'name: "adder"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 16\n{said}\ninstance_group [ {{ count: 1 kind: KIND_CPU }} ]'
    config.write_text(text)
    (part,) = recognise(Brought(tmp_path))
    assert part.policy == {"batching": policy}
    assert note in " ".join(part.notes)
    parse_policy(part.policy)


def test_instances_of_a_triton_model_become_replicas(tmp_path):
    brought = triton(tmp_path, "")
    groups = "[ { count: 2 kind: KIND_CPU }, { count: 1 kind: KIND_GPU gpus: [ 0, 1 ] } ]"
    (brought.folder / "adder" / "config.pbtxt").write_text(f'name: "adder"\nmax_batch_size: 0\ninstance_group {groups}')
    (part,) = recognise(Brought(tmp_path))
    assert part.policy == {"replicas": {"min": 4, "max": 4}}
    assert any("ran on GPUs" in note for note in part.notes)
    parse_policy(part.policy)


def test_versions_of_a_triton_repository_become_artifacts(tmp_path):
    brought = triton(tmp_path / "brought", "specific { versions: [1, 2] }")
    files = {path: (brought.folder / path).read_bytes() for path in brought.files}
    made = imported(tmp_path / "job", files)
    assert [item.part.number for item in made] == [1, 2]
    assert [item.outcome.how for item in made] == ["as it is", "as it is"]
    assert (tmp_path / "job" / "output" / "1" / "model.onnx").is_file()


def test_a_policy_that_names_a_missing_version_is_refused(tmp_path):
    with pytest.raises(InvalidArtifact, match="version 7"):
        recognise(triton(tmp_path, "specific { versions: [7] }"))


@pytest.mark.parametrize("text", ["a: {", "a: ]", "}", "a: [1, 2", "@", "a", ": 1"])
def test_a_damaged_configuration_is_refused(text):
    with pytest.raises(InvalidArtifact, match="onfiguration"):
        parse(text)


def test_an_mlflow_model_keeps_signature_example_and_environment(tmp_path):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(estimators.pipeline()))
    (tmp_path / "requirements.txt").write_text("scikit-learn==1.9.1\n")
    (tmp_path / "example.json").write_text(json.dumps({"columns": ["x"]}))
    document = {
        "flavors": {"python_function": {"loader_module": "mlflow.sklearn"}, "sklearn": {"pickled_model": "model.pkl"}},
        "signature": {"inputs": '[{"name": "x", "type": "double"}]'},
        "saved_input_example_info": {"artifact_path": "example.json"},
    }
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(document))
    (part,) = recognise(Brought(tmp_path))
    assert (part.importer, part.entry) == ("sklearn", "model.pkl")
    assert part.runs_code
    kept = part.kept["mlflow"]
    assert kept["signature"] == document["signature"]
    assert kept["environment"]["requirements.txt"].startswith("scikit-learn")
    assert json.loads(kept["input_example"]) == {"columns": ["x"]}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": {"loader_module": "own"}, "spacy": {}}}))
    (part,) = recognise(Brought(tmp_path))
    assert (part.importer, part.title) == ("mlflow", "an MLflow function (own)")
    assert part.runs_code
    assert "spacy" in part.options["reason"]
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {"spacy": {}}}))
    with pytest.raises(Unsupported, match="spacy; sklearn"):
        recognise(Brought(tmp_path))


def test_mlserver_settings_name_the_model(tmp_path):
    onnx_graphs.adder(tmp_path / "m.onnx", 1.0)
    (tmp_path / "model-settings.json").write_text(json.dumps({"name": "a", "max_batch_size": 4, "parameters": {"uri": "./m.onnx"}}))
    (part,) = recognise(Brought(tmp_path))
    assert (part.importer, part.entry, part.kept["mlserver"]["max_batch_size"]) == ("onnx", "m.onnx", 4)


def test_a_file_that_is_named_and_missing_is_refused(tmp_path):
    (tmp_path / "model-settings.json").write_text(json.dumps({"parameters": {"uri": "../../etc/passwd"}}))
    with pytest.raises(InvalidArtifact, match="not among"):
        recognise(Brought(tmp_path))


def test_a_torchserve_archive_says_that_its_handler_is_not_run(tmp_path):
    onnx_graphs.adder(tmp_path / "m.onnx", 1.0)
    (tmp_path / "MAR-INF").mkdir()
    manifest = {"model": {"serializedFile": "m.onnx", "modelName": "a", "handler": "handler.py"}}
    (tmp_path / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    (part,) = recognise(Brought(tmp_path))
    assert "not run" in part.notes[0]
    assert part.kept["torchserve"]["modelName"] == "a"


def keras_file(path, layer):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", np.zeros(4).tobytes())


@pytest.mark.parametrize(
    "layer",
    [
        {"module": "keras.layers", "class_name": "Lambda", "config": {}},
        {"module": "keras.layers", "class_name": "Dense", "config": {"activation": {"class_name": "__lambda__", "config": {}}}},
        {"module": "os", "class_name": "system", "config": {}},
        {"module": "keras.layers", "class_name": "Dense", "registered_name": "evil>Dense", "config": {}},
    ],
)
def test_code_in_a_keras_file_is_refused_before_it_is_opened(tmp_path, layer):
    keras_file(tmp_path / "m.keras", layer)
    with pytest.raises(InvalidArtifact, match="Keras' own"):
        recognise(Brought(tmp_path))


def test_a_keras_file_of_keras_own_layers_is_recognised(tmp_path):
    keras_file(tmp_path / "m.keras", {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {}})
    (part,) = recognise(Brought(tmp_path))
    assert (part.importer, part.runs_code) == ("keras", "")


@pytest.mark.parametrize(
    ("architecture", "labels", "task"),
    [
        ("BertModel", None, "embed"),
        ("BertForSequenceClassification", {"0": "a", "1": "b"}, "classify"),
        ("BertForSequenceClassification", {"0": "a"}, "rerank"),
        ("BertForTokenClassification", {"0": "O", "1": "B-X"}, "tag"),
    ],
)
def test_the_task_of_an_encoder_is_what_it_was_trained_for(tmp_path, architecture, labels, task):
    config = {"model_type": "bert", "architectures": [architecture], **({"id2label": labels} if labels else {})}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    (part,) = recognise(Brought(tmp_path))
    assert (part.importer, part.options["task"], part.runs_code) == ("hugging_face", task, "")
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "own.py"}}))
    with pytest.raises(Unsupported, match="auto_map"):
        recognise(Brought(tmp_path))


def test_a_signature_of_mlflow_is_read_as_columns_or_tensors():
    columns = {"inputs": '[{"name": "a", "type": "double"}, {"name": "b", "type": "string"}]', "outputs": '[{"type": "long"}]'}
    inputs, outputs, framed = read_signature(columns)
    assert [str(spec.datatype) for spec in (*inputs, *outputs)] == ["FP64", "BYTES", "INT64"]
    assert (inputs[0].shape, outputs[0].name, outputs[0].shape, framed) == ((-1, 1), "output", (-1,), True)
    tensor = '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}]'
    inputs, _, framed = read_signature({"inputs": tensor, "outputs": tensor})
    assert (inputs[0].name, inputs[0].shape, framed) == ("input", (-1, 4), False)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        {},
        {"inputs": "[]", "outputs": "[]"},
        {"inputs": "{", "outputs": "[{}]"},
        {"inputs": '[{"name": "a", "type": "datetime"}]', "outputs": '[{"type": "long"}]'},
        {"inputs": '[{"type": "tensor"}]', "outputs": '[{"type": "long"}]'},
        {"inputs": '[{"type": {"x": 1}}]', "outputs": '[{"type": "long"}]'},
    ],
)
def test_a_signature_that_says_too_little_is_refused(signature):
    with pytest.raises(InvalidArtifact, match="MLflow model"):
        read_signature(signature)


def test_references_of_yaml_do_not_multiply(tmp_path):
    (tmp_path / "MLmodel").write_bytes(hostile.laughing()["MLmodel"])
    with pytest.raises(InvalidArtifact, match="too many"):
        recognise(Brought(tmp_path))
