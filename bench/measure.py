"""How one run is measured: pgbench's transaction logs, psql's COPY, processor time, memory.

A run yields {"tps", "p50", "p99" (ms), "cpu" (µs of the proxy per transaction, or None), "busy"
(share of one core that the proxy used)}, all of the same window of time; and where PostgreSQL is
measured too, "server" (its µs per transaction).
"""

import base64
import hashlib
import hmac
import math
import os
import re
import secrets
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import servers


class RunFailed(RuntimeError):
    pass


# ---- processor time ----------------------------------------------------------------------------


class ProcessorTime:
    """Samples how long all threads of a process, and of its children if asked for, have been on a
    processor, ten times a second, so that any window can be asked for afterwards. A thread that
    ends keeps its last value."""

    def __init__(self, pid, children=False):
        self.pid = pid
        self.children = children
        self.seconds_by_thread = {}
        self.samples = []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self):
        if self.pid:
            self._sample()
            self.thread.start()
        return self

    def __exit__(self, *_):
        if self.pid:
            self.ending.set()
            self.thread.join()
            self._sample()

    def _tasks(self):
        yield from Path(f"/proc/{self.pid}/task").glob("*")
        if self.children:
            for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
                yield from Path(f"/proc/{child}/task").glob("*")

    def _sample(self):
        for task in self._tasks():
            try:
                nanoseconds = (task / "schedstat").read_text().split()[0]
            except OSError:  # it ended between the listing and the reading
                continue
            self.seconds_by_thread[task.name] = int(nanoseconds) / 1e9
        self.samples.append((time.time(), sum(self.seconds_by_thread.values())))

    def _work(self):
        while not self.ending.wait(0.1):
            self._sample()

    def _at(self, moment):
        before, after = self.samples[0], self.samples[-1]
        if moment <= before[0]:
            return before[1]
        if moment >= after[0]:
            return after[1]
        for after in self.samples:
            if after[0] >= moment:
                break
            before = after
        share = (moment - before[0]) / max(after[0] - before[0], 1e-9)
        return before[1] + (after[1] - before[1]) * share

    def between(self, start, end):
        """Seconds on a processor, or None where no process is measured."""
        return self._at(end) - self._at(start) if self.pid else None


def _result(count, start, end, latencies, processor):
    if count == 0 or end <= start:
        raise RunFailed("no transaction ended inside the window; --seconds is too short")
    latencies = sorted(latencies)
    used = processor.between(start, end)
    return {
        "tps": count / (end - start),
        "p50": latencies[len(latencies) // 2] if latencies else None,
        "p99": latencies[len(latencies) * 99 // 100] if latencies else None,
        "cpu": None if used is None else used / count * 1e6,
        "busy": None if used is None else used / (end - start),
    }


# ---- pgbench -----------------------------------------------------------------------------------

LOGIN_SECONDS = 0.006  # what is added to a run for each client



def _read_logs(folder):
    """(moment of the end, latency in ms, client) of every transaction, in order."""
    ended = []
    for file in folder.glob("log*"):
        with open(file, encoding="ascii") as lines:
            for line in lines:
                client, _, microseconds, _, second, fraction = line.split()[:6]
                ended.append((int(second) + int(fraction) / 1e6, int(microseconds) / 1e3,
                              client))
    ended.sort()
    return ended


def run_pgbench(server, database, clients, arguments, seconds, threads, reconnect=False,
                postgres=None):
    """One pgbench; with `reconnect` a login is part of each transaction, and the latency is the
    time from one end to the next of the same client, since pgbench's own leaves the login out.
    With `postgres` its processor time is measured too."""
    # pgbench's clock starts before its logins, each of which costs it a PBKDF2.
    duration = seconds if reconnect else math.ceil(seconds + clients * LOGIN_SECONDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [servers.postgres_programs() / "pgbench", "-n", "-c", clients,
                   "-j", min(threads, clients), "-T", duration, "-l",
                   "--log-prefix", folder / "log", *arguments]
        if reconnect:
            command.append("-C")
        with ProcessorTime(server.pid if server.proxy else None) as processor, \
                ProcessorTime(postgres and postgres.pid, children=True) as backends:
            try:
                done = subprocess.run([str(word) for word in command], capture_output=True,
                                      env=server.environment(database), text=True,
                                      stdin=subprocess.DEVNULL, timeout=duration + 120)
            except subprocess.TimeoutExpired:
                raise RunFailed("pgbench did not end") from None
        if done.returncode or "aborted" in done.stderr:
            complaint = [line for line in done.stderr.splitlines() if "error" in line.lower()]
            raise RunFailed((complaint or done.stderr.splitlines() or ["pgbench failed"])[0])
        ended = _read_logs(folder)
    if not ended:
        raise RunFailed("pgbench logged no transaction")
    # Neither the first moments, when clients are starting, nor the last, when some have ended.
    first, last = ended[0][0], ended[-1][0]
    start = first + min(0.5, (last - first) / 5)
    end = min(last - min(0.1, (last - first) / 20), start + seconds)
    if end - start < seconds / 2:
        raise RunFailed(f"only {end - start:.1f} s were left after the logins")
    if reconnect:
        latencies, previous = [], {}
        for moment, _, client in ended:
            if start <= moment <= end and client in previous:
                latencies.append((moment - previous[client]) * 1e3)
            previous[client] = moment
    else:
        latencies = [latency for moment, latency, _ in ended if start <= moment <= end]
    count = sum(start <= moment <= end for moment, _, _ in ended)
    result = _result(count, start, end, latencies, processor)
    if postgres:
        result["server"] = backends.between(start, end) / count * 1e6
    return result


# ---- COPY --------------------------------------------------------------------------------------

COPY_ROWS = 200_000  # about 19 MB of pgbench_accounts


def prepare_copy(postgres, file):
    """The rows of the COPY cases in `file`, and the tables that they come from and go to."""
    postgres.psql("CREATE UNLOGGED TABLE bench_out AS SELECT * FROM pgbench_accounts "
                  f"LIMIT {COPY_ROWS}", "CREATE UNLOGGED TABLE bench_in (LIKE bench_out)")
    with open(file, "wb") as out:
        subprocess.run([servers.postgres_programs() / "psql", "-Xqc", "COPY bench_out TO STDOUT"],
                       env=postgres.environment(), stdout=out, check=True)


def run_copy(server, direction, file, seconds):
    """COPY by psql, one after another; a "transaction" is a megabyte, a latency a whole COPY."""
    megabytes = os.path.getsize(file) / 1e6
    statements = {"out": ["COPY bench_out TO STDOUT"],
                  "in": ["TRUNCATE bench_in", "COPY bench_in FROM STDIN"]}[direction]
    command = [servers.postgres_programs() / "psql", "-Xq", "-v", "ON_ERROR_STOP=1"]
    command += [word for statement in statements for word in ("-c", statement)]
    latencies = []
    with ProcessorTime(server.pid if server.proxy else None) as processor:
        start = end = time.time()
        while end - start < seconds:
            began = end
            with open(file if direction == "in" else os.devnull, "rb") as source:
                try:
                    done = subprocess.run(command, stdin=source, stdout=subprocess.DEVNULL,
                                          stderr=subprocess.PIPE, env=server.environment(),
                                          text=True, timeout=120)
                except subprocess.TimeoutExpired:
                    raise RunFailed("psql did not end") from None
            if done.returncode:
                raise RunFailed(done.stderr.strip().splitlines()[0])
            end = time.time()
            latencies.append((end - began) * 1e3)
    return _result(len(latencies) * megabytes, start, end, latencies, processor)


# ---- idle clients ------------------------------------------------------------------------------


class Login:
    """Plain blocking clients with SCRAM-SHA-256; the salted password is derived only once."""

    def __init__(self, port):
        self.port = port
        self.salted = {}

    def _message(self, connection):
        def exactly(count):
            data = b""
            while len(data) < count:
                part = connection.recv(count - len(data))
                if not part:
                    raise RunFailed("the pooler closed the connection of an idle client")
                data += part
            return data

        kind, length = struct.unpack("!cI", exactly(5))
        body = exactly(length - 4)
        if kind == b"E":
            fields = dict((f[:1], f[1:].decode()) for f in body.split(b"\0") if f)
            raise RunFailed(f"{fields.get(b'C')} {fields.get(b'M')}")
        return kind, body

    def _answer(self, server_first, client_first):
        values = dict(item.split("=", 1) for item in server_first.split(","))
        key = (values["s"], values["i"])
        if key not in self.salted:
            self.salted[key] = hashlib.pbkdf2_hmac("sha256", servers.PASSWORD.encode(),
                                                   base64.b64decode(values["s"]), int(values["i"]))
        client_key = hmac.digest(self.salted[key], b"Client Key", "sha256")
        without_proof = f"c=biws,r={values['r']}"
        signature = hmac.digest(hashlib.sha256(client_key).digest(),
                                f"{client_first},{server_first},{without_proof}".encode(), "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def __call__(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        parameters = b"".join(word.encode() + b"\0" for word in
                              ("user", servers.USER, "database", servers.DATABASE, ""))
        connection.sendall(struct.pack("!II", len(parameters) + 8, 3 << 16) + parameters)
        client_first = f"n=,r={secrets.token_urlsafe(18)}"
        while True:
            kind, body = self._message(connection)
            if kind == b"Z":
                return connection
            if kind != b"R":
                continue
            step = struct.unpack("!I", body[:4])[0]
            if step == 10:
                hello = ("n,," + client_first).encode()
                self._send(connection, b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(hello))
                           + hello)
            elif step == 11:
                self._send(connection, b"p", self._answer(body[4:].decode(), client_first))
            elif step not in (0, 12):
                raise RunFailed(f"the pooler asks for authentication {step}")

    @staticmethod
    def _send(connection, kind, body):
        connection.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def query(self, connection):
        self._send(connection, b"Q", b"SELECT 1\0")
        while self._message(connection)[0] != b"Z":
            pass


def resident_kilobytes(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Rss:\s+(\d+)", text, re.MULTILINE)[1])


def run_idle(server, clients):
    """kB of resident memory that each idle client adds: after its login, and after one query."""
    login = Login(server.port)
    connections = [login()]
    login.query(connections[0])
    time.sleep(0.5)
    before = resident_kilobytes(server.pid)
    try:
        began = time.time()
        while len(connections) <= clients:
            connections.append(login())
        took = time.time() - began
        time.sleep(1)
        logged_in = resident_kilobytes(server.pid)
        for connection in connections:
            login.query(connection)
        time.sleep(1)
        with ProcessorTime(server.pid) as processor:
            start = time.time()
            time.sleep(2)
        busy = processor.between(start, time.time()) / 2
        queried = resident_kilobytes(server.pid)
    finally:
        for connection in connections:
            connection.close()
    return {"clients": clients, "before": before, "after_login": (logged_in - before) / clients,
            "after_query": (queried - before) / clients, "logins_per_second": clients / took,
            "busy": busy}
