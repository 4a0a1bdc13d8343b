from dataclasses import dataclass
from typing import Annotated, TypedDict

import numpy as np
import pytest

from modelyard.core.errors import InvalidArtifact
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.runtimes.python_signature import parse_type, signature_of


class Answer(TypedDict):
    label: str
    scores: list[float]


@dataclass
class Point:
    x: float
    y: float


def of(method, **attributes):
    kind = type("Model", (), {"predict": method, **attributes})
    method.__name__ = "predict"
    return signature_of(kind, kind.predict)


def shown(specs):
    return [f"{spec.name}:{spec.datatype.value}{spec.wire_shape}" for spec in specs]


def test_python_types_mean_columns():
    def predict(self, age: float, count: int, good: bool, city: str, history: list[float]) -> float: ...

    found = of(predict)
    assert shown(found.inputs) == ["age:FP64[-1]", "count:INT64[-1]", "good:BOOL[-1]", "city:BYTES[-1]", "history:FP64[-1, -1]"]
    assert shown(found.outputs) == ["output:FP64[-1]"]
    assert found.batched


def test_arrays_say_their_type_and_named_results_their_fields():
    def predict(self, image: Annotated[np.ndarray, "FP32[3,224,224]"]) -> Answer: ...

    found = of(predict)
    assert shown(found.inputs) == ["image:FP32[-1, 3, 224, 224]"]
    assert shown(found.outputs) == ["label:BYTES[-1]", "scores:FP64[-1, -1]"]

    def point(self, x: float) -> Point: ...

    assert shown(of(point).outputs) == ["x:FP64[-1]", "y:FP64[-1]"]


def test_a_written_signature_goes_before_annotations():
    def predict(self, x): ...

    found = of(predict, signature={"inputs": {"x": "FP32[4]", "t": "INT32[tokens]"}, "outputs": {"y": "BYTES"}, "classes": ["a"]})
    assert shown(found.inputs) == ["x:FP32[-1, 4]", "t:INT32[-1, -1]"]
    assert (shown(found.outputs), found.classes) == (["y:BYTES[-1]"], ("a",))
    ours = Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1,)),), outputs=())
    assert of(predict, signature=ours) == ours


def untyped(self, x): ...
def silent(self, x: float): ...
def vague(self, x: np.ndarray) -> float: ...
def spread(self, *x: float) -> float: ...
def empty(self) -> float: ...
def wrong(self, x: Annotated[np.ndarray, "FP31[2]"]) -> float: ...


@pytest.mark.parametrize(
    ("method", "attributes", "said"),
    [
        (untyped, {}, "The parameter 'x' of Model.predict has no type; write it as float"),
        (silent, {}, "does not say what it returns"),
        (vague, {}, "is ndarray, which says no datatype"),
        (spread, {}, "takes \\*x; name each input"),
        (empty, {}, "takes no inputs"),
        (wrong, {}, "'FP31\\[2\\]' is no type; write one of BOOL"),
        (untyped, {"signature": {"inputs": {}}}, "must be like"),
        (untyped, {"signature": {"inputs": {"x": "what"}, "outputs": {}}}, "'what' is no type"),
        (untyped, {"signature": {"inputs": {"x": 3}, "outputs": {}}}, "cannot be used"),
    ],
)
def test_what_cannot_be_read_says_what_to_write(method, attributes, said):
    with pytest.raises(InvalidArtifact, match=said):
        of(method, **attributes)


def test_a_type_is_read_with_spaces_and_without_a_shape():
    assert parse_type("FP32[ 2, n ]") == (Datatype.FP32, (2, "n"))
    assert parse_type("BYTES") == (Datatype.BYTES, ())
