"""What the answers of a file say together is what counting and averaging all of them at once says."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.scoring.overview import overview

ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.floats(width=32, allow_subnormal=False), st.integers(0, 3)), max_size=60)
OUTPUTS = (
    ("label", Datatype.BYTES, (-1,)),
    ("value", Datatype.FP32, (-1, 1)),
    ("class", Datatype.INT64, ("n",)),
    ("wide", Datatype.FP32, (-1, 3)),
)
SIGNATURE = Signature(inputs=(), outputs=tuple(TensorSpec(name=name, datatype=kind, shape=shape) for name, kind, shape in OUTPUTS))


def told(rows, shards):
    """The overview of these rows, cut into so many shards."""
    cuts = np.array_split(np.arange(len(rows)), shards)
    labels, values, classes = zip(*rows, strict=True) if rows else ((), (), ())
    whole = pa.table({"id": np.arange(len(rows)), "label": pa.array(labels, pa.string()), "value": np.array(values, np.float32)})
    whole = whole.append_column("class", pa.array(classes, pa.int64()))
    return overview(lambda: (whole.slice(cut[0], len(cut)) if len(cut) else whole.slice(0, 0) for cut in cuts), SIGNATURE)


@given(ROWS, st.integers(1, 5))
def test_every_row_counts_once_however_the_file_is_cut(rows, shards):
    found = told(rows, shards)
    assert found["label"] == {"counts": dict(Counter(row[0] for row in rows)), "others": 0}
    assert found["class"]["counts"] == {str(value): count for value, count in Counter(row[2] for row in rows).items()}
    finite = [row[1] for row in rows if np.isfinite(row[1])]
    assert ("value" in found) == bool(finite)
    if finite:
        assert found["value"]["mean"] == pytest.approx(np.mean(finite), rel=1e-6, abs=1e-6 * max(map(abs, finite)))
        assert found["value"]["spread"]["ends"] == [min(finite), max(finite)]
        assert sum(found["value"]["spread"]["counts"]) == len(finite)
    assert "wide" not in found


def test_of_many_labels_the_most_frequent_are_told_and_of_texts_nothing():
    rows = [(str(at), 0.0, 0) for at in range(100)] + [("often", 0.0, 0)] * 5
    found = told(rows, 3)["label"]
    assert next(iter(found["counts"].items())) == ("often", 5)
    assert (len(found["counts"]), found["others"]) == (20, 81)
    assert "label" not in told([(str(at), 0.0, 0) for at in range(1_500)], 2)
