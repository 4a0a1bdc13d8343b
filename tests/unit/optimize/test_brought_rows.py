"""Rows that are brought to calibrate on: most are looked at, the others compared; what does not fit is refused with its reason."""

import numpy as np
import pytest
from onnx import save_model

from modelyard.core.errors import InvalidData
from modelyard.optimize.spec import OptimizeSpec, Request, Samples, Tolerance
from modelyard.optimize.work import _judge, _samples
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.onnx import RUNTIME
from unit.optimize.test_passes import network

ROWS = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    save_model(network(hidden=4), tmp_path / "m.onnx")
    return RUNTIME.load(tmp_path, "m.onnx", LoadOptions(threads=1))


@pytest.fixture
def asked(tmp_path):
    def _asked(target="", **arrays):
        np.savez(tmp_path / "rows.npz", **arrays)
        samples = Samples(dataset="rows@1", digest="", filename="rows.npz", target=target)
        spec = OptimizeSpec(model="numbers", number=1, passes=(), tolerance=Tolerance(), entry="m.onnx", files={}, samples=samples)
        return Request(spec=spec, parent="", samples=str(tmp_path / "rows.npz"))

    return _asked


def test_three_of_four_rows_are_looked_at_and_none_is_lost(model, asked):
    looked_at, fresh = _samples(asked(x=ROWS), model)
    assert (len(looked_at["x"]), len(fresh["x"])) == (30, 10)
    together = np.concatenate([looked_at["x"], fresh["x"]])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(ROWS, axis=0))


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": ROWS[:3]}, "it has 3 rows, and at least 8 are needed"),
        ({"x": np.ones((40, 9), np.float32)}, "'x'.*9"),
    ],
    ids=["few", "wide"],
)
def test_rows_that_do_not_fit_are_refused_with_the_set_and_the_reason(model, asked, arrays, told):
    with pytest.raises(InvalidData, match=rf"^The calibration set rows@1 \(rows\.npz\) does not fit numbers@1: .*{told}"):
        _samples(asked(**arrays), model)


def test_labels_that_are_not_there_are_refused_so_too(model, asked, tmp_path):
    with pytest.raises(InvalidData, match=r"^The calibration set rows@1 \(rows\.npz\) does not fit numbers@1: .*no array 'right'"):
        _judge(asked("right", x=ROWS), model, tmp_path)
