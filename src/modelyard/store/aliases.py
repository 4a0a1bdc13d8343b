"""Aliases: movable labels on versions, with the history of their moves."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from modelyard.core.clock import Clock
from modelyard.core.errors import NotFound
from modelyard.core.models import check_name
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import alias_moves, aliases, models, versions


class AliasesTable:
    """Rows of ``aliases`` and, for each change, one of ``alias_moves``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def set(self, workspace_id: int, model: str, alias: str, number: int) -> None:
        """Points ``alias`` at a version, wherever it pointed before. Pointing it where it points already is no move.

        Raises NotFound when the model or the version is missing, InvalidRequest when it is no alias.
        """
        check_name(alias, "alias")
        model_id = self._model(workspace_id, model)
        known = select(versions.c.id).where(versions.c.model_id == model_id, versions.c.number == number)
        if self._connection.execute(known).first() is None:
            raise NotFound(f"Model {model!r} has no version {number}.")
        row = (aliases.c.model_id == model_id) & (aliases.c.alias == alias)
        before = self._connection.execute(select(aliases.c.number).where(row)).scalar_one_or_none()
        if before == number:
            return
        if before is None:
            self._connection.execute(insert(aliases).values(workspace_id=workspace_id, model_id=model_id, alias=alias, number=number))
        else:
            self._connection.execute(update(aliases).where(row).values(number=number))
        self._moved(workspace_id, model_id, alias, number)

    def remove(self, workspace_id: int, model: str, alias: str) -> None:
        """Takes the alias away; its history stays.

        Raises NotFound when there is none.
        """
        model_id = self._model(workspace_id, model)
        gone = self._connection.execute(delete(aliases).where(aliases.c.model_id == model_id, aliases.c.alias == alias))
        if not gone.rowcount:
            raise NotFound(f"Model {model!r} has no alias {alias!r}.")
        self._moved(workspace_id, model_id, alias, 0)

    def history(self, workspace_id: int, model: str, alias: str) -> list[tuple[int, int]]:
        """Where the alias has pointed, newest first, as (version number, time); number 0 says that it was removed."""
        query = (
            select(alias_moves.c.number, alias_moves.c.time_ns)
            .join(models, models.c.id == alias_moves.c.model_id)
            .where(models.c.workspace_id == workspace_id, models.c.name == model, alias_moves.c.alias == alias)
            .order_by(alias_moves.c.id.desc())
        )
        return [(row.number, row.time_ns) for row in self._connection.execute(query)]

    def _model(self, workspace_id: int, name: str) -> int:
        query = select(models.c.id).where(models.c.workspace_id == workspace_id, models.c.name == name)
        found: int | None = self._connection.execute(query).scalar_one_or_none()
        if found is None:
            raise NotFound(f"There is no model {name!r}.")
        return found

    def _moved(self, workspace_id: int, model_id: int, alias: str, number: int) -> None:
        self._connection.execute(
            insert(alias_moves).values(
                workspace_id=workspace_id, model_id=model_id, alias=alias, number=number, time_ns=self._clock.time_ns()
            )
        )
        SettingsTable(self._connection).bump(STATE)
