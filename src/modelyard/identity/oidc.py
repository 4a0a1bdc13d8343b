"""Sign-in with an OpenID provider: authorization code with PKCE, state and nonce; ID tokens are verified against the provider's keys.

Nothing of a sign-in under way is stored: what must be remembered goes to the browser in a sealed cookie, so that whoever has not
begun one cannot fill a table, and what comes back is of the same browser.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from modelyard.core.clock import Clock
from modelyard.core.errors import InvalidRequest, NotFound, PermissionDenied, Unauthenticated, Unavailable
from modelyard.core.events import Actor
from modelyard.core.models import check_name
from modelyard.core.principals import Principal
from modelyard.core.sign_in import Provider, ProviderView
from modelyard.identity.groups import admitted
from modelyard.store.database import Store
from modelyard.store.encryption import Sealer

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
SKEW_S = 60
ATTEMPT_S = 600
_PLACE = "sign-in under way"
_LONGEST = 64 * 1024
Views = list[ProviderView]


Ask = Callable[[str, dict[str, str] | None, tuple[str, str] | None], tuple[int, bytes]]
"""(address, form or None for GET, user and password) → status and body. Raises Unavailable when nobody answers."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in under way: what the browser brings back in its cookie."""

    provider: str
    state: str
    nonce: str
    verifier: str
    redirect: str
    until_ns: int


class OpenIdService:
    """Knows providers and signs people in with them. Safe to use from several threads."""

    def __init__(self, store: Store, clock: Clock, vault: Sealer, ask: Ask) -> None:
        self._store, self._clock, self._vault, self._ask = store, clock, vault, ask

    def list(self) -> Views:
        """Providers without their secrets."""
        with self._store.read() as session:
            return [_view(provider) for provider in session.providers.list()]

    def put(self, actor: Actor, provider: Provider, secret: str | None, expect_revision: int | None = None) -> ProviderView:
        """Makes a provider known, or changes it; ``secret`` None keeps the one that is sealed.

        Raises InvalidRequest, NotFound, Conflict.
        """
        check_name(provider.name, "provider")
        _check_address(provider.issuer)
        if not provider.client_id or "openid" not in provider.scopes.split():
            raise InvalidRequest("A provider needs a client id, and 'openid' among its scopes.")
        with self._store.write() as session:
            for rule in provider.mapping:
                if rule.workspace and session.workspaces.by_name(rule.workspace) is None:
                    raise NotFound(f"There is no workspace {rule.workspace!r} for the group {rule.group!r}; create it first.")
            current = session.providers.get(provider.name)
            kept = current.sealed_secret if current is not None else ""
            if current is not None and current.issuer != provider.issuer and secret is None:
                raise InvalidRequest("A secret is one provider's own: give that of the new issuer.")
            sealed = kept if secret is None else self._vault.seal(secret, f"provider {provider.name}")
            stands = current.revision if current is not None else 0
            wish = msgspec.structs.replace(provider, sealed_secret=sealed)
            made = session.providers.put(wish, stands if expect_revision is None else expect_revision)
            told = {name: value for name, value in msgspec.to_builtins(_view(made)).items() if name != "revision"}
            before = msgspec.to_builtins(_view(current)) if current is not None else {}
            session.audit.append(actor, "provider.set", provider.name, before=before, after=told | {"secret_changed": secret is not None})
            return _view(made)

    def remove(self, actor: Actor, name: str) -> None:
        """Nobody signs in with it any more; sessions that are there go on. Raises NotFound."""
        with self._store.write() as session:
            session.providers.remove(name)
            session.audit.append(actor, "provider.remove", name)

    def begin(self, name: str, redirect: str) -> tuple[str, str]:
        """Where to send the browser, and the cookie that it must bring back. Raises NotFound, Unavailable."""
        provider = self._provider(name)
        verifier = secrets.token_urlsafe(48)
        attempt = Attempt(
            provider=name,
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=verifier,
            redirect=redirect,
            until_ns=self._clock.time_ns() + ATTEMPT_S * 1_000_000_000,
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": redirect,
            "scope": provider.scopes,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        at = _address(self._discovered(provider), "authorization_endpoint")
        sealed = self._vault.seal(msgspec.json.encode(attempt).decode(), _PLACE)
        return f"{at}{'&' if urlsplit(at).query else '?'}{urlencode(asked)}", sealed

    def finish(self, name: str, cookie: str, state: str, code: str, visitor: Actor) -> Principal:
        """Who came back from the provider: known, or made now, with the roles that the groups say. Of ``visitor`` address and request
        are known.

        Raises Unauthenticated for whatever does not fit, PermissionDenied for somebody without any role, Unavailable.
        """
        attempt = self._attempt(name, cookie, state)
        provider = self._provider(name)
        found = self._discovered(provider)
        claims = self._claims(provider, found, self._token(provider, found, attempt, code), attempt.nonce)
        with self._store.write() as session:
            person = admitted(session, provider, claims, visitor)
        if person.disabled_ns:
            raise PermissionDenied("This person is disabled here; ask an administrator.")
        with self._store.read() as session:
            if not person.admin and not session.memberships.of(person.id):
                raise PermissionDenied(f"{person.name!r} is in no workspace, and no group that maps to one; ask an administrator.")
        return person

    def _attempt(self, name: str, cookie: str, state: str) -> Attempt:
        try:
            attempt = msgspec.json.decode(self._vault.open(cookie, _PLACE), type=Attempt)
        except (InvalidRequest, msgspec.MsgspecError):
            raise Unauthenticated("No sign-in was begun in this browser; begin again.") from None
        same = secrets.compare_digest(attempt.state.encode(), state.encode())
        if not same or attempt.provider != name or attempt.until_ns <= self._clock.time_ns():
            raise Unauthenticated("This sign-in was begun elsewhere or too long ago; begin again.")
        return attempt

    def _provider(self, name: str) -> Provider:
        with self._store.read() as session:
            found = session.providers.get(name)
        if found is None:
            raise NotFound(f"There is no provider {name[:63]!r}.")
        return found

    def _discovered(self, provider: Provider) -> dict[str, Any]:
        found = self._fetch(f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != provider.issuer:
            raise Unavailable(f"{provider.issuer} says that it is {str(found.get('issuer'))[:100]!r}; correct the issuer.")
        return found

    def _token(self, provider: Provider, found: dict[str, Any], attempt: Attempt, code: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect,
            "code_verifier": attempt.verifier,
            "client_id": provider.client_id,
        }
        secret = self._vault.open(provider.sealed_secret, f"provider {provider.name}") if provider.sealed_secret else ""
        answer = self._fetch(_address(found, "token_endpoint"), form, (provider.client_id, secret) if secret else None)
        token = answer.get("id_token")
        if not isinstance(token, str) or len(token) > _LONGEST:
            raise Unauthenticated(f"{provider.issuer} gave no ID token for this sign-in; begin again.")
        return token

    def _claims(self, provider: Provider, found: dict[str, Any], token: str, nonce: str) -> dict[str, Any]:
        keys = self._fetch(_address(found, "jwks_uri"))
        wanted = {"iss": provider.issuer, "nonce": nonce}
        try:
            claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims  # type: ignore[arg-type]
            registry = jwt.JWTClaimsRegistry(
                now=self._clock.time_ns() // 1_000_000_000,
                leeway=SKEW_S,
                iss={"essential": True, "value": wanted["iss"]},
                aud={"essential": True, "value": provider.client_id},
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
                nonce={"essential": True, "value": wanted["nonce"]},
            )
            registry.validate(claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Unauthenticated(f"The ID token of {provider.issuer} is not valid here ({type(error).__name__}); begin again.") from error
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != provider.client_id:
            raise Unauthenticated(f"The ID token of {provider.issuer} was made for somebody else; begin again.")
        return dict(claims)

    def _fetch(self, url: str, form: dict[str, str] | None = None, auth: tuple[str, str] | None = None) -> dict[str, Any]:
        _check_address(url)
        status, body = self._ask(url, form, auth)
        if status in {400, 401} and form is not None:
            raise Unauthenticated(f"The provider at {urlsplit(url).netloc} refused this sign-in; begin again.")
        try:
            found = msgspec.json.decode(body)
        except msgspec.MsgspecError:
            found = None
        if status != 200 or not isinstance(found, dict):
            raise Unavailable(f"The provider answered {url} with {status}, and nothing that can be used.")
        return found


def _address(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise Unavailable(f"The provider does not say its {name}.")
    _check_address(value)
    return value


def _check_address(url: str) -> None:
    """Only what nobody on the way can read or change; a provider on this machine may speak plain text."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}):
        return
    raise InvalidRequest(f"{url[:120]!r} cannot be trusted to sign people in; use an https address.")


def _view(provider: Provider) -> ProviderView:
    return ProviderView(**{name: getattr(provider, name) for name in ProviderView.__struct_fields__})
