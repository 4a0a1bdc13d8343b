"""Models: names that collect versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, insert, select, update
from sqlalchemy.engine import RowMapping

from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, NotFound
from modelyard.core.models import Model, check_name
from modelyard.store.filters import MetricFilter, has_tag
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import alias_moves, aliases, models, versions

Models = list[Model]


class ModelsTable:
    """Rows of ``models``, each with its aliases and newest version number."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def ensure(self, workspace_id: int, name: str) -> Model:
        """The model called ``name``, made when there is none.

        Raises InvalidRequest when it is no name.
        """
        found = self.get(workspace_id, name)
        if found is not None:
            return found
        check_name(name, "model")
        values = {"workspace_id": workspace_id, "name": name, "tags": {}, "created_ns": self._clock.time_ns()}
        self._connection.execute(insert(models).values(**values))
        return self.need(workspace_id, name)

    def get(self, workspace_id: int, name: str) -> Model | None:
        found = self._load(_all().where(models.c.workspace_id == workspace_id, models.c.name == name))
        return found[0] if found else None

    def need(self, workspace_id: int, name: str) -> Model:
        """As ``get``; raises NotFound when there is none."""
        found = self.get(workspace_id, name)
        if found is None:
            raise NotFound(f"There is no model {name!r}.")
        return found

    def names(self, workspace_id: int) -> list[str]:
        return list(
            self._connection.execute(select(models.c.name).where(models.c.workspace_id == workspace_id).order_by(models.c.name)).scalars()
        )

    def list(
        self, workspace_id: int, *, search: str = "", tags: Mapping[str, str] | None = None, metrics: Sequence[MetricFilter] = ()
    ) -> Models:
        """Models by name: those whose name contains ``search``, that have all ``tags`` (themselves or on a version), and of which
        one version satisfies all ``metrics``.
        """
        query = _all().where(models.c.workspace_id == workspace_id)
        if search:
            query = query.where(models.c.name.contains(search.lower(), autoescape=True))
        ours = versions.c.model_id == models.c.id
        for name, value in (tags or {}).items():
            query = query.where(has_tag(models.c.tags, name, value) | exists().where(ours, has_tag(versions.c.tags, name, value)))
        if metrics:
            query = query.where(exists().where(ours, *(wanted.clause() for wanted in metrics)))
        return self._load(query.order_by(models.c.name))

    def update(self, workspace_id: int, name: str, *, description: str | None = None, tags: Mapping[str, str] | None = None) -> Model:
        """Replaces what is given.

        Raises NotFound.
        """
        changes: dict[str, Any] = {}
        if description is not None:
            changes["description"] = description
        if tags is not None:
            changes["tags"] = dict(tags)
        model = self.need(workspace_id, name)
        if changes:
            self._connection.execute(update(models).where(models.c.id == model.id).values(**changes))
        return self.need(workspace_id, name)

    def remove(self, workspace_id: int, name: str) -> None:
        """Deletes a model with all its versions; whether it may go is the registry's business.

        Raises NotFound, or Conflict while an alias points at one of its versions.
        """
        model = self.need(workspace_id, name)
        if model.aliases:
            raise Conflict(f"Aliases still point at versions of {name!r}: {', '.join(sorted(model.aliases))}; remove them first.")
        self._connection.execute(delete(alias_moves).where(alias_moves.c.model_id == model.id))
        self._connection.execute(delete(versions).where(versions.c.model_id == model.id))
        self._connection.execute(delete(models).where(models.c.id == model.id))
        SettingsTable(self._connection).bump(STATE)

    def _load(self, query: Select[Any]) -> Models:
        rows = self._connection.execute(query).mappings().all()
        pointing = self._aliases([row["id"] for row in rows])
        return [_model(row, pointing.get(row["id"], {})) for row in rows]

    def _aliases(self, ids: Sequence[int]) -> dict[int, dict[str, int]]:
        found: dict[int, dict[str, int]] = {}
        if ids:
            query = select(aliases).where(aliases.c.model_id.in_(ids)).order_by(aliases.c.alias)
            for row in self._connection.execute(query):
                found.setdefault(row.model_id, {})[row.alias] = row.number
        return found


def _all() -> Select[Any]:
    latest = select(func.coalesce(func.max(versions.c.number), 0)).where(versions.c.model_id == models.c.id).scalar_subquery()
    return select(models, latest.label("latest"))


def _model(row: RowMapping, pointing: dict[str, int]) -> Model:
    return Model(
        id=row["id"],
        workspace_id=row["workspace_id"],
        name=row["name"],
        description=row["description"],
        tags=row["tags"],
        created_ns=row["created_ns"],
        latest=row["latest"],
        aliases=pointing,
    )
