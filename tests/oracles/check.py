"""Compares what Bidstream wrote with `attribution.py`, row by row. Exits 1 where they differ.

    check.py lake BIDSTREAM LAKE        a lake, from its own `events`: installs and credits by their ids
    check.py shop BIDSTREAM FILE MAPPING   a shop's click stream, read here from the file itself
    check.py clicks BIDSTREAM [SEED]    a mobile click log written here the untidy way that networks write them
    check.py paths BIDSTREAM [SEED]     journeys known by device, by user or by both, with long paths and odd amounts

Needs Python 3.9 and nothing else.
"""

import csv
import datetime
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile

from attribution import DAY_MS, HOUR_MS, Params, attribute, differences

BLANK = {"type": None, "tenant": "t", "app": "a", "event_id": "", "subject": "", "event_time": 0, "user_id": None,
         "device_id": None, "click_id": None, "fingerprint": None, "channel": None, "campaign": None, "capped": 0,
         "revenue_micros": None}
INSTALLS = ["event_time", "reinstall", "method", "candidates", "touch_event_time", "channel", "path", "path_dropped"]
CREDITS = ["event_time", "model", "touch_event_time", "method", "credit_ppm", "revenue_micros", "path_dropped"]


def query(bidstream, lake, sql):
    done = subprocess.run([bidstream, "sql", "--lake", lake, "--format", "json", sql], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{sql}: {done.stderr}")
    return json.loads(done.stdout)


def run_import(bidstream, file, mapping, lake, *more):
    done = subprocess.run([bidstream, "import", file, "--mapping", mapping, "--lake", lake, *more],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"import of {file}: exit {done.returncode}\n{done.stdout}{done.stderr}")


def ms(text):
    """The milliseconds of a time as `sql` prints it."""
    if text is None:
        return None
    time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round(time.timestamp() * 1000)


def written(bidstream, lake):
    """What the lake holds, with paths as `attribution.py` makes them."""
    names = {row["symbol"]: row["name"] for row in query(bidstream, lake, "SELECT symbol, name FROM raw.symbols")}
    installs = query(bidstream, lake, "SELECT * FROM raw.installs")
    for row in installs:
        row["path"] = [(step["event_time"], step["event_id"], step["method"]) for step in row["path"] or []]
        row["channel"] = names.get(row["channel"])
    return installs, query(bidstream, lake, "SELECT * FROM raw.credits"), names


def compare(installs, credits, found_installs, found_credits, by_id):
    ids = ["event_id", "touch_event_id"] if by_id else []
    more = ["subject", "install_event_id"] if by_id else []
    if not by_id:
        for row in installs + found_installs:
            row["path"] = [(time, method) for time, _, method in row["path"]]
    return (differences("installs", installs, found_installs, INSTALLS + ids)
            + differences("credits", credits, found_credits, CREDITS + ids + more))


def check_lake(bidstream, lake):
    events = query(bidstream, lake, "SELECT * FROM raw.events")
    found_installs, found_credits, names = written(bidstream, lake)
    for event in events:
        event["channel"] = names.get(event["channel"])
    installs, credits = attribute(events)
    return compare(installs, credits, found_installs, found_credits, True)


def check_shop(bidstream, file, mapping):
    events, sessions = [], set()
    opened = gzip.open(file, "rt", newline="") if file.endswith(".gz") else open(file, newline="")
    with opened as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            at = datetime.datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
            event = {**BLANK, "event_time": round(at.timestamp() * 1000), "user_id": row["user_id"],
                     "subject": row["user_id"], "event_id": f"{number:08}"}
            if row["session_id"] and row["session_id"] not in sessions:
                sessions.add(row["session_id"])
                events.append({**event, "type": "click", "channel": row["acquisition_channel"] or None})
            if row["event"] == "purchase":
                events.append({**event, "type": "conversion"})
    installs, credits = attribute(events)
    with tempfile.TemporaryDirectory() as lake:
        run_import(bidstream, file, mapping, f"{lake}/lake")
        found_installs, found_credits, _ = written(bidstream, f"{lake}/lake")
    return compare(installs, credits, found_installs, found_credits, False)


class Dice(random.Random):
    """Chances of an untidy world."""

    def maybe(self, chance, value, other=None):
        return value if self.random() < chance else other

    def uuid(self):
        text = f"{self.getrandbits(128):032x}"
        return "-".join([text[:8], text[8:12], text[12:16], text[16:20], text[20:]])

    def spelled(self, uuid):
        """One advertising id in one of the ways in which it is written."""
        return self.choice([uuid, uuid.upper(), uuid.replace("-", ""), uuid.replace("-", "").upper(), "{%s}" % uuid])


NOTHING = ["", "null", "(null)", "NaN", "N/A", "none", "undefined", "unknown", "(not set)", "0", "limited",
           "00000000-0000-0000-0000-000000000000", "00000000000000000000000000000000", "{gaid}", "%%DEVICE%%", "__IDFA__",
           "${DEVICE_ID}", "[DEVICE]", "<device>", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
REFERRERS = ["", "https://www.google.com/", "utm_source=google-play&utm_medium=organic",
             "utm_source=(not%20set)&utm_medium=(not%20set)", "https://shop.example/a?b=1#c", "gclid={gclid}",
             "android-app://com.example.app/"]
T0 = 1_772_352_000_000  # 2026-03-01


def stamp(dice, time_ms):
    at = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.timezone.utc)
    text = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03}"
    return dice.choice([text + "Z", text + "+00:00", text + "+0000", text.replace("T", " ") + "Z", text + "+00", text])


DEVICE_MAPPING = """\
format: csv
tenant: t
event_time: { column: ts, format: rfc3339 }
emit:
  - { type: click, when: { kind: [click] }, set: { app: app, user: user, device: device, click_id: click_id, referrer: referrer, ip: ip, os: os, os_version: version, device_model: model, channel: channel } }
  - { type: impression, when: { kind: [view] }, set: { app: app, user: user, device: device, click_id: click_id, referrer: referrer, ip: ip, os: os, os_version: version, device_model: model, channel: channel } }
  - { type: install, when: { kind: [install] }, set: { app: app, user: user, device: device, click_id: click_id, referrer: referrer, ip: ip, os: os, os_version: version, device_model: model } }
  - { type: conversion, when: { kind: [buy] }, set: { app: app, user: user, device: device, click_id: click_id, referrer: referrer, ip: ip, os: os, os_version: version, device_model: model, name: { const: buy }, revenue_micros: { column: revenue, unit: units }, currency: { const: EUR } } }
"""
COLUMNS = ["ts", "kind", "app", "user", "device", "click_id", "referrer", "ip", "os", "version", "model", "channel", "revenue"]


def written_row(dice, event, ip, model):
    """The event as a network would write it: blanks and placeholders for what is not known, ids spelled as they please."""
    click, referrer = event["click_id"], dice.choice(REFERRERS)
    if click and dice.random() < 0.4:
        # The id comes in the referrer alone, or in both, then with another's id there: the explicit one wins.
        referrer = f"utm_source=net&utm_medium=cpc&GCLID={click}&utm_content=x"
        click = dice.choice(["", "{gclid}", "null"])
    elif click and dice.random() < 0.1:
        referrer = "gclid=somebody-elses"
    return {
        "ts": stamp(dice, event["event_time"]), "kind": event["type"].replace("impression", "view").replace("conversion", "buy"),
        "app": event["app"], "user": event["user_id"] or dice.choice(NOTHING[:12]),
        "device": dice.spelled(event["device_id"]) if event["device_id"] else dice.choice(NOTHING),
        "click_id": click or dice.choice(["", "%%CLICK_ID%%", "{click_id}", "__CLICKID__", "null"]), "referrer": referrer,
        "ip": dice.choice([ip, ip + ":443", f"{ip}, 10.0.0.1", f'"{ip}"']) if ip else dice.choice(["", "unknown", "10.1.2.3"]),
        "os": dice.choice(["iOS", "ios", "IOS"]), "version": dice.choice(["17.1", "17.4.1"]), "model": model,
        "channel": event["channel"] or "", "revenue": "",
    }


def write_and_check(bidstream, rows, events, params=None, more=()):
    installs, credits = attribute(events, params)
    with tempfile.TemporaryDirectory() as folder:
        file, mapping = os.path.join(folder, "log.csv"), os.path.join(folder, "mapping.yaml")
        with open(file, "w", newline="") as out:
            writer = csv.DictWriter(out, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        with open(mapping, "w") as out:
            out.write(DEVICE_MAPPING)
        run_import(bidstream, file, mapping, f"{folder}/lake", *more)
        found_installs, found_credits, _ = written(bidstream, f"{folder}/lake")
        events_found = query(bidstream, f"{folder}/lake", "SELECT count(*) AS n FROM events")[0]["n"]
    if events_found != len(events):
        print(f"events: {events_found} of {len(events)}")
        return 1
    return compare(installs, credits, found_installs, found_credits, False)


def check_clicks(bidstream, seed):
    """Clicks and installs: devices, click ids in columns and referrers, and fingerprints shared by a few."""
    dice, rows, events = Dice(seed), [], []
    ips = [f"203.0.113.{n}" for n in range(1, 40)]
    people = [(dice.maybe(0.8, dice.uuid()), dice.choice(ips), dice.choice(["iPhone15,2", "iPhone14,5"])) for _ in range(300)]
    for number in range(3_000):
        device, ip, model = dice.choice(people)
        kind = dice.choices(["click", "impression", "install"], [5, 2, 1])[0]
        # One of a few hundred clicks, that the install names again.
        click = dice.maybe(0.3, f"Cj0K-{dice.randrange(400)}")
        ip = dice.maybe(0.8, ip)
        event = {**BLANK, "type": kind, "app": dice.choice(["game", "chat"]),
                 "event_time": T0 + dice.randrange(10 * DAY_MS // 7) * 7 + number % 7, "event_id": f"{number:08}",
                 "device_id": device, "click_id": click, "channel": dice.choice(["search", "social", "direct"]),
                 "fingerprint": (ip, "ios", "17", model) if ip else None}
        if kind == "install":
            event["channel"] = None
        event["subject"] = device or click or ""
        rows.append(written_row(dice, event, ip, model))
        events.append(event)
    times = [event["event_time"] for event in events]
    keep = [at for at in range(len(events)) if times.count(times[at]) == 1]
    return write_and_check(bidstream, [rows[at] for at in keep], [events[at] for at in keep])


def check_paths(bidstream, seed):
    """Journeys: touches known by device, user or both, purchases known otherwise, installs of shared devices, long paths."""
    dice, rows, events, times = Dice(seed), [], [], set()
    people = [(f"user-{n}", [dice.uuid() for _ in range(dice.randrange(1, 4))]) for n in range(40)]
    shared = [dice.uuid() for _ in range(4)]
    for number in range(4_000):
        # The first person is a heavy one, whose paths are longer than what is kept.
        user, devices = people[0] if number % 9 == 0 else dice.choice(people)
        device = dice.choice(shared) if dice.random() < 0.1 else dice.choice(devices)
        known = dice.choice(["both", "user", "device", "both", "neither" if number % 5 == 0 else "user"])
        kind = dice.choices(["click", "impression", "install", "conversion"], [12, 6, 1, 3])[0]
        time = T0 + dice.randrange(12 * DAY_MS)
        if time in times:
            continue
        times.add(time)
        event = {**BLANK, "type": kind, "app": "shop", "event_time": time, "event_id": f"{number:08}",
                 "user_id": user if known in ("both", "user") else None,
                 "device_id": device if known in ("both", "device") else None,
                 "channel": dice.choice(["search", "social", "direct", "email"]) if kind in ("click", "impression") else None}
        event["subject"] = event["user_id"] or event["device_id"] or ""
        row = written_row(dice, event, None, "")
        row["referrer"] = dice.choice(REFERRERS)
        if kind == "conversion" and dice.random() < 0.8:
            micros = dice.randrange(-20_000_000, 90_000_000)
            noise = dice.choice(["", "0000004", "00000000000000006"])
            row["revenue"] = f"{'-' if micros < 0 else ''}{abs(micros) // 1_000_000}.{abs(micros) % 1_000_000:06}{noise}"
            event["revenue_micros"] = micros
        rows.append(row)
        events.append(event)
    return write_and_check(bidstream, rows, events)


def main(arguments):
    what, bidstream, *rest = arguments
    checks = {"lake": check_lake, "shop": check_shop}
    seeded = {"clicks": check_clicks, "paths": check_paths}
    found = checks[what](bidstream, *rest) if what in checks else seeded[what](bidstream, int(rest[0]) if rest else 7)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1:])
