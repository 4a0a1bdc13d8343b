"""Routes of the OpenAI API; the body's ``model`` is a deployment, as ``NAME`` or ``NAME@VERSION``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

from modelyard.core.access import Action
from modelyard.core.clock import Clock
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.generating import in_body
from modelyard.protocols.openai.batches import BatchRoutes
from modelyard.protocols.openai.chat import chat
from modelyard.protocols.openai.completions import completions
from modelyard.protocols.openai.embeddings import embeddings
from modelyard.protocols.openai.errors import error_reply, file_error_reply
from modelyard.protocols.openai.files import FileRoutes
from modelyard.protocols.openai.models import models
from modelyard.protocols.openai.responses import responses
from modelyard.protocols.openai.tokens import detokenize, tokenize
from modelyard.protocols.routing import Protocol, Route
from modelyard.serving.batches.files import BatchFiles


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


def batch_protocol(files: BatchFiles, clock: Clock, most_bytes: int, threads: Executor | None = None) -> Protocol:
    """Files and batches over a folder; ``most_bytes`` is what a workspace's files may take together."""
    uploads = FileRoutes(files, clock, threads, most_bytes)
    batches = BatchRoutes(files, uploads, clock, threads)
    return Protocol(
        "openai-batches",
        ProtocolId.OPENAI,
        (
            Route("POST", "/v1/files", Action.INFER, uploads.upload, CallKind.OTHER),
            Route("GET", "/v1/files", Action.INFER, uploads.listing, CallKind.METADATA),
            Route("GET", "/v1/files/{id}", Action.INFER, uploads.fetch, CallKind.METADATA),
            Route("GET", "/v1/files/{id}/content", Action.INFER, uploads.content, CallKind.METADATA),
            Route("DELETE", "/v1/files/{id}", Action.INFER, uploads.delete, CallKind.OTHER),
            Route("POST", "/v1/batches", Action.INFER, batches.create, CallKind.OTHER),
            Route("GET", "/v1/batches", Action.INFER, batches.listing, CallKind.METADATA),
            Route("GET", "/v1/batches/{id}", Action.INFER, batches.fetch, CallKind.METADATA),
            Route("POST", "/v1/batches/{id}/cancel", Action.INFER, batches.cancel, CallKind.OTHER),
        ),
        file_error_reply,
    )
