"""The forms of a request, and of an error."""

import orjson
import pytest

from modelyard.core.errors import InvalidRequest, Unsupported, error_codes
from modelyard.protocols.text_embeddings.errors import STATUS, error_reply
from modelyard.protocols.text_embeddings.schemas import EmbedRequest, PredictRequest


def test_every_error_has_a_status():
    assert STATUS.keys() == error_codes().keys()
    status, _, body = error_reply(InvalidRequest("Send a text."))
    assert (status, orjson.loads(body)) == (422, {"error": "Send a text.", "error_type": "Validation"})


@pytest.mark.parametrize(
    ("inputs", "texts", "batch"),
    [("a", ["a"], False), (["a"], ["a"], False), ([["a"]], ["a"], True), ([["a"], ["b"]], ["a", "b"], True)],
)
def test_a_text_or_a_batch_is_classified(inputs, texts, batch):
    asked = PredictRequest(inputs=inputs)
    assert (asked.texts(), asked.batch) == (texts, batch)


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ([], InvalidRequest),
        ([[]], InvalidRequest),
        ([["a"], "b"], InvalidRequest),
        ([[1]], InvalidRequest),
        ([None], InvalidRequest),
        (["a", "b"], Unsupported),
        ([["a", "b"]], Unsupported),
    ],
)
def test_what_is_no_text_is_refused(inputs, error):
    with pytest.raises(error):
        PredictRequest(inputs=inputs).texts()


def test_what_the_usual_clients_send_is_accepted():
    EmbedRequest(inputs="a", truncate=True, truncation_direction="Right").check()
    EmbedRequest(inputs="a").check()
