#!/usr/bin/env python3
"""The whole pipeline in numbers: Apache Kafka -> decode -> attribution -> Delta, one broker on the same machine.

  benchmarks/pipeline.py throughput   reads what is in the topic as fast as it can, then restarts: recovery too
  benchmarks/pipeline.py freshness    reads along at 50,000 events/s: arrival -> readable in the published arrangement
  benchmarks/pipeline.py commit       reads along at 100,000 events/s, commits of 5 s: how long they stop the dataflow
  benchmarks/pipeline.py against      throughput of this build and of another, --other BINARY, in turns on one topic: the ratio
  benchmarks/pipeline.py import       a CSV file of --events rows into a lake, both passes; with --other in turns as well
  benchmarks/pipeline.py windows      replays --days of history as if live: memory, and files with housekeeping, over
                                      many windows; --picture FILE.svg draws both

Needs `cargo build --release --bin bidstream`, Java and Maven. Everything it starts listens on loopback, and it ends what
it started. --events, --users, --workers and --seconds change the size; --format json prints for machines.
"""
import argparse, json, os, random, re, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KAFKA = os.path.join(ROOT, "tests", "kafka", "kafka.sh")
PARTITIONS = 4
WAIT_SECONDS_MAX = 1_800


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def memory_ns_per_byte():
    """What a byte of memory costs that is taken, and that is taken again at once. A virtual machine may hand free memory back to its
    host within seconds; then who takes it pays for getting it again, up to 35 times as much as for clearing it."""
    took = []
    for _ in range(2):
        started = time.time()
        b"\1" * (1 << 30)
        took.append(round((time.time() - started) * 1e9 / (1 << 30), 2))
    return took


class Bench:
    def __init__(self, args):
        self.args = args
        self.dir = tempfile.mkdtemp(prefix="bidstream-bench-", dir=args.dir)
        self.broker = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        self.processes = []
        port = self.broker.split(":")[1]
        subprocess.run(["bash", KAFKA, "start", port, f"{self.dir}/kafka", str(free_port())], check=True, stdout=sys.stderr)

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        subprocess.run(["bash", KAFKA, "stop", f"{self.dir}/kafka"], stdout=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, *arguments, binary=None):
        log = open(f"{self.dir}/{len(self.processes)}.log", "w")
        process = subprocess.Popen([binary or self.args.bidstream, *arguments], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def generate(self, events, rate=None):
        rated = ["--rate", str(rate)] if rate else []
        return self.start("generate", "--brokers", self.broker, "--events", str(events), "--users", str(self.args.users),
                          "--partitions", str(PARTITIONS), "--traffic", self.args.traffic, *rated)

    def run(self, workers, binary=None):
        job = f"{self.dir}/job.yaml"
        with open(job, "w") as file:
            # Another build may be older than the choice of views.
            if self.args.views and (binary is None or binary != self.args.other):
                file.write(f"views: {{ only: [{self.args.views}] }}\n")
            file.write(f"lake: {self.dir}/lake\nsource: {{ kafka: {{ brokers: '{self.broker}', topics: {{ ad-events: protobuf }} }} }}\n"
                       f"commit_every: 5s\nworkers: {workers}\nhttp: {self.http}\n")
        return self.start("run", job, binary=binary)

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=5) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def metrics(self):
        """{(name, labels): value}"""
        found = {}
        for line in self.get("/metrics").splitlines():
            match = re.match(r"([a-z_]+)(?:\{(.*)\})? ([^ ]+)$", line)
            if match:
                found[match[1], match[2] or ""] = float(match[3])
        return found

    def records(self):
        return sum(value for (name, _), value in self.metrics().items() if name == "bidstream_records_total")

    def durable(self):
        return self.metrics().get(("bidstream_rows_written_total", 'table="records"'), 0)

    def wait(self, process, what, until):
        end = time.time() + WAIT_SECONDS_MAX
        while not until():
            if process.poll() is not None:
                sys.exit(f"{what}: the process ended with {process.returncode}:\n" + self.last_log(process))
            if time.time() > end:
                sys.exit(f"{what}: not within {WAIT_SECONDS_MAX} s")
            time.sleep(0.25)

    def last_log(self, process):
        with open(f"{self.dir}/{self.processes.index(process)}.log") as file:
            lines = file.readlines()
        panics = (place for place, line in enumerate(lines) if "panicked at" in line)
        return "".join(lines[next(panics, -5):])

    def finish(self, process, signal_number=signal.SIGTERM):
        process.send_signal(signal_number)
        process.wait(timeout=WAIT_SECONDS_MAX)


def resident(process):
    """Resident bytes now, and at most so far."""
    with open(f"/proc/{process.pid}/status") as file:
        fields = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", file.read(), re.M))
    return int(fields["VmRSS"]) * 1024, int(fields["VmHWM"]) * 1024


def buckets(before, after, metric):
    """Counts by upper bound between two scrapes, over all labels."""
    counts = {}
    for (name, labels), value in after.items():
        bound = re.search(r'le="([^"]+)"', labels)
        if name == metric + "_bucket" and bound:
            bound = float(bound[1].replace("+Inf", "inf"))
            counts[bound] = counts.get(bound, 0) + value - before.get((name, labels), 0)
    return sorted(counts.items())


def quantile_ms(counts, share):
    """The upper bound of the bucket that holds the quantile, ms; none where nothing was counted."""
    total = counts[-1][1] if counts else 0
    bound = next((bound for bound, count in counts if count >= share * total), None) if total else None
    return None if bound is None else bound * 1e3


def throughput(bench):
    args = bench.args
    maker = bench.generate(args.events)
    maker.wait()
    memory = memory_ns_per_byte()
    run = bench.run(args.workers)
    bench.wait(run, "first record", lambda: bench.records() > 0)
    started, first = time.time(), bench.records()
    bench.wait(run, "all records read", lambda: bench.records() >= args.events)
    read = time.time() - started
    bench.wait(run, "all records durable", lambda: bench.durable() >= args.events)
    durable = time.time() - started
    time.sleep(5)
    steady, peak = resident(run)
    bench.finish(run, signal.SIGKILL)
    again = bench.run(args.workers)
    started = time.time()
    bench.wait(again, "recovery", lambda: bench.get("/readyz").startswith('{"ready":true') or
               (bench.get("/readyz") and '"recovery"' not in bench.get("/readyz")))
    recovered = time.time() - started
    recovery_peak = resident(again)[1]
    time.sleep(5)
    recovery_steady = resident(again)[0]
    bench.finish(again)
    return {
        "events": args.events, "workers": args.workers, "memory_ns_per_byte": memory,
        "read_events_per_s": round((args.events - first) / read), "durable_events_per_s": round((args.events - first) / durable),
        "resident_steady_mib": steady >> 20, "resident_peak_mib": peak >> 20,
        "recovery_events_per_s": round(args.events / recovered), "recovery_peak_over_steady": round(recovery_peak / recovery_steady, 2),
        "recovery_peak_mib": recovery_peak >> 20,
    }


def cpu_seconds(process):
    """Processor time of a process so far, all threads."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def against(bench):
    """Two builds read the same topic in turns, each into a lake of its own that is removed afterwards."""
    args, found = bench.args, {"this": [], "other": []}
    bench.generate(args.events).wait()
    for _ in range(args.rounds):
        for name, binary in (("other", args.other), ("this", args.bidstream)):
            run = bench.run(args.workers, binary)
            bench.wait(run, "first record", lambda: bench.records() > 0)
            started, first = time.time(), bench.records()
            bench.wait(run, "all records durable", lambda: bench.durable() >= args.events)
            rate = (args.events - first) / (time.time() - started)
            found[name].append((round(rate), round(cpu_seconds(run) / args.events * 1e6, 2), resident(run)[1] >> 20))
            bench.finish(run, signal.SIGKILL)
            shutil.rmtree(f"{bench.dir}/lake")
    return compared(found, args.events, "durable_events_per_s")


def compared(found, events, what):
    """Best rate and least processor time of each build, and the ratios of this one to the other."""
    best = {name: max(run[0] for run in runs) for name, runs in found.items() if runs}
    cpu = {name: min(run[1] for run in runs) for name, runs in found.items() if runs}
    measured = {"events": events}
    for name, runs in found.items():
        if runs:
            measured |= {f"{name}_{what}": best[name], f"{name}_cpu_us_an_event": cpu[name],
                         f"{name}_peak_mib": max(run[2] for run in runs), f"{name}_all_rounds": [run[0] for run in runs]}
    if len(best) == 2:
        measured |= {"rate_ratio": round(best["this"] / best["other"], 2), "cpu_ratio": round(cpu["this"] / cpu["other"], 2)}
    return measured


def rows_file(path, rows):
    """Clicks, and 2 % purchases with amounts: a function of its arguments."""
    dice, start = random.Random(1), 1_772_352_000_000
    with open(path, "w") as file:
        file.write("time,kind,user,device,click_id,channel,campaign,revenue\n")
        for n in range(rows):
            user, buy = dice.randrange(100_000), dice.random() < 0.02
            device = f"{user * 2654435761 % 2 ** 32:08x}-0000-4000-8000-{user:012x}" if user % 10 < 7 else ""
            file.write(f"{start + n * 400},{'buy' if buy else 'click'},u{user},{device},{'' if n % 5 else f'Cj0K{n}'},"
                       f"c{dice.randrange(8)},k{dice.randrange(50)},{dice.randrange(9_000) / 100 if buy else ''}\n")


ROWS_MAPPING = """format: csv
tenant: acme
app: shop
event_time: { column: time, format: epoch_ms }
emit:
  - { type: click, when: { kind: [click] }, set: { user: user, device: device, click_id: click_id, channel: channel, campaign: campaign } }
  - { type: conversion, when: { kind: [buy] }, set: { user: user, device: device, name: kind, revenue_micros: { column: revenue, unit: units }, currency: { const: EUR } } }
"""


def imports(args):
    """Imports one file into a new lake, from the start of the process to its end."""
    dir, found = tempfile.mkdtemp(prefix="bidstream-bench-", dir=args.dir), {"this": [], "other": []}
    try:
        rows_file(f"{dir}/rows.csv", args.events)
        with open(f"{dir}/mapping.yaml", "w") as file:
            file.write(ROWS_MAPPING)
        for _ in range(args.rounds):
            for name, binary in (("other", args.other), ("this", args.bidstream)):
                if binary is None:
                    continue
                started = time.time()
                done = subprocess.Popen([binary, "import", f"{dir}/rows.csv", "--mapping", f"{dir}/mapping.yaml", "--lake", f"{dir}/lake"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                _, status, used = os.wait4(done.pid, 0)
                if status:
                    sys.exit(f"{binary} import: status {status}")
                found[name].append((round(args.events / (time.time() - started)),
                                    round((used.ru_utime + used.ru_stime) / args.events * 1e6, 2), used.ru_maxrss >> 10))
                shutil.rmtree(f"{dir}/lake")
    finally:
        shutil.rmtree(dir, ignore_errors=True)
    return compared(found, args.events, "rows_per_s")


def along(bench, rate):
    """Reads along with a producer; what was measured between the first 10 seconds and the end."""
    args = bench.args
    run = bench.run(args.workers)
    bench.wait(run, "HTTP", lambda: bench.get("/healthz"))
    maker = bench.generate(rate * (args.seconds + 10), rate)
    time.sleep(10)
    before, started = bench.metrics(), time.time()
    time.sleep(args.seconds - 5)
    after, took = bench.metrics(), time.time() - started
    maker.wait()
    count = lambda metrics: sum(v for (name, _), v in metrics.items() if name == "bidstream_records_total")
    measured = {"asked_events_per_s": rate, "seen_events_per_s": round((count(after) - count(before)) / took)}
    for name in ["freshness", "close", "tick", "commit"]:
        counts = buckets(before, after, f"bidstream_{name}_seconds")
        measured |= {f"{name}_{label}_ms_at_most": quantile_ms(counts, share)
                     for label, share in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)]}
        measured[f"{name}_count"] = counts[-1][1] if counts else 0
    bench.finish(run)
    return measured


MAPPING = """format: csv
arrival: event_time
tenant: acme
app: shop
event_time: { column: time, format: epoch_ms }
emit:
  - { type: click, when: { kind: [click] }, set: { user: user, channel: channel, campaign: campaign } }
  - { type: conversion, when: { kind: [buy] }, set: { user: user, name: kind } }
"""


def history(path, days, a_day, users, new_a_day):
    """Clicks, and 2 % purchases, evenly over the days: a function of its arguments. Each day that share of the users stays away for
    ever and as many new ones come."""
    dice = random.Random(1)
    start, step = 1_700_000_000_000, 86_400_000 / a_day
    with open(path, "w") as file:
        file.write("time,kind,user,channel,campaign\n")
        for n in range(days * a_day):
            kind = "buy" if dice.random() < 0.02 else "click"
            file.write(f"{int(start + n * step)},{kind},u{int(n / a_day * new_a_day * users) + dice.randrange(users)},c{dice.randrange(8)},k{dice.randrange(50)}\n")


def windows(args):
    """Replays a history into a lake with housekeeping beside it; samples memory and files by the share that was read."""
    dir = tempfile.mkdtemp(prefix="bidstream-bench-", dir=args.dir)
    bench = Bench.__new__(Bench)
    bench.args, bench.dir, bench.processes, bench.http = args, dir, [], f"127.0.0.1:{free_port()}"
    events, samples = args.days * args.a_day, []
    try:
        history(f"{dir}/history.csv", args.days, args.a_day, args.users, args.new_a_day)
        with open(f"{dir}/mapping.yaml", "w") as file:
            file.write(MAPPING)
        # A visitor is known for as short as can be, so that the days of the history are many times that.
        with open(f"{dir}/job.yaml", "w") as file:
            file.write(f"lake: {dir}/lake\nviews: {{ forget_after: 62d, installs: {{ reattribution_after: 30d }} }}\n")
        run = bench.start("import", f"{dir}/history.csv", "--mapping", f"{dir}/mapping.yaml", "--job", f"{dir}/job.yaml", "--http", bench.http)
        kept = None
        while run.poll() is None:
            read = bench.records()
            if read > 0 and os.path.exists(f"/proc/{run.pid}/status"):
                files = sum(len(names) for _, _, names in os.walk(f"{dir}/lake"))
                waiting = int(bench.metrics().get(("bidstream_waiting_bytes", ""), 0)) >> 20
                samples.append((read / events * args.days, resident(run)[0] >> 20, files, waiting))
            if len(samples) % 10 == 9 and (kept is None or kept.poll() is not None):
                kept = bench.start("maintain", "--lake", f"{dir}/lake", "--retention", "1m")
            time.sleep(0.5)
        if run.returncode != 0:
            sys.exit(bench.last_log(run))
    finally:
        for process in bench.processes:
            if process.poll() is None:
                process.kill()
        shutil.rmtree(dir, ignore_errors=True)
    if args.picture:
        draw(args.picture, samples, args.days)
    # Allowed lateness 3 d, bound 1 h, click window 7 d.
    window = 10 + 1 / 24
    by_window = [[(mib, waiting) for day, mib, _, waiting in samples if int(day / window) == n] for n in range(int(args.days / window))]
    peaks = [max(of_window, default=(None, None)) for of_window in by_window]
    return {"events": events, "days": args.days, "window_days": round(window, 2),
            "peak_mib_by_window": [mib for mib, _ in peaks], "of_which_waits_for_a_commit": [waiting for _, waiting in peaks],
            "least_mib_by_window": [min(of_window, default=(None, None))[0] for of_window in by_window],
            "most_files": max(files for _, _, files, _ in samples), "last_files": samples[-1][2]}


def draw(path, samples, days):
    """Memory and files over the days of the history, as an SVG."""
    width, height, left, gap = 720, 150, 60, 40
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + left + 20}" height="{2 * height + 3 * gap}" font-family="sans-serif" font-size="12">']
    for row, (index, title) in enumerate([(1, "resident memory, MiB"), (2, "files in the lake")]):
        top, most = gap + row * (height + gap), max(sample[index] for sample in samples)
        points = " ".join(f"{left + sample[0] / days * width:.1f},{top + height - sample[index] / most * height:.1f}" for sample in samples)
        parts += [f'<text x="{left}" y="{top - 8}">{title}: at most {most}</text>',
                  f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#bbb"/>',
                  f'<polyline points="{points}" fill="none" stroke="#1f5fa8"/>',
                  f'<text x="{left - 8}" y="{top + height}" text-anchor="end">0</text>']
    parts += [f'<text x="{left + width}" y="{2 * (height + gap) + 16}" text-anchor="end">{days} days of events</text>', "</svg>"]
    with open(path, "w") as file:
        file.write("\n".join(parts) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["throughput", "freshness", "commit", "against", "import", "windows"])
    parser.add_argument("--events", type=int, help="of throughput (10,000,000), against (4,000,000) and import (1,000,000)")
    parser.add_argument("--other", help="of against and import: another build's binary")
    parser.add_argument("--rounds", type=int, default=3, help="of against and import")
    parser.add_argument("--views", help="the views that this build maintains, as installs,credits; default: all")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--traffic", choices=["flat", "journeys"], default="flat", help="what `bidstream generate` makes")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=60, help="of freshness and commit")
    parser.add_argument("--rate", type=int, help="events a second of freshness (50,000) and commit (100,000)")
    parser.add_argument("--days", type=int, default=120, help="of windows")
    parser.add_argument("--a-day", type=int, default=20_000, help="events of windows")
    parser.add_argument("--new-a-day", type=float, default=0, help="of windows: the share of the users that each day replaces (0.05)")
    parser.add_argument("--picture", help="of windows: an SVG to write")
    parser.add_argument("--bidstream", default=os.path.join(ROOT, "target", "release", "bidstream"))
    parser.add_argument("--dir", default=None, help="where the broker and the lake keep their files")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    args = parser.parse_args()
    args.events = args.events or {"against": 4_000_000, "import": 1_000_000}.get(args.what, 10_000_000)
    if args.what == "against" and not args.other:
        parser.error("against needs --other BINARY")
    if args.what == "windows":
        measured = windows(args)
    elif args.what == "import":
        measured = imports(args)
    else:
        bench = Bench(args)
        try:
            rate = args.rate or (50_000 if args.what == "freshness" else 100_000)
            whole = {"throughput": throughput, "against": against}
            measured = whole[args.what](bench) if args.what in whole else along(bench, rate)
        finally:
            bench.close()
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    measured |= {"what": args.what, "commit": commit, "load_average": round(os.getloadavg()[0], 1)}
    if args.format == "json":
        print(json.dumps(measured))
    else:
        for name, value in measured.items():
            print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
