"""Recomputes `uniques`, `metrics_sliding` and `sessions` of a lake beside Bidstream and compares every row. Exits 1 where they differ.

    visitors.py BIDSTREAM LAKE          in DuckDB (lake.py) and Python; the views' parameters are the defaults
    visitors.py BIDSTREAM LAKE CSV      the sessions of a lake of one click stream, with the session_id that its file has

Needs DuckDB (requirements.txt).
"""

import collections
import csv
import datetime
import gzip
import itertools
import json
import subprocess
import sys
import tempfile

from lake import open_lake
from metrics import COUNTED

HOUR, DAY = 3_600_000, 86_400_000
GAP = 30 * 60_000
SHOWN = 5
DIMENSIONS = ["campaign", "source", "channel", "country"]
UNIQUES = {"tenant": [], "campaign": ["campaign"], "channel": ["channel"]}
SLIDING = {"tenant": [], "campaign": ["campaign"], "campaign+source": ["campaign", "source"], "channel": ["channel"]}
MEASURES = ["impressions", "clicks", "installs", "conversions", "revenue_micros", "spend_micros", "rows"]


def ask(bidstream, lake, statement):
    """The rows of a statement, as text."""
    with tempfile.TemporaryFile("w+", newline="") as answer:
        subprocess.run([bidstream, "sql", "--lake", lake, "--format", "csv", statement], stdout=answer, check=True)
        answer.seek(0)
        rows = csv.reader(answer)
        next(rows)
        return [tuple(row) for row in rows]


def cut_of(bidstream, lake):
    """The cut that tables are read at."""
    get = [bidstream, "get", "dead_letters", "--lake", lake, "topic=none", "--format", "json"]
    return json.loads(subprocess.run(get, stdout=subprocess.PIPE, check=True).stdout)["cut"]


def compared(view, found, expected):
    """Prints how rows differ from what is expected; whether they do."""
    found, expected = collections.Counter(found), collections.Counter(expected)
    extra, missing = found - expected, expected - found
    differing = sum(extra.values()) + sum(missing.values())
    print(f"{view}: {sum(found.values())} rows, " + (f"{differing} differ" if differing else "all as expected"))
    for side, rows in [("found", extra), ("expected", missing)]:
        for row in itertools.islice(rows, SHOWN):
            print(f"  {side:8} {', '.join(map(str, row))}")
    if not found:
        print(f"{view}: nothing was compared")
    return differing > 0 or not found


def text(value):
    """A value as `bidstream sql --format csv` writes it."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="milliseconds") + "Z"
    return value.hex() if isinstance(value, bytes) else str(value)


def group_columns(by):
    return ", ".join(of if of in by else f"NULL AS {of}" for of in DIMENSIONS)


def uniques(connection, cut):
    """Each window counts by itself, from the events of its days."""
    today = (cut - 900_001) // DAY * DAY
    rows = []
    for (grouping, by), kind in itertools.product(UNIQUES.items(), ["any", "impression", "click"]):
        wanted = ["true" if kind == "any" else f"type = '{kind}'"]
        if "campaign" in by:
            wanted.append("type IN ('impression', 'click')")
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE seen AS
            SELECT tenant, {group_columns(by)}, coalesce(user_id, device_id) AS visitor, epoch_ms(event_time) AS ms
            FROM events WHERE coalesce(user_id, device_id) IS NOT NULL AND type NOT IN ('cost', 'identify')
              AND {' AND '.join(wanted)}""")
        for period, width in [("hour", HOUR), ("day", DAY)]:
            rows += [(grouping, kind, period, *row) for row in connection.execute(f"""
                SELECT tenant, {', '.join(DIMENSIONS)}, epoch_ms(ms // {width} * {width}), count(DISTINCT visitor)
                FROM seen GROUP BY ALL""").fetchall()]
        for period, days in [("7d", 7), ("30d", 30)]:
            rows += [(grouping, kind, period, *row) for row in connection.execute(f"""
                SELECT tenant, {', '.join(DIMENSIONS)}, epoch_ms(day), count(DISTINCT visitor)
                FROM seen JOIN (SELECT unnest(range((SELECT min(ms) FROM seen) // {DAY} * {DAY}, {today}, {DAY})) AS day) AS ends
                  ON ms >= day - {(days - 1) * DAY} AND ms < day + {DAY}
                GROUP BY ALL""").fetchall()]
    return rows


def sliding(connection, cut):
    until, rows = (cut - 60_001) // HOUR * HOUR, []
    for (grouping, by), (period, days) in itertools.product(SLIDING.items(), [("7d", 7), ("30d", 30)]):
        rows += [(grouping, period, *row) for row in connection.execute(f"""
            SELECT tenant, {group_columns(by)}, currency, epoch_ms({until}),
              count(*) FILTER (WHERE kind = 'impression'), count(*) FILTER (WHERE kind = 'click'),
              count(*) FILTER (WHERE kind = 'install'), count(*) FILTER (WHERE kind = 'conversion'),
              sum(CASE WHEN kind = 'conversion' THEN micros ELSE 0 END), sum(CASE WHEN kind = 'cost' THEN micros ELSE 0 END),
              count(*)
            FROM counted WHERE epoch_ms(event_time) < {until} AND epoch_ms(event_time) >= {until - days * DAY}
            GROUP BY ALL""").fetchall()]
    return rows


def sessions(connection, cut):
    """One event after the other."""
    events = connection.execute("""
        SELECT tenant, app, coalesce(user_id, device_id), epoch_ms(event_time), event_id, type, channel, campaign
        FROM events WHERE coalesce(user_id, device_id) IS NOT NULL AND type NOT IN ('cost', 'identify')
        ORDER BY tenant, app, 3, event_time, event_id""").fetchall()
    told, begun, held = [], None, []

    def close():
        if held and (held[-1][3] + GAP) // 60_000 * 60_000 + 60_000 < cut:
            first_of = lambda at: next((event[at] for event in held if event[at] is not None), None)
            count = lambda *types: sum(event[5] in types for event in held)
            time = lambda ms: datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).replace(tzinfo=None)
            told.append((*held[0][:3], held[0][4], time(held[0][3]), time(held[-1][3]), len(held),
                         count("impression", "click"), count("conversion"), first_of(6), first_of(7)))

    for event in events:
        follows = bool(held) and held[-1][:3] == event[:3] and event[3] - held[-1][3] <= GAP
        # A chain that has lasted a day is cut at midnights.
        midnight = event[3] // DAY * DAY
        if not follows or (held[-1][3] < midnight and midnight - begun >= DAY):
            close()
            held = []
        if not follows:
            begun = event[3]
        held.append(event)
    close()
    return told


def main(bidstream, lake):
    connection = open_lake(lake, COUNTED)
    connection.execute(COUNTED)
    cut, dimensions = cut_of(bidstream, lake), ", ".join(DIMENSIONS)
    statements = {
        "uniques": f"grouping, kind, period, tenant, {dimensions}, bucket, visitors",
        "metrics_sliding": f"grouping, period, tenant, {dimensions}, currency, until, {', '.join(MEASURES)}",
        "sessions": "tenant, app, visitor, session_id, start_time, end_time, events, touches, conversions, channel, campaign",
    }
    expected = {"uniques": uniques, "metrics_sliding": sliding, "sessions": sessions}
    differ = False
    for view, columns in statements.items():
        rows = [tuple(map(text, row)) for row in expected[view](connection, cut)]
        differ |= compared(view, ask(bidstream, lake, f"SELECT {columns} FROM {view}"), rows)
    sys.exit(differ)


def click_stream(bidstream, lake, file):
    of_file = collections.defaultdict(list)
    with gzip.open(file, "rt", newline="") as rows:
        for row in csv.DictReader(rows):
            of_file[row["session_id"]].append(row["timestamp"].replace(" ", "T") + ".000Z")
    # The first row of a session is a click besides.
    expected = [(min(times), max(times), str(len(times) + 1)) for times in of_file.values()]
    sys.exit(compared("sessions", ask(bidstream, lake, "SELECT start_time, end_time, events FROM sessions"), expected))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(*sys.argv[1:])
    elif len(sys.argv) == 4:
        click_stream(*sys.argv[1:])
    else:
        sys.exit(__doc__)
