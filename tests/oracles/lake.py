"""A lake as DuckDB sees it, with nothing of Bidstream: the Delta logs are read here, and `events` and the current rows of the
views are made by definitions of our own. Names are text and times are timestamps in UTC, as `bidstream sql` shows them;
networks are numbers, as they are stored.

    lake.py LAKE < QUESTION      answers one statement of SQL: a JSON array of objects

The lake must stand still, and its last run have ended as it should: a table behind the others would be read as it is.
Needs DuckDB (requirements.txt).
"""

import datetime
import decimal
import json
import os
import re
import sys
import urllib.parse

import duckdb

SYMBOLS = ["tenant", "app", "campaign", "ad_group", "creative", "source", "channel", "placement", "os", "os_version",
           "device_model", "language", "country", "name", "item", "currency"]
TIMES = ["arrival", "event_time", "install_begin_time", "touch_event_time", "install_event_time", "hour", "_cut"]
CHANGELOGS = ["installs", "credits", "costs"]


def files(connection, table):
    """The files of a Delta table: what its newest checkpoint adds, then what each later commit adds and removes."""
    log, standing, checkpoint = os.path.join(table, "_delta_log"), set(), -1
    entries = sorted(os.listdir(log))
    if "_last_checkpoint" in entries:
        with open(os.path.join(log, "_last_checkpoint")) as file:
            checkpoint = json.load(file)["version"]
        parts = [os.path.join(log, name) for name in entries
                 if name.startswith(f"{checkpoint:020}.checkpoint.") and name.endswith(".parquet")]
        adds = connection.execute("SELECT add.path FROM read_parquet(?) WHERE add.path IS NOT NULL", [parts])
        standing.update(path for path, in adds.fetchall())
    versions = [int(name[:20]) for name in entries if name.endswith(".json") and int(name[:20]) > checkpoint]
    if versions != list(range(checkpoint + 1, checkpoint + 1 + len(versions))):
        sys.exit(f"{log}: commits are missing")
    for version in versions:
        with open(os.path.join(log, f"{version:020}.json")) as commit:
            actions = [json.loads(line) for line in commit if line.strip()]
        standing.difference_update(action["remove"]["path"] for action in actions if "remove" in action)
        standing.update(action["add"]["path"] for action in actions if "add" in action)
    return sorted(os.path.join(table, urllib.parse.unquote(path)) for path in standing)


PRIMITIVES = {"long": "BIGINT", "integer": "INTEGER", "short": "SMALLINT", "string": "VARCHAR", "boolean": "BOOLEAN",
              "double": "DOUBLE", "binary": "BLOB", "date": "DATE"}


def empty(table):
    """The columns of a Delta table that has no file, as a query without rows: what its first commit says."""
    with open(os.path.join(table, "_delta_log", f"{0:020}.json")) as commit:
        actions = [json.loads(line) for line in commit if line.strip()]
    fields = [json.loads(action["metaData"]["schemaString"])["fields"] for action in actions if "metaData" in action][0]
    # Nobody compares lists or structs of a table without rows.
    kinds = [PRIMITIVES.get(field["type"], "VARCHAR") if isinstance(field["type"], str) else "VARCHAR" for field in fields]
    columns = ", ".join(f'NULL::{kind} AS "{field["name"]}"' for field, kind in zip(fields, kinds))
    return f"(SELECT {columns} WHERE false)"


def readable(connection, view, rows, statement):
    """Makes a view of these rows with names and timestamps. It leaves out the names that the statement does not ask for:
    DuckDB would carry out the joins for them all the same."""
    parts, joins = [], []
    for column, *_ in connection.execute(f"DESCRIBE {rows}").fetchall():
        if column in TIMES:
            parts.append(f'epoch_ms(stored."{column}") AS "{column}"')
        elif column not in SYMBOLS:
            parts.append(f'stored."{column}"')
        elif re.search(rf"\b{column}\b", statement):
            parts.append(f'"{column} names".name AS "{column}"')
            joins.append(f'LEFT JOIN names AS "{column} names" ON "{column} names".symbol = stored."{column}"')
    connection.execute(f"CREATE VIEW {view} AS SELECT {', '.join(parts)} FROM ({rows}) AS stored {' '.join(joins)}")


def open_lake(lake, statement):
    """A connection with the views `records`, `events`, `installs`, `credits` and `costs`, to be asked this statement."""
    connection = duckdb.connect()
    with open(os.path.join(lake, "lake.json")) as file:
        about = json.load(file)

    def stored(table, *definition):
        paths = files(connection, os.path.join(lake, table, *definition))
        if not paths and table in CHANGELOGS:
            return empty(os.path.join(lake, table, *definition))
        if not paths:
            sys.exit(f"{table} of {lake} has no file: nothing can be compared")
        return f"read_parquet({paths!r}, union_by_name = true)"

    connection.execute(f"CREATE TABLE names AS SELECT symbol, any_value(name) AS name FROM {stored('symbols')} GROUP BY symbol")
    connection.execute("CREATE TABLE voids AS SELECT unnest(?::VARCHAR[]) AS topic", [list(about.get("voids", []))])
    connection.execute(f"""
        CREATE VIEW accepted AS
        SELECT * FROM {stored("records")} ANTI JOIN voids USING (topic) WHERE verdict = 'ok'""")
    readable(connection, "records", f"SELECT * FROM {stored('records')}", statement)
    # Of copies the one with the smallest content stands, unless it was withdrawn; a cost is a copy of costs alone.
    readable(connection, "events", """
        SELECT * FROM accepted
        ANTI JOIN (SELECT * FROM accepted WHERE type = 'tombstone') USING (tenant, subject, event_id, event_time)
        WHERE type <> 'tombstone'
        QUALIFY row_number() OVER (PARTITION BY tenant, subject, event_id, event_time, type = 'cost'
                                   ORDER BY payload_hash, topic, "partition", "offset") = 1""", statement)
    # What was withdrawn as often as it was added stands no more.
    for view in CHANGELOGS:
        changes = f"SELECT * FROM {stored(view, about['views'][view])}"
        connection.execute(f"CREATE VIEW {view}_changes AS {changes}")
        readable(connection, view, f"""
            SELECT * EXCLUDE (_cut, _diff) FROM ({changes}) GROUP BY ALL HAVING sum(_diff) <> 0""", statement)
    return connection


def plain(value):
    """A value as `bidstream sql --format json` writes it."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, decimal.Decimal):
        return float(value)
    raise TypeError(f"no JSON for {value!r}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    question = sys.stdin.read()
    answer = open_lake(sys.argv[1], question).execute(question)
    names = [column[0] for column in answer.description]
    json.dump([dict(zip(names, row)) for row in answer.fetchall()], sys.stdout, default=plain)
