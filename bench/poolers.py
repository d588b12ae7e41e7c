#!/usr/bin/python3
"""Compares sluice, PgBouncer and a direct connection on this machine, in one interleaved run; and
sluice with itself, for what keeping sessions costs.

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
    group: str = "poolers"  # or a key of SESSION_GROUPS


@dataclasses.dataclass(frozen=True)
class SessionGroup:
    """Two sluices in turn; `measured` is judged against `base`."""

    base: str
    measured: str
    heading: str
    states: tuple  # session_state of the base and of the measured one
    pool_size: int | None = None  # the option's where it is None


POINT_SELECT = "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
PIPELINE = ("\\set aid random(1, 100000)\n\\startpipeline\n" + POINT_SELECT * 20
            + "\\endpipeline\n")
POINT = "\\set aid random(1, 100000)\n" + POINT_SELECT
FIRST_SETTINGS = """\
\\if :first
SET work_mem = '8MB';
SET statement_timeout = '30s';
SELECT set_config('app.tenant', {tenant}::text, false);
\\set first 0
\\endif
"""
# A tenth of the clients has the same settings, or all have.
TENANTS = "\\set tenant :client_id % 10\n" + FIRST_SETTINGS.format(tenant=":tenant") + POINT
ONE_TENANT = FIRST_SETTINGS.format(tenant="7") + POINT
TPCB = "seven statements between BEGIN and END"
SESSION_GROUPS = {
    "state": SessionGroup("off", "full", "What `session_state: full` costs an app that needs it "
                          "for nothing", ("off", "full")),
    "settings": SessionGroup("no settings", "three settings", "What three settings cost on a "
                             "rotating pool", ("full", "full"), 4),
}
CASES = [
    Case("simple1", "1 client, simple protocol", 1, ("-S", "-M", "simple"), limit=None,
         note="Not judged: with one client a proxy mostly pays for being woken up."),
    Case("simple", "16 clients, simple protocol", 16, ("-S", "-M", "simple")),
    Case("extended", "16 clients, extended protocol", 16, ("-S", "-M", "extended")),
    Case("prepared", "16 clients, named prepared statements", 16, ("-S", "-M", "prepared"),
         statements=True),
    Case("tpcb", "16 clients, pgbench's TPC-B-like transaction", 16, ("-M", "simple"),
         transaction=TPCB),
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
    *(Case(f"state_{mode}", f"16 clients, {title}", 16, ("-S", "-M", mode), limit=1.02,
           group="state")
      for mode, title in (("simple", "simple protocol"), ("extended", "extended protocol"),
                          ("prepared", "named prepared statements"))),
    Case("state_tpcb", "16 clients, pgbench's TPC-B-like transaction", 16, ("-M", "simple"),
         limit=1.02, transaction=TPCB, group="state"),
    *(Case(f"settings_{mode}", f"16 clients on the pool of 4, each with three settings, the third "
           f"of ten values; {title}", 16, ("-M", mode, "-D", "first=1"), limit=1.30,
           script=TENANTS, group="settings")
      for mode, title in (("simple", "simple protocol"), ("prepared", "prepared statements"))),
    Case("settings_same", "16 clients on the pool of 4, all with the same three settings; simple "
         "protocol", 16, ("-M", "simple", "-D", "first=1"), limit=1.30, script=ONE_TENANT,
         group="settings"),
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
                        help="a second PgBouncer in the place of sluice, and in the cases of "
                             "sessions the base twice: what a ratio of 1.00 looks like on this "
                             "machine")
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
    if not options.noise or any(c.group != "poolers" and c.name in options.cases for c in CASES):
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


def run_session_case(case, label, server, postgres, options, files):
    """`label` tells the base, which keeps nothing or sets nothing, from what is measured."""
    words = list(case.arguments)
    if case.script:
        words += ["-f", files["point" if label == SESSION_GROUPS[case.group].base else case.name]]
    return measure.run_pgbench(server, servers.DATABASE, case.clients, words, options.seconds,
                               options.threads, postgres=postgres)


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


def measure_case(case, targets, options, measure_one):
    """Label -> rounds, or why there are none. The order turns from round to round."""
    results = {label: cannot(case, server, options) or [] for label, server in targets.items()}
    labels = list(targets)
    for number in range(options.rounds):
        for label in labels[number % len(labels):] + labels[:number % len(labels)]:
            if isinstance(results[label], str):
                continue
            progress(f"{case.name}: round {number + 1} of {options.rounds}, {label}")
            try:
                results[label].append(measure_one(label, targets[label]))
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


def measure_sessions(name, cases, workspace, postgres, options, files):
    """One of SESSION_GROUPS: case -> label -> rounds."""
    group, results = SESSION_GROUPS[name], {}
    size = group.pool_size or options.pool_size
    labels = {group.base: group.states[0],
              group.measured: group.states[0 if options.noise else 1]}
    print(f"## {group.heading}\n\nsluice twice, {options.workers} worker(s), pool of {size}: "
          + ", ".join(f"“{label}” with `session_state: {state}`" for label, state in labels.items())
          + ".\n", flush=True)
    targets = {label: servers.Sluice(workspace, f"{name}-{number}", Path(options.sluice).resolve(),
                                     size, options.workers, state)
               for number, (label, state) in enumerate(labels.items())}
    for label, target in targets.items():
        progress(f"starting sluice, {label}")
        target.start(postgres)
    for case in cases:
        def one(label, server, case=case):
            # With --noise both labels run what the base runs.
            return run_session_case(case, group.base if options.noise else label, server, postgres,
                                    options, files)
        results[case.name] = measure_case(case, targets, options, one)
        print(report.case_table(case, results[case.name], group.base), flush=True)
    for target in targets.values():
        target.stop()
    return results


def run(options):
    # A descriptor for each client, here and in the poolers.
    servers.raise_descriptor_limit(max(servers.MAX_CLIENTS, options.idle_clients) + 1000)
    cases = {name: [case for case in CASES if case.group == name and case.name in options.cases]
             for name in ("poolers", *SESSION_GROUPS)}
    with servers.Workspace() as workspace:
        progress("starting PostgreSQL")
        postgres = servers.Postgres(workspace).start(options.scale)
        files = {"copy": workspace.path / "copy.data"}
        measure.prepare_copy(postgres, files["copy"])
        scripts = {case.name: case.script for group in cases.values() for case in group}
        for name, script in {**scripts, "point": POINT}.items():
            if script:
                files[name] = workspace.path / f"{name}.sql"
                files[name].write_text(script)
        poolers = make_poolers(workspace, options)
        print(heading(postgres, poolers, options), flush=True)
        results = {}
        if cases["poolers"]:
            for label, pooler in poolers.items():
                progress(f"starting {label}")
                pooler.start(postgres)
        for case in cases["poolers"]:
            results[case.name] = measure_case(
                case, {"direct": postgres, **poolers}, options,
                lambda _, server, case=case: run_case(case, server, options, files))
            print(report.case_table(case, results[case.name], BASE), flush=True)
        for pooler in poolers.values():
            pooler.stop()
        for name in SESSION_GROUPS:
            if cases[name]:
                results |= measure_sessions(name, cases[name], workspace, postgres, options, files)
        idle = {}
        if "idle" in options.cases:
            idle, clients = measure_idle(workspace, postgres, options)
            print(report.idle_table(idle, clients), flush=True)
    return finish(cases, results, idle, list(poolers)[1:], options)


def finish(cases, results, idle, labels, options):
    """The verdicts, on every sluice there was; and the files that were asked for."""
    met = True
    for label in labels if cases["poolers"] or idle else []:
        rows = report.verdicts(cases["poolers"], results, idle, label, BASE, IDLE_LIMIT)
        print(report.verdict_table(rows, label, BASE))
        print(report.bars(rows))
        if label == labels[0]:
            met = all(row[5] is not False for row in rows)
            if options.svg:
                Path(options.svg).write_text(report.svg(rows, label, BASE), encoding="utf-8")
    for name, group in SESSION_GROUPS.items():
        if cases[name]:
            rows = report.verdicts(cases[name], results, {}, group.measured, group.base, IDLE_LIMIT)
            print(report.verdict_table(rows, group.measured, group.base, group.heading))
            met = met and all(row[5] is not False for row in rows)
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
