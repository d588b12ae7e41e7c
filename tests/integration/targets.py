"""What the tests talk to: a sluice process with its own configuration.

`SLUICE_TEST_TARGET=postgres` or `pgbouncer` puts PostgreSQL itself or Debian's PgBouncer in its
place, to see whether a test asks for something reasonable; many tests then fail by design.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import psycopg
import yaml

import metrics_text
import wire
from postgres import PASSWORDS, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("SLUICE_BINARY", REPOSITORY / "build/release/sluice")).resolve()
TARGET = os.environ.get("SLUICE_TEST_TARGET", "sluice")
WORKERS = int(os.environ.get("SLUICE_TEST_WORKERS", "2"))
SANITIZER_REPORT = re.compile(
    r"ERROR: (Address|Leak|Thread|Memory)Sanitizer|WARNING: ThreadSanitizer|runtime error: |"
    r"SUMMARY: \w+Sanitizer|Assertion .* failed|terminate called|Segmentation fault")


def _sanitized():
    if not BINARY.exists():
        return False
    data = BINARY.read_bytes()
    return b"__asan_init" in data or b"__tsan_init" in data


SANITIZED = _sanitized()
# Time limits are multiplied by this where the machine or the build is slow.
SCALE = float(os.environ.get("SLUICE_TEST_SCALE", "4" if SANITIZED else "1"))


def merge(base, changes):
    """`base` with `changes` laid over it; a value of None removes the key."""
    out = dict(base)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = value
    return out


class Target:
    """Where clients connect to; knows how to make them and closes what they forget."""

    host = "127.0.0.1"
    port = None
    unix_directory = None

    def __init__(self):
        self.opened = []

    @property
    def address(self):
        return (self.host, self.port)

    def raw(self, address=None, timeout=10.0):
        """A connection on which nothing has been said."""
        conn = wire.Conn(address or self.address, timeout * SCALE)
        self.opened.append(conn)
        return conn

    def connect(self, user="app", database="app", secret=None, tls=None, address=None, gs2=None,
                version=wire.PROTOCOL_3_0, **params):
        """A logged-in raw connection."""
        conn = self.raw(address)
        if tls is not None:
            conn.request_tls(tls)
        if secret is None:
            secret = PASSWORDS.get(user, "")
        conn.login(user, database, secret, version=version, gs2=gs2, **params)
        return conn

    def dsn(self, user="app", database="app", secret=None, **options):
        options = {"sslmode": "disable", "connect_timeout": 20, **options}
        words = {"host": self.host, "port": self.port, "user": user, "dbname": database,
                 "password": secret or PASSWORDS.get(user, ""), **options}
        return psycopg.conninfo.make_conninfo(**words)

    def psycopg(self, user="app", database="app", secret=None, autocommit=True, **options):
        conn = psycopg.connect(self.dsn(user, database, secret, **options), autocommit=autocommit)
        self.opened.append(conn)
        return conn

    def environment(self, user="app", database="app"):
        """For psql, pgbench and their family."""
        return {**os.environ, "PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": user,
                "PGDATABASE": database, "PGPASSWORD": PASSWORDS[user], "PGSSLMODE": "disable",
                "PGCONNECT_TIMEOUT": "20", "PSQLRC": "/dev/null", "LC_ALL": "C.UTF-8"}

    def close_clients(self):
        for conn in self.opened:
            try:
                conn.close()
            except Exception:  # noqa: BLE001 - it is being thrown away
                pass
        self.opened.clear()


class Process(Target):
    """A daemon that a test started; `stop` tells whether it ended well."""

    name = "daemon"

    def __init__(self, directory, environment=None):
        super().__init__()
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log_path = self.directory / f"{self.name}.log"
        self.environment_extra = environment or {}
        self.process = None

    def _spawn(self, command):
        environment = {
            "ASAN_OPTIONS": "exitcode=99:detect_leaks=1",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=0",
            "TSAN_OPTIONS": "exitcode=66:halt_on_error=0:second_deadlock_stack=1",
            **os.environ, **self.environment_extra}
        for name in ("DATABASE_URL", "SLUICE_CONFIG"):
            if name not in self.environment_extra:
                environment.pop(name, None)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=environment,
                                            cwd=self.directory)

    @property
    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def wait_listening(self, addresses, timeout=15.0):
        end = time.monotonic() + timeout * SCALE
        for address in addresses:
            while True:
                if not self.alive():
                    raise RuntimeError(
                        f"{self.name} exited with {self.process.returncode}:\n{self.log[-4000:]}")
                try:
                    wire.Conn(address, 2).close()
                    break
                except OSError:
                    if time.monotonic() > end:
                        raise RuntimeError(
                            f"{self.name} does not listen on {address}:\n{self.log[-4000:]}")
                    time.sleep(0.01)

    def memory(self, which="VmHWM"):
        """Bytes of resident memory: VmRSS now, VmHWM the highest since reset_peak()."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(which + ":"):
                return int(line.split()[1]) * 1024
        raise KeyError(which)

    def reset_peak(self):
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """SIGTERM; what is wrong with how it ended, or an empty string."""
        if self.process is None:
            return ""
        self.close_clients()
        problems = []
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15 * SCALE)
            except subprocess.TimeoutExpired:
                problems.append("did not end after SIGTERM")
                self.process.kill()
                self.process.wait()
        else:
            problems.append("was no longer running at the end of the test")
        if self.process.returncode != 0:
            problems.append(f"exit code {self.process.returncode}")
        if SANITIZER_REPORT.search(self.log):
            problems.append("the log holds a sanitizer's or a crash's report")
        self.process = None
        if problems:
            return f"{self.name}: " + "; ".join(problems) + "\n" + self.log[-8000:]
        return ""


class Sluice(Process):
    name = "sluice"

    def __init__(self, directory, config, text=None, environment=None):
        super().__init__(directory, environment)
        self.config = config
        self.text = text
        self.config_path = self.directory / "sluice.yaml"
        self.monitoring_port = None

    def write_config(self):
        text = self.text if self.text is not None else yaml.safe_dump(self.config,
                                                                      sort_keys=False)
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.config_path)  # nobody reads half of it

    def start(self):
        self.write_config()
        self._spawn([BINARY, "serve", "--config", self.config_path])
        addresses = []
        for listen in self.config["postgres"]["listen"]:
            if listen.startswith("unix:"):
                self.unix_directory = Path(listen[5:])
            else:
                host, port = listen.rsplit(":", 1)
                host = host.strip("[]")
                reach = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
                addresses.append((reach, int(port)))
                if self.port is None and ":" not in host:
                    self.port = int(port)
        monitoring = self.config.get("monitoring", {}).get("listen", [])
        for listen in monitoring:
            self.monitoring_port = int(listen.rsplit(":", 1)[1])
            addresses.append(("127.0.0.1", self.monitoring_port))
        self.wait_listening(addresses)
        return self

    @property
    def unix_address(self):
        """The path of its unix socket."""
        found = sorted(self.unix_directory.glob(".s.PGSQL.*"))
        found = [f for f in found if not f.name.endswith(".lock")]
        assert found, f"no .s.PGSQL.<port> in {self.unix_directory}"
        return str(found[0])

    def reload(self, **changes):
        """Change the configuration file and send SIGHUP (the effect comes a little later)."""
        self.config = merge(self.config, changes)
        self.write_config()
        self.signal(signal.SIGHUP)

    # -- monitoring

    def http(self, path, port=None):
        """(status, content type, body) of the monitoring port."""
        url = f"http://127.0.0.1:{port or self.monitoring_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10 * SCALE) as answer:
                return answer.status, answer.headers.get("Content-Type", ""), \
                    answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get("Content-Type", ""), error.read().decode()

    def metrics(self):
        status, _, body = self.http("/metrics")
        assert status == 200
        return metrics_text.parse(body)

    def waiting(self):
        """Clients in the queue for a server connection, over all pools."""
        return self.metrics()["sluice_pool_waiting_clients"].total()

    def wait_waiting(self, count):
        wire.eventually(lambda: self.waiting() == count, 10 * SCALE, f"{count} waiting clients")


class PgBouncer(Process):
    """Debian's PgBouncer with a configuration translated as far as it goes."""

    name = "pgbouncer"

    def __init__(self, directory, config, text=None, environment=None):
        super().__init__(directory, environment)
        self.config = config
        self.monitoring_port = None

    def start(self):
        settings = {"pool_mode": "transaction", **self.config["postgres"]}
        lines = ["[databases]"]
        for name, database in settings["databases"].items():
            words = psycopg.conninfo.conninfo_to_dict(database["url"])
            keep = {k: words[k] for k in ("host", "port", "user", "password", "dbname")
                    if k in words}
            lines.append(f"{name} = " + " ".join(f"{k}={v}" for k, v in keep.items()))
        host, port = settings["listen"][0].rsplit(":", 1)
        self.port = int(port)
        users = "\n".join(f'"{n}" "{u.get("password", "")}"'
                          for n, u in settings.get("users", {}).items())
        (self.directory / "users.txt").write_text(users + "\n")
        lines += ["[pgbouncer]", f"listen_addr={host}", f"listen_port={port}", "unix_socket_dir=",
                  "auth_type=scram-sha-256", "max_client_conn=1000",
                  f"auth_file={self.directory}/users.txt", "ignore_startup_parameters=options"]
        names = {"pool_size": "default_pool_size"}
        plain = ("pool_size", "min_pool_size", "reserve_pool_size", "reserve_pool_timeout",
                 "max_client_conn", "max_db_connections", "max_user_connections", "pool_mode",
                 "query_wait_timeout", "query_timeout", "idle_transaction_timeout",
                 "client_idle_timeout", "client_login_timeout", "server_idle_timeout",
                 "server_lifetime", "server_connect_timeout")
        for key in plain:
            if key in settings:
                value = str(settings[key])
                if value.endswith("ms"):
                    value = str(float(value[:-2]) / 1000)
                lines.append(f"{names.get(key, key)}={value.removesuffix('s')}")
        ini = self.directory / "pgbouncer.ini"
        ini.write_text("\n".join(lines) + "\n")
        command = ["/usr/sbin/pgbouncer", ini]
        if os.geteuid() == 0:
            for path in [self.directory, *self.directory.parents]:
                if path == Path(tempfile.gettempdir()):
                    break
                path.chmod(0o755)
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                       *command]
        self._spawn(command)
        self.wait_listening([self.address])
        return self

    def stop(self):
        if self.process is None:
            return ""
        self.close_clients()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        self.process = None
        return ""


class Direct(Target):
    """PostgreSQL itself in the place of a pooler."""

    log = ""
    monitoring_port = None

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.port = server.port

    def start(self):
        return self

    def alive(self):
        return True

    def stop(self):
        self.close_clients()
        return ""


class Factory:
    """Makes configured targets; what it made is stopped and judged at the end of the test."""

    def __init__(self, server):
        self.server = server
        self.made = []
        self.root = Path(tempfile.mkdtemp(prefix="sluice-test-"))

    def default_config(self):
        return {
            "workers": WORKERS,
            "log": {"level": "debug"},
            "postgres": {
                "listen": [f"127.0.0.1:{free_port()}"],
                "auth_type": "scram-sha-256",
                "pool_size": 5,
                "shutdown_timeout": "2s",
                "databases": {"app": {"url": self.server.url()}},
                "users": {name: {"password": PASSWORDS[name]}
                          for name in ("app", "alice", "bob")},
            },
            # Off, since every daemon would want the default port; a test asks for its own.
            "kv": {"listen": []},
            "monitoring": {"listen": [f"127.0.0.1:{free_port()}"]},
        }

    def prepare(self, *, text=None, environment=None, **changes):
        """A target that is configured and not yet started."""
        if TARGET == "postgres":
            made = Direct(self.server)
        else:
            kind = PgBouncer if TARGET == "pgbouncer" else Sluice
            directory = self.root / str(len(self.made))
            made = kind(directory, merge(self.default_config(), changes), text, environment)
        self.made.append(made)
        return made

    def __call__(self, *, text=None, environment=None, **changes):
        return self.prepare(text=text, environment=environment, **changes).start()

    def finish(self):
        problems = [problem for problem in (made.stop() for made in self.made) if problem]
        shutil.rmtree(self.root, ignore_errors=True)
        return problems


def run_sluice(*arguments, stdin="", environment=None, timeout=20):
    """A short-lived run of the binary: (exit code, stdout, stderr)."""
    variables = {**os.environ, **(environment or {})}
    for name in ("DATABASE_URL", "SLUICE_CONFIG"):
        if name not in (environment or {}):
            variables.pop(name, None)
    done = subprocess.run([str(BINARY), *map(str, arguments)], input=stdin, text=True,
                          capture_output=True, timeout=timeout * SCALE, env=variables)
    return done.returncode, done.stdout, done.stderr
