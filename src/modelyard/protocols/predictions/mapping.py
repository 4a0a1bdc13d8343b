"""Bodies of submissions to the predict call that is made later, and stored predictions to answers."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.core.signature import Signature
from modelyard.protocols.json_tensors import parse_json, shorten
from modelyard.protocols.records import mapping as records
from modelyard.protocols.records.table import records_from_csv
from modelyard.serving.prediction_files import Outcome, Submission
from modelyard.serving.webhooks import WebhookPolicy, check_url


def decode(body: bytes, content_type: bytes | None, signature: Signature, policy: WebhookPolicy) -> tuple[str, str]:
    """The JSON body of the predict call to make, and the URL of the webhook (empty for none).

    The records are checked against the signature at once, so that what is accepted can be answered. Raises InvalidRequest.
    """
    if (content_type or b"").partition(b";")[0].strip().lower() == b"text/csv":
        rows = records_from_csv(body, signature)
        records.tensors(rows, signature)
        return json.dumps({"records": rows}), ""
    document = parse_json(body)
    url = ""
    if type(document) is dict and "webhook" in document:
        url = _webhook(document.pop("webhook"), policy)
    rows = records.records_of(document, signature)
    records.tensors(rows, signature)
    return json.dumps({"records": rows}), url


def _webhook(value: Any, policy: WebhookPolicy) -> str:
    if value is None:
        return ""
    if type(value) is not dict or type(value.get("url")) is not str:
        raise InvalidRequest(f"'webhook' must be an object with a 'url', but {shorten(value)} came.")
    unknown = sorted(value.keys() - {"url"})
    if unknown:
        raise InvalidRequest(f"'webhook' has an unknown key {unknown[0][:64]!r}.{did_you_mean(unknown[0], ['url'])} It has 'url' only.")
    url: str = value["url"]
    check_url(url, policy)
    return url


def location(deployment: str, prediction_id: str) -> str:
    """The path of a stored prediction."""
    return f"/v1/deployments/{deployment}/predictions/{prediction_id}"


def encode(stored: Submission | Outcome) -> bytes:
    """A stored prediction as its caller sees it."""
    said: dict[str, Any] = {
        "id": stored.id,
        "status": stored.status if isinstance(stored, Outcome) else "queued",
        "url": location(stored.deployment, stored.id),
        "created_ns": stored.created_ns,
    }
    if isinstance(stored, Outcome):
        said["finished_ns"] = stored.finished_ns
        if bytes(stored.result):
            said["result"] = stored.result
        if bytes(stored.error):
            said["error"] = stored.error
    return msgspec.json.encode(said)
