"""The ordinary predict call that carries out an asynchronous prediction, over the inference listener's loopback address."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import httpx

from modelyard.core.addresses import socket_path
from modelyard.serving.prediction_files import Submission


class LoopbackCaller:
    """Makes predict calls to ``url``, which may be ``unix:/path``.

    ``authorize`` gives the headers that make a call count as a key's own.
    """

    def __init__(self, url: str, authorize: Callable[[int], dict[str, str]], timeout_seconds: float = 300.0) -> None:
        self._authorize = authorize
        path = socket_path(url)
        transport = httpx.HTTPTransport(uds=path) if path else None
        self._client = httpx.Client(
            base_url="http://modelyard" if path else url, transport=transport, timeout=timeout_seconds, trust_env=False
        )

    def __call__(self, submission: Submission) -> tuple[int, bytes]:
        """Status and body of the answer.

        Raises OSError when the listener cannot be reached.
        """
        headers = {
            "content-type": "application/json",
            "x-request-id": submission.request_id or submission.id,
            **self._authorize(submission.key_id),
        }
        params = {"version": submission.version} if submission.version else None
        try:
            answer = self._client.post(
                f"/v1/deployments/{quote(submission.deployment, safe='')}/predict",
                content=submission.body.encode(),
                headers=headers,
                params=params,
            )
        except httpx.TransportError as error:
            raise OSError(str(error) or type(error).__name__) from error
        return answer.status_code, answer.content

    def close(self) -> None:
        self._client.close()
