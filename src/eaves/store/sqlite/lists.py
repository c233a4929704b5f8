"""Lists of objects: current or as of an older revision, by label and field, in pages."""

# Statements are put together from this module's own texts alone; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from eaves.store.sqlite.rows import VERSION_COLUMNS

STEP_ROWS = 250
"""Rows read before other tasks get a turn: about a millisecond."""

COUNT_LIMIT = 20_000
"""Remaining items are counted up to here; beyond, a page says that it does not know."""

_PAST = """
SELECT c.namespace, c.name, c.revision FROM current c
WHERE c.tenant = :tenant AND c.resource = :resource AND c.revision <= :at
UNION ALL
SELECT h.namespace, h.name, h.previous FROM versions h
WHERE h.tenant = :tenant AND h.resource = :resource AND h.revision > :at AND h.previous BETWEEN 1 AND :at
"""
"""What was current at a revision: what still is, and what the first change since then replaced."""


class ListQuery(Struct, frozen=True):
    tenant: str
    resource: str
    namespace: str | None
    after: tuple[str, str] | None
    labels: Mapping[str, str]
    fields: Mapping[str, str]

    @property
    def terms(self) -> list[tuple[str, str, str]]:
        """Fields first: they tend to be the rarer ones."""
        return [("f", *item) for item in self.fields.items()] + [("l", *item) for item in self.labels.items()]


def has_changed_since(connection: sqlite3.Connection, query: ListQuery, revision: int) -> bool:
    row = connection.execute(
        "SELECT 1 FROM versions WHERE tenant = ? AND resource = ? AND revision > ? LIMIT 1",
        (query.tenant, query.resource, revision),
    ).fetchone()
    return row is not None


def render_current(query: ListQuery, limit: int) -> tuple[str, dict[str, Any]]:
    """The statement for what is current now, with its parameters; rows of VERSION_COLUMNS in key order."""
    source, conditions, parameters = _current_source(query)
    statement = f"""
        SELECT {VERSION_COLUMNS} FROM {source}
        CROSS JOIN versions v ON v.revision = c.revision
        WHERE {conditions} ORDER BY {_order(query)} {_limit(limit)}
    """
    return statement, parameters


def render_count(query: ListQuery) -> tuple[str, dict[str, Any]]:
    """The statement that counts what is current after ``query.after``, up to COUNT_LIMIT + 1."""
    source, conditions, parameters = _current_source(query)
    return _count_rows(source, conditions), parameters


def render_past_count(query: ListQuery, revision: int) -> tuple[str, dict[str, Any]]:
    """The same of what was current at ``revision``. Without selectors: those need the documents themselves."""
    conditions, parameters = _key_conditions(query, "c.namespace", "c.name")
    parameters["at"] = revision
    return _count_rows(f"({_PAST}) c", " AND ".join(conditions) or "1"), parameters


def _count_rows(source: str, conditions: str) -> str:
    return f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {conditions} LIMIT {COUNT_LIMIT + 1})"


def render_past(query: ListQuery, revision: int, limit: int) -> tuple[str, dict[str, Any]]:
    """The statement for what was current at ``revision``."""
    conditions, parameters = _key_conditions(query, "c.namespace", "c.name")
    parameters["at"] = revision
    for number, (kind, term, value) in enumerate(query.terms):
        column = "v.fields" if kind == "f" else "v.labels"
        conditions.append(
            f"EXISTS (SELECT 1 FROM json_each(nullif({column}, '')) j WHERE j.key = :term{number} AND j.value = :value{number})"
        )
        parameters |= {f"term{number}": term, f"value{number}": value}
    statement = f"""
        SELECT {VERSION_COLUMNS} FROM ({_PAST}) c CROSS JOIN versions v ON v.revision = c.revision
        WHERE {" AND ".join(conditions) or "1"} ORDER BY c.namespace, c.name {_limit(limit)}
    """
    return statement, parameters


def _current_source(query: ListQuery) -> tuple[str, str, dict[str, Any]]:
    """Without selectors the current table in key order, else the index of the first term joined with the others."""
    terms = query.terms
    if not terms:
        conditions, parameters = _key_conditions(query, "c.namespace", "c.name")
        return "current c", " AND ".join(["c.tenant = :tenant", "c.resource = :resource", *conditions]), parameters
    conditions, parameters = _key_conditions(query, "s0.namespace", "s0.name")
    for number, (kind, term, value) in enumerate(terms):
        parameters |= {f"kind{number}": kind, f"term{number}": term, f"value{number}": value}
        conditions.append(
            f"s{number}.tenant = :tenant AND s{number}.resource = :resource AND s{number}.kind = :kind{number}"
            f" AND s{number}.term = :term{number} AND s{number}.value = :value{number}"
        )
        if number:
            conditions.append(f"s{number}.namespace = s0.namespace AND s{number}.name = s0.name")
    conditions.append(
        "c.tenant = :tenant AND c.resource = :resource AND c.namespace = s0.namespace AND c.name = s0.name"
    )
    tables = [f"selectors s{number}" for number in range(len(terms))]
    return " CROSS JOIN ".join([*tables, "current c"]), " AND ".join(conditions), parameters


def _key_conditions(query: ListQuery, namespace: str, name: str) -> tuple[list[str], dict[str, Any]]:
    conditions: list[str] = []
    parameters: dict[str, Any] = {"tenant": query.tenant, "resource": query.resource}
    if query.namespace is not None:
        conditions.append(f"{namespace} = :namespace")
        parameters["namespace"] = query.namespace
    if query.after is not None and query.after[0] == query.namespace:
        conditions.append(f"{name} > :after_name")
        parameters["after_name"] = query.after[1]
    elif query.after is not None:
        conditions.append(f"({namespace}, {name}) > (:after_namespace, :after_name)")
        parameters |= {"after_namespace": query.after[0], "after_name": query.after[1]}
    return conditions, parameters


def _order(query: ListQuery) -> str:
    return "s0.namespace, s0.name" if query.terms else "c.namespace, c.name"


def _limit(limit: int) -> str:
    return f"LIMIT {int(limit)}" if limit > 0 else ""
