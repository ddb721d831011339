#!/usr/bin/env python3
"""The whole pipeline in numbers: Apache Kafka -> decode -> attribution -> Delta, one broker on the same machine.

  benchmarks/pipeline.py throughput   reads what is in the topic as fast as it can, then restarts: recovery too
  benchmarks/pipeline.py freshness    reads along at 50,000 events/s: arrival -> readable in the published arrangement
  benchmarks/pipeline.py commit       reads along at 100,000 events/s, commits of 5 s: how long they stop the dataflow

Needs `cargo build --release --bin bidstream`, Java and Maven. Everything it starts listens on loopback, and it ends what
it started. --events, --users, --workers and --seconds change the size; --format json prints for machines.
"""
import argparse, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KAFKA = os.path.join(ROOT, "tests", "kafka", "kafka.sh")
PARTITIONS = 4
WAIT_SECONDS_MAX = 1_800


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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

    def start(self, *arguments):
        log = open(f"{self.dir}/{len(self.processes)}.log", "w")
        process = subprocess.Popen([self.args.bidstream, *arguments], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def generate(self, events, rate=None):
        rated = ["--rate", str(rate)] if rate else []
        return self.start("generate", "--brokers", self.broker, "--events", str(events), "--users", str(self.args.users),
                          "--partitions", str(PARTITIONS), *rated)

    def run(self, workers):
        job = f"{self.dir}/job.yaml"
        with open(job, "w") as file:
            file.write(f"lake: {self.dir}/lake\nsource: {{ kafka: {{ brokers: '{self.broker}', topics: {{ ad-events: protobuf }} }} }}\n"
                       f"commit_every: 5s\nworkers: {workers}\nhttp: {self.http}\n")
        return self.start("run", job)

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
            time.sleep(0.05)

    def last_log(self, process):
        with open(f"{self.dir}/{self.processes.index(process)}.log") as file:
            return "".join(file.readlines()[-5:])

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
        "events": args.events, "workers": args.workers,
        "read_events_per_s": round((args.events - first) / read), "durable_events_per_s": round((args.events - first) / durable),
        "resident_steady_mib": steady >> 20, "resident_peak_mib": peak >> 20,
        "recovery_events_per_s": round(args.events / recovered), "recovery_peak_over_steady": round(recovery_peak / recovery_steady, 2),
        "recovery_peak_mib": recovery_peak >> 20,
    }


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["throughput", "freshness", "commit"])
    parser.add_argument("--events", type=int, default=10_000_000, help="of throughput")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=60, help="of freshness and commit")
    parser.add_argument("--rate", type=int, help="events a second of freshness (50,000) and commit (100,000)")
    parser.add_argument("--bidstream", default=os.path.join(ROOT, "target", "release", "bidstream"))
    parser.add_argument("--dir", default=None, help="where the broker and the lake keep their files")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    args = parser.parse_args()
    bench = Bench(args)
    try:
        rate = args.rate or (50_000 if args.what == "freshness" else 100_000)
        measured = throughput(bench) if args.what == "throughput" else along(bench, rate)
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
