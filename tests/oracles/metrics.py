"""Recomputes `metrics_hourly` and `metrics_daily` of a lake in DuckDB (lake.py) from its records, installs, credits and costs,
and compares each measure of each key. Exits 1 where they differ.

    metrics.py BIDSTREAM LAKE      BIDSTREAM is the program

What happened, when, in which country and for how much is taken from the events themselves, which touch earned it from the
views: a conversion without credit is found as well as one with too much. Needs DuckDB (requirements.txt).
"""

import subprocess
import sys
import tempfile

from lake import CHANGELOGS, open_lake

KEY = ["tenant", "currency", "app", "campaign", "ad_group", "creative", "source", "channel", "country", "name"]
MEASURES = ["impressions", "clicks", "installs", "conversions", "revenue_micros", "spend_micros", "rows"]
SHOWN = 5

# What is counted: its key, when it happened, what it is, and its amount.
COUNTED = """
CREATE TABLE counted AS
SELECT tenant, NULL AS currency, app, campaign, ad_group, creative, source, channel, country, NULL AS name,
  event_time, type AS kind, 0 AS micros
FROM events WHERE type IN ('impression', 'click')
UNION ALL
SELECT e.tenant, NULL, e.app, i.campaign, i.ad_group, i.creative, i.source,
  CASE WHEN i.touch_event_id IS NULL THEN '(none)' ELSE i.channel END, e.country, NULL, event_time, 'install', 0
FROM events AS e LEFT JOIN installs AS i USING (tenant, subject, event_id, event_time)
WHERE e.type = 'install' AND i.reinstall IS DISTINCT FROM true
UNION ALL
SELECT e.tenant, e.currency, e.app, c.campaign, c.ad_group, c.creative, c.source,
  CASE WHEN c.touch_event_id IS NULL THEN '(none)' ELSE c.channel END, e.country, e.name, event_time, 'conversion',
  coalesce(e.revenue_micros, 0)
FROM events AS e LEFT JOIN (SELECT * FROM credits WHERE model = 'last') AS c USING (tenant, subject, event_id, event_time)
WHERE e.type = 'conversion'
UNION ALL
SELECT tenant, currency, NULL, campaign, ad_group, NULL, source, NULL, NULL, NULL, hour, 'cost', coalesce(cost_micros, 0)
FROM costs"""


def expected(grain):
    """The metrics by hour or day."""
    return f"""
        SELECT {', '.join(KEY)}, date_trunc('{grain}', event_time) AS {grain},
          count(*) FILTER (WHERE kind = 'impression') AS impressions, count(*) FILTER (WHERE kind = 'click') AS clicks,
          count(*) FILTER (WHERE kind = 'install') AS installs, count(*) FILTER (WHERE kind = 'conversion') AS conversions,
          sum(CASE WHEN kind = 'conversion' THEN micros ELSE 0 END) AS revenue_micros,
          sum(CASE WHEN kind = 'cost' THEN micros ELSE 0 END) AS spend_micros, count(*) AS rows
        FROM counted GROUP BY ALL"""


def differences(connection, bidstream, lake, view, grain):
    """Prints how a view differs from what is expected; the number of rows that do."""
    columns = {**dict.fromkeys(KEY, "VARCHAR"), grain: "TIMESTAMP", **dict.fromkeys(MEASURES, "BIGINT")}
    statement = f"SELECT {', '.join(columns)} FROM {view}"
    with tempfile.NamedTemporaryFile(suffix=".csv") as answer:
        subprocess.run([bidstream, "sql", "--lake", lake, "--format", "csv", statement], stdout=answer, check=True)
        connection.execute(f"CREATE TABLE found AS SELECT * FROM read_csv('{answer.name}', header = true, columns = {columns})")
    connection.execute(f"CREATE TABLE expected AS SELECT {', '.join(columns)} FROM ({expected(grain)})")
    connection.execute(f"""
        CREATE TABLE differing AS
        SELECT 'found' AS side, * FROM (FROM found EXCEPT ALL FROM expected)
        UNION ALL SELECT 'expected', * FROM (FROM expected EXCEPT ALL FROM found)
        ORDER BY {', '.join(KEY)}, {grain}, side""")
    (rows,), = connection.execute("SELECT count(*) FROM found").fetchall()
    (differing,), = connection.execute("SELECT count(*) FROM differing").fetchall()
    print(f"{view}: {rows} rows, " + (f"{differing} differ: {', '.join(columns)}" if differing else "all as expected"))
    for side, *row in connection.execute(f"SELECT * FROM differing LIMIT {SHOWN}").fetchall():
        print(f"  {side:8} {', '.join(map(str, row))}")
    for table in ["found", "expected", "differing"]:
        connection.execute(f"DROP TABLE {table}")
    if not rows:
        print(f"{view}: nothing was compared")
    return differing + (not rows)


def unbalanced(connection, view):
    """Prints whether rows of a changelog stand neither once nor not at all; their number."""
    columns = [row[0] for row in connection.execute(f"DESCRIBE {view}_changes").fetchall() if not row[0].startswith("_")]
    (rows,), = connection.execute(f"""
        SELECT count(*) FROM (SELECT sum(_diff) AS times FROM {view}_changes
                              GROUP BY {', '.join(columns)} HAVING times NOT IN (0, 1))""").fetchall()
    if rows:
        print(f"{view}: {rows} rows stand neither once nor not at all")
    return rows


def main(bidstream, lake):
    connection = open_lake(lake, COUNTED)
    found = sum(unbalanced(connection, view) for view in CHANGELOGS)
    connection.execute(COUNTED)
    found += differences(connection, bidstream, lake, "metrics_hourly", "hour")
    found += differences(connection, bidstream, lake, "metrics_daily", "day")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
