import msgspec
import pytest

from modelyard.core.models import Artifact, ArtifactFile, Profile, Version
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.registry.compare import compare_versions


def spec(name, shape=(-1,), datatype=Datatype.FP32, *, optional=False):
    return TensorSpec(name=name, datatype=datatype, shape=shape, optional=optional)


X, Y = spec("x"), spec("y")


def version(number, inputs=(X,), outputs=(Y,), **changes):
    made = Version(
        id=number,
        workspace_id=1,
        model_id=1,
        model="m",
        number=number,
        artifact=Artifact(format="onnx", digest="d", entry="m.onnx", files=(ArtifactFile(path="m.onnx", digest="d", size=5),)),
        signature=Signature(inputs=tuple(inputs), outputs=tuple(outputs)),
        profile=Profile(single_us=5.0),
    )
    return msgspec.structs.replace(made, **changes)


def test_metrics_are_paired_and_the_better_named():
    a = version(1, metrics={"accuracy": 0.8, "rmse": 2.0, "only_a": 1.0, "same": 1.0})
    b = version(2, metrics={"accuracy": 0.9, "rmse": 3.0, "only_b": 1.0, "same": 1.0})
    found = compare_versions(a, b)
    assert {pair.name: pair.better for pair in found.metrics} == {"accuracy": "b", "rmse": "a", "only_a": "", "only_b": "", "same": ""}
    assert next(pair.change for pair in found.metrics if pair.name == "rmse") == 1.0
    assert (found.a, found.b) == ("m@1", "m@2")


def test_only_what_differs_is_listed():
    a, b = version(1, tags={"k": "1", "same": "x"}), version(2, tags={"k": "2", "same": "x"}, profile=Profile(single_us=9.0))
    found = compare_versions(a, b)
    assert found.same_content
    assert {(item.field, item.a, item.b) for item in found.differences} == {("tags.k", "1", "2"), ("profile.single_us", 5.0, 9.0)}


@pytest.mark.parametrize(
    ("inputs", "outputs", "compatible"),
    [
        ((spec("x"),), (spec("y"),), True),
        ((spec("x"), spec("z", optional=True)), (spec("y"), spec("more")), True),
        ((spec("x", ("N",)),), (spec("y"),), True),
        ((spec("x"), spec("z")), (spec("y"),), False),
        ((), (spec("y"),), False),
        ((spec("x", datatype=Datatype.INT64),), (spec("y"),), False),
        ((spec("x", (-1, 2)),), (spec("y"),), False),
        ((spec("x"),), (), False),
        ((spec("x"),), (spec("y", (-1, 3)),), False),
    ],
)
def test_compatible_means_that_callers_notice_nothing(inputs, outputs, compatible):
    assert compare_versions(version(1), version(2, inputs, outputs)).compatible is compatible
