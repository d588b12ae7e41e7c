"""What the tests of the key-value port talk to: a sluice with a `kv:` section, or redis-server
with the same settings translated (SLUICE_TEST_TARGET=redis), to see what Redis itself answers."""

import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import resp
import targets
import wire
from postgres import free_port

ON_REDIS = targets.TARGET == "redis"


class KvTarget(targets.Process):
    """A running server: `connect()` gives a resp.Conn."""

    config = None
    tls = None  # an ssl context, with which connect() speaks

    @property
    def kv(self):
        return self.config["kv"]

    @property
    def data(self):
        """The directory that holds the data."""
        return Path(self.kv["directory"])

    def kv_addresses(self):
        out = []
        for listen in self.kv["listen"]:
            host, port = listen.rsplit(":", 1)
            host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
            out.append((host, int(port)))
        return out

    def connect(self, *hello, address=None, timeout=20.0):
        """A connection; `hello` are the arguments of a HELLO to begin with."""
        conn = resp.Conn(address or self.address, timeout * targets.SCALE, tls=self.tls)
        self.opened.append(conn)
        if hello:
            reply = conn.call("HELLO", *hello)
            assert not isinstance(reply, resp.ReplyError), reply
        return conn

    def kill(self):
        """kill -9; start() brings it back on the same port and directory."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.close_clients()

    def restart(self):
        """SIGTERM, then start again."""
        problem = self.stop()
        assert not problem, problem
        return self.start()

    def start_refused(self, timeout=20.0):
        """Start what must not come up: (exit code, what it said)."""
        before = len(self.log)
        self._spawn(self.command())
        try:
            code = self.process.wait(timeout * targets.SCALE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None
        return code, self.log[before:]


class KvSluice(KvTarget, targets.Sluice):
    name = "sluice"

    def __init__(self, directory, config):
        targets.Sluice.__init__(self, directory, config)

    def command(self):
        self.write_config()
        return [targets.BINARY, "serve", "--config", self.config_path]

    def start(self):
        self._spawn(self.command())
        addresses = self.kv_addresses()
        self.host, self.port = addresses[0]
        self.monitoring_port = int(self.config["monitoring"]["listen"][0].rsplit(":", 1)[1])
        self.wait_listening([*addresses, ("127.0.0.1", self.monitoring_port)])
        return self


class KvRedis(KvTarget):
    name = "redis"

    def __init__(self, directory, config, persistent=True):
        super().__init__(directory)
        self.config = config
        self.persistent = persistent

    def command(self):
        kv = self.kv
        self.data.mkdir(parents=True, exist_ok=True)
        hosts = dict.fromkeys(host for host, _ in self.kv_addresses())
        port = self.kv_addresses()[0][1]
        lines = [f"bind {' '.join(hosts)}", 'save ""', f"dir {self.data}", "databases 10000",
                 f"protected-mode {'yes' if kv.get('protected_mode', True) else 'no'}",
                 f"appendonly {'yes' if self.persistent else 'no'}",
                 f"appendfsync {kv.get('fsync', 'everysec')}"]
        if "tls" in kv:
            lines += ["port 0", f"tls-port {port}", f"tls-cert-file {kv['tls']['certificate']}",
                      f"tls-key-file {kv['tls']['key']}", "tls-auth-clients no",
                      f"tls-ca-cert-file {kv['tls']['certificate']}"]
        else:
            lines.append(f"port {port}")
        for key, name in (("maxclients", "maxclients"), ("timeout", "timeout")):
            if key in kv:
                lines.append(f"{name} {str(kv[key]).removesuffix('s')}")
        if "client_output_buffer_limit" in kv:
            limit = str(kv["client_output_buffer_limit"]).replace("MiB", "mb")
            lines.append(f"client-output-buffer-limit normal {limit} 0 0")
        lines += [f'rename-command {name} ""' for name in kv.get("disabled_commands", [])]
        users = kv.get("users", {})
        if users and "default" not in users:
            lines.append("user default off")
        lines += [f"user {name} on \">{user['password']}\" ~* &* +@all"
                  for name, user in users.items()]
        path = self.directory / "redis.conf"
        path.write_text("\n".join(lines) + "\n")
        return ["redis-server", path]

    def start(self):
        self._spawn(self.command())
        self.host, self.port = self.kv_addresses()[0]
        self.wait_listening(self.kv_addresses())
        return self


class KvFactory:
    """make_kv(kv={...}, log={...}): makes servers; finish() stops and judges them."""

    def __init__(self, redis=ON_REDIS, persistent=True):
        self.redis = redis
        self.persistent = persistent
        self.made = []
        self.root = Path(tempfile.mkdtemp(prefix="sluice-kv-"))

    def default_config(self, directory):
        return {
            "workers": targets.WORKERS,
            "log": {"level": "info"},
            # The Postgres side has a database that is never asked for, on a server that is not
            # there: the key-value port does not depend on it.
            "postgres": {
                "listen": [f"127.0.0.1:{free_port()}"],
                "auth_type": "trust",
                "shutdown_timeout": "1s",
                "databases": {"nowhere": {"url": "postgresql://nobody@127.0.0.1:1/nowhere"}},
                "users": {"nobody": {"password": "nothing"}},
            },
            "kv": {"listen": [f"127.0.0.1:{free_port()}"],
                   "directory": str(directory / ".replitdb")},
            "monitoring": {"listen": [f"127.0.0.1:{free_port()}"]},
        }

    def prepare(self, **changes):
        directory = self.root / str(len(self.made))
        config = targets.merge(self.default_config(directory), changes)
        made = (KvRedis(directory, config, self.persistent) if self.redis
                else KvSluice(directory, config))
        self.made.append(made)
        return made

    def __call__(self, **changes):
        return self.prepare(**changes).start()

    def finish(self):
        problems = [problem for problem in (made.stop() for made in self.made) if problem]
        shutil.rmtree(self.root, ignore_errors=True)
        return problems


def own_address():
    """An IPv4 address of this machine that is not loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            address = probe.getsockname()[0]
        except OSError:
            return None
    return None if address.startswith("127.") else address


def environment(server, **extra):
    """For redis-cli and its family: no address or password of the caller's."""
    out = {k: v for k, v in os.environ.items() if not k.startswith("REDIS")}
    return {**out, "LC_ALL": "C.UTF-8", "TERM": "dumb", "HOME": str(server.directory), **extra}


def eventually(check, timeout=10.0, what="the condition"):
    return wire.eventually(check, timeout * targets.SCALE, what)
