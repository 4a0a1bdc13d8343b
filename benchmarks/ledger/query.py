"""How long questions to the ledger take: fills a database with sums as the fold would leave them, and asks.

usage: python benchmarks/ledger/query.py [--rows 10000000] [--days 400] [--database-url URL] [--out FILE]

``--rows`` are rows by minute; each stands for a hundred calls, so 10^7 rows are a ledger of 10^9 calls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from sqlalchemy import insert, text

from modelyard.core.usage import UsageStep
from modelyard.ledger.query import UsageQuery, UsageWish
from modelyard.store.database import Store
from modelyard.store.usage_sums import DAY, DEPLOYMENT_DAYS, DIMENSIONS, MONTH, SUMS, TABLES, start_of

NS = 60_000_000_000
DEPLOYMENTS, KEYS, CALLS = 20, 50, 100
START = 28_000_000 // DAY * DAY


def combinations(count: int) -> np.ndarray:
    """Which keys call which deployments: a thousand pairs at most, each with one version, protocol and status, mostly."""
    rng = np.random.default_rng(7)
    pairs = rng.permutation(DEPLOYMENTS * KEYS)[:count]
    deployment = pairs % DEPLOYMENTS + 1
    return np.stack(
        [pairs // DEPLOYMENTS + 1, deployment, deployment, np.full(len(pairs), 1), np.full(len(pairs), 1), np.full(len(pairs), 2)]
    )


def fill(store: Store, rows: int, days: int) -> dict[str, int]:
    """Rows by minute, evenly over the days; those by hour and day from them, as SQL adds them up."""
    per_minute = max(1, round(rows / (days * DAY)))
    stride = max(1, round(days * DAY * per_minute / rows))
    minutes = START + np.arange(0, days * DAY, stride)
    everybody = combinations(200)
    rng = np.random.default_rng(1)
    names = [*DIMENSIONS, *SUMS]
    chunk = max(1, 200_000 // per_minute)
    for at in range(0, len(minutes), chunk):
        part = np.repeat(minutes[at : at + chunk], per_minute)
        # Of two hundred pairs some call in each minute, never one twice.
        first = rng.integers(0, everybody.shape[1], len(part) // per_minute)
        chosen = (np.repeat(first, per_minute) + np.tile(np.arange(per_minute), len(part) // per_minute)) % everybody.shape[1]
        amounts = rng.integers(1, 1000, (len(SUMS) - 1, len(part)))
        columns = [np.ones(len(part), int), part, *everybody[:, chosen], np.full(len(part), CALLS), *amounts]
        table = np.stack(columns, axis=1).tolist()
        with store.write() as session:
            if session.connection.dialect.name == "sqlite":
                marks = ",".join("?" * len(names))
                statement = f"INSERT INTO usage_minutes ({','.join(names)}) VALUES ({marks})"
                session.connection.exec_driver_sql(statement, [tuple(row) for row in table])
            else:
                session.connection.execute(insert(TABLES[1]), [dict(zip(names, row, strict=True)) for row in table])
    kept = ", ".join(name for name in DIMENSIONS if name != "minute")
    sums = ", ".join(f"sum({name})" for name in SUMS)
    counts = {}
    with store.write() as session:
        for length, source in ((60, "usage_minutes"), (DAY, "usage_hours")):
            columns = f"minute, {kept}, {', '.join(SUMS)}"
            start = f"minute - minute % {length}"
            groups = ", ".join(str(place) for place in range(1, len(DIMENSIONS) + 1))
            chosen = f"SELECT {start}, {kept}, {sums} FROM {source} GROUP BY {groups}"
            session.connection.execute(text(f"INSERT INTO {TABLES[length].name} ({columns}) {chosen}"))
        for start in sorted({start_of(day, MONTH) for day in range(START, START + days * DAY, DAY)}):
            span = f"WHERE minute >= {start} AND minute < {start_of(start + MONTH, MONTH)}"
            chosen = f"SELECT {start}, {kept}, {sums} FROM usage_days {span} GROUP BY {kept}"
            session.connection.execute(text(f"INSERT INTO usage_months ({columns}) {chosen}"))
        chosen = f"SELECT workspace_id, minute, deployment_id, {sums} FROM usage_days GROUP BY 1, 2, 3"
        columns = f"workspace_id, minute, deployment_id, {', '.join(SUMS)}"
        session.connection.execute(text(f"INSERT INTO {DEPLOYMENT_DAYS.name} ({columns}) {chosen}"))
        session.connection.execute(text("ANALYZE"))
        for table in (*TABLES.values(), DEPLOYMENT_DAYS):
            counts[table.name] = session.connection.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one()
    return counts


def questions(days: int) -> dict[str, UsageWish]:
    end = (START + days * DAY) * NS
    odd = 777 * NS
    day = DAY * NS
    return {
        "everything, by deployment": UsageWish(workspace_id=1),
        "everything, by deployment and key": UsageWish(workspace_id=1, by=("deployment", "key")),
        "every month, by deployment": UsageWish(workspace_id=1, step=UsageStep.MONTH),
        "every day, by deployment": UsageWish(workspace_id=1, step=UsageStep.DAY),
        "last 7 days, by deployment and key": UsageWish(workspace_id=1, since_ns=end - 7 * day + odd, by=("deployment", "key")),
        "last 7 days, every hour, by deployment": UsageWish(workspace_id=1, since_ns=end - 7 * day + odd, step=UsageStep.HOUR),
        "last hour, every minute, by key": UsageWish(workspace_id=1, since_ns=end - 60 * NS, step=UsageStep.MINUTE, by=("key",)),
        "an odd year, by key and version": UsageWish(
            workspace_id=1, since_ns=START * NS + odd, until_ns=end - 35 * day + odd, by=("key", "version")
        ),
        "one deployment, every day": UsageWish(workspace_id=1, deployment="#7", step=UsageStep.DAY),
    }


def measure(store: Store, days: int) -> dict[str, dict[str, float]]:
    found = {}
    query = UsageQuery(store)
    for name, wish in questions(days).items():
        times = []
        for _ in range(7):
            began = time.perf_counter()
            rows = query.usage(wish)
            times.append((time.perf_counter() - began) * 1000)
        found[name] = {"rows": len(rows), "median_ms": round(statistics.median(times), 1), "worst_ms": round(max(times), 1)}
        print(
            f"{name:44} {len(rows):6} rows  median {found[name]['median_ms']:8.1f} ms  worst {found[name]['worst_ms']:8.1f} ms", flush=True
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--database-url", default="")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(options.database_url or f"sqlite:///{folder}/ledger.db")
        store.migrate()
        began = time.perf_counter()
        counts = fill(store, options.rows, options.days)
        print(f"filled in {time.perf_counter() - began:.0f} s: {counts}", flush=True)
        found = {"rows": counts, "calls": counts["usage_minutes"] * CALLS, "questions": measure(store, options.days)}
        store.close()
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
