"""What is shown of an import."""

from __future__ import annotations

import pytest

from modelyard.cli.imported import _steps


@pytest.mark.parametrize(
    ("proof", "shown"),
    [
        ({"rows": 200, "source": "the pusher's sample"}, "200 rows the pusher's sample"),
        ({"positions": 64, "source": "a forward pass in NumPy"}, "64 positions a forward pass in NumPy"),
        (
            {"source": "nothing to compare: vLLM loads the files as they were brought"},
            "nothing to compare: vLLM loads the files as they were brought",
        ),
    ],
)
def test_what_was_compared_is_counted_where_it_can_be(proof, shown) -> None:
    assert dict(_steps({"proof": proof}))["compared on"] == shown
