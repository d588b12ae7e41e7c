"""What is done to a store, and what is read off it meanwhile: redis-benchmark, loading of keys, a
steady load of its own, processor time and memory.
"""

import gc
import math
import multiprocessing
import os
import random
import re
import select
import shutil
import subprocess
import threading
import time
from pathlib import Path

import resp
import servers
from measure import RunFailed, resident_kilobytes  # noqa: F401 (used by store_trials)
from store_servers import DATABASE

KEY_BYTES = 16  # "key:" and twelve digits, as redis-benchmark has them
ELEMENT_BYTES = len(b"$16\r\n") + KEY_BYTES + len(b"\r\n")  # of such a key in a reply


def key_name(number):
    return b"key:%012d" % number


def value_of(number):
    """16 bytes, not JSON; what load_keys gave to the key of this number."""
    return b"value-%010d" % number


# ---- processor time ----------------------------------------------------------------------------


def processor_seconds(pid):
    """What all threads of the process have used so far, and its children that have ended (Redis
    rewrites its log in one). The threads are counted in nanoseconds, the children in ticks."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:  # it ended between the listing and the reading
            continue
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return total + (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


# ---- redis-benchmark ---------------------------------------------------------------------------


def run_benchmark(server, case, requests, patience):
    """One redis-benchmark on `server`: {"ops", "p50", "p99", "p999", "max" (ms), "cpu" (µs of the
    server for each operation), "busy" (share of one core that the server used)}."""
    command = ["redis-benchmark", "-h", "127.0.0.1", "-p", server.port, "--dbnum", DATABASE,
               "-t", case.command, "-c", case.clients, "-P", case.pipeline, "-d", case.size,
               "-n", requests, "-r", case.keys, "--precision", 3]
    if case.threads > 1:
        command += ["--threads", case.threads]
    used = processor_seconds(server.pid)
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=patience, errors="replace")
    except subprocess.TimeoutExpired:
        raise RunFailed(f"redis-benchmark did not end within {patience:.0f} s") from None
    if server.process.poll() is not None:
        raise RunFailed("the server ended")
    used = processor_seconds(server.pid) - used
    said = done.stdout.replace("\r", "\n")
    found = re.search(r"throughput summary: ([\d.]+)", said)
    if done.returncode or not found:
        lines = [line for line in (said + done.stderr).splitlines() if "rror" in line]
        raise RunFailed((lines or ["redis-benchmark failed"])[0].strip())
    return read_benchmark(said, float(found[1]), requests, used)


def read_benchmark(said, ops, requests, used):
    # The first list of percentiles has the fine steps; the second is by round milliseconds.
    fine = said.partition("Latency by percentile distribution:")[2]
    fine = fine.partition("Cumulative distribution of latencies:")[0]
    steps = [(float(share), float(latency)) for share, latency in
             re.findall(r"^([\d.]+)% <= ([\d.]+) milliseconds", fine, re.MULTILINE)]
    summary = re.search(r"avg\s+min\s+p50\s+p95\s+p99\s+max\s+([\d.\s]+)", said)
    if not steps or not summary:
        raise RunFailed("redis-benchmark printed no latencies; version 7 is needed")
    average = [float(word) for word in summary[1].split()]
    return {"ops": ops, "p50": average[2], "p99": average[4],
            "p999": next((latency for share, latency in steps if share >= 99.9), steps[-1][1]),
            "max": average[5], "cpu": used / requests * 1e6, "busy": used * ops / requests}


def requests_for(server, case, seconds):
    """How many requests take about `seconds` on `server`: all targets then get the same number."""
    few = {100_000: 1000}.get(case.size, 5000 if case.clients * case.pipeline == 1 else 50_000)
    few = max(few, case.clients * case.pipeline)
    rate = run_benchmark(server, case, few, 120)["ops"]
    step = case.clients * case.pipeline
    return max(math.ceil(rate * seconds / step) * step, few)


def benchmark_program_version():
    program = shutil.which("redis-benchmark")
    if program is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True)
    return said.stdout.strip() or "redis-benchmark"


# ---- loading -----------------------------------------------------------------------------------


def send_all(client, chunks):
    """Sends chunks of (bytes, commands) while reading the replies; each must be +OK."""
    out, owed, received = bytearray(), 0, 0
    chunks = iter(chunks)
    more = True
    client.socket.setblocking(False)
    try:
        while more or out or owed * 5 > received:
            while more and len(out) < 1 << 20:
                chunk = next(chunks, None)
                if chunk is None:
                    more = False
                else:
                    out += chunk[0]
                    owed += chunk[1]
            ready = select.select([client.socket], [client.socket] if out else [], [], 120)
            if not ready[0] and not ready[1]:
                raise RunFailed("loading: no answer for two minutes")
            if ready[1]:
                del out[:client.socket.send(out)]
            if ready[0]:
                data = client.socket.recv(1 << 20)
                if not data:
                    raise RunFailed("loading: the server closed the connection")
                received += len(data)
                at = data.find(b"-")
                if at >= 0:
                    text = data[at:at + 100].decode(errors="replace").splitlines()[0]
                    raise RunFailed(f"loading: {text}")
    except OSError as problem:
        raise RunFailed(f"loading: {problem}") from None
    finally:
        client.socket.setblocking(True)


def load_keys(server, count):
    """`count` keys of 16 bytes with values of 16 bytes, by pipelined SETs. Returns (seconds,
    µs of processor time for each key)."""
    def chunks():
        for first in range(0, count, 1000):
            numbers = range(first, min(first + 1000, count))
            yield (b"".join(b"*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$16\r\n%s\r\n"
                            % (key_name(n), value_of(n)) for n in numbers), len(numbers))

    used, began = processor_seconds(server.pid), time.monotonic()
    with server.client() as client:
        send_all(client, chunks())
        if client.call("DBSIZE") != count:
            raise RunFailed(f"{client.call('DBSIZE')} keys instead of {count} after loading")
    took = time.monotonic() - began
    return took, (processor_seconds(server.pid) - used) / count * 1e6


def load_for(server, case):
    """Every key that redis-benchmark may name in `case`, so that each GET finds one."""
    value = b"0" if case.command == "incr" else b"v" * case.size
    name = b"counter:%012d" if case.command == "incr" else b"key:%012d"
    each = 500 if case.size < 10_000 else 1
    with server.client() as client:
        send_all(client, ((b"".join(resp.encode("SET", name % n, value)
                                    for n in range(first, min(first + each, case.keys))),
                           min(each, case.keys - first))
                          for first in range(0, case.keys, each)))


def load_projects(server, projects, keys):
    """`projects` projects, from number 1 on, of `keys` keys each."""
    def chunks():
        for first in range(1, projects + 1, 100):
            numbers = range(first, min(first + 100, projects + 1))
            yield (b"".join(resp.encode("SELECT", n)
                            + b"".join(resp.encode("SET", key_name(k), value_of(n))
                                       for k in range(keys)) for n in numbers),
                   len(numbers) * (keys + 1))

    with server.client() as client:
        send_all(client, chunks())


# ---- a steady load -----------------------------------------------------------------------------


def steady(port, seconds, rate, keys):
    """GET and SET in turn, `rate` a second whether or not the answers keep up; the latencies in
    ms. One that had to wait for the answer before is counted from when it was due."""
    gc.disable()
    latencies = []
    with resp.Client(port, DATABASE) as client:
        due = time.perf_counter()
        end = due + seconds
        while due < end:
            number = random.randrange(keys)
            words = (("GET", key_name(number)) if len(latencies) % 2 == 0
                     else ("SET", key_name(number), value_of(number)))
            began = time.perf_counter()
            if began < due:
                time.sleep(due - began)
                began = time.perf_counter()
            else:
                began = due
            client.call(*words)
            latencies.append((time.perf_counter() - began) * 1e3)
            due += 1 / rate
    return latencies


def run_steady(server, seconds, rate, keys):
    """The same in a process of its own, so that this one can do other things."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(steady, (server.port, seconds, rate, keys))


class Checkpoints:
    """Asks for one checkpoint after another while the block runs; `count` ended within it."""

    def __init__(self, server):
        self.server, self.count, self.problem = server, 0, None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()

    def _work(self):
        try:
            with self.server.client() as client:
                while not self.ending.is_set():
                    self.server.one_checkpoint(client, pause=0.02)
                    self.count += 1
        except (OSError, resp.ServerError, servers.Failure) as problem:
            self.problem = problem


def percentile(values, share):
    """Of sorted values."""
    return values[min(int(len(values) * share), len(values) - 1)]
