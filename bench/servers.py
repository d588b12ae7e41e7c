"""What the benchmark measures, started by itself: a private PostgreSQL, PgBouncer and sluice.

Everything lives in one temporary directory and on free ports of 127.0.0.1. As root, PostgreSQL and
PgBouncer, which refuse to run as root, are run as the user `postgres`.
"""

import glob
import os
import re
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

USER = "bench"
DATABASE = "bench"
SESSION_DATABASE = "bench_session"  # PgBouncer only: the same database in session mode
PASSWORD = secrets.token_hex(12)
BACKLOG = 1024
MAX_CLIENTS = 12000


class Failure(RuntimeError):
    """Something that the benchmark needs is missing or does not start."""


def postgres_programs():
    """The folder of the newest PostgreSQL's programs."""
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if found:
        return Path(max(found, key=lambda path: int(path.split("/")[4]))).parent
    initdb = shutil.which("initdb")
    if initdb is None:
        raise Failure("PostgreSQL is not installed (Debian: postgresql)")
    return Path(os.path.realpath(initdb)).parent


def raise_descriptor_limit(wanted):
    """Raises RLIMIT_NOFILE, for us and all children; returns what there is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        try:
            if soft < limits[0]:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _unprivileged():
    """Arguments for subprocess that give up root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _version(command):
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "unknown version"
    return said.splitlines()[0].strip() if said else "unknown version"


class Workspace:
    """The temporary directory; stops what was started and removes itself."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
        self.path.chmod(0o755)
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in reversed(self.started):
            server.stop()
        shutil.rmtree(self.path, ignore_errors=True)

    def folder(self, name):
        path = self.path / name
        path.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")
        return path


class Server:
    """One process, its folder and its port."""

    stop_signal = signal.SIGTERM

    def __init__(self, workspace, name):
        self.workspace, self.name = workspace, name
        self.folder = workspace.folder(name)
        self.port = free_port()
        self.process = None

    def spawn(self, command, **options):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([str(word) for word in command], cwd=self.folder,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            # Linux shares the processors out by session: each
                                            # server in one of its own, as daemons are.
                                            start_new_session=True, **options)
        if self not in self.workspace.started:
            self.workspace.started.append(self)
        self._wait_until_it_answers()
        return self

    def _wait_until_it_answers(self):
        end = time.monotonic() + 30
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                tail = (self.folder / "log").read_text(errors="replace")[-1500:]
                raise Failure(f"{self.name} did not start:\n{tail}")
            if self.psql("SELECT 1", check=False) == "1":
                return
            time.sleep(0.05)

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def pid(self):
        return self.process.pid

    def environment(self, database=DATABASE):
        """For psql and pgbench."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        return {**kept, "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": USER,
                "PGDATABASE": database, "PGPASSWORD": PASSWORD, "PGSSLMODE": "disable",
                "PGGSSENCMODE": "disable", "PGCONNECT_TIMEOUT": "30", "LC_ALL": "C.UTF-8"}

    def psql(self, *statements, check=True):
        words = [word for statement in statements for word in ("-c", statement)]
        done = subprocess.run([postgres_programs() / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1",
                               *words], env=self.environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        if check and done.returncode:
            raise Failure(f"{self.name}: {done.stderr.strip()}")
        return done.stdout.strip()


class Postgres(Server):
    """Everything that makes a database wait for its disk is off: the proxies are measured."""

    label = "direct"
    proxy = False
    stop_signal = signal.SIGINT

    def __init__(self, workspace):
        super().__init__(workspace, "postgres")
        self.programs = postgres_programs()
        self.version = _version([self.programs / "postgres", "--version"])

    def start(self, scale):
        data, pwfile = self.folder / "data", self.folder / "password"
        pwfile.write_text(PASSWORD + "\n")
        if os.geteuid() == 0:
            shutil.chown(pwfile, "postgres", "postgres")
        pwfile.chmod(0o600)
        subprocess.run([self.programs / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256",
                        f"--pwfile={pwfile}", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
                       check=True, cwd=self.folder, stdout=subprocess.DEVNULL, **_unprivileged())
        settings = {"port": self.port, "listen_addresses": "127.0.0.1",
                    "unix_socket_directories": "", "max_connections": 200,
                    "shared_buffers": "256MB", "fsync": "off", "synchronous_commit": "off",
                    "full_page_writes": "off", "max_wal_size": "4GB", "checkpoint_timeout": "1h",
                    "autovacuum": "off", "jit": "off"}
        with open(data / "postgresql.auto.conf", "a", encoding="utf-8") as out:
            out.writelines(f"{key} = '{value}'\n" for key, value in settings.items())
        bootstrap = subprocess.run(
            [self.programs / "postgres", "--single", "-D", data, "postgres"], check=True,
            input=f"CREATE DATABASE {DATABASE}\n", text=True, cwd=self.folder,
            capture_output=True, **_unprivileged())
        if "ERROR" in bootstrap.stderr:
            raise Failure(bootstrap.stderr)
        self.spawn([self.programs / "postgres", "-D", data], **_unprivileged())
        subprocess.run([self.programs / "pgbench", "-i", "-q", "-s", str(scale)], check=True,
                       env=self.environment(), stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        return self

    def scram_secret(self):
        """What both poolers keep of the client's password: no PBKDF2 at a login."""
        return self.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")


class PgBouncer(Server):
    label = "PgBouncer"
    proxy = True

    def __init__(self, workspace, name, program, pool_size):
        super().__init__(workspace, name)
        self.program, self.pool_size = program, pool_size
        self.version = _version([program, "--version"])
        number = re.search(r"(\d+)\.(\d+)", self.version)
        self.keeps_statements = bool(number) and (int(number[1]), int(number[2])) >= (1, 21)

    def start(self, postgres):
        upstream = (f"host=127.0.0.1 port={postgres.port} dbname={DATABASE} user={USER} "
                    f"password={PASSWORD}")
        settings = {"listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": "",
                    "auth_type": "scram-sha-256", "auth_file": self.folder / "users",
                    "pool_mode": "transaction", "default_pool_size": self.pool_size,
                    "max_client_conn": MAX_CLIENTS, "listen_backlog": BACKLOG,
                    "log_connections": 0, "log_disconnections": 0, "log_stats": 0}
        if self.keeps_statements:
            settings["max_prepared_statements"] = 200
        lines = ["[databases]", f"{DATABASE} = {upstream}",
                 f"{SESSION_DATABASE} = {upstream} pool_mode=session", "[pgbouncer]",
                 *(f"{key} = {value}" for key, value in settings.items())]
        (self.folder / "ini").write_text("\n".join(lines) + "\n")
        (self.folder / "users").write_text(f'"{USER}" "{postgres.scram_secret()}"\n')
        for name in ("ini", "users"):
            (self.folder / name).chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(self.folder / name, "postgres", "postgres")
        return self.spawn([self.program, "-q", self.folder / "ini"], **_unprivileged())


class Sluice(Server):
    label = "sluice"
    proxy = True
    keeps_statements = True

    def __init__(self, workspace, name, program, pool_size, workers, session_state=None):
        super().__init__(workspace, name)
        self.program, self.pool_size, self.workers = program, pool_size, workers
        self.session_state = session_state
        self.version = _version([program, "--version"])

    def start(self, postgres):
        url = (f"postgres://{USER}:{PASSWORD}@127.0.0.1:{postgres.port}/{DATABASE}"
               "?sslmode=disable")
        # Not named unless it is meant: --also may be a sluice that does not know it.
        state = f"  session_state: {self.session_state}\n" if self.session_state else ""
        (self.folder / "sluice.yaml").write_text(f"""\
workers: {self.workers}
log: {{level: warning}}
postgres:
  listen: ["127.0.0.1:{self.port}"]
  listen_backlog: {BACKLOG}
  auth_type: scram-sha-256
  pool_mode: transaction
  pool_size: {self.pool_size}
  max_client_conn: {MAX_CLIENTS}
{state}  databases:
    {DATABASE}: {{url: "{url}"}}
  users:
    {USER}: {{password: "{postgres.scram_secret()}"}}
kv: {{listen: []}}
monitoring:
  listen: ["127.0.0.1:{free_port()}"]
""")
        (self.folder / "sluice.yaml").chmod(0o600)
        return self.spawn([self.program, "serve", "--config", self.folder / "sluice.yaml"])
