"""Routes of a SageMaker multi-model container: models are loaded, listed, called and unloaded by name.

SageMaker lays a model out in a folder, has it loaded under a name of its own making, and unloads models when it hears 507. Loading and
unloading are the controller's work, so those routes wait in a thread; calls go the way of all calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any
from urllib.parse import parse_qs

import msgspec
import orjson

from modelyard.core.access import Action
from modelyard.core.errors import InvalidRequest, NotFound, Unavailable, did_you_mean
from modelyard.core.hosting import Came, Hosted, Told, Verb, Wish
from modelyard.core.unreadable import UNREADABLE
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.mlflow.errors import JSON, error_reply
from modelyard.protocols.mlflow.routes import invocations
from modelyard.protocols.routing import Protocol, Route

PAGE = 100
LONGEST = 1000
_STATUS = {
    Came.DONE: (200, ""),
    Came.THERE: (409, "ALREADY_EXISTS"),
    Came.NOT_THERE: (404, "RESOURCE_DOES_NOT_EXIST"),
    Came.NO_ROOM: (507, "RESOURCE_EXHAUSTED"),
    Came.REFUSED: (400, "BAD_REQUEST"),
    Came.LATER: (503, "TEMPORARILY_UNAVAILABLE"),
}


class _Load(msgspec.Struct):
    """What SageMaker sends; fields that it may add are no concern of ours."""

    model_name: str
    url: str


class _Models:
    """The routes, with what they need. ``ask`` blocks until a wish is carried out, in ``threads``."""

    def __init__(self, hosted: Callable[[], Mapping[str, Hosted]], ask: Callable[[Wish], Told], threads: Executor | None) -> None:
        self._hosted, self._ask, self._threads = hosted, ask, threads

    def load(self, call: Call) -> None:
        """``POST /models``: 200 once every worker serves the model, 409 when it is there, 507 when there is no room for it."""
        try:
            body = msgspec.json.decode(call.body, type=_Load)
        except UNREADABLE as error:
            said = str(error).replace("`", "'")
            raise InvalidRequest(f'The body names no model: {said}. Send {{"model_name": "…", "url": "/opt/ml/models/…/model"}}.') from None
        if not body.model_name or not body.url or max(len(body.model_name), len(body.url)) > LONGEST or "\0" in body.model_name + body.url:
            raise InvalidRequest(f"'model_name' and 'url' must be texts of 1 to {LONGEST} characters.")
        if body.model_name in self._hosted():
            _tell(call, Told(came=Came.THERE, message=f"A model {body.model_name!r} is loaded already."))
            return
        self._wish(call, Wish(verb=Verb.LOAD, name=body.model_name, url=body.url))

    def unload(self, call: Call) -> None:
        """``DELETE /models/{model}``: 200 once no worker serves it, 404 when it is not there."""
        self._wish(call, Wish(verb=Verb.UNLOAD, name=self._find(call).name))

    def listed(self, call: Call) -> None:
        """``GET /models``: those that are loaded, by name, a page at a time."""
        query = parse_qs(call.exchange.query)
        after = query.get("next_page_token", [""])[0]
        names = sorted(name for name in self._hosted() if name > after)
        page = names[: _limit(query.get("limit", [""])[0])]
        document: dict[str, Any] = {"models": [_told(self._hosted()[name]) for name in page]}
        if len(page) < len(names):
            document["nextPageToken"] = page[-1]
        call.reply(200, JSON, orjson.dumps(document))

    def shown(self, call: Call) -> None:
        """``GET /models/{model}``: 404 when it is not loaded."""
        call.reply(200, JSON, orjson.dumps(_told(self._find(call))))

    def locate(self, call: Call) -> None:
        """Means the deployment of the model that the path names."""
        call.params["name"] = self._find(call).deployment

    def _find(self, call: Call) -> Hosted:
        name = call.params["model"]
        found = self._hosted().get(name)
        if found is None:
            raise NotFound(f"No model {name[:200]!r} is loaded.{did_you_mean(name[:200], self._hosted())}")
        return found

    def _wish(self, call: Call, wish: Wish) -> None:
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, wish)
        future.add_done_callback(lambda done: call.guard(lambda: _tell(call, done.result())))


def _tell(call: Call, told: Told) -> None:
    status, code = _STATUS[told.came]
    if status == 200:
        call.reply(200, JSON, b"{}")
        return
    if status == 503:
        raise Unavailable(told.message, retry_after=1.0)
    call.reply(status, JSON, orjson.dumps({"error_code": code, "message": told.message}))


def _told(hosted: Hosted) -> dict[str, str]:
    return {"modelName": hosted.name, "modelUrl": hosted.url}


def _limit(written: str) -> int:
    if not written:
        return PAGE
    if not written.isascii() or not written.isdigit() or not 1 <= int(written[:9]) <= PAGE:
        raise InvalidRequest(f"'limit' is {written[:32]!r}, which is no whole number from 1 to {PAGE}.")
    return int(written[:9])


def alive(call: Call) -> None:
    """``GET /ping``: this process takes calls, whether or not models are loaded."""
    if not call.plane.accepting:
        raise Unavailable("The server is starting or stopping; try again shortly.", retry_after=1.0)
    call.reply(200, JSON, b"{}")


def create_protocol(hosted: Callable[[], Mapping[str, Hosted]], ask: Callable[[Wish], Told], threads: Executor | None = None) -> Protocol:
    """The protocol of a multi-model container. ``hosted`` tells what is loaded, ``ask`` has something loaded or unloaded."""
    routes = _Models(hosted, ask, threads)
    one = "/models/{model}"
    return Protocol(
        "sagemaker",
        ProtocolId.SAGEMAKER,
        (
            Route("GET", "/ping", None, alive),
            Route("GET", "/models", Action.INFER, routes.listed, CallKind.METADATA),
            Route("POST", "/models", Action.DEPLOY, routes.load),
            Route("GET", one, Action.INFER, routes.shown, CallKind.METADATA),
            Route("DELETE", one, Action.DEPLOY, routes.unload),
            Route("POST", f"{one}/invoke", Action.INFER, invocations, CallKind.INFER, names_deployment=True, locate=routes.locate),
        ),
        error_reply,
    )
