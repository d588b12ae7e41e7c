"""What the key-value port keeps: kill -9, damaged logs, a full disk, SIGTERM, expiry."""

import os
import random
import re
import subprocess
import time

import pytest

import kv_targets
import resp
import targets
from kv_load import Load
from resp import ReplyError
from test_kv_differential import DATABASES, Generator

FULL = os.environ.get("SLUICE_TEST_FULL") == "1"
KILLS = int(os.environ.get("SLUICE_TEST_KILLS", "100" if FULL else "25"))


# ---- the end of the process ---------------------------------------------------------------------


@pytest.mark.slow
def test_kill_9_under_load_loses_nothing_that_was_acknowledged(make_kv, rng):
    """SLUICE_TEST_KILLS rounds, as far as a minute goes (100 with SLUICE_TEST_FULL=1)."""
    kv = make_kv(kv={"fsync": "always", "checkpoint_interval": "150ms"})
    load, rounds = Load(rng), 0
    end = time.monotonic() + (600 if FULL else 60) * targets.SCALE
    while rounds < KILLS and (rounds < 5 or time.monotonic() < end):
        load.start(kv.address)
        time.sleep(rng.uniform(0.05, 0.5))
        kv.kill()
        load.join()
        kv.start()
        load.check(kv.connect().wait_loaded())
        rounds += 1
    print(f"{rounds} kills, {load.answered} acknowledged changes")
    assert load.answered > rounds * 20


def test_kill_9_right_after_the_start_loses_nothing(make_kv, rng):
    """Also recovery itself may be cut short."""
    kv = make_kv(kv={"fsync": "always", "checkpoint_interval": "1h"})
    load = Load(rng)
    load.start(kv.address)
    time.sleep(0.5)
    kv.kill()
    load.join()
    for _ in range(5):
        kv._spawn(kv.command())
        time.sleep(rng.uniform(0, 0.1))
        kv.kill()
    kv.start()
    load.check(kv.connect().wait_loaded())


@pytest.mark.parametrize("policy", ["always", "everysec", "never"])
def test_sigterm_under_load_loses_nothing_that_was_acknowledged(make_kv, rng, policy):
    if kv_targets.ON_REDIS and policy == "never":
        pytest.skip("Redis calls it `no`")
    kv = make_kv(kv={"fsync": policy, "checkpoint_interval": "200ms"})
    load = Load(rng)
    for _ in range(2):
        load.start(kv.address)
        time.sleep(rng.uniform(0.2, 0.5))
        problem = kv.stop()
        assert not problem, problem
        load.join()
        kv.start()
        load.check(kv.connect().wait_loaded())


def test_everysec_loses_no_more_than_a_second(make_kv):
    kv = make_kv(kv={"fsync": "everysec"})
    conn, history = kv.connect(), []
    end = time.monotonic() + 2.5
    while (now := time.monotonic()) < end:
        history.append((now, conn.call("INCR", "n")))
    kv.kill()
    kv.start()
    found = int(kv.connect().wait_loaded().call("GET", "n") or 0)
    old = max(value for at, value in history if at < end - 1.5)
    assert old <= found <= history[-1][1]


def everything(kv):
    """{(database, key): (value, expiry)} of the databases that the random commands use."""
    conn, out = kv.connect().wait_loaded(), {}
    for database in DATABASES:
        conn.ok("SELECT", database)
        for key in conn.call("KEYS", "*"):
            out[database, key] = (conn.call("GET", key), conn.call("PEXPIRETIME", key))
    return out


def test_every_kind_of_change_is_the_same_after_a_crash(make_kv, rng):
    kv = make_kv(kv={"fsync": "always", "checkpoint_interval": "50ms"})
    generator, steps = Generator(rng), 0
    for turn in range(6):
        conns = [kv.connect().wait_loaded() for _ in range(2)]
        generator.in_multi, generator.must_select = [False, False], [False, False]
        for _ in range(250):
            who = int(rng.random() < 0.3)
            command = generator.next(who)
            conns[who].call(*command)
            if command[0].upper() == b"SELECT" and command[1:] not in [(d,) for d in DATABASES]:
                generator.must_select[who] = True
            steps += 1
        before = everything(kv)
        if turn % 3 == 2 and not kv_targets.ON_REDIS:
            kv.connect().ok("SAVE")
        kv.kill()
        kv.start()
        assert everything(kv) == before, f"after {steps} commands"


def test_keys_that_expired_while_it_was_down_are_gone(make_kv):
    kv = make_kv(kv={"fsync": "always"})
    conn = kv.connect()
    conn.ok("SET", "short", 1, "PX", 300)
    conn.ok("SET", "long", 1, "PX", 1_000_000)
    conn.ok("SET", "cleared", 1, "PX", 300)
    assert conn.call("PERSIST", "cleared") == 1
    at = conn.call("PEXPIRETIME", "long")
    kv.kill()
    time.sleep(0.35)
    kv.start()
    conn = kv.connect().wait_loaded()
    assert conn.call("EXISTS", "short", "long", "cleared") == 2
    assert sorted(conn.call("KEYS", "*")) == [b"cleared", b"long"]
    assert conn.call("PEXPIRETIME", "long") == at and conn.call("TTL", "cleared") == -1


@pytest.mark.sluice_only  # Redis leaves one in ten, and is slow to find them in 10,000 databases
def test_expired_keys_go_without_being_asked_for(kv):
    conn = kv.connect()
    for project in (0, 3):
        conn.ok("SELECT", project)
        conn.pipe(*(("SET", f"k{i}", "x", "PX", 50 + i % 200) for i in range(2000)))
        conn.ok("SET", "stays", 1)
    for project in (0, 3):
        conn.ok("SELECT", project)
        kv_targets.eventually(lambda: conn.call("DBSIZE") == 1, what="active expiry")


# ---- a damaged log ------------------------------------------------------------------------------


BATCH = 20  # changes that a client sends together and that may be one record of the log


def filled(make_kv, count=400, **changes):
    """A dead sluice whose changes are all in the log: (server, {key: value})."""
    kv = make_kv(kv={"fsync": "always", "checkpoint_interval": "1h", **changes})
    conn = kv.connect()
    model = {b"key:%04d" % i: b"value %d " % i + b"v" * (i % 50) for i in range(count)}
    items = list(model.items())
    for i in range(0, count, BATCH):
        assert conn.pipe(*(("SET", *item) for item in items[i:i + BATCH])) == ["OK"] * BATCH
    kv.kill()
    return kv, model


def newest_log(kv):
    logs = sorted((kv.data / "log").glob("*.log"))
    assert logs and re.fullmatch(r"\d{20}\.log", logs[-1].name), logs
    return logs[-1]


def prefix_of(kv, model):
    """How many of the first changes are there; anything else is a failure."""
    conn = kv.connect().wait_loaded()
    values = conn.call("MGET", *model)
    kept = next((i for i, value in enumerate(values) if value is None), len(values))
    assert values == list(model.values())[:kept] + [None] * (len(model) - kept)
    assert conn.call("DBSIZE") == kept
    return kept


SAYS_DROPPED = re.compile(r"torn|dropp|garbage|truncat|incomplete|discard|cut off", re.I)


@pytest.mark.sluice_only
@pytest.mark.parametrize("garbage", [b"\0" * 1000, b"\xff" * 7, b"random", b"*3\r\n$3\r\nSET\r\n"])
def test_garbage_behind_the_log_is_dropped_and_said(make_kv, rng, garbage):
    kv, model = filled(make_kv)
    if garbage == b"random":
        garbage = rng.randbytes(4096)
    before = len(kv.log)
    with open(newest_log(kv), "ab") as log:
        log.write(garbage)
    kv.start()
    assert prefix_of(kv, model) == len(model)
    if garbage.strip(b"\0"):  # zeros may be room that was set aside
        assert SAYS_DROPPED.search(kv.log[before:]), kv.log[before:]
    kv.connect().ok("SET", "after", 1)
    kv.kill()
    kv.start()
    assert kv.connect().wait_loaded().call("GET", "after") == b"1"


def data_end(content):
    """Where a log's bytes end: behind them may be zeros that were set aside."""
    return len(content.rstrip(b"\0"))


@pytest.mark.sluice_only
def test_torn_log_loses_exactly_its_end(make_kv, rng):
    kv, model = filled(make_kv)
    path = newest_log(kv)
    whole = path.read_bytes()
    for _ in range(6):
        before = len(kv.log)
        # Each time from the beginning: what an earlier start wrote is taken back.
        for other in (kv.data / "log").glob("*.log"):
            other.unlink()
        for other in kv.data.glob("project-*.json"):
            other.unlink()
        path.write_bytes(whole[:data_end(whole) - rng.randrange(1, 300)])
        kv.start()
        kept = prefix_of(kv, model)
        assert len(model) - BATCH <= kept < len(model)
        assert SAYS_DROPPED.search(kv.log[before:]), kv.log[before:]
        kv.kill()


@pytest.mark.sluice_only
def test_flipped_bit_in_the_middle_of_the_log_is_refused_with_its_place(make_kv, rng):
    kv, model = filled(make_kv)
    path = newest_log(kv)
    whole = path.read_bytes()
    end = data_end(whole)
    middle = range(end // 2, end // 2 + 30)
    for at in [*middle, *(rng.randrange(end // 10, end * 9 // 10) for _ in range(10))]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        code, said = kv.start_refused()
        assert code == 1, f"byte {at}: exit code {code}\n{said}"
        assert path.name in said, said
        named = [int(n) for n in re.findall(r"\b\d+\b", said.replace(path.name, ""))]
        assert any(at - 2000 <= n <= at for n in named), f"byte {at} is not near one of {named}"
        assert path.read_bytes() == damaged  # left as it is, for a person to look at
    path.write_bytes(whole)
    kv.start()
    assert prefix_of(kv, model) == len(model)


@pytest.mark.sluice_only
def test_flipped_bit_at_either_end_of_the_log_never_gives_a_wrong_value(make_kv, rng):
    kv, model = filled(make_kv)
    path = newest_log(kv)
    whole = path.read_bytes()
    end = data_end(whole)
    for at in [*range(0, 40, 3), *(rng.randrange(end - 150, end) for _ in range(12))]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.randrange(8)
        for other in (kv.data / "log").glob("*.log"):
            other.unlink()
        for other in kv.data.glob("project-*.json"):
            other.unlink()
        path.write_bytes(damaged)
        before = len(kv.log)
        kv._spawn(kv.command())
        try:
            kv.wait_listening(kv.kv_addresses())
        except RuntimeError:
            assert kv.process.returncode == 1 and path.name in kv.log[before:]
            kv.process = None
            continue
        kept = prefix_of(kv, model)
        assert kept >= len(model) - BATCH and at > 40, f"byte {at}: {kept} of {len(model)} are left"
        kv.kill()
    path.write_bytes(whole)
    kv.start()


@pytest.mark.sluice_only
def test_missing_segment_of_the_log_is_refused(make_kv):
    """With a log that begins behind what the files cover something acknowledged is missing."""
    kv, _ = filled(make_kv)
    path = newest_log(kv)
    path.rename(path.with_name(f"{int(path.stem) + 100000:020}.log"))
    code, said = kv.start_refused()
    assert code == 1 and "log" in said, said


# ---- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB. A test names it before make_kv, which is then gone before it."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0755", "tmpfs", disk],
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=False)


def fill(disk, leave):
    """A file that takes all room but `leave` bytes."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"b" * 65536)
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))
    return ballast


def write_until_refused(conn, acknowledged, name, size, most=2000):
    """SETs of so many bytes, until one is refused: that key and the refusal."""
    for i in range(most):
        key, value = f"{name}:{i}".encode(), os.urandom(size // 2).hex().encode()
        reply = conn.call("SET", key, value)
        if reply != "OK":
            return key, reply
        acknowledged[key] = value
    raise AssertionError(f"{most} values of {size} bytes fitted")


@pytest.mark.slow
@pytest.mark.parametrize("crash", ["while full", "after it went on"])
@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_full_disk_refuses_writes_keeps_reads_and_goes_on(small_disk, make_kv, policy, crash):
    if kv_targets.ON_REDIS and (policy == "always" or crash == "while full"):
        pytest.skip("Redis exits, or loses what it could not write")
    kv = make_kv(kv={"directory": str(small_disk / ".replitdb"), "fsync": policy,
                     "checkpoint_interval": "1h", "max_project_size": 0})
    conn = kv.connect()
    acknowledged = {}
    for i in range(50):
        key = b"early:%d" % i
        conn.ok("SET", key, b"%d" % i)
        acknowledged[key] = b"%d" % i
    ballast = fill(small_disk, 1 << 20)
    refused = []
    for name, size in (("large", 60000), ("middle", 2000), ("small", 2)):
        key, reply = write_until_refused(conn, acknowledged, name, size)
        assert isinstance(reply, ReplyError) and reply.startswith("MISCONF "), reply
        refused.append(key)
        if kv_targets.ON_REDIS:
            break  # refuses everything from the first failure
    assert [conn.call("EXISTS", key) for key in refused] == [0] * len(refused)
    for command in (("DEL", "early:1"), ("INCR", "early:2"), ("EXPIRE", "early:3", 0),
                    ("APPEND", "early:4", "x"), ("RENAME", "early:5", "renamed"), ("FLUSHDB",),
                    ("MSET", "early:1", "x", "new", "y"), ("GETDEL", "early:1")):
        reply = conn.call(*command)
        assert isinstance(reply, ReplyError) and reply.startswith("MISCONF "), (command, reply)
    replies = conn.pipe(("MULTI",), ("SET", "early:1", "x"), ("SET", "new", "y"), ("EXEC",))
    assert isinstance(replies[3], ReplyError) or all(isinstance(r, ReplyError) for r in replies[3])
    other = kv.connect()
    for reader in (conn, other):
        assert reader.call("MGET", *acknowledged) == list(acknowledged.values())
        assert reader.call("EXISTS", "new", "renamed") == 0
        assert reader.call("DBSIZE") == len(acknowledged)
    if crash == "after it went on":
        ballast.unlink()
        kv_targets.eventually(lambda: conn.call("SET", "again", "1") == "OK", 10, "room again")
        acknowledged[b"again"] = b"1"
        for i in range(100):
            conn.ok("SET", f"later:{i}", i)
            acknowledged[b"later:%d" % i] = b"%d" % i
        assert conn.call("DEL", "early:1") == 1
        del acknowledged[b"early:1"]
    if policy == "everysec":
        time.sleep(1.5)
    kv.kill()
    ballast.unlink(missing_ok=True)
    kv.start()
    conn = kv.connect().wait_loaded()
    assert conn.call("MGET", *acknowledged) == list(acknowledged.values())
    assert conn.call("DBSIZE") == len(acknowledged)
    conn.ok("SET", "and on", 1)


@pytest.mark.sluice_only
def test_full_disk_under_load_loses_nothing_that_was_acknowledged(small_disk, make_kv, rng):
    """Eight connections, and checkpoints that do not find the room either."""
    kv = make_kv(kv={"directory": str(small_disk / ".replitdb"), "fsync": "always",
                     "checkpoint_interval": "100ms", "max_project_size": 0})
    conns = [kv.connect() for _ in range(8)]
    acknowledged, seed = {}, rng.getrandbits(32)
    values = random.Random(seed)
    ballast = fill(small_disk, 4 << 20)
    refusals = 0
    for i in range(300):
        batch = [(f"k{values.randrange(200)}".encode(), values.randbytes(3000).hex().encode())
                 for _ in conns]
        for conn, (key, value) in zip(conns, batch):
            conn.send(resp.encode("SET", key + b"@%d" % conns.index(conn), value))
        for n, (conn, (key, value)) in enumerate(zip(conns, batch)):
            reply = conn.read()
            if reply == "OK":
                acknowledged[key + b"@%d" % n] = value
            else:
                assert reply.startswith("MISCONF "), reply
                refusals += 1
        if refusals > 200:
            break
    assert refusals, "the disk never got full"
    reader = kv.connect()
    assert reader.call("MGET", *acknowledged) == list(acknowledged.values())
    kv.kill()
    ballast.unlink()
    kv.start()
    reader = kv.connect().wait_loaded()
    assert reader.call("MGET", *acknowledged) == list(acknowledged.values())
    assert reader.call("DBSIZE") == len(acknowledged)
