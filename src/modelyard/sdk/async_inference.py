"""Calls deployments on the inference listener."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest, InvalidTensor
from modelyard.core.tensors import Array, Datatype
from modelyard.sdk.async_resources.platform import AsyncPlatform
from modelyard.sdk.async_transport import AsyncTransport
from modelyard.sdk.chat import ChatPiece, ChatReader
from modelyard.sdk.files import quoted
from modelyard.sdk.trust import address
from modelyard.sdk.wire import HEADER_LENGTH, ModelMetadata, clean_records, decode_answer, encode_call, is_table, table_records

Record = dict[str, Any]


class AsyncInference:
    """Predictions. The listener's address is asked of the management API once, unless it was given."""

    def __init__(self, transport: AsyncTransport, platform: AsyncPlatform) -> None:
        self._transport = transport
        self._platform = platform
        self._address = transport.settings.inference_url
        self._datatypes: dict[tuple[str, str], dict[str, Datatype]] = {}

    async def address(self) -> str:
        """Base URL of the inference listener."""
        if not self._address:
            self._address = address((await self._platform.whoami()).inference_url.rstrip("/"))
        return self._address

    async def describe(self, deployment: str) -> dict[str, Any]:
        """Inputs and outputs of a deployment, in the words of the records protocol."""
        return msgspec.convert(await self._get(f"/v1/deployments/{quoted(deployment)}"), dict[str, Any])

    async def records(self, deployment: str, records: Sequence[Mapping[str, Any]], *, version: str = "") -> dict[str, Any]:
        """The whole answer for rows given by column name: ``predictions``, ``model``, ``version``, ``request_id``."""
        body = msgspec.json.encode({"records": clean_records(records)})
        return await self._predict(deployment, body, "application/json", version)

    async def csv(self, deployment: str, table: bytes, *, version: str = "") -> dict[str, Any]:
        """The same for a table as CSV with a header line; the model's signature says what cells are."""
        return await self._predict(deployment, table, "text/csv; charset=utf-8", version)

    async def _predict(self, deployment: str, body: bytes, kind: str, version: str) -> dict[str, Any]:
        url = await self.address() + f"/v1/deployments/{quoted(deployment)}/predict"
        params = {"version": version}
        # A prediction changes nothing, so it may be repeated when the connection breaks.
        response = await self._transport.request("POST", url, content=body, params=params, headers={"content-type": kind}, repeatable=True)
        return msgspec.json.decode(response.content, type=dict[str, Any])

    async def arrays(
        self, deployment: str, arrays: Mapping[str, Array | Sequence[Any]], *, outputs: Sequence[str] = (), version: str = ""
    ) -> dict[str, Array]:
        """Output arrays for input arrays, over the binary Open Inference Protocol."""
        known = (deployment, version) in self._datatypes
        try:
            return await self._infer(deployment, arrays, outputs, version)
        except InvalidTensor:
            # The deployment may have moved to a version with other datatypes since they were asked for.
            if not known:
                raise
            del self._datatypes[deployment, version]
            return await self._infer(deployment, arrays, outputs, version)

    async def _infer(
        self, deployment: str, arrays: Mapping[str, Array | Sequence[Any]], outputs: Sequence[str], version: str
    ) -> dict[str, Array]:
        path = f"/v2/models/{quoted(deployment)}" + (f"/versions/{quoted(version)}" if version else "")
        wanted = self._datatypes.get((deployment, version))
        if wanted is None:
            described = msgspec.convert(await self._get(path), ModelMetadata)
            wanted = {tensor.name: Datatype(tensor.datatype) for tensor in described.inputs}
            self._datatypes[deployment, version] = wanted
        body, headers = encode_call(arrays, wanted, outputs)
        url = await self.address() + path + "/infer"
        response = await self._transport.request("POST", url, content=body, headers=headers, repeatable=True)
        return decode_answer(response.content, response.headers.get(HEADER_LENGTH))

    async def predict(self, deployment: str, data: Any, *, version: str = "") -> Any:
        """Records for records or a DataFrame, arrays for a dict of arrays."""
        if is_table(data):
            data = table_records(data)
        if isinstance(data, Mapping):
            return await self.arrays(deployment, data, version=version)
        if isinstance(data, str | bytes) or not isinstance(data, Sequence):
            raise InvalidRequest("Give records (a list of dicts), a DataFrame, or a dict of arrays by input name.")
        return (await self.records(deployment, data, version=version)).get("predictions", [])

    async def chat(self, deployment: str, messages: Sequence[Mapping[str, Any]], **options: Any) -> AsyncIterator[ChatPiece]:
        """The answer of a language model piece by piece; ``options`` are those of OpenAI's chat completions, like ``max_tokens``.

        The last piece says how the answer ended and what it used. Whoever stops reading cancels it.
        """
        asked = {"model": deployment, "messages": list(messages), **options, "stream": True, "stream_options": {"include_usage": True}}
        reader = ChatReader()
        async with self._transport.posted(await self.address() + "/v1/chat/completions", msgspec.json.encode(asked)) as pieces:
            async for piece in pieces:
                said = reader.feed(piece)
                if said is not None:
                    yield said
        yield reader.last()

    async def feedback(self, deployment: str, request_id: str, outcome: float | bool) -> None:  # it is what is told
        """Tells how an answer turned out; ``request_id`` is that of the answer."""
        url = await self.address() + f"/v1/deployments/{quoted(deployment)}/feedback"
        body = msgspec.json.encode({"request_id": request_id, "outcome": outcome})
        await self._transport.request("POST", url, content=body, repeatable=True)

    async def _get(self, path: str) -> Any:
        response = await self._transport.request("GET", await self.address() + path)
        return msgspec.json.decode(response.content)
