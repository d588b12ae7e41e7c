#!/usr/bin/python3
"""Compares sluice's key-value port with redis-server (and Valkey) on this machine, interleaved.

Starts all of them itself at the same durability, loads them with redis-benchmark, prints Markdown
and ends with the ratios beside the project's targets. See README.md.
"""

import argparse
import contextlib
import dataclasses
import fnmatch
import functools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import resp
import servers
import store_load as load
import store_report as report
import store_servers as stores
import store_trials as trials
from measure import RunFailed

REPOSITORY = Path(__file__).resolve().parent.parent
BASE = "Redis"
SIZES = {"": 16, "-1k": 1000, "-100k": 100_000}
QUICK = ("get-c50-p1@everysec", "get-c50-p16@everysec", "get-c50-p100@everysec",
         "set-c1-p1@everysec", "set-c50-p1@everysec", "set-c50-p16@everysec",
         "set-c500-p1@everysec", "incr-c50-p16@everysec", "set-c50-p1@always")


@dataclasses.dataclass(frozen=True)
class Case:
    command: str
    clients: int
    pipeline: int
    suffix: str  # of the name: which size
    fsync: str
    threads: int = 1  # redis-benchmark's

    @property
    def size(self):
        return SIZES[self.suffix]

    @property
    def keys(self):
        return 100 if self.size >= 100_000 else 100_000

    @property
    def short(self):
        return f"{self.command}-c{self.clients}-p{self.pipeline}{self.suffix}"

    @property
    def name(self):
        return f"{self.short}@{self.fsync}"


def all_cases(threads):
    """Reads are the same at every durability, so they are there once."""
    out = []
    for fsync in ("everysec", "never", "always"):
        for command in ("get", "set", "incr") if fsync == "everysec" else ("set", "incr"):
            for clients in (1, 50, 500):
                out += [Case(command, clients, pipeline, "", fsync, threads)
                        for pipeline in (1, 16, 100)]
            if command != "incr":
                out += [Case(command, 50, 1, "-1k", fsync, threads),
                        Case(command, 50, 16, "-1k", fsync, threads),
                        Case(command, 50, 1, "-100k", fsync, threads)]
    return out


def progress(text):
    print(text, file=sys.stderr, flush=True)


# ---- what is asked for -------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", metavar="PATTERNS",
                        help="comma-separated shell patterns of names: 'set-c50-*@always,memory'")
    parser.add_argument("--list", action="store_true", help="the names of all cases")
    parser.add_argument("--quick", action="store_true",
                        help="a few cases, 2 rounds of 1 s, unless given otherwise")
    parser.add_argument("--rounds", type=int,
                        help="default 5; of the trials at most 3")
    parser.add_argument("--seconds", type=float, help="of each run, about; default 2")
    parser.add_argument("--workers", default="1",
                        help="sluice's threads; 1,2 measures both beside each other; default 1")
    parser.add_argument("--threads", type=int, default=1, help="of redis-benchmark; default 1")
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the trials")
    parser.add_argument("--projects", type=int, default=100_000)
    parser.add_argument("--idle-clients", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=2000, help="of the steady load; a second")
    parser.add_argument("--directory", metavar="DIR",
                        help="where the data are; its file system is measured too")
    parser.add_argument("--sluice", metavar="BINARY",
                        default=os.environ.get("SLUICE_BINARY",
                                               REPOSITORY / "build/release/sluice"),
                        help="default: $SLUICE_BINARY or build/release/sluice")
    parser.add_argument("--also", metavar="NAME=BINARY", action="append", default=[],
                        help="a further sluice to measure, e.g. the build before a change")
    parser.add_argument("--redis", metavar="PROGRAM", default=shutil.which("redis-server"))
    parser.add_argument("--valkey", metavar="PROGRAM", default=shutil.which("valkey-server"),
                        help="measured too where it is installed; '' leaves it out")
    parser.add_argument("--noise", action="store_true",
                        help="a second redis-server in the place of sluice: what a ratio of 1.00 "
                             "looks like on this machine")
    parser.add_argument("--json", metavar="FILE", help="every round of everything")
    parser.add_argument("--markdown", metavar="FILE", help="what is printed, into a file as well")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    return check(parser, parser.parse_args())


def check(parser, options):
    cases = all_cases(options.threads)
    names = [case.name for case in cases] + [trial.name for trial in trials.TRIALS]
    if options.list:
        print("\n".join(names))
        sys.exit()
    patterns = (options.cases.split(",") if options.cases else QUICK if options.quick else ["*"])
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            parser.error(f"no such case: {pattern}; --list names them")
    wanted = {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
    options.cases = [case for case in cases if case.name in wanted]
    options.trials = [trial for trial in trials.TRIALS if trial.name in wanted]
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (1.0 if options.quick else 2.0)
    try:
        options.workers = [int(word) for word in options.workers.split(",")]
    except ValueError:
        parser.error("--workers takes numbers, as in 1 or 1,2")
    if options.rounds < 1 or options.seconds <= 0 or min(options.workers) < 1:
        parser.error("--rounds, --seconds and --workers must be positive")
    if load.benchmark_program_version() is None:
        parser.error("redis-benchmark is not installed (Debian: redis-tools)")
    programs = [options.redis or "redis-server"] + [o.partition("=")[2] for o in options.also]
    if options.valkey:
        programs.append(options.valkey)
    if not options.noise:
        programs.append(options.sluice)
    for program in programs:
        if not os.access(program, os.X_OK):
            parser.error(f"{program} is missing or cannot be run")
    return options


def makers(workspace, options):
    """Label -> (function that makes the store, its number of workers)."""
    def redis(name, program, fsync="everysec", databases=16, checkpoint_interval=None):
        del checkpoint_interval  # its log is rewritten only when it is asked to
        return stores.Redis(workspace, name, program, fsync, databases)

    def sluice(name, program, workers, fsync="everysec", databases=None, checkpoint_interval=None):
        del databases  # there is no number of them
        return stores.Sluice(workspace, name, Path(program).resolve(), fsync, workers,
                             checkpoint_interval)

    out = {BASE: (functools.partial(redis, "redis", options.redis), 1)}
    if options.valkey:
        out["Valkey"] = functools.partial(redis, "valkey", options.valkey), 1
    if options.noise:
        out["Redis again"] = functools.partial(redis, "again", options.redis), 1
        return out
    programs = {"sluice": options.sluice}
    programs |= dict(word.partition("=")[::2] for word in options.also)
    for name, program in programs.items():
        for workers in options.workers:
            label = name if workers == 1 else f"{name}, {workers} workers"
            out[label] = functools.partial(sluice, name, program, workers), workers
    return out


# ---- running -----------------------------------------------------------------------------------


def turned(labels, number):
    number %= len(labels)
    return labels[number:] + labels[:number]


def explain(problem):
    text = str(problem).replace("|", "/").strip().splitlines()
    return "failed: " + (text[-1] if text else type(problem).__name__)


PROBLEMS = (RunFailed, servers.Failure, resp.ServerError, OSError)


def prepare(case, targets, results, options):
    """Loads the keys; returns the number of requests, by the speed of the first that works."""
    requests = None
    for label, server in targets.items():
        try:
            if server.process is None or server.process.poll() is not None:
                server.start()
            server.settle()
            load.load_for(server, case)
            requests = requests or load.requests_for(server, case, options.seconds)
        except PROBLEMS as problem:
            results[label] = explain(problem)
    return requests


def measure_case(case, targets, options):
    """Label -> rounds, or why there are none. The order turns from round to round."""
    progress(f"{case.name}: loading")
    results = {label: [] for label in targets}
    requests = prepare(case, targets, results, options)
    for number in range(options.rounds):
        for label in turned(list(targets), number):
            if isinstance(results[label], str):
                continue
            progress(f"{case.name}: round {number + 1} of {options.rounds}, {label}")
            try:
                results[label].append(load.run_benchmark(targets[label], case, requests,
                                                         options.seconds * 20 + 30))
            except PROBLEMS as problem:
                results[label] = explain(problem)
            time.sleep(0.2)
    return results


def measure_cases(fsync, cases, made, options, say):
    """All cases of one durability, on servers that stay up for all of them."""
    targets = {label: make(fsync=fsync) for label, (make, _) in made.items()}
    results = {}
    say(report.cases_head(fsync, BASE))
    try:
        for case in cases:
            results[case.name] = measure_case(case, targets, options)
            say(report.cases_rows(case, results[case.name], BASE))
    finally:
        for server in targets.values():
            server.remove()
    say("")
    return results


def measure_trial(trial, made, options):
    """As a case, but with a new process and an empty folder each time."""
    run = trial.run
    if run is None:  # checkpoints also load with redis-benchmark
        beside = Case("set", 50, 1, "", "everysec", options.threads)
        run = functools.partial(trials.checkpoints, case=beside)
    results = {label: [] for label in made}
    rounds = min(options.rounds, 3)
    for number in range(rounds):
        for label in turned(list(made), number):
            if isinstance(results[label], str):
                continue
            progress(f"{trial.name}: round {number + 1} of {rounds}, {label}")
            servers_made = []

            def make(**settings):
                servers_made.append(made[label][0](**settings))
                return servers_made[-1]

            try:
                results[label].append(run(make, options))
            except PROBLEMS as problem:
                results[label] = explain(problem)
            finally:
                for server in servers_made:
                    server.remove()
    return results


# ---- saying ------------------------------------------------------------------------------------


def processor_name():
    with contextlib.suppress(OSError):
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def file_system(folder):
    said = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True)
    return said.stdout.strip() or "an unknown file system"


def heading(workspace, made, options):
    lines = ["# Stores compared", "",
             f"{time.strftime('%Y-%m-%d')}, {processor_name()}, {os.cpu_count()} cores, Linux "
             f"{platform.release()}; load before the start {os.getloadavg()[0]:.1f}. "
             f"{options.rounds} rounds of about {options.seconds:g} s, interleaved; medians. "
             f"{load.benchmark_program_version()}, {options.threads} thread(s).", "",
             f"Data on {file_system(workspace.path)}; appending 100 bytes and fdatasync take "
             f"{trials.fsync_milliseconds(workspace.path):.2f} ms (median).", ""]
    for label, (make, workers) in made.items():
        server = make()
        kind = (f"{workers} worker(s), its checkpoints at their default interval"
                if isinstance(server, stores.Sluice)
                else "append-only file, not rewritten meanwhile, no snapshots")
        lines.append(f"- {label}: {server.version}, {kind}")
        server.remove()
    if file_system(workspace.path) == "tmpfs":
        lines += ["", "**The data are in memory (tmpfs): the fsyncs cost nothing.** "
                  "`--directory` puts them on a disk."]
    return "\n".join(lines) + "\n"


def trial_title(trial, options):
    count = {"idle": f"{options.idle_clients:,} connections", "projects":
             f"{options.projects:,} projects"}.get(trial.name, f"{options.keys:,} keys")
    if trial.name == "checkpoint":
        count += (f"; steady: {options.rate:,} GET and SET a second on one connection; full: "
                  "set-c50-p1")
    return f"{trial.title} ({count})"


def run(options):
    servers.raise_descriptor_limit(stores.MAX_CLIENTS + options.idle_clients + 1000)
    said, results, rows = [], {}, {}

    def say(text):
        print(text, flush=True)
        said.append(text + "\n")
        if options.markdown:  # as it grows: an interrupted run leaves what it has
            Path(options.markdown).write_text("".join(said), encoding="utf-8")

    with stores.Workspace(options.directory) as workspace:
        made = makers(workspace, options)
        say(heading(workspace, made, options))
        judged = {label: workers for label, (_, workers) in made.items()
                  if label not in (BASE, "Valkey")}
        rows = {label: [] for label in judged}
        for fsync in dict.fromkeys(case.fsync for case in options.cases):
            cases = [case for case in options.cases if case.fsync == fsync]
            found = measure_cases(fsync, cases, made, options, say)
            results |= found
            for case in cases:
                for label, workers in judged.items():
                    rows[label] += report.case_verdicts(case, found[case.name], label, BASE,
                                                        workers)
        for trial in options.trials:
            results[trial.name] = found = measure_trial(trial, made, options)
            say(report.trial_table(trial, trial_title(trial, options), found, BASE))
            for label in judged:
                rows[label] += report.trial_verdicts(trial, found, label, BASE)
    for label in judged:
        say(report.verdict_table(rows[label], label, BASE))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    met = all(row[5] == report.PASSED for of_label in rows.values() for row in of_label)
    return 1 if options.strict and not met else 0


def main():
    # A terminated benchmark takes its servers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    try:
        return run(options)
    except (servers.Failure, OSError) as problem:
        progress(f"stores.py: {problem}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
