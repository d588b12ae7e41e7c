#!/usr/bin/python3
"""Runs PostgreSQL's own test suites through sluice and compares with a direct connection.

A test that passes on a direct connection has to pass through sluice, or be in known.txt.
Exit code: 0 all is well or the tests cannot be had here, 1 not well, 2 wrong usage.
"""

import argparse
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import results  # noqa: E402
import source  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
MOST_PROBLEMS = 20  # that a report shows

# The part for every day: sessions' state first, then a little of everything else.
QUICK = """
    test_setup transactions portals prepared_xacts select_into namespace password lock
    privileges rowsecurity async misc_functions sysviews psql guc portals_p2 combocid foreign_data
    advisory_lock plancache plpgsql copy2 temp prepare sequence largeobject returning truncate
    polymorphism domain with create_table insert copy copyselect copydml create_procedure
    create_view create_function_sql errors union tablesample identity generated json tuplesort
    event_trigger compression
    """.split()
QUICK_ISOLATION = """
    read-only-anomaly simple-write-skew deadlock-simple deadlock-soft fk-contention eval-plan-qual
    lock-update-delete inherit-temp temp-schema-cleanup insert-conflict-do-nothing nowait
    skip-locked alter-table-1 sequence-ddl async-notify timeouts stats plpgsql-toast serializable-parallel
    """.split()

# What a test needs besides test_setup and create_index, by the comments of parallel_schedule and by
# trying.
DEPENDS = {
    "multirangetypes": "rangetypes",
    "geometry": "point lseg line box path polygon circle",
    "horology": "date time timetz timestamp timestamptz interval",
    "aggregates": "create_aggregate",
    "join": "create_misc",
    "psql": "create_am",
    "amutils": "geometry create_index_spgist hash_index brin",
    "event_trigger": "create_am",
    "select_parallel": "create_misc",
    "select_views": "create_view",
    "with": "create_misc",
}

# Run directly once, each the start of databases for --each.
BASES = (("test_setup",), ("test_setup", "create_index"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mode", choices=["direct", "session", "transaction"])
    parser.add_argument("--suite", choices=["regress", "isolation"], default="regress")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tests", metavar="A,B", help="only these, what they need run directly "
                       "before; 'quick' are those of every day")
    which.add_argument("--schedule", choices=["whole"], help="all tests (the default)")
    parser.add_argument("--each", action="store_true",
                        help="each file on a fresh database, what it needs run directly before")
    parser.add_argument("--noise", type=int, default=6, metavar="N",
                        help="other clients of the same pool (default 6)")
    parser.add_argument("--pool-size", type=int, metavar="N",
                        help="default 5; isolation, whose tests hold up to 8 transactions, 12; "
                        "in session mode 20")
    parser.add_argument("--parallel", type=int, default=4, metavar="N",
                        help="tests at a time (default 4)")
    parser.add_argument("--idle-limit", type=float, default=90, metavar="SECONDS",
                        help="tests are killed after so long without an outcome (default 90)")
    parser.add_argument("--binary", metavar="PATH", help="sluice (default: $SLUICE_BINARY or "
                        "build/release/sluice)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build/regress", metavar="DIR",
                        help="where results go (default build/regress)")
    parser.add_argument("--fresh", action="store_true", help="run the direct baseline again")
    parser.add_argument("--junit", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.pool_size is None:
        options.pool_size = 20 if options.mode == "session" else \
            12 if options.suite == "isolation" else 5
    if options.binary:
        os.environ["SLUICE_BINARY"] = str(Path(options.binary).resolve())
    return options


def read_schedule(text):
    """Groups of tests; pg_regress's `ignore:` lines are dropped, that test is as good as others."""
    return [line[5:].split() for line in text.splitlines() if line.startswith("test:")]


def write_schedule(groups):
    return "".join(f"test: {' '.join(group)}\n" for group in groups if group)


class Runner:
    def __init__(self, options, tools):
        self.options = options
        self.tools = tools
        name = "parallel_schedule" if options.suite == "regress" else "isolation_schedule"
        self.groups = read_schedule((getattr(tools, options.suite) / name).read_text())
        self.all = [test for group in self.groups for test in group]
        self.chosen = self._choose()

    def _choose(self):
        if not self.options.tests:
            return self.all
        quick = QUICK if self.options.suite == "regress" else QUICK_ISOLATION
        names = quick if self.options.tests == "quick" else self.options.tests.split(",")
        unknown = [name for name in names if name not in self.all]
        if unknown:
            sys.exit(f"no such test: {' '.join(unknown)}")
        return [name for name in self.all if name in names]

    def _needs(self, test):
        """What must have run before `test` on its database, in the schedule's order."""
        if self.options.suite == "isolation" or test == "test_setup":
            return []
        need = {"test_setup"}
        if self.all.index(test) > self.all.index("create_index"):
            need.add("create_index")
        todo = DEPENDS.get(test, "").split()
        while todo:
            name = todo.pop()
            if name not in need:
                need.add(name)
                todo += DEPENDS.get(name, "").split()
        return [name for name in self.all if name in need and name != test]

    def key(self):
        """Names the direct baseline that a run is compared with."""
        options = self.options
        what = hashlib.sha256(" ".join(self.chosen).encode()).hexdigest()[:8]
        what = "whole" if self.chosen == self.all else what
        each = "-each" if options.each else ""
        return f"direct-{options.suite}-{what}{each}-{self.tools.server_version}.json"

    def run(self, mode):
        """Results of the chosen tests in this mode; problems beside them."""
        from instance import Instance, Suite  # after SLUICE_BINARY is set
        options = self.options
        folder = options.out / f"{mode}-{options.suite}{'-each' if options.each else ''}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        found = results.Results()
        with Instance(mode, options.suite, options.pool_size, folder) as instance:
            suite = Suite(options.suite, self.tools, instance)
            work = self._each if options.each else self._together
            errors = work(instance, suite, folder, found)
        found.missing(self.chosen)
        problems = [f"noise: {error}" for error in errors] + instance.problems
        print(f"{mode}: {found.count()} of {len(found.passed)} pass, in {folder}", flush=True)
        return found, problems

    def _together(self, instance, suite, folder, found):
        instance.server.create_database()
        log = folder / "tests.txt"
        # What is vacuumed while others look at it is planned otherwise: nobody disturbs the setup.
        quiet = [name for name in ("test_setup",) if name in self.chosen]
        loud = [name for name in self.chosen if name not in quiet]
        self._schedule(suite, quiet, log, instance.port)
        texts = [self._keep(suite, folder, "setup.")]
        if self.chosen != self.all:
            need = {name for test in self.chosen for name in self._needs(test)}
            self._prepare(instance, suite, folder, need - set(self.chosen))
        noise = instance.noise(self.options.noise)
        try:
            self._schedule(suite, loud, log, instance.port)
        finally:
            errors = noise.stop()
        texts.append(self._keep(suite, folder))
        found.add(log.read_text(errors="replace"), "\n".join(texts))
        return errors

    def _each(self, instance, suite, folder, found):
        server = instance.server
        errors = []
        templates = {(): "template0"}
        for base in BASES if self.options.suite == "regress" else ():
            server.create_database()
            self._prepare(instance, suite, folder, base)
            templates[base] = f"after_{base[-1]}"
            server.keep_as_template(templates[base])
        roles = server.roles()
        for test in self.chosen:
            needs = self._needs(test)
            base = max((b for b in templates if set(b) <= set(needs)), key=len)
            server.create_database(templates[base])
            server.drop_roles(roles)
            self._prepare(instance, suite, folder, [n for n in needs if n not in base])
            noise = instance.noise(self.options.noise)
            log = folder / f"{test}.txt"
            try:
                self._schedule(suite, [test], log, instance.port)
            finally:
                errors += [f"during {test}: {error}" for error in noise.stop()]
            found.add(log.read_text(errors="replace"), self._keep(suite, folder, f"{test}."))
            if found.passed.get(test):
                log.unlink()
            for name in ("noise.log", "noise-prepared.log"):
                (folder / name).unlink(missing_ok=True)
        return errors

    def _schedule(self, suite, tests, log, port):
        groups = [[name for name in group if name in tests] for group in self.groups]
        if tests:
            suite.run(write_schedule(groups), log, port, self.options.parallel,
                      self.options.idle_limit)

    def _prepare(self, instance, suite, folder, tests):
        """Runs on a direct connection what other tests need."""
        self._schedule(suite, tests, folder / "prepare.txt", instance.server.port)

    @staticmethod
    def _keep(suite, folder, prefix=""):
        """The differences of the last pg_regress, kept in the folder if there are any."""
        differences = suite.output / "regression.diffs"
        text = differences.read_text(errors="replace") if differences.exists() else ""
        if text:
            text = text.replace(str(suite.top), "")
            (folder / f"{prefix}regression.diffs").write_text(text)
        return text

    def direct(self):
        """The baseline: run now, or kept from an earlier run."""
        path = self.options.out / self.key()
        if not path.exists() or self.options.fresh:
            found, problems = self.run("direct")
            for problem in problems:
                print(f"direct: {problem}")
            found.save(path)
        return results.Results.load(path)


def main():
    options = arguments()
    for name in [n for n in os.environ if n.startswith("PG")]:
        del os.environ[name]
    os.environ["SLUICE_TEST_PGBIN"] = f"/usr/lib/postgresql/{source.MAJOR}/bin"
    started = time.monotonic()
    try:
        tools = source.prepare()
    except source.Unavailable as reason:
        print(f"skipped: {reason}")
        if options.junit:
            results.write_skipped(options.junit, options.suite, str(reason))
        return 0
    if tools.note:
        print(f"note: {tools.note}")
    options.out.mkdir(parents=True, exist_ok=True)
    runner = Runner(options, tools)
    if options.mode == "direct":
        options.fresh = True
        found = runner.direct()
        failed = [name for name, ok in found.passed.items() if not ok]
        print(f"direct: {found.count()} of {len(found.passed)} pass; not: {' '.join(failed)}")
        return 0
    direct = runner.direct()
    found, problems = runner.run(options.mode)
    verdict = results.Verdict(found, direct, results.known(options.suite, options.mode))
    verdict.print(f"{options.suite} in {options.mode} mode")
    for problem in problems[:MOST_PROBLEMS]:
        print(f"  {problem}")
    if len(problems) > MOST_PROBLEMS:
        print(f"  and {len(problems) - MOST_PROBLEMS} more")
    print(f"took {time.monotonic() - started:.0f} s")
    if options.junit:
        verdict.write_junit(options.junit, options.suite, problems[:MOST_PROBLEMS])
    return 1 if verdict.failed or problems else 0


if __name__ == "__main__":
    sys.exit(main())
