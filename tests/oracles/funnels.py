"""Recomputes `funnels` of a lake of one shop's click stream from the file itself and compares every row. Exits 1 where they differ.

    funnels.py BIDSTREAM LAKE CSV

Each way through a funnel is walked by itself: from each first step on to the next event that is the next step. The lake's job has
the funnels that are written here. Needs Python 3.9 and nothing else.
"""

import bisect
import collections
import csv
import datetime
import gzip
import json
import statistics
import subprocess
import sys

SHOP = ["product_view", "add_to_cart", "shipping_details", "payment_details", "purchase"]
# Name: steps, the longest time in seconds, in how long a visitor counts once.
FUNNELS = {
    "checkout": (SHOP, None, "all"),
    "checkout by month": (SHOP, 7 * 86400, "month"),
    "back by day": (["purchase", "home"], 2 * 86400, "day"),
    "cart by week": (["add_to_cart", "add_to_cart", "purchase"], 3600, "week"),
}
EPOCH = datetime.datetime(1970, 1, 1)


def job():
    """The funnels as a job file has them; steps of one funnel have names of their own."""
    def steps(names):
        return [{"step": f"{place} {name}", "name": name} for place, name in enumerate(names, 1)]

    return [{"name": name, "steps": steps(names), "max_time": f"{most}s" if most else "unlimited", "per": per}
            for name, (names, most, per) in FUNNELS.items()]


def period_start(seconds, per):
    day = (EPOCH + datetime.timedelta(seconds=seconds)).replace(hour=0, minute=0, second=0)
    if per == "all":
        return ""
    if per == "week":
        day -= datetime.timedelta(days=day.weekday())
    if per == "month":
        day = day.replace(day=1)
    return day.isoformat(timespec="milliseconds") + "Z"


def funnel(users, names, most, per):
    """Of each period and step, of each user the shortest time."""
    fastest = collections.defaultdict(dict)
    for user, times in users.items():
        for first in times[names[0]]:
            period, at = period_start(first, per), first
            for step, name in enumerate(names):
                if step > 0:
                    later = bisect.bisect_right(times[name], at)
                    if later == len(times[name]):
                        break
                    at = times[name][later]
                if most is not None and at - first > most:
                    break
                so_far = fastest[period, step].get(user, at - first)
                fastest[period, step][user] = min(so_far, at - first)
    return fastest


def expected(users):
    rows = []
    for name, (names, most, per) in FUNNELS.items():
        fastest = funnel(users, names, most, per)
        for period in sorted({period for period, _ in fastest}):
            counts = [len(fastest.get((period, step), {})) for step in range(len(names))]
            for step in range(len(names)):
                seconds = fastest.get((period, step), {}).values()
                median = str(int(statistics.median(seconds))) if seconds else ""
                rows.append((name, period, str(step + 1), f"{step + 1} {names[step]}", str(counts[step]), str(counts[0]),
                             str(counts[max(step - 1, 0)]), median))
    return rows


def main(bidstream, lake, file):
    users = collections.defaultdict(lambda: collections.defaultdict(list))
    with gzip.open(file, "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            time = datetime.datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S")
            users[row["user_id"]][row["event"]].append(int((time - EPOCH).total_seconds()))
    for times in users.values():
        for of_name in times.values():
            of_name.sort()
    ask = [bidstream, "sql", "--lake", lake, "--format", "csv",
           "SELECT funnel, period_start, step, step_name, visitors, entrants, previous, median_seconds FROM funnels"]
    answer = subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = collections.Counter(map(tuple, list(csv.reader(answer.splitlines()))[1:]))
    wanted = collections.Counter(expected(users))
    extra, missing = found - wanted, wanted - found
    print(f"funnels: {sum(found.values())} rows, {sum(extra.values()) + sum(missing.values())} differ")
    for side, rows in [("found", extra), ("expected", missing)]:
        for row in sorted(rows)[:5]:
            print(f"  {side:8} {', '.join(row)}")
    for row in (row for row in wanted if row[0] == "checkout"):
        print("  " + ", ".join(row))
    sys.exit(bool(extra or missing or not found))


if __name__ == "__main__":
    if sys.argv[1:] == ["--job"]:
        print(json.dumps(job()))
    elif len(sys.argv) == 4:
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
