"""Asks OpenID providers over HTTP. A module of its own, so that what only names the service loads no HTTP client."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from modelyard.core.errors import Unavailable
from modelyard.identity.oidc import Ask


def provider_http(client: httpx.Client | None = None) -> Ask:
    """Follows no redirects: an answer comes from the address that was checked, or not at all."""
    http = client or httpx.Client(timeout=10.0, follow_redirects=False)

    def ask(url: str, form: dict[str, str] | None, auth: tuple[str, str] | None) -> tuple[int, bytes]:
        try:
            answer = http.request("GET" if form is None else "POST", url, data=form, auth=auth)
        except httpx.HTTPError as error:
            raise Unavailable(f"The provider at {urlsplit(url).netloc} does not answer ({type(error).__name__}); try again.") from error
        return answer.status_code, answer.content

    return ask
