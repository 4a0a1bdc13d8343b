"""Statuses and sentences of the management API."""

from __future__ import annotations

import msgspec
import pytest
from pydantic import BaseModel, ValidationError

from modelyard.control.errors import error_response, sentence
from modelyard.core.api import ErrorBody
from modelyard.core.errors import error_codes
from modelyard.core.http_status import HTTP_STATUS


def test_every_code_has_a_status() -> None:
    assert HTTP_STATUS.keys() == error_codes().keys()


@pytest.mark.parametrize("kind", error_codes().values(), ids=lambda kind: kind.code)
def test_every_error_has_the_same_body(kind: type) -> None:
    response = error_response(kind("Do this instead.", retry_after=1.4))
    body = msgspec.json.decode(response.body, type=ErrorBody)
    assert (body.error.code, body.error.message, body.error.retry_after) == (kind.code, "Do this instead.", 1.4)
    assert response.headers["retry-after"] == "1"
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)


class Body(BaseModel, extra="forbid"):
    number: int


@pytest.mark.parametrize(
    ("value", "words"),
    [({}, "Field 'number' is missing."), ({"number": 1, "nubmer": 2}, "'nubmer' is not known"), ({"number": "x"}, "Field 'number': ")],
)
def test_a_validation_error_becomes_one_sentence(value: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as found:
        Body.model_validate(value)
    problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in found.value.errors()]
    assert words in sentence(problems)
    assert "1 more problem" in sentence([*problems, *problems])
