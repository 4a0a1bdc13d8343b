"""Bindings of keys to client certificates."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, insert, select

from modelyard.core.access import Key
from modelyard.core.bindings import Binding
from modelyard.core.clock import Clock
from modelyard.core.errors import AlreadyExists
from modelyard.store.rows import decode, encode
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import certificates, keys

Bindings = list[Binding]
NamedBindings = list[tuple[str, Binding]]


class CertificatesTable:
    """Rows of ``certificates``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, binding: Binding) -> Binding:
        """Stores a binding; the same with its id and time.

        Raises AlreadyExists when the certificate is bound to a key.
        """
        if self.find(binding.certificate) is not None:
            raise AlreadyExists("This certificate is bound to a key already.")
        made = msgspec.structs.replace(binding, created_ns=binding.created_ns or self._clock.time_ns())
        values = encode(made)
        number = self._connection.execute(insert(certificates).values(**values).returning(certificates.c.id)).scalar_one()
        SettingsTable(self._connection).bump(STATE)
        return msgspec.structs.replace(made, id=number)

    def find(self, certificate: str) -> Binding | None:
        """The binding of a certificate, in whatever workspace."""
        found = self._load(select(certificates).where(certificates.c.certificate == certificate))
        return found[0] if found else None

    def key_of(self, certificate: str) -> Key | None:
        """The key that a certificate stands for, valid or not."""
        query = select(keys).join(certificates, certificates.c.key_id == keys.c.id).where(certificates.c.certificate == certificate)
        row = self._connection.execute(query).mappings().first()
        return decode(row, Key) if row is not None else None

    def list(self, workspace_id: int) -> NamedBindings:
        """Bindings of a workspace, oldest first, each with the public id of its key."""
        named = select(keys.c.id, keys.c.public_id).join(certificates, certificates.c.key_id == keys.c.id)
        names = {row.id: row.public_id for row in self._connection.execute(named.where(certificates.c.workspace_id == workspace_id))}
        found = self._load(select(certificates).where(certificates.c.workspace_id == workspace_id).order_by(certificates.c.id))
        return [(names[binding.key_id], binding) for binding in found]

    def all(self) -> Bindings:
        """Bindings of every workspace."""
        return self._load(select(certificates).order_by(certificates.c.id))

    def remove(self, binding: Binding) -> None:
        """Ends a binding."""
        self._connection.execute(delete(certificates).where(certificates.c.id == binding.id))
        SettingsTable(self._connection).bump(STATE)

    def _load(self, query: Select[Any]) -> Bindings:
        return [decode(row, Binding) for row in self._connection.execute(query).mappings()]
