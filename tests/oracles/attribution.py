"""Attribution recomputed in plain Python, from what the documentation says and from nothing of the engine.

It shares no code, no SQL and no ids with Bidstream: a slow, obvious program that the tests compare row by row with what
the engine wrote. An event is a dict with the columns of `events`; absent values are None; ids may be any values that
compare and order (hex texts of equal length here); times are milliseconds, amounts micros.
"""

from collections import defaultdict
from decimal import Decimal, getcontext

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
MODELS = ["first", "last", "last_non_direct", "linear", "time_decay", "position"]
PATH_TOUCHES_MAX = 128
CAPPED_PERSON, CAPPED_CLICK, CAPPED_FINGERPRINT, CAPPED_USER = 1, 2, 4, 8
RANK = {"person": 1, "click_id": 2, "fingerprint": 3}


class Params:
    """The parameters of the views, with their defaults."""

    def __init__(self, click_window=7 * DAY_MS, view_window=DAY_MS, fingerprint_window=DAY_MS,
                 lifetime=365 * DAY_MS, half_life=7 * DAY_MS, direct=("direct",)):
        self.click_window, self.view_window, self.fingerprint_window = click_window, view_window, fingerprint_window
        self.lifetime, self.half_life_hours, self.direct = lifetime, half_life // HOUR_MS, set(direct)

    def window(self, touch):
        return self.click_window if touch["type"] == "click" else self.view_window


def order(event):
    return (event["event_time"], event["event_id"], event["subject"])


def scope(event):
    return (event["tenant"], event["app"])


class Touches:
    """Touches by each of their keys within an account and app."""

    def __init__(self, events):
        self.by = defaultdict(list)
        for touch in events:
            if touch["type"] in ("click", "impression"):
                for key in ("device_id", "user_id", "click_id", "fingerprint"):
                    if touch[key] is not None:
                        self.by[key, scope(touch), touch[key]].append(touch)

    def like(self, target, key):
        return self.by[key, scope(target), target[key]] if target[key] is not None else []


def eligible(target, touches, params):
    """The touches that can be credited: a list of (touch, method), each touch once, by its best method; and those that
    the fingerprint finds."""
    found = {}

    def offer(touch, method):
        known = found.get(id(touch))
        if known is None or RANK[method] < RANK[known[1]]:
            found[id(touch)] = (touch, method)

    def age(touch):
        return target["event_time"] - touch["event_time"]

    for touch in touches.like(target, "device_id"):
        if 0 <= age(touch) <= params.window(touch) and not touch["capped"] & CAPPED_PERSON:
            offer(touch, "person")
    for touch in touches.like(target, "user_id"):
        # A hot person is no candidate by its user either; a hot user beside a device has a bit of its own.
        if 0 <= age(touch) <= params.window(touch) and not touch["capped"] & (CAPPED_PERSON | CAPPED_USER):
            offer(touch, "person")
    for touch in touches.like(target, "click_id"):
        if 0 <= age(touch) <= params.window(touch) and not touch["capped"] & CAPPED_CLICK:
            offer(touch, "click_id")
    near = [touch for touch in touches.like(target, "fingerprint")
            if 0 <= age(touch) <= min(params.window(touch), params.fingerprint_window)]
    by_fingerprint = []
    if not any(touch["capped"] & CAPPED_FINGERPRINT for touch in near):
        for touch in near:
            devices = {target["device_id"], touch["device_id"]} - {None}
            if len(devices) < 2:
                by_fingerprint.append(touch)
                offer(touch, "fingerprint")
    return sorted(found.values(), key=lambda pair: order(pair[0])), by_fingerprint


def path_of(pairs):
    """The touches that a path keeps, the first and the latest, and how many between them it leaves out."""
    dropped = max(0, len(pairs) - PATH_TOUCHES_MAX)
    kept = pairs if dropped == 0 else pairs[:1] + pairs[dropped + 1:]
    return kept, dropped


def winner_of(pairs):
    def rank(pair):
        touch, method = pair
        return (touch["type"] == "click", method != "fingerprint", touch["event_time"], -RANK[method],
                touch["event_id"], touch["subject"])
    return max(pairs, key=rank) if pairs else None


def candidates_of(winner, by_fingerprint):
    if winner is None or winner[1] != "fingerprint":
        return 1
    persons = [touch["device_id"] or touch["user_id"] for touch in by_fingerprint]
    return len({person for person in persons if person}) + sum(1 for person in persons if not person)


def reinstalls(installs, params):
    """The installs that follow another of the same device, or of the same user where one of the two has no device."""
    by_device, by_user, again = defaultdict(list), defaultdict(list), set()
    for install in sorted(installs, key=order):
        device, user, at = install["device_id"], install["user_id"], install["event_time"]
        earlier = by_device[scope(install), device] if device else []
        earlier = earlier + [other for other in (by_user[scope(install), user] if user else [])
                             if device is None or other["device_id"] is None]
        if any(at - other["event_time"] <= params.lifetime for other in earlier):
            again.add(id(install))
        if device:
            by_device[scope(install), device].append(install)
        if user:
            by_user[scope(install), user].append(install)
    return again


def governor(conversion, installs_by, params):
    """The install whose path a conversion follows: the latest of its device; only if there is none, of its user."""
    for key in ("device_id", "user_id"):
        if conversion[key] is None:
            continue
        within = [install for install in installs_by[key, scope(conversion), conversion[key]]
                  if 0 <= conversion["event_time"] - install["event_time"] <= params.lifetime]
        if within:
            return max(within, key=order)
    return None


def decay_table(hours):
    getcontext().prec = 60
    half = Decimal(1) / Decimal(2)
    return [int((Decimal(2 ** 20) * half ** (Decimal(k) / Decimal(hours))).to_integral_value(rounding="ROUND_HALF_UP"))
            for k in range(hours)]


def weights(model, path, reference, params, table):
    last = len(path) - 1

    def only(place):
        return [int(at == place) for at in range(len(path))]

    if model == "first":
        return only(0)
    if model == "last":
        return only(last)
    if model == "last_non_direct":
        return only(max((at for at, (touch, _) in enumerate(path) if touch["channel"] not in params.direct), default=last))
    if model == "linear":
        return [1] * len(path)
    if model == "time_decay":
        hours = [(reference - touch["event_time"]) // HOUR_MS for touch, _ in path]
        return [max(1, table[h % len(table)] >> (h // len(table))) for h in hours]
    if len(path) <= 2:
        return [1] * len(path)
    return [2 * (len(path) - 2) if at in (0, last) else 1 for at in range(len(path))]


def split(amount, shares):
    """An amount by shares: floors first, what is left one unit each to the largest remainders, the earlier first."""
    total, size = sum(shares), abs(amount)
    parts = [size * share // total for share in shares]
    turns = sorted((at for at, share in enumerate(shares) if share), key=lambda at: (-(size * shares[at] % total), at))
    for at in turns[:size - sum(parts)]:
        parts[at] += 1
    return [part if amount >= 0 else -part for part in parts]


def attribute(events, params=None):
    """The rows of `installs` and of `credits` that these events make, as lists of dicts."""
    params = params or Params()
    table = decay_table(params.half_life_hours)
    touches = Touches(events)
    installs = [event for event in events if event["type"] == "install"]
    again = reinstalls(installs, params)
    install_rows, paths, installs_by = [], {}, defaultdict(list)
    for install in installs:
        pairs, by_fingerprint = eligible(install, touches, params)
        winner = winner_of(pairs)
        path, dropped = path_of(pairs) if id(install) not in again else ([], 0)
        paths[id(install)] = (path, dropped)
        if id(install) not in again:
            for key in ("device_id", "user_id"):
                if install[key] is not None:
                    installs_by[key, scope(install), install[key]].append(install)
        touch = winner[0] if winner else None
        install_rows.append({
            "event_time": install["event_time"], "event_id": install["event_id"], "subject": install["subject"],
            "reinstall": id(install) in again, "method": winner[1] if winner else "organic",
            "candidates": candidates_of(winner, by_fingerprint),
            "touch_event_time": touch and touch["event_time"], "touch_event_id": touch and touch["event_id"],
            "channel": touch and touch["channel"], "campaign": touch and touch["campaign"],
            "path": [(step["event_time"], step["event_id"], method) for step, method in path], "path_dropped": dropped,
        })
    credit_rows = []
    for conversion in (event for event in events if event["type"] == "conversion"):
        install = governor(conversion, installs_by, params)
        if install:
            (path, dropped), reference = paths[id(install)], install["event_time"]
        else:
            (path, dropped), reference = path_of(eligible(conversion, touches, params)[0]), conversion["event_time"]
        row = {"event_time": conversion["event_time"], "event_id": conversion["event_id"],
               "subject": conversion["subject"], "install_event_id": install and install["event_id"],
               "path_dropped": dropped if path else 0}
        revenue = conversion["revenue_micros"]
        for model in MODELS:
            if not path:
                credit_rows.append({**row, "model": model, "touch_event_time": None, "touch_event_id": None,
                                    "method": None, "credit_ppm": 1_000_000, "revenue_micros": revenue})
                continue
            shares = weights(model, path, reference, params, table)
            ppm = split(1_000_000, shares)
            money = split(revenue, shares) if revenue is not None else [None] * len(path)
            for at, (touch, method) in enumerate(path):
                if shares[at]:
                    credit_rows.append({**row, "model": model, "touch_event_time": touch["event_time"],
                                        "touch_event_id": touch["event_id"], "method": method,
                                        "credit_ppm": ppm[at], "revenue_micros": money[at]})
    return install_rows, credit_rows


def canonical(rows, columns):
    """Rows as sorted tuples of texts, to compare as multisets."""
    return sorted(tuple(repr(row[column]) for column in columns) for row in rows)


def differences(name, expected, found, columns):
    """Prints how two multisets of rows differ; the number of differences."""
    expected, found = canonical(expected, columns), canonical(found, columns)
    if expected == found:
        print(f"{name}: {len(found)} rows, all as expected")
        return 0
    missing, extra = list(expected), []
    at = 0
    missing = []
    expected_at = 0
    while expected_at < len(expected) or at < len(found):
        if at == len(found) or (expected_at < len(expected) and expected[expected_at] < found[at]):
            missing.append(expected[expected_at])
            expected_at += 1
        elif expected_at == len(expected) or found[at] < expected[expected_at]:
            extra.append(found[at])
            at += 1
        else:
            at, expected_at = at + 1, expected_at + 1
    print(f"{name}: {len(missing)} rows missing, {len(extra)} unexpected; {columns}")
    for what, rows in (("missing", missing), ("unexpected", extra)):
        for row in rows[:5]:
            print(f"  {what}: {row}")
    return len(missing) + len(extra)
