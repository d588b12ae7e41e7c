#!/usr/bin/python3
"""Compares sluice, PgBouncer and a direct connection on this machine, in one interleaved run.

Starts all of them itself, prints Markdown, and ends with the ratios beside the project's targets.
See README.md.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import measure
import report
import servers

REPOSITORY = Path(__file__).resolve().parent.parent
IDLE_LIMIT = 2.0  # kB for each idle client
BASE = "PgBouncer"


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    title: str
    clients: int
    arguments: tuple = ()
    limit: float | None = 1.10  # of PgBouncer's processor time for each transaction
    transaction: str = "one SELECT by primary key"
    kind: str = "pgbench"  # or churn, copy out, copy in
    script: str = ""
    statements: bool = False  # named prepared statements
    pooled: bool = False  # more clients than PostgreSQL takes: no direct connection
    note: str = ""
    unit: str = "transactions"
    short: str = "tx"


POINT_SELECT = "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
PIPELINE = ("\\set aid random(1, 100000)\n\\startpipeline\n" + POINT_SELECT * 20
            + "\\endpipeline\n")
CASES = [
    Case("simple1", "1 client, simple protocol", 1, ("-S", "-M", "simple"), limit=None,
         note="Not judged: with one client a proxy mostly pays for being woken up."),
    Case("simple", "16 clients, simple protocol", 16, ("-S", "-M", "simple")),
    Case("extended", "16 clients, extended protocol", 16, ("-S", "-M", "extended")),
    Case("prepared", "16 clients, named prepared statements", 16, ("-S", "-M", "prepared"),
         statements=True),
    Case("tpcb", "16 clients, pgbench's TPC-B-like transaction", 16, ("-M", "simple"),
         transaction="seven statements between BEGIN and END"),
    Case("pipeline", "16 clients, pipelines", 16, ("-M", "extended"), script=PIPELINE,
         transaction="a pipeline of 20 SELECTs"),
    Case("connect", "16 clients, a new connection for each transaction", 16,
         ("-S", "-M", "simple"), kind="churn",
         transaction="connect, SCRAM, one SELECT, disconnect"),
    Case("clients64", "64 clients on the pool of 20", 64, ("-S", "-M", "simple"), limit=0.90),
    Case("clients1000", "1,000 clients on the pool of 20", 1000, ("-S", "-M", "simple"),
         limit=0.90, pooled=True),
    Case("row1m", "4 clients, rows of 1 MB", 4, ("-M", "simple"), limit=0.90,
         script="SELECT repeat('x', 1000000);\n", transaction="one row of 1 MB"),
    Case("copy_out", "COPY TO STDOUT, 19 MB each", 1, kind="copy out",
         transaction="a megabyte; the latency is a whole COPY's", unit="MB", short="MB"),
    Case("copy_in", "COPY FROM STDIN, 19 MB each", 1, kind="copy in",
         transaction="a megabyte; the latency is a whole COPY's", unit="MB", short="MB"),
]


def progress(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    names = [case.name for case in CASES] + ["idle"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=",".join(names),
                        help=f"comma-separated; all of: {' '.join(names)}")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--seconds", type=int, default=5, help="of each run; default 5")
    parser.add_argument("--workers", type=int, default=1, help="sluice's threads; default 1")
    parser.add_argument("--pool-size", type=int, default=20)
    parser.add_argument("--scale", type=int, default=10, help="pgbench's; default 10")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1),
                        help="of pgbench")
    parser.add_argument("--idle-clients", type=int, default=10000)
    parser.add_argument("--sluice", metavar="BINARY",
                        default=os.environ.get("SLUICE_BINARY",
                                               REPOSITORY / "build/release/sluice"),
                        help="default: $SLUICE_BINARY or build/release/sluice")
    parser.add_argument("--also", metavar="NAME=BINARY", action="append", default=[],
                        help="a further sluice to measure, e.g. the build before a change")
    parser.add_argument("--pgbouncer", metavar="PROGRAM",
                        default=shutil.which("pgbouncer") or "/usr/sbin/pgbouncer")
    parser.add_argument("--noise", action="store_true",
                        help="a second PgBouncer in the place of sluice: what a ratio of 1.00 "
                             "looks like on this machine")
    parser.add_argument("--json", metavar="FILE", help="every round of everything")
    parser.add_argument("--svg", metavar="FILE", help="the ratios as a picture")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    options.cases = [name for name in options.cases.split(",") if name]
    unknown = sorted(set(options.cases) - set(names))
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}")
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds must be at least 1")
    programs = [options.pgbouncer] + [o.partition("=")[2] for o in options.also]
    if not options.noise:
        programs.append(options.sluice)
    for program in programs:
        if not os.access(program, os.X_OK):
            parser.error(f"{program} is missing or cannot be run")
    return options


def make_poolers(workspace, options, suffix=""):
    """Label -> pooler, not yet started."""
    bouncer = servers.PgBouncer(workspace, "pgbouncer" + suffix, options.pgbouncer,
                                options.pool_size)
    poolers = {BASE: bouncer}
    if options.noise:
        poolers["PgBouncer again"] = servers.PgBouncer(workspace, "again" + suffix,
                                                       options.pgbouncer, options.pool_size)
    else:
        poolers["sluice"] = servers.Sluice(workspace, "sluice" + suffix,
                                           Path(options.sluice).resolve(), options.pool_size,
                                           options.workers)
    for word in options.also:
        name, _, program = word.partition("=")
        poolers[name] = servers.Sluice(workspace, f"also-{name}{suffix}", Path(program).resolve(),
                                       options.pool_size, options.workers)
    return poolers


def cannot(case, server, options):
    """Why `server` is left out of `case`, or None."""
    if not server.proxy and case.pooled:
        return "takes fewer connections"
    if case.statements and server.proxy and not server.keeps_statements \
            and case.clients > options.pool_size:
        return "has no prepared statements in transaction mode"
    return None


def run_case(case, server, options, files):
    database = servers.DATABASE
    if case.statements and server.proxy and not server.keeps_statements:
        database = servers.SESSION_DATABASE
    if case.kind.startswith("copy"):
        return measure.run_copy(server, case.kind.split()[1], files["copy"], options.seconds)
    words = list(case.arguments)
    if case.script:
        words += ["-f", files[case.name]]
    return measure.run_pgbench(server, database, case.clients, words, options.seconds,
                               options.threads, reconnect=case.kind == "churn")


def measure_case(case, targets, options, files):
    """Label -> rounds, or why there are none. The order turns from round to round."""
    results = {label: cannot(case, server, options) or [] for label, server in targets.items()}
    labels = list(targets)
    for number in range(options.rounds):
        for label in labels[number % len(labels):] + labels[:number % len(labels)]:
            if isinstance(results[label], str):
                continue
            progress(f"{case.name}: round {number + 1} of {options.rounds}, {label}")
            try:
                results[label].append(run_case(case, targets[label], options, files))
            except measure.RunFailed as problem:
                results[label] = f"failed: {problem}".replace("|", "/")
            time.sleep(0.2)
    return results


def measure_idle(workspace, postgres, options):
    """On fresh processes: memory that earlier clients left would hide what a client costs."""
    clients = min(options.idle_clients, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    if clients < options.idle_clients:
        progress(f"only {clients} idle clients: the limit of open files is too low")
    results = {}
    for label, pooler in make_poolers(workspace, options, "-idle").items():
        progress(f"idle: {clients} clients on {label}")
        try:
            pooler.start(postgres)
            results[label] = measure.run_idle(pooler, clients)
        except (measure.RunFailed, servers.Failure, OSError) as problem:
            results[label] = f"failed: {problem}".replace("|", "/").splitlines()[0]
        finally:
            pooler.stop()
    return results, clients


def processor_name():
    with contextlib.suppress(OSError):
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def heading(postgres, poolers, options):
    lines = ["# Poolers compared", "",
             f"{time.strftime('%Y-%m-%d')}, {processor_name()}, {os.cpu_count()} cores, Linux "
             f"{platform.release()}; load before the start {os.getloadavg()[0]:.1f}. "
             f"{options.rounds} rounds of {options.seconds} s, interleaved; medians. pgbench scale "
             f"{options.scale}, {options.threads} pgbench threads.", "",
             f"- direct: {postgres.version}, fsync off"]
    for label, pooler in poolers.items():
        what = f", {pooler.workers} worker(s)" if isinstance(pooler, servers.Sluice) else ""
        lines.append(f"- {label}: {pooler.version}{what}, transaction mode, pool of "
                     f"{pooler.pool_size}, SCRAM secrets, no TLS, connections not logged")
    if not poolers[BASE].keeps_statements:
        lines += ["", f"{poolers[BASE].version} has no `max_prepared_statements` (that came with "
                  "1.21): named statements fail through it in transaction mode. In the case "
                  "`prepared` it therefore runs in session mode, where it passes them on without "
                  "any work of its own: a stricter base than a newer PgBouncer would be. The "
                  "project's reference figures are of PgBouncer 1.25.2."]
    return "\n".join(lines) + "\n"


def run(options):
    # A descriptor for each client, here and in the poolers.
    servers.raise_descriptor_limit(max(servers.MAX_CLIENTS, options.idle_clients) + 1000)
    cases = [case for case in CASES if case.name in options.cases]
    with servers.Workspace() as workspace:
        progress("starting PostgreSQL")
        postgres = servers.Postgres(workspace).start(options.scale)
        files = {"copy": workspace.path / "copy.data"}
        measure.prepare_copy(postgres, files["copy"])
        for case in cases:
            if case.script:
                files[case.name] = workspace.path / f"{case.name}.sql"
                files[case.name].write_text(case.script)
        poolers = make_poolers(workspace, options)
        print(heading(postgres, poolers, options), flush=True)
        results = {}
        if cases:
            for label, pooler in poolers.items():
                progress(f"starting {label}")
                pooler.start(postgres)
        for case in cases:
            results[case.name] = measure_case(case, {"direct": postgres, **poolers}, options, files)
            print(report.case_table(case, results[case.name], BASE), flush=True)
        for pooler in poolers.values():
            pooler.stop()
        idle = {}
        if "idle" in options.cases:
            idle, clients = measure_idle(workspace, postgres, options)
            print(report.idle_table(idle, clients), flush=True)
    return finish(cases, results, idle, list(poolers)[1:], options)


def finish(cases, results, idle, labels, options):
    """The verdicts, on every sluice there was; and the files that were asked for."""
    met = True
    for label in labels:
        rows = report.verdicts(cases, results, idle, label, BASE, IDLE_LIMIT)
        print(report.verdict_table(rows, label, BASE))
        print(report.bars(rows))
        if label == labels[0]:
            met = all(row[5] is not False for row in rows)
            if options.svg:
                Path(options.svg).write_text(report.svg(rows, label, BASE), encoding="utf-8")
    if options.json:
        Path(options.json).write_text(json.dumps({"cases": results, "idle": idle}, indent=1) + "\n")
    return 1 if options.strict and not met else 0


def main():
    # A terminated benchmark takes its servers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    try:
        return run(options)
    except (servers.Failure, subprocess.CalledProcessError) as problem:
        progress(f"poolers.py: {problem}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
