"""The stores that stores.py measures, started by itself: redis-server, valkey-server and sluice.

Each lives in a folder of the workspace, on a free port of 127.0.0.1 and in a session of its own. A
server may be stopped, killed and started again on the same folder.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import resp
import servers

DATABASE = 1  # a Redis database, a project of sluice's
MAX_CLIENTS = 20000
BACKLOG = 1024
POLICIES = {"never": "no", "everysec": "everysec", "always": "always"}  # sluice's: Redis's


class Workspace:
    """The directory of all data: its file system is what the fsyncs are measured on."""

    def __init__(self, parent=None):
        self.path = Path(tempfile.mkdtemp(prefix="sluice-bench-", dir=parent))
        self.started = []
        self.folders = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in list(self.started):
            server.remove()
        shutil.rmtree(self.path, ignore_errors=True)

    def folder(self, name):
        self.folders += 1
        path = self.path / f"{self.folders}-{name}"
        path.mkdir()
        return path


class Store(servers.Server):
    """One process and its data. `fsync` is named as sluice names it."""

    def __init__(self, workspace, name, program, fsync="everysec"):
        super().__init__(workspace, name)
        self.program, self.fsync = program, fsync

    def command(self):
        raise NotImplementedError

    def start(self, wait=True):
        """With `wait`, until it serves data; else returns as soon as the process is there."""
        self.wait = wait
        return self.spawn(self.command())

    def _wait_until_it_answers(self):
        end = time.monotonic() + 120
        while self.wait:
            self.check_alive(end)
            try:
                with self.client() as client:
                    client.call("DBSIZE")
                return
            except (OSError, resp.ServerError):  # not listening, or loading
                time.sleep(0.02)

    def check_alive(self, end=None):
        if self.process.poll() is not None or (end is not None and time.monotonic() > end):
            tail = (self.folder / "log").read_text(errors="replace")[-1500:].strip()
            raise servers.Failure(f"{self.name} did not start, or ended: {tail or 'no message'}")

    def client(self, database=DATABASE):
        return resp.Client(self.port, database)

    def stop(self, patience=600):
        """Asks it to end; returns the seconds that it took."""
        began = time.monotonic()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()
        return time.monotonic() - began

    def kill(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        """Stopped for good: the room on the disk is wanted for the next one."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self in self.workspace.started:
            self.workspace.started.remove(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def checkpoint(self, patience=300):
        """Asks for a checkpoint and waits for its end; returns the seconds that it took."""
        began = time.monotonic()
        with self.client() as client:
            self.one_checkpoint(client, patience)
        return time.monotonic() - began

    def one_checkpoint(self, client, patience=300, pause=0.002):
        """One from its beginning to its end; where it makes them on its own too, after that."""
        end = time.monotonic() + patience
        begun = False
        while not begun or self.checkpoint_runs(client):
            if time.monotonic() > end:
                raise servers.Failure(f"{self.name}: {self.checkpoint_command} does not end")
            try:
                begun = begun or bool(client.call(self.checkpoint_command))
            except resp.ServerError as problem:
                if "in progress" not in str(problem):
                    raise
            time.sleep(pause)

    def checkpoint_runs(self, client):
        said = client.call("INFO", "persistence").decode()
        return any(re.search(rf"^{name}:1\r?$", said, re.MULTILINE)
                   for name in self.checkpoint_fields)

    def settle(self):
        """Empties it, also its log, so that one case does not pay for the one before."""
        with self.client() as client:
            client.call("FLUSHALL")
        self.checkpoint()


class Redis(Store):
    """redis-server or valkey-server, always with the append-only file: the log that sluice has
    too. It is not rewritten on its own in the middle of a measurement."""

    checkpoint_command = "BGREWRITEAOF"
    checkpoint_fields = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")

    def __init__(self, workspace, name, program, fsync="everysec", databases=16):
        super().__init__(workspace, name, program, fsync)
        self.databases = databases
        self.version = program_version(program)

    def command(self):
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "daemonize": "no",
                    "databases": self.databases, "maxclients": MAX_CLIENTS,
                    "tcp-backlog": BACKLOG, "loglevel": "warning", "appendonly": "yes",
                    "appendfsync": POLICIES[self.fsync], "auto-aof-rewrite-percentage": 0}
        words = [self.program]
        for key, value in settings.items():
            words += [f"--{key}", value]
        return [*words, "--save", ""]


class Sluice(Store):
    """Its Postgres and monitoring ports are off. `checkpoint_interval` None: the default."""

    checkpoint_command = "BGSAVE"
    checkpoint_fields = ("rdb_bgsave_in_progress",)

    def __init__(self, workspace, name, program, fsync="everysec", workers=1,
                 checkpoint_interval=None):
        super().__init__(workspace, name, program, fsync)
        self.workers, self.checkpoint_interval = workers, checkpoint_interval
        self.version = program_version(program)

    def command(self):
        interval = (f"  checkpoint_interval: {self.checkpoint_interval}\n"
                    if self.checkpoint_interval else "")
        (self.folder / "sluice.yaml").write_text(f"""\
workers: {self.workers}
log: {{level: warning}}
postgres:
  listen: []
monitoring:
  listen: []
kv:
  listen: ["127.0.0.1:{self.port}"]
  listen_backlog: {BACKLOG}
  directory: {self.folder}/data
  fsync: {self.fsync}
  max_project_size: 4GiB
  max_memory: 0
  maxclients: {MAX_CLIENTS}
{interval}""")
        return [self.program, "serve", "--config", self.folder / "sluice.yaml"]


def program_version(program):
    """"redis-server 7.0.15" from "Redis server v=7.0.15 sha=... malloc=..."."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True,
                              timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return "unknown version"
    number = re.search(r"v=(\S+)", said)
    if number:
        return f"{os.path.basename(program)} {number[1]}"
    return said.splitlines()[0] if said else "unknown version"
