"""``GET /v1/models``: the deployments that a key may call."""

from __future__ import annotations

from typing import Any

import orjson

from modelyard.core.access import Action
from modelyard.protocols.call import Call
from modelyard.protocols.openai.errors import JSON


def models(call: Call) -> None:
    """``GET /v1/models``; KServe's clients read ``models`` of the same answer."""
    plane, grant = call.plane, call.grant
    names = sorted(name for name in plane.names(grant.workspace_id) if grant.allows(Action.INFER, name))
    listed = [model_object(name) for name in names]
    call.reply(200, JSON, orjson.dumps({"object": "list", "data": listed, "models": names}))


def model_object(name: str) -> dict[str, Any]:
    """A deployment as a model of the OpenAI API."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "modelyard"}
