"""Routes of the OpenAI API; the body's ``model`` is a deployment, as ``NAME`` or ``NAME@VERSION``."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.core.access import Action
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.generating import in_body
from modelyard.protocols.openai.chat import chat
from modelyard.protocols.openai.completions import completions
from modelyard.protocols.openai.embeddings import embeddings
from modelyard.protocols.openai.errors import error_reply
from modelyard.protocols.openai.models import models
from modelyard.protocols.openai.responses import responses
from modelyard.protocols.openai.tokens import detokenize, tokenize
from modelyard.protocols.routing import Protocol, Route


def _post(path: str, run: Callable[[Call], None], kind: CallKind) -> Route:
    return Route("POST", path, Action.INFER, run, kind, names_deployment=True, locate=in_body)


PROTOCOL = Protocol(
    "openai",
    ProtocolId.OPENAI,
    (
        Route("GET", "/v1/models", Action.INFER, models, CallKind.METADATA),
        _post("/v1/chat/completions", chat, CallKind.GENERATE),
        _post("/v1/completions", completions, CallKind.GENERATE),
        _post("/v1/responses", responses, CallKind.GENERATE),
        _post("/v1/embeddings", embeddings, CallKind.EMBED),
        _post("/tokenize", tokenize, CallKind.METADATA),
        _post("/detokenize", detokenize, CallKind.METADATA),
    ),
    error_reply,
)
