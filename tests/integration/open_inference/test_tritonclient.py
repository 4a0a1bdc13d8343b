"""NVIDIA's own client, unmodified, against a worker on a real socket."""

import threading
import time

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import onnx_graphs
from integration.open_inference.worker import SECRET, running, version_of
from modelyard.testing.fakes import served_deployment


def auth():
    """A fresh dictionary: the client writes its own headers into the one it is given."""
    return {"Authorization": f"Bearer {SECRET}"}


KINDS = ("FP32", "FP16", "BF16", "INT64", "UINT8", "BOOL", "BYTES")


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    paths = {1: folder / "1" / "model.onnx", 2: folder / "2" / "model.onnx", 3: folder / "3" / "model.onnx", 4: folder / "4" / "model.onnx"}
    paths |= {10 + index: folder / kind / "model.onnx" for index, kind in enumerate(KINDS)}
    for path in paths.values():
        path.parent.mkdir()
    onnx_graphs.adder(paths[1], 1.0)
    onnx_graphs.adder(paths[2], 2.0)
    onnx_graphs.two_heads(paths[3])
    onnx_graphs.lookup(paths[4])
    for index, kind in enumerate(KINDS):
        onnx_graphs.identity(paths[10 + index], kind)
    versions = [
        version_of(1, paths[1], number=1, model="adder"),
        version_of(2, paths[2], number=2, model="adder", aliases=("champion",)),
        version_of(3, paths[3], model="heads"),
        version_of(4, paths[4], model="lookup"),
    ]
    versions += [version_of(10 + index, paths[10 + index], model=kind.lower()) for index, kind in enumerate(KINDS)]
    deployments = [
        served_deployment("adder", {1: 0, 2: 100}, deployment_id=1),
        served_deployment("heads", {3: 100}, deployment_id=2),
        served_deployment("lookup", {4: 100}, deployment_id=3),
    ]
    deployments += [served_deployment(kind.lower(), {10 + index: 100}, deployment_id=10 + index) for index, kind in enumerate(KINDS)]
    folders = {str(version_id): path.parent for version_id, path in paths.items()}
    with running(tmp_path_factory.mktemp("home"), folders, deployments, versions) as made:
        made.state = (deployments, versions)
        yield made


@pytest.fixture
def client(worker):
    made = triton.InferenceServerClient(worker.address)
    yield made
    made.close()


def given(name, array, datatype=None, *, binary=True):
    made = triton.InferInput(name, list(array.shape), datatype or {"f4": "FP32"}[array.dtype.str[1:]])
    made.set_data_from_numpy(array, binary_data=binary)
    return made


X = np.array([[1, 2], [3, 4]], np.float32)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_infer_in_binary_and_json_both_ways(client, binary_in, binary_out):
    outputs = [triton.InferRequestedOutput("y", binary_data=binary_out)]
    result = client.infer("adder", [given("x", X, binary=binary_in)], outputs=outputs, request_id="r-1", headers=auth())
    assert result.as_numpy("y").tolist() == (X + 2).tolist()
    assert result.get_response()["id"] == "r-1"
    assert result.get_response()["model_version"] == "2"


def test_the_clients_defaults_work(client):
    assert client.infer("adder", [given("x", X)], headers=auth()).as_numpy("y").tolist() == (X + 2).tolist()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests_and_answers(client, coding):
    large = np.tile(X, (400, 1))
    result = client.infer(
        "adder", [given("x", large)], headers=auth(), request_compression_algorithm=coding, response_compression_algorithm=coding
    )
    assert result.as_numpy("y").tolist() == (large + 2).tolist()


@pytest.mark.parametrize(("version", "added"), [("1", 1), ("2", 2), ("champion", 2), ("", 2)])
def test_versions_and_aliases(client, version, added):
    assert client.infer("adder", [given("x", X)], model_version=version, headers=auth()).as_numpy("y").tolist() == (X + added).tolist()


def test_requested_outputs_only(client):
    a, b = np.ones((1, 3), np.float32), np.full((1, 3), 2, np.float32)
    inputs = [given("a", a), given("b", b)]
    both = client.infer("heads", inputs, headers=auth())
    assert (both.as_numpy("total").tolist(), both.as_numpy("difference").tolist()) == ([[3, 3, 3]], [[-1, -1, -1]])
    one = client.infer("heads", inputs, outputs=[triton.InferRequestedOutput("total")], headers=auth())
    assert one.as_numpy("difference") is None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("BYTES", "BF16")])
def test_datatypes(client, kind):
    array = np.array([[1, 0], [0, 1]], {"FP32": "f4", "FP16": "f2", "INT64": "i8", "UINT8": "u1", "BOOL": "?"}[kind])
    got = client.infer(kind.lower(), [given("x", array, kind)], headers=auth()).as_numpy("y")
    assert (got.dtype, got.tolist()) == (array.dtype, array.tolist())


def test_bfloat16(client):
    array = np.array([[1.0, -2.5]], ml_dtypes.bfloat16)
    assert client.infer("bf16", [given("x", array, "BF16")], headers=auth()).as_numpy("y").tolist() == array.tolist()


@pytest.mark.parametrize("binary", [True, False])
def test_text(client, binary):
    array = np.array([["a", "é"], ["", "long text"]], object)
    outputs = [triton.InferRequestedOutput("y", binary_data=binary)]
    got = client.infer("bytes", [given("x", array, "BYTES", binary=binary)], outputs=outputs, headers=auth()).as_numpy("y")
    assert [[item.decode() if isinstance(item, bytes) else item for item in row] for row in got.tolist()] == array.tolist()


def test_asynchronous_calls_of_the_client(worker):
    client = triton.InferenceServerClient(worker.address, concurrency=8)
    pending = [client.async_infer("adder", [given("x", X + index)], headers=auth()) for index in range(40)]
    assert [one.get_result().as_numpy("y")[0, 0] for one in pending] == [3 + index for index in range(40)]
    client.close()


def test_metadata_health_and_repository(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("adder", headers=auth())
    assert not client.is_model_ready("adder")
    assert not client.is_model_ready("nothing", headers=auth())
    assert client.get_server_metadata(headers=auth())["name"] == "modelyard"
    assert client.get_model_metadata("adder", headers=auth())["versions"] == ["1", "2"]
    assert client.get_model_config("adder", headers=auth())["backend"] == "onnxruntime"
    assert {entry["name"] for entry in client.get_model_repository_index(headers=auth())} >= {"adder", "bytes"}
    client.load_model("adder", headers=auth())
    with pytest.raises(InferenceServerException, match="modelyard undeploy adder"):
        client.unload_model("adder", headers=auth())


def test_statistics_count_calls(client):
    def count():
        (stats,) = client.get_inference_statistics("heads", "1", headers=auth())["model_stats"]
        return stats["inference_stats"]["success"]["count"]

    before = count()
    client.infer("heads", [given("a", np.ones((1, 3), np.float32)), given("b", np.ones((1, 3), np.float32))], headers=auth())
    assert count() == before + 1


def test_what_is_not_supported_is_refused_clearly(client):
    with pytest.raises(InferenceServerException, match="Shared memory"):
        client.get_system_shared_memory_status(headers=auth())
    with pytest.raises(InferenceServerException, match="Log settings"):
        client.get_log_settings(headers=auth())
    with pytest.raises(InferenceServerException, match="Trace settings"):
        client.get_trace_settings(headers=auth())


def test_errors_reach_the_client_as_sentences(client):
    for arguments, words in (
        ({"model_name": "addr", "headers": auth()}, "no deployment 'addr'"),
        ({"model_name": "adder"}, "needs a key"),
        ({"model_name": "adder", "model_version": "7", "headers": auth()}, "no version '7'"),
    ):
        with pytest.raises(InferenceServerException, match=words):
            client.infer(inputs=[given("x", X)], **arguments)
    with pytest.raises(InferenceServerException, match="wants shape"):
        client.infer("adder", [given("x", np.ones((1, 3), np.float32))], headers=auth())


def test_a_bad_row_among_simultaneous_calls_fails_alone(worker):
    outcomes = {}
    barrier = threading.Barrier(8)

    def one(index):
        client = triton.InferenceServerClient(worker.address)
        value = np.array([99 if index == 3 else index % 4], np.int64)
        barrier.wait()
        for _ in range(20):
            try:
                outcomes.setdefault(index, set()).add(client.infer("lookup", [given("i", value, "INT64")], headers=auth()).as_numpy("y")[0])
            except InferenceServerException as error:
                outcomes.setdefault(index, set()).add("look" in str(error))
        client.close()

    threads = [threading.Thread(target=one, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {index: {True} if index == 3 else {10.0 * (index % 4 + 1)} for index in range(8)}


def test_a_new_route_and_a_revoked_key_take_effect_without_a_failed_call(worker, client):
    deployments, versions = worker.state
    moved = [served_deployment("adder", {1: 100, 2: 0}, deployment_id=1, revision=2), *deployments[1:]]
    worker.publish(moved, versions)
    began = time.monotonic()
    while client.infer("adder", [given("x", X)], headers=auth()).get_response()["model_version"] != "1":
        assert time.monotonic() - began < 10
    worker.publish(moved, versions, keys=())

    def call_until_refused():
        while time.monotonic() - began < 10:
            client.infer("adder", [given("x", X)], headers=auth())

    with pytest.raises(InferenceServerException, match="not valid"):
        call_until_refused()
    number = worker.publish(*worker.state)
    while worker.holder.current.number != number or worker.plane.served(1, "adder").number != 2:
        assert time.monotonic() - began < 10
