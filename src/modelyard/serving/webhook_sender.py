"""Sends webhooks over HTTP; the controller's part."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from modelyard.serving.webhooks import WebhookPolicy, check_url, resolve

Post = Callable[[str, dict[str, str], bytes], int]
"""Sends a webhook and gives the receiver's status; raises OSError or InvalidRequest when it cannot be sent."""


def sender(policy: WebhookPolicy) -> Post:
    """A Post over HTTP that follows no redirect and uses no proxy of the environment."""

    def post(url: str, headers: dict[str, str], body: bytes) -> int:
        parts = check_url(url, policy)
        named = {**headers, "host": parts.netloc, "content-type": "application/json", "user-agent": "modelyard-webhook"}
        failure: httpx.ConnectError | None = None
        with httpx.Client(timeout=policy.timeout_seconds, trust_env=False) as client:
            for address in resolve(parts, policy):
                target = httpx.URL(url).copy_with(host=address)
                try:
                    with client.stream("POST", target, content=body, headers=named, extensions={"sni_hostname": parts.hostname}) as answer:
                        return answer.status_code  # the answer's body is not read: it may be endless
                except httpx.ConnectError as error:
                    failure = error
                except httpx.HTTPError as error:
                    raise OSError(f"The webhook could not be sent: {error}") from error
        raise OSError(f"The webhook could not be sent: {failure or 'its host has no address'}") from failure

    return post
