"""A private PostgreSQL for one test run: a temporary directory, a free port."""

import errno
import fcntl
import glob
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg

PASSWORDS = {
    "app": "app-secret-7Kq",
    "alice": "alice-secret-9Zp",
    "bob": "bob-secret-3Wm",
    "replicator": "replicator-secret-5Xt",
}


def binaries():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
    if not found:
        raise RuntimeError("no PostgreSQL in /usr/lib/postgresql")
    return Path(os.environ.get("SLUICE_TEST_PGBIN", found[-1]))


def _own_ports():
    """Ports that neither another run of the tests takes nor the kernel gives to a client."""
    for first in range(10000, 30000, 2000):
        try:
            lock = open(Path(tempfile.gettempdir()) / f"sluice-test-ports-{first}.lock", "w")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends
        except (BlockingIOError, PermissionError):
            continue
        return lock, itertools.cycle(range(first, first + 2000))
    raise RuntimeError("ten runs of the tests at once are too many")


_ports_lock, _ports = _own_ports()


def free_port():
    """A port that nothing uses on 127.0.0.1 (and, if there is IPv6, on ::1)."""
    for port in _ports:
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
        return port


class Postgres:
    def __init__(self, authority):
        self.bin = binaries()
        self.root = Path(tempfile.mkdtemp(prefix="sluice-pg-"))
        self.data = self.root / "data"
        self.socket_directory = self.root / "socket"
        self.log = self.root / "postgres.log"
        self.port = free_port()
        self.host = "127.0.0.1"
        self.authority = authority
        self._admin = None
        self._become = self._unprivileged()
        self._create()
        self.start()
        self._populate()

    def _unprivileged(self):
        if os.geteuid() != 0:
            return []
        entry = pwd.getpwnam("postgres")
        os.chown(self.root, entry.pw_uid, entry.pw_gid)
        return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]

    def _run(self, *command, check=True):
        done = subprocess.run([*self._become, *map(str, command)], cwd=self.root,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if check and done.returncode:
            tail = self.log.read_text()[-3000:] if self.log.exists() else ""
            raise RuntimeError(f"{command}: {done.stdout}\n{tail}")
        return done.stdout

    def _create(self):
        self._run(self.bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust",
                  "--no-sync",
                  "-E", "UTF8", "--locale=C.UTF-8")
        certificate, key = self.authority.issue("postgres", "localhost")
        for source, name in ((certificate, "server.pem"), (key, "server.key")):
            shutil.copy(source, self.data / name)
            (self.data / name).chmod(0o600)
            if self._become:
                shutil.chown(self.data / name, "postgres", "postgres")
        self._run("mkdir", self.socket_directory)
        self.socket_directory.chmod(0o755)
        self.root.chmod(0o755)
        with open(self.data / "postgresql.auto.conf", "a") as out:
            out.write(f"""
listen_addresses = '127.0.0.1, ::1'
port = {self.port}
unix_socket_directories = '{self.socket_directory}'
max_connections = 100
superuser_reserved_connections = 5
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 64MB
wal_level = logical
max_wal_senders = 10
max_replication_slots = 10
max_prepared_transactions = 10
ssl = on
ssl_cert_file = 'server.pem'
ssl_key_file = 'server.key'
password_encryption = 'scram-sha-256'
log_min_messages = warning
log_line_prefix = '%m [%p] %u@%d '
""")
        (self.data / "pg_hba.conf").write_text("""
local all         postgres                trust
local all         all                     scram-sha-256
host  all         all        127.0.0.1/32 scram-sha-256
host  all         all        ::1/128      scram-sha-256
host  replication all        127.0.0.1/32 scram-sha-256
""")

    def start(self):
        self._run(self.bin / "pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", "60", "start")

    def stop(self, mode="fast"):
        self._drop_admin()
        self._run(self.bin / "pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def restart(self, mode="fast"):
        self._drop_admin()
        self._run(self.bin / "pg_ctl", "-D", self.data, "-l", self.log, "-w", "-m", mode,
                  "restart")

    def destroy(self):
        self._drop_admin()
        self._run(self.bin / "pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop",
                  check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    def running(self):
        return "server is running" in self._run(self.bin / "pg_ctl", "-D", self.data, "status",
                                                check=False)

    def _populate(self):
        for user, secret in PASSWORDS.items():
            option = "replication" if user == "replicator" else ""
            self.query(f"create role {user} login {option} password '{secret}'")
        for database in ("app", "other"):
            self.query(f"create database {database} owner app")
            with psycopg.connect(self.admin_dsn(database), autocommit=True) as admin:
                admin.execute("grant all on schema public to public")
                admin.execute("grant pg_read_all_stats to app")

    # -- the superuser's view (over the unix socket, to database postgres)

    def admin_dsn(self, database="postgres"):
        return (f"host={self.socket_directory} port={self.port} user=postgres dbname={database} "
                "application_name=test-admin")

    def _drop_admin(self):
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def query(self, sql, params=None):
        """Rows of a query as the superuser, on a connection of its own."""
        if self._admin is None or self._admin.closed:
            self._admin = psycopg.connect(self.admin_dsn(), autocommit=True)
        try:
            done = self._admin.execute(sql, params)
        except psycopg.OperationalError:
            self._drop_admin()
            raise
        return done.fetchall() if done.description else []

    def value(self, sql, params=None):
        return self.query(sql, params)[0][0]

    def in_app(self, sql, params=None, database="app"):
        """Rows of a query as the superuser in the database of the tests."""
        with psycopg.connect(self.admin_dsn(database), autocommit=True) as admin:
            done = admin.execute(sql, params)
            return done.fetchall() if done.description else []

    def sessions(self, database="app", user=None):
        """pg_stat_activity of everything but the test's own superuser."""
        rows = self.query(
            "select pid, usename, application_name, state, query, wait_event, state_change, "
            "backend_start, xact_start from pg_stat_activity where backend_type = "
            "'client backend' and datname = %s and application_name <> 'test-admin'", (database,))
        names = ("pid user application_name state query wait_event state_change backend_start "
                 "xact_start").split()
        found = [dict(zip(names, row)) for row in rows]
        for one in found:  # sluice's look at the functions, at a pool's first login: nobody's work
            if one["state"] == "active" and "WITH f AS MATERIALIZED" in (one["query"] or ""):
                one["state"] = "survey"
        return [s for s in found if user is None or s["user"] == user]

    def session_count(self, database="app", user=None):
        return len(self.sessions(database, user))

    def pids(self, database="app", user=None):
        return sorted(s["pid"] for s in self.sessions(database, user))

    def kill_sessions(self, database="app"):
        return self.query(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where backend_type = "
            "'client backend' and datname = %s and application_name <> 'test-admin'", (database,))

    def url(self, database="app", user="app", secret=None, **options):
        """A libpq URL to this server, without TLS unless asked for."""
        options.setdefault("sslmode", "disable")
        tail = "&".join(f"{k}={v}" for k, v in options.items())
        login = f"{user}:{secret or PASSWORDS[user]}@" if user else ""
        return f"postgresql://{login}{self.host}:{self.port}/{database or ''}?{tail}"
