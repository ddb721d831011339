"""Asks a lake ten questions of an analyst, through `bidstream sql` and through DuckDB over the same Parquet files (lake.py),
and compares the answers value by value. Prints what each took; exits 1 where they differ.

    questions.py BIDSTREAM LAKE [--format json]      BIDSTREAM is the program, LAKE was made by `bidstream demo`

Each question is asked in a process of its own: seconds are from its start to its end, memory is its peak. The ratio is of
CPU seconds, which other programs of the machine disturb least. Needs DuckDB for the Python that runs it (requirements.txt).
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time

# By name: the statement, which both sides are asked word by word.
QUESTIONS = {
    "ROAS by campaign and model": """
        SELECT campaign, model, currency, conversions, revenue, cost, revenue / cost AS roas
        FROM (SELECT campaign, model, currency, sum(credit_ppm) / 1e6 AS conversions, sum(revenue_micros) / 1e6 AS revenue
              FROM credits GROUP BY campaign, model, currency) AS earned
        LEFT JOIN (SELECT campaign, currency, sum(cost_micros) / 1e6 AS cost
                   FROM costs GROUP BY campaign, currency) AS spent USING (campaign, currency)
        ORDER BY campaign, model, currency""",
    "CTR by publisher and day": """
        SELECT source, CAST(event_time AS DATE) AS day, count(*) FILTER (WHERE type = 'impression') AS impressions,
          count(*) FILTER (WHERE type = 'click') AS clicks,
          count(*) FILTER (WHERE type = 'click') / nullif(count(*) FILTER (WHERE type = 'impression') * 1e0, 0) AS ctr
        FROM events WHERE type IN ('impression', 'click')
        GROUP BY source, CAST(event_time AS DATE) ORDER BY source, day""",
    "top paths": """
        SELECT path, currency, count(*) AS conversions, sum(revenue_micros) / 1e6 AS revenue
        FROM (SELECT string_agg(channel, ' > ' ORDER BY touch_event_time, touch_event_id, touch_subject) AS path,
                currency, sum(revenue_micros) AS revenue_micros
              FROM credits WHERE model = 'linear'
              GROUP BY tenant, subject, event_id, event_time, currency) AS conversions
        GROUP BY path, currency ORDER BY conversions DESC, path, currency LIMIT 20""",
    "late arrivals by topic": """
        SELECT topic, verdict, count(*) AS records,
          count(*) FILTER (WHERE arrival > event_time + INTERVAL '1 hour') AS over_an_hour,
          count(*) FILTER (WHERE arrival > event_time + INTERVAL '1 day') AS over_a_day, max(arrival) AS last_arrival
        FROM records GROUP BY topic, verdict ORDER BY topic, verdict""",
    "time from touch to install": """
        SELECT method, floor(ctit_ms / 6e4) AS minutes, count(*) AS installs, avg(candidates) AS candidates
        FROM installs WHERE NOT reinstall GROUP BY method, floor(ctit_ms / 6e4) ORDER BY method, minutes""",
    "credits with costs by day": """
        SELECT coalesce(earned.day, spent.day) AS day, coalesce(earned.campaign, spent.campaign) AS campaign,
          coalesce(earned.currency, spent.currency) AS currency, conversions, revenue, cost, revenue / cost AS roas
        FROM (SELECT CAST(event_time AS DATE) AS day, campaign, currency, sum(credit_ppm) / 1e6 AS conversions,
                sum(revenue_micros) / 1e6 AS revenue
              FROM credits WHERE model = 'last'
              GROUP BY CAST(event_time AS DATE), campaign, currency) AS earned
        FULL JOIN (SELECT CAST(hour AS DATE) AS day, campaign, currency, sum(cost_micros) / 1e6 AS cost
                   FROM costs GROUP BY CAST(hour AS DATE), campaign, currency) AS spent
          ON earned.day = spent.day AND earned.campaign = spent.campaign AND earned.currency = spent.currency
        ORDER BY 1, 2, 3""",
    "funnel by hand": """
        SELECT count(*) AS devices, count(seen) AS saw, count(*) FILTER (WHERE clicked > seen) AS clicked,
          count(*) FILTER (WHERE clicked > seen AND installed > clicked) AS installed,
          count(*) FILTER (WHERE clicked > seen AND installed > clicked AND bought > installed) AS bought
        FROM (SELECT tenant, device_id, min(CASE WHEN type = 'impression' THEN event_time END) AS seen,
                max(CASE WHEN type = 'click' THEN event_time END) AS clicked,
                max(CASE WHEN type = 'install' THEN event_time END) AS installed,
                max(CASE WHEN type = 'conversion' THEN event_time END) AS bought
              FROM events WHERE device_id IS NOT NULL GROUP BY tenant, device_id) AS devices""",
    "people by channel and day": """
        SELECT channel, CAST(event_time AS DATE) AS day, count(*) AS touches,
          count(DISTINCT coalesce(device_id, user_id)) AS people
        FROM events WHERE type IN ('impression', 'click')
        GROUP BY channel, CAST(event_time AS DATE) ORDER BY channel, day""",
    "one campaign": """
        SELECT model, count(*) AS touches, sum(credit_ppm) / 1e6 AS conversions, sum(revenue_micros) / 1e6 AS revenue
        FROM credits WHERE campaign = 'search-2' GROUP BY model ORDER BY model""",
    "the last hour": """
        SELECT type, country, count(*) AS events, count(DISTINCT subject) AS subjects, max(event_time) AS latest
        FROM events WHERE event_time > TIMESTAMP '{last_hour}' GROUP BY type, country ORDER BY type, country""",
}
# When that hour began.
LAST_HOUR = "SELECT max(event_time) - INTERVAL '1 hour' AS last_hour FROM records WHERE verdict = 'ok'"


def ask(command, statement=""):
    """The rows that a process of its own answers, and what it took."""
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        asked.write(statement.encode())
        asked.seek(0)
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=asked, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)}: exit {process.returncode}\n{statement}\n{errors.read().decode()}")
        peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        took = {"seconds": round(seconds, 3), "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3), "peak_mib": round(peak)}
        return json.load(out), took


def same(one, other):
    """Whether two values are the same; numbers may differ by a part in 10^9."""
    numbers = [type(value) in (int, float) for value in (one, other)]
    return math.isclose(one, other, rel_tol=1e-9) if all(numbers) else not any(numbers) and one == other


def difference(found, expected):
    """What the first row is that differs between two answers; none where they are the same."""
    for row in range(max(len(found), len(expected))):
        ours = found[row] if row < len(found) else None
        theirs = expected[row] if row < len(expected) else None
        if ours is None or theirs is None or list(ours) != list(theirs) or not all(map(same, ours.values(), theirs.values())):
            return f"row {row + 1}\n  bidstream: {json.dumps(ours)}\n  duckdb:    {json.dumps(theirs)}"
    return None if found else "no rows: nothing was compared"


def main(bidstream, lake, as_json):
    duckdb = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lake.py"), lake]
    last_hour = ask(duckdb, LAST_HOUR)[0][0]["last_hour"].replace("T", " ").rstrip("Z")
    results = []
    if not as_json:
        print(f"{'':28}{'':>7} |{'bidstream':>11}{'':16} |{'duckdb':>10}{'':17} | CPU\n{'question':28}{'rows':>7} |"
              + f"{'s':>7}{'CPU s':>9}{'peak MiB':>11} |" * 2 + " ratio")
    for name, statement in QUESTIONS.items():
        statement = statement.replace("{last_hour}", last_hour)
        found, ours = ask([bidstream, "sql", "--lake", lake, "--format", "json", statement])
        expected, theirs = ask(duckdb, statement)
        ratio = round(ours["cpu_seconds"] / theirs["cpu_seconds"], 2)
        results.append({"question": name, "rows": len(found), "bidstream": ours, "duckdb": theirs, "cpu_ratio": ratio,
                        "difference": difference(found, expected)})
        if not as_json:
            costs = [f"{took['seconds']:7.2f}{took['cpu_seconds']:9.2f}{took['peak_mib']:11}" for took in (ours, theirs)]
            print(f"{name:28}{len(found):7} |{costs[0]} |{costs[1]} |{ratio:6.2f}", flush=True)
            if results[-1]["difference"]:
                print(f"  DIFFERS at {results[-1]['difference']}", flush=True)
    if as_json:
        print(json.dumps(results, indent=2))
    sys.exit(1 if any(result["difference"] for result in results) else 0)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    as_json = arguments[2:] == ["--format", "json"]
    if len(arguments) != 2 and not as_json:
        sys.exit(__doc__)
    main(arguments[0], arguments[1], as_json)
