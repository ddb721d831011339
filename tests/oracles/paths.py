"""Recomputes `paths` of a lake of one shop's click stream from the file itself and compares every row. Exits 1 where they differ.

    paths.py BIDSTREAM LAKE CSV

The first row of a session is a click of the channel that brought the user, each `purchase` a conversion. A user's clicks since its
conversion before, and at most 30 days before, are the path of a conversion; a click that neither a click nor a conversion follows
within 30 days ends a path that led to nothing. Needs Python 3.9 and nothing else.
"""

import collections
import csv
import datetime
import gzip
import json
import subprocess
import sys

EPOCH = datetime.datetime(1970, 1, 1)
IDLE = 30 * 86400


def runs(clicks):
    """The channels of clicks, each once where several follow each other."""
    channels = [channel for _, channel in sorted(clicks)]
    return tuple(channel for place, channel in enumerate(channels) if place == 0 or channels[place - 1] != channel)


def walk(clicks, purchases):
    """The paths of a user: when each ended, what it led to, its channels and how many clicks it has."""
    clicks, found = sorted(clicks), []
    since = None
    for purchase in sorted(purchases) + [None]:
        # A click in the second of a purchase belongs to it.
        journey = [click for click in clicks if (since is None or click[0] > since) and (purchase is None or click[0] <= purchase)]
        ends = [time for time, _ in journey[1:]] + ([purchase] if purchase is not None else [])
        for place, (time, _) in enumerate(journey):
            if place >= len(ends) or ends[place] - time > IDLE:
                led = [click for click in journey[:place + 1] if click[0] >= time - IDLE]
                found.append((time, "null", runs(led), len(led)))
        if purchase is not None:
            led = [click for click in journey if click[0] >= purchase - IDLE]
            found.append((purchase, "conversion", runs(led), len(led)))
        since = purchase
    return found


def main(bidstream, lake, file):
    clicks, purchases, sessions = collections.defaultdict(list), collections.defaultdict(list), set()
    with gzip.open(file, "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            time = int((datetime.datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S") - EPOCH).total_seconds())
            if row["session_id"] not in sessions:
                sessions.add(row["session_id"])
                clicks[row["user_id"]].append((time, row["acquisition_channel"]))
            if row["event"] == "purchase":
                purchases[row["user_id"]].append(time)
    wanted = collections.Counter(path for user in clicks for path in walk(clicks[user], purchases[user]))
    ask = [bidstream, "sql", "--lake", lake, "--format", "json", "SELECT path_end, outcome, channels, path_touches FROM paths"]
    found = collections.Counter()
    for row in json.loads(subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout):
        time = int((datetime.datetime.strptime(row["path_end"], "%Y-%m-%dT%H:%M:%S.000Z") - EPOCH).total_seconds())
        found[time, row["outcome"], tuple(run["channel"] for run in row["channels"]), row["path_touches"]] += 1
    extra, missing = found - wanted, wanted - found
    print(f"paths: {sum(found.values())} rows, {sum(extra.values()) + sum(missing.values())} differ")
    for side, rows in [("found", extra), ("expected", missing)]:
        for row in sorted(rows)[:5]:
            print(f"  {side:8} {row}")
    print("  " + ", ".join(f"{outcome} {sum(count for path, count in wanted.items() if path[1] == outcome)}"
                           for outcome in ("conversion", "null")))
    sys.exit(bool(extra or missing or not found))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
