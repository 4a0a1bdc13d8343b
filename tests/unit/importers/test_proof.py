import numpy as np
import pytest

from modelyard.core.errors import InvalidTensor, Unsupported
from modelyard.importers.proof import prove

X = {"x": np.arange(1000, dtype=np.float32).reshape(-1, 1)}


def double(inputs):
    return {"prediction": inputs["x"] * 2}


def compared(original, model, missing=None, *, strict=True):
    return prove(original, model, X, missing or {}, source="a test", strict=strict)


def test_equal_models_are_equal():
    proof = compared(double, double)
    assert proof.reason == ""
    assert proof.report["rows"] == 1000
    assert proof.report["outputs"]["prediction"] == {"error_p50": 0.0, "error_p99": 0.0, "error_max": 0.0}
    assert set(proof.report["tolerance"]) == {"label_agreement", "number_error_p99"}


def test_a_few_jumps_are_allowed_and_told():
    def jumps(inputs):
        return {"prediction": np.where(inputs["x"] == 500, 0, inputs["x"] * 2)}

    proof = compared(double, jumps)
    assert proof.reason == ""
    assert proof.report["outputs"]["prediction"]["error_max"] > 1


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda inputs: {"prediction": inputs["x"] * 2.1}, "99 % quantile"),
        (lambda inputs: {"prediction": np.full_like(inputs["x"], np.nan)}, "inf"),
    ],
)
def test_wrong_numbers_are_refused_with_the_error(model, reason):
    assert reason in compared(double, model).reason


def test_labels_are_judged_by_agreement_whatever_their_type():
    def number(inputs):
        return {"label": (inputs["x"][:, 0] > 500).astype(np.int64)}

    def text(inputs, limit=500):
        return {"label": np.array([str(int(value > limit)) for value in inputs["x"][:, 0]], object)}

    assert compared(number, text).reason == ""
    assert "of 'label' agree" in compared(number, lambda inputs: text(inputs, 600)).reason


def test_an_output_of_another_shape_is_refused():
    with pytest.raises(Unsupported, match="gives"):
        compared(double, lambda inputs: {"prediction": inputs["x"][:5]})


def test_a_model_that_fails_where_the_original_answers_is_refused():
    def fails(inputs):
        raise InvalidTensor("It cannot.")

    with pytest.raises(Unsupported, match="It cannot"):
        compared(double, fails)


def test_missing_values_count_where_the_original_takes_them():
    missing = {"x": np.array([[np.nan], [1.0]], np.float32)}

    def zero(inputs):
        return {"prediction": np.nan_to_num(inputs["x"]) * 2}

    def strict(inputs):
        if np.isnan(inputs["x"]).any():
            raise ValueError("NaN")
        return double(inputs)

    assert "missing values" in compared(double, zero, missing).reason
    told = compared(double, zero, missing, strict=False)
    assert told.reason == ""
    assert "do not send any" in told.notes[0]
    assert compared(strict, zero, missing).report["missing_values"] == "refused by the original"
    assert compared(double, double, missing).reason == ""


def test_answers_that_are_all_but_equal_are_judged_by_their_size():
    def flat(inputs):
        return {"prediction": np.full_like(inputs["x"], 0.5, np.float32)}

    def rounded(inputs):
        return {"prediction": np.float32(0.5) + np.float32(6e-8) * (inputs["x"] % 2).astype(np.float32)}

    assert compared(rounded, flat).reason == ""
    assert "99 % quantile" in compared(flat, lambda inputs: {"prediction": np.full_like(inputs["x"], 0.51)}).reason
