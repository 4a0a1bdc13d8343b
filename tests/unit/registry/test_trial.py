import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidArtifact, InvalidTensor, Unavailable
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.registry.trial import GUESSES, agrees_with_singles, find_guess, make_inputs, measure
from modelyard.runtimes.base import LoadedModel

BATCHED = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, "T")),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1,)),),
)


class FakeModel(LoadedModel):
    """Computes what it is given."""

    def __init__(self, compute, signature=BATCHED):
        self.signature = signature
        self._compute = compute

    def infer(self, inputs):
        return {self.signature.outputs[0].name: self._compute(next(iter(inputs.values())))}

    def close(self):
        pass


def test_rows_that_agree_alone_and_together_are_independent():
    found = measure(FakeModel(lambda x: x.sum(axis=1)), GUESSES[0], 8)
    assert found.row_independent
    assert found.batch_rows == 8


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x.sum(axis=1) - x.mean(),
        lambda x: x.sum(axis=1) * (1 + 1e-3 * (len(x) > 3)),
        lambda x: x.sum(axis=1)[::-1],
        lambda x: np.float32(x.sum()),
        lambda x: x.sum(axis=1)[:1],
    ],
)
def test_rows_that_depend_on_others_are_not(compute):
    assert not measure(FakeModel(compute), GUESSES[0], 8).row_independent


def test_rounding_does_not_make_rows_dependent():
    assert measure(FakeModel(lambda x: x.sum(axis=1) * np.float32(1 + 1e-6 * len(x))), GUESSES[0], 8).row_independent


def test_labels_must_agree_exactly():
    signature = Signature(inputs=BATCHED.inputs, outputs=(TensorSpec(name="y", datatype=Datatype.BYTES, shape=(-1,)),))
    together = make_inputs(signature, GUESSES[0], 4)
    assert agrees_with_singles(FakeModel(lambda x: np.array(["a"] * len(x), object), signature), together)
    assert not agrees_with_singles(FakeModel(lambda x: np.array([str(len(x))] * len(x), object), signature), together)


def test_not_a_number_agrees_with_itself():
    assert measure(FakeModel(lambda x: x.sum(axis=1) * np.nan), GUESSES[0], 8).row_independent


def test_a_batch_that_the_graph_refuses_is_no_batch():
    def compute(x):
        if len(x) > 1:
            raise InvalidTensor("one row only")
        return x.sum(axis=1)

    found = measure(FakeModel(compute), GUESSES[0], 8)
    assert (found.row_independent, found.batch_rows) == (False, 0)
    assert found.single_us > 0


def test_sizes_are_tried_until_one_fits():
    def compute(x):
        if x.shape[1] < 30:
            raise InvalidTensor("too short")
        return x.sum(axis=1)

    assert find_guess(FakeModel(compute)).size == 32


def test_a_model_that_takes_nothing_is_refused_with_its_first_complaint():
    complaints = iter(["the first", *["another"] * 20])

    def compute(x):
        raise InvalidTensor(next(complaints))

    with pytest.raises(InvalidArtifact, match="the first"):
        find_guess(FakeModel(compute))


def test_want_of_memory_is_not_tried_again():
    calls = []

    def compute(x):
        calls.append(1)
        raise Unavailable("no memory")

    with pytest.raises(InvalidArtifact, match="more memory"):
        find_guess(FakeModel(compute))
    assert len(calls) == 1


SPECS = st.builds(
    TensorSpec,
    name=st.sampled_from("abc"),
    datatype=st.sampled_from(list(Datatype)),
    shape=st.lists(st.sampled_from([-1, "N", "T", 0, 1, 5]), max_size=3).map(tuple),
)


@given(st.lists(SPECS, min_size=1, max_size=3, unique_by=lambda spec: spec.name), st.integers(1, 9), st.sampled_from(GUESSES[:4]))
def test_made_up_input_fits_its_signature(specs, rows, guess):
    signature = Signature(inputs=tuple(specs), outputs=tuple(specs))
    if not signature.batched:
        rows = 1
    assert signature.check_inputs(make_inputs(signature, guess, rows)) == (rows if signature.batched else 1)


def test_integers_are_safe_indices():
    spec = TensorSpec(name="ids", datatype=Datatype.INT64, shape=(-1, 64))
    made = make_inputs(Signature(inputs=(spec,), outputs=(spec,)), GUESSES[0], 16)["ids"]
    assert set(np.unique(made)) == {0, 1}
