"""What stores.py measures beside redis-benchmark's cases: memory, idle connections, walks over a
million keys, starts, checkpoints under load, a hundred thousand projects.

A trial gets a function that makes a new store, and returns {figure: value}. It runs on fresh
processes and fresh data each time.
"""

import dataclasses
import os
import random
import resource
import statistics
import time

import resp
import store_load as load
from measure import RunFailed
from store_servers import BACKLOG, DATABASE

PREFIX = b"key:000000123*"  # 1,000 of a million keys; of fewer keys, fewer
STEP = 1000  # COUNT of SCAN


@dataclasses.dataclass(frozen=True)
class Figure:
    key: str
    title: str
    ratio: float | None = None  # at most so much of the base's
    most: float | None = None  # at most so much, whatever the base has


@dataclasses.dataclass(frozen=True)
class Trial:
    name: str
    title: str
    run: object  # (make, options) -> {figure's key: value}
    figures: tuple
    note: str = ""


# ---- memory ------------------------------------------------------------------------------------


def settled_memory(server):
    time.sleep(1.5)
    return load.resident_kilobytes(server.pid)


def memory(make, options):
    server = make().start()
    with server.client() as client:
        client.call("DBSIZE")
    before = settled_memory(server)
    took, cpu = load.load_keys(server, options.keys)
    loaded = settled_memory(server)
    checkpoint = server.checkpoint()
    checkpointed = settled_memory(server)
    server.stop()
    server.start()
    with server.client() as client:
        if client.call("GET", load.key_name(1)) != load.value_of(1):
            raise RunFailed("a key is missing after the restart")
    restarted = settled_memory(server)
    each = 1024 / options.keys
    return {"loaded": (loaded - before) * each, "checkpointed": (checkpointed - before) * each,
            "restarted": (restarted - before) * each, "load_cpu": cpu, "load": took,
            "checkpoint": checkpoint, "before": before / 1024}


def idle(make, options):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200
    wanted = min(options.idle_clients, limit)
    server = make().start()
    connections = [server.client()]
    connections[0].call("PING")
    before = settled_memory(server)
    try:
        began = time.monotonic()
        while len(connections) <= wanted:
            connections.append(resp.Client(server.port))
            if len(connections) % (BACKLOG // 4) == 0 or len(connections) > wanted:
                # Accepted in order, so all of them are: the backlog never overflows, for which
                # the kernel would take a second.
                connections[-1].call("PING")
        took = time.monotonic() - began
        connected = settled_memory(server)
        for connection in connections:
            connection.call("PING")
        pinged = settled_memory(server)
        used = load.processor_seconds(server.pid)
        time.sleep(2)
        used = load.processor_seconds(server.pid) - used
    finally:
        for connection in connections:
            connection.socket.close()
    return {"connected": (connected - before) / wanted, "pinged": (pinged - before) / wanted,
            "rate": wanted / took, "busy": used / 2 * 100}


# ---- walks -------------------------------------------------------------------------------------


def count_of(client):
    """The n of "*n"."""
    kind, rest = client.line()
    if kind != b"*":
        raise RunFailed(f"an unexpected answer: {(kind + rest)[:80].decode(errors='replace')}")
    return int(rest)


def timed_keys(client, pattern):
    """(ms, how many). The reply is not parsed: all keys are equally long."""
    began = time.perf_counter()
    client.send(resp.encode("KEYS", pattern))
    count = count_of(client)
    client.skip(count * load.ELEMENT_BYTES)
    return (time.perf_counter() - began) * 1e3, count


def timed_scan(client, *words):
    """(ms, how many, ms of the longest step) of a whole iteration."""
    cursor, found, longest = b"0", 0, 0.0
    began = time.perf_counter()
    while True:
        step = time.perf_counter()
        client.send(resp.encode("SCAN", cursor, *words, "COUNT", STEP))
        if count_of(client) != 2:
            raise RunFailed("an unexpected answer to SCAN")
        cursor = client.reply()
        count = count_of(client)
        client.skip(count * load.ELEMENT_BYTES)
        found += count
        longest = max(longest, time.perf_counter() - step)
        if cursor == b"0":
            return (time.perf_counter() - began) * 1e3, found, longest * 1e3


def timed_dbsize(client):
    """µs of one of a thousand in a pipeline."""
    request = resp.encode("DBSIZE") * 1000
    began = time.perf_counter()
    client.send(request)
    for _ in range(1000):
        client.line()
    return (time.perf_counter() - began) * 1e6 / 1000


def walks(make, options):
    server = make().start()
    load.load_keys(server, options.keys)
    server.checkpoint()
    time.sleep(0.5)
    matching = max(0, min(options.keys - 123_000, 1000))
    with server.client() as client:
        prefix = [timed_keys(client, PREFIX) for _ in range(5)]
        everything = [timed_keys(client, "*") for _ in range(3)]
        scans = [timed_scan(client) for _ in range(3)]
        matches = [timed_scan(client, "MATCH", PREFIX) for _ in range(3)]
        sizes = [timed_dbsize(client) for _ in range(5)]
    if any(count != matching for _, count in prefix) \
            or any(count < matching for _, count, _ in matches) \
            or any(count != options.keys for _, count in everything) \
            or any(count < options.keys for _, count, _ in scans):
        raise RunFailed("KEYS or SCAN did not return every key")

    def median(runs):
        return statistics.median(run[0] for run in runs)

    return {"keys_prefix": median(prefix), "keys_all": median(everything), "scan": median(scans),
            "scan_match": median(matches), "step": max(longest for _, _, longest in scans),
            "dbsize": statistics.median(sizes)}


# ---- starts ------------------------------------------------------------------------------------


def timed_start(server, database, key, value):
    """Seconds from the start of the process until a GET of `key` is answered with `value`."""
    began = time.perf_counter()
    server.start(wait=False)
    end = time.monotonic() + 600
    while True:
        server.check_alive(end)
        try:
            with server.client(database) as client:
                if client.call("GET", key) != value:
                    raise RunFailed("a key is missing after the start")
                return time.perf_counter() - began
        except (OSError, resp.ServerError):  # not listening, or loading
            time.sleep(0.001)


def start_after(make, options, ending, compact):
    """(seconds of the start, its processor time, keys that are missing)."""
    server = make().start()
    load.load_keys(server, options.keys)
    if compact:
        server.checkpoint()
    time.sleep(1.5)  # what `everysec` may still hold back is on the disk
    getattr(server, ending)()
    seconds = timed_start(server, DATABASE, load.key_name(7), load.value_of(7))
    used = load.processor_seconds(server.pid)
    with server.client() as client:
        missing = options.keys - client.call("DBSIZE")
    server.remove()
    return seconds, used, missing


def starts(make, options):
    out = {"missing": 0}
    for name, ending, compact in (("killed", "kill", False), ("stopped", "stop", False),
                                  ("killed_compact", "kill", True),
                                  ("stopped_compact", "stop", True)):
        out[name], out[name + "_cpu"], missing = start_after(make, options, ending, compact)
        out["missing"] += missing
    return out


def projects(make, options):
    server = make(databases=options.projects + 1).start()
    began = time.monotonic()
    load.load_projects(server, options.projects, 3)
    took = time.monotonic() - began
    time.sleep(1.5)
    server.kill()
    last = options.projects
    killed = timed_start(server, last, load.key_name(2), load.value_of(last))
    stopping = server.stop()
    stopped = timed_start(server, last, load.key_name(2), load.value_of(last))
    time.sleep(1)
    resident = load.resident_kilobytes(server.pid) / 1024
    latencies = []
    with server.client() as client:
        for number in random.sample(range(1, last), min(1000, last - 1)):
            began = time.perf_counter()
            client.send(resp.encode("SELECT", number) + resp.encode("GET", load.key_name(1)))
            client.reply()
            if client.reply() != load.value_of(number):
                raise RunFailed("a project's key is missing")
            latencies.append((time.perf_counter() - began) * 1e3)
    latencies.sort()
    return {"load": took, "killed": killed, "stopping": stopping, "stopped": stopped,
            "resident": resident, "first_p50": load.percentile(latencies, 0.5),
            "first_p99": load.percentile(latencies, 0.99)}


# ---- checkpoints -------------------------------------------------------------------------------


def steady_figures(out, name, latencies):
    latencies.sort()
    out[name + "_p50"] = load.percentile(latencies, 0.5)
    out[name + "_p999"] = load.percentile(latencies, 0.999)
    out[name + "_max"] = latencies[-1]


def checkpoints(make, options, case):
    """A steady load and then a full one, without and with checkpoints one after another."""
    server = make(checkpoint_interval="1h").start()
    load.load_keys(server, options.keys)
    server.checkpoint()
    with server.client() as client:
        client.call("SET", load.key_name(0), load.value_of(0))
    used = load.processor_seconds(server.pid)
    out = {"alone": server.checkpoint()}
    time.sleep(0.5)
    out["alone_cpu"] = load.processor_seconds(server.pid) - used
    seconds = max(5, options.seconds * 4)
    work = (server, seconds, options.rate, options.keys)
    steady_figures(out, "quiet", load.run_steady(*work))
    with load.Checkpoints(server) as running:
        steady_figures(out, "steady", load.run_steady(*work))
    requests = load.requests_for(server, case, seconds)
    full = load.run_benchmark(server, case, requests, seconds * 20 + 60)
    with load.Checkpoints(server) as full_running:
        beside = load.run_benchmark(server, case, requests, seconds * 20 + 60)
    for each in (running, full_running):
        if each.problem or each.count == 0:
            raise RunFailed(f"no checkpoint ended within the load: {each.problem or 'too slow'}")
    out |= {"count": running.count, "full_p999": full["p999"], "beside_p999": beside["p999"],
            "beside_ops": beside["ops"] / full["ops"]}
    return out


def fsync_milliseconds(folder):
    """Median of appending 100 bytes and fdatasync: what the disk allows to one writer."""
    times = []
    with open(folder / "fsync-probe", "wb", buffering=0) as out:
        for _ in range(200):
            began = time.perf_counter()
            out.write(b"x" * 100)
            os.fdatasync(out.fileno())
            times.append((time.perf_counter() - began) * 1e3)
    (folder / "fsync-probe").unlink()
    return statistics.median(times)


TRIALS = [
    Trial("memory", "Keys of 16 bytes with values of 16 bytes in one database: resident memory "
          "for each", memory, (
              Figure("loaded", "B/key, loaded", ratio=1.2),
              Figure("checkpointed", "B/key, after a checkpoint"),
              Figure("restarted", "B/key, after a restart", ratio=1.2),
              Figure("before", "MB before the load"),
              Figure("load", "s to load"), Figure("load_cpu", "CPU µs/key to load"),
              Figure("checkpoint", "s for a checkpoint"))),
    Trial("idle", "Connections that do nothing: resident memory for each", idle, (
        Figure("connected", "kB each, connected"), Figure("pinged", "kB each, after a PING"),
        Figure("rate", "connections/s"), Figure("busy", "CPU while idle, % of a core"))),
    Trial("walks", "Walks over the keys, without other load", walks, (
        Figure("dbsize", "DBSIZE, pipelined: µs", ratio=1.0),
        Figure("keys_prefix", "KEYS prefix*: ms", ratio=1.0), Figure("keys_all", "KEYS *: ms"),
        Figure("scan", "SCAN of all: ms", ratio=1.0),
        Figure("step", "SCAN of all: longest step, ms"),
        Figure("scan_match", "SCAN of all, MATCH prefix*: ms", ratio=1.0)),
        f"The prefix has 1,000 keys of a million. SCAN goes in steps of COUNT {STEP}."),
    Trial("starts", "From the start of the process to the answer of the first GET", starts, (
        Figure("killed", "after kill -9: s", ratio=1.5),
        Figure("killed_cpu", "after kill -9: CPU s"),
        Figure("stopped", "after a clean stop: s", ratio=1.5),
        Figure("stopped_cpu", "after a clean stop: CPU s"),
        Figure("killed_compact", "after checkpoint and kill -9: s", ratio=1.5),
        Figure("killed_compact_cpu", "after checkpoint and kill -9: CPU s"),
        Figure("stopped_compact", "after checkpoint and clean stop: s", ratio=1.5),
        Figure("stopped_compact_cpu", "after checkpoint and clean stop: CPU s"),
        Figure("missing", "keys missing after them", most=0)),
        "A checkpoint is BGSAVE on sluice and BGREWRITEAOF on Redis, ended before the store was. "
        "The files are in the page cache."),
    Trial("checkpoint", "Latencies while checkpoints run one after another", None, (
        Figure("alone", "one checkpoint, no load: s"),
        Figure("alone_cpu", "one checkpoint, no load: CPU s"),
        Figure("quiet_p50", "steady load: p50 ms"),
        Figure("quiet_p999", "steady load: p99.9 ms"), Figure("quiet_max", "steady load: max ms"),
        Figure("steady_p50", "steady load and checkpoints: p50 ms"),
        Figure("steady_p999", "steady load and checkpoints: p99.9 ms", most=10.0),
        Figure("steady_max", "steady load and checkpoints: max ms"),
        Figure("count", "checkpoints that ended in it"),
        Figure("full_p999", "full load: p99.9 ms"),
        Figure("beside_p999", "full load and checkpoints: p99.9 ms", most=10.0),
        Figure("beside_ops", "full load: ops/s with ÷ without checkpoints"))),
    Trial("projects", "Projects (databases) of three small keys each", projects, (
        Figure("load", "s to load"), Figure("killed", "s to start after kill -9"),
        Figure("stopping", "s to stop"), Figure("stopped", "s to start after the stop"),
        Figure("resident", "MB resident after that"),
        Figure("first_p50", "first GET of a project: p50 ms"),
        Figure("first_p99", "first GET of a project: p99 ms")),
        "A start ends with the first GET of one project. Redis is started with as many "
        "databases."),
]
