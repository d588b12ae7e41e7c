"""What one run of PostgreSQL's tests needs: a server, sluice in front of it, other clients."""

import collections
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import psycopg  # noqa: E402

import targets  # noqa: E402
from certificates import Authority  # noqa: E402
from postgres import Postgres, free_port  # noqa: E402

DATABASES = {"regress": "regression", "isolation": "isolation_regression"}  # tests name them
NOISE = Path(__file__).resolve().parent / "noise"


class Server(Postgres):
    """The project's private PostgreSQL with nothing in it, set up as pg_regress does it."""

    def __init__(self, authority, database):
        self.database = database
        super().__init__(authority)

    def _create(self):
        super()._create()
        (self.data / "pg_hba.conf").write_text("local all all trust\n"
                                               "host all all 127.0.0.1/32 trust\n")
        with open(self.data / "postgresql.auto.conf", "a") as out:
            out.write("synchronous_commit = on\n"
                      "shared_buffers = 128MB\n"
                      "wal_level = replica\n"
                      "max_prepared_transactions = 2\n")

    def _populate(self):
        pass

    def create_database(self, template="template0"):
        """The database of the tests, anew."""
        self.drop_database()
        options = "encoding 'UTF8' lc_collate 'C' lc_ctype 'C'" if template == "template0" else ""
        self.query(f"create database {self.database} template {template} strategy file_copy "
                   f"{options}")
        for setting in ("lc_messages = 'C'", "lc_monetary = 'C'", "lc_numeric = 'C'",
                        "lc_time = 'C'", "bytea_output = 'hex'",
                        "timezone_abbreviations = 'Default'"):
            self.query(f"alter database {self.database} set {setting}")

    def drop_database(self):
        """With what a failed test leaves outside of it."""
        if not self.query("select 1 from pg_database where datname = %s", (self.database,)):
            return
        for (name,) in self.query("select quote_literal(gid) from pg_prepared_xacts"):
            self._try(f"rollback prepared {name}")
        for (name,) in self.query("select quote_ident(subname) from pg_subscription"):
            for words in ("alter {} disable", "alter {} set (slot_name = none)", "drop {}"):
                self._try(words.format(f"subscription {name}"))
        self.query(f"drop database {self.database} with (force)")
        for (name,) in self.query("select quote_ident(spcname) from pg_tablespace "
                                  "where spcname !~ '^pg_'"):
            self._try(f"drop tablespace {name}", "postgres")

    def _try(self, statement, database=None):
        """Tidies up; whether something is left that matters, the next test will show."""
        with contextlib.suppress(psycopg.Error):
            self.in_app(statement, database=database or self.database)

    def keep_as_template(self, name):
        self.query(f"alter database {self.database} rename to {name}")

    def roles(self):
        return {name for (name,) in self.query("select quote_ident(rolname) from pg_roles")}

    def drop_roles(self, keep):
        """Those that tests left behind."""
        for name in self.roles() - keep:
            self._try(f"drop role {name}", "postgres")


class Noise:
    """Other clients of the same database and user: pgbench with our scripts, until stopped.

    One whose state is wrong ends with an error and comes back; `stop` tells what they said."""

    ABORTED = re.compile(r"client \d+ script (\d+) aborted in command (\d+) query \d+: (.*)")

    def __init__(self, server, port, clients, folder, reconnect):
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._running = []
        self._threads = []
        self._logs = []
        common = [str(server.bin / "pgbench"), "-n", "-h", server.host, "-p", str(port), "-U",
                  "postgres", "-T", "86400", "-j", "1", *(["-C"] if reconnect else [])]
        weights = {"settings": 3, "prepare": 2, "temporary": 1, "queries": 4}
        prepared = clients // 3
        for count, log, weights, options in (
                (clients - prepared, "noise.log", weights, []),
                (prepared, "noise-prepared.log", {"queries": 1}, ["-M", "prepared"])):
            if count:
                scripts = [f"-f{NOISE}/{name}.sql@{weight}" for name, weight in weights.items()]
                self._logs.append((folder / log, list(weights)))
                self._start([*common, *options, "-c", str(count), *scripts, server.database],
                            folder / log)

    def _start(self, command, log):
        thread = threading.Thread(target=self._keep, args=(command, log), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _keep(self, command, path):
        environment = {"PATH": os.environ["PATH"], "PGSSLMODE": "disable", "PGAPPNAME": "noise",
                       "LC_ALL": "C"}
        while True:
            with self._lock, open(path, "ab") as log:
                if self._stop.is_set():
                    return
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log, env=environment)
                self._running.append(process)
            process.wait()
            with self._lock:
                self._running.remove(process)
            self._stop.wait(0.2)

    def stop(self):
        """What went wrong for them, each text once with how often it was said."""
        found = self._errors()  # before what we do to them now
        with self._lock:
            self._stop.set()
            for process in self._running:
                process.send_signal(signal.SIGTERM)
        for thread in self._threads:
            thread.join(30)
        return found

    def _errors(self):
        found = collections.Counter()
        for path, scripts in self._logs:
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            for line in lines:
                aborted = self.ABORTED.search(line)
                if aborted:
                    script, command, text = aborted.groups()
                    line = f"{scripts[int(script)]}.sql, command {command}: {text}"
                elif not line.startswith("pgbench: error") or "Run was aborted" in line:
                    continue
                found[re.sub(r"\d{3,}", "N", line)] += 1
        return [f"{text} ({count} times)" for text, count in found.most_common()]


class Instance:
    """A server, and in front of it sluice unless `mode` is direct. A context manager."""

    def __init__(self, mode, suite, pool_size, results):
        self.mode = mode
        self.database = DATABASES[suite]
        self.results = results
        self.pool_size = pool_size
        self.problems = []
        self.sluice = None
        self.scratch = Path(tempfile.mkdtemp(prefix="sluice-regress-"))
        self.scratch.chmod(0o755)
        self.server = None

    def __enter__(self):
        try:
            self.server = Server(Authority(self.scratch), self.database)
            if self.mode != "direct":
                self.sluice = targets.Sluice(self.scratch / "sluice", self._config()).start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _config(self):
        return {
            "workers": targets.WORKERS,
            "log": {"level": "info"},
            "postgres": {
                "listen": [f"127.0.0.1:{free_port()}"],
                "auth_type": "trust",
                "pool_mode": self.mode,
                "pool_size": self.pool_size,
                "query_wait_timeout": "60s",
                "query_wait_notify": 0,  # a NOTICE would be in the output
                "shutdown_timeout": "2s",
                "databases": {self.database: {"url": self.server.url(self.database, user=None)}},
                "users": {"postgres": {}},
            },
            "kv": {"listen": []},
            "monitoring": {"listen": []},
        }

    def _ask_for_a_sequence(self):
        """From the first currval or lastval on, sluice keeps what INSERT and nextval leave behind
        (docs/sessions.md, "Sequences"); the tests are not to depend on which of them is first."""
        with psycopg.connect(host="127.0.0.1", port=self.port, user="postgres",
                             dbname=self.database, autocommit=True) as conn:
            try:
                conn.execute("SELECT lastval()")
            except psycopg.errors.ObjectNotInPrerequisiteState:
                pass

    @property
    def port(self):
        return self.sluice.port if self.sluice else self.server.port

    def __exit__(self, *_):
        if self.sluice:
            problem = self.sluice.stop()
            if problem:
                self.problems.append(problem)
            shutil.copy(self.sluice.log_path, self.results / "sluice.log")
        if self.server:
            if self.server.log.exists():
                shutil.copy(self.server.log, self.results / "postgres.log")
            self.server.destroy()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def noise(self, clients):
        if self.mode == "transaction" and self.database == DATABASES["regress"]:
            self._ask_for_a_sequence()
        # In session mode connections only change hands between sessions.
        return Noise(self.server, self.port, clients, self.results,
                     reconnect=self.mode == "session")


class Suite:
    """One of the suites, copied to where the server's user can read and write."""

    def __init__(self, name, tools, instance):
        self.name = name
        self.instance = instance
        self.become = instance.server._become
        self.top = instance.scratch / name
        self.input = self.top / "input"
        self.output = self.top / "output"
        for directory in (self.top, self.output):
            directory.mkdir()
        shutil.copytree(getattr(tools, name), self.input)
        shutil.copytree(tools.programs, self.top / "bin")
        shutil.copytree(tools.libraries, self.top / "lib")
        if self.become:
            for path in (self.top, *self.top.rglob("*")):
                shutil.chown(path, "postgres", "postgres")
        self.program = self.top / "bin" / \
            ("pg_regress" if name == "regress" else "pg_isolation_regress")

    def run(self, schedule, log, port, parallel, idle_limit):
        """Runs a schedule; what pg_regress prints is appended to `log`. A test that says nothing
        for `idle_limit` seconds is killed and thereby failed. Returns pg_regress's exit code."""
        file = self.top / "schedule"
        file.write_text(schedule)
        file.chmod(0o644)
        command = [*self.become, str(self.program), "--use-existing", f"--bindir={self.top}/bin",
                   f"--inputdir={self.input}", f"--outputdir={self.output}",
                   f"--dlpath={self.top}/lib", "--host=127.0.0.1", f"--port={port}",
                   "--user=postgres", f"--dbname={self.instance.database}",
                   f"--max-connections={parallel}", f"--schedule={file}"]
        environment = {"PATH": os.environ["PATH"], "PGSSLMODE": "disable", "LC_ALL": "C",
                       "PGISOLATIONTIMEOUT": "20", "HOME": str(self.top)}
        with open(log, "ab") as out:
            process = subprocess.Popen(command, cwd=self.output, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=out, env=environment)
            try:
                self._wait(process, log, idle_limit)
            finally:
                if process.poll() is None:  # we were interrupted
                    self._kill_tests(process.pid)
                    process.kill()
                    process.wait()
        return process.returncode

    def _wait(self, process, log, idle_limit):
        size, changed = None, time.monotonic()
        while process.poll() is None:
            time.sleep(0.05)
            if log.stat().st_size != size:
                size, changed = log.stat().st_size, time.monotonic()
            elif time.monotonic() - changed > idle_limit:
                self._kill_tests(process.pid)
                changed = time.monotonic()

    @staticmethod
    def _kill_tests(parent):
        """Kills the programs under pg_regress; the shells in between then report the failure."""
        children = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(words[1]), []).append(int(stat.parent.name))
        todo, leaves = [parent], []
        while todo:
            pid = todo.pop()
            below = children.get(pid, [])
            todo += below
            if not below and pid != parent:
                leaves.append(pid)
        for pid in leaves:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
