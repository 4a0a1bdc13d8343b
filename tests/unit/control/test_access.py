"""Where a caller is told to find the inference listener."""

from __future__ import annotations

import pytest

from modelyard.control.access import reachable


@pytest.mark.parametrize(
    ("url", "host", "expected"),
    [
        ("http://127.0.0.1:8000", "models.example", "http://127.0.0.1:8000"),
        ("http://0.0.0.0:8000", "models.example", "http://models.example:8000"),
        ("http://[::]:8000", "::1", "http://[::1]:8000"),
    ],
)
def test_an_address_of_every_interface_becomes_the_one_the_caller_used(url: str, host: str, expected: str) -> None:
    assert reachable(url, host) == expected
