"""How people sign in, as plain data."""

from __future__ import annotations

import msgspec

from modelyard.core.access import Role
from modelyard.core.principals import Principal


class Password(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a person's password: never the password."""

    principal_id: int
    hash: str = ""
    set_ns: int = 0
    failures: int = 0
    """Wrong ones since the last right one."""
    blocked_until_ns: int = 0
    link_digest: str | None = None
    """SHA-256 of the one-time token that sets a password."""
    link_until_ns: int = 0


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A person who has signed in, in one browser."""

    id: int
    principal_id: int
    digest: str
    csrf: str
    """What a page must send with every change, so that other sites cannot."""
    address: str = ""
    created_ns: int = 0
    expires_ns: int = 0


class GroupRule(msgspec.Struct, frozen=True, kw_only=True):
    """What members of a provider's group are in a workspace."""

    group: str
    workspace: str = ""
    roles: tuple[Role, ...] = ()
    trust: bool = False
    admin: bool = False
    """They administer the platform."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenID provider; its client secret is sealed."""

    name: str
    issuer: str
    client_id: str
    sealed_secret: str = ""
    scopes: str = "openid profile email"
    groups_claim: str = "groups"
    mapping: tuple[GroupRule, ...] = ()
    revision: int = 1


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    """A provider without its secret."""

    name: str
    issuer: str
    client_id: str
    scopes: str
    groups_claim: str
    mapping: tuple[GroupRule, ...]
    revision: int


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person as administrators see them."""

    name: str
    display: str = ""
    admin: bool = False
    issuer: str = ""
    """The provider that the person signs in with; empty for a password."""
    disabled_ns: int = 0
    created_ns: int = 0
    revision: int = 1

    @classmethod
    def of(cls, principal: Principal) -> Person:
        return cls(**{name: getattr(principal, name) for name in cls.__struct_fields__})


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time token with which a person sets a password; shown this once."""

    name: str
    token: str
    until_ns: int


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session that began; its secret is in a cookie that scripts cannot read."""

    name: str
    csrf: str
    expires_ns: int
