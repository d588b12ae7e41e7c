"""`sluice upgrade` and SIGUSR2: nobody is refused, nothing is cut off, and what goes wrong with the
new process leaves the old one serving."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import kv_targets
import resp
import targets
import upgrading
import wire

SCALE = targets.SCALE
UPGRADES = 10


@pytest.fixture(scope="module", autouse=True)
def orphans():
    upgrading.adopt_orphans()


@pytest.fixture
def own_binary(tmp_path, monkeypatch):
    """The binary at a path of the test's own, where another file can be put in its place."""
    path = tmp_path / "sluice"
    shutil.copy(targets.BINARY, path)
    monkeypatch.setattr(targets, "BINARY", path)

    def replace(text=None, source=None):
        fresh = tmp_path / "fresh"
        if source is not None:
            shutil.copy(source, fresh)
        else:
            fresh.write_text(textwrap.dedent(text).lstrip())
        fresh.chmod(fresh.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        os.replace(fresh, path)

    replace.path = path
    replace.original = tmp_path / "original"
    shutil.copy(path, replace.original)
    return replace


def run_control(sluice, binary, command, timeout=40):
    """With the real binary, whatever lies at the daemon's path."""
    done = subprocess.run([str(binary), command, "--config", str(sluice.config_path)], text=True,
                          capture_output=True, timeout=timeout * SCALE)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def world(make_sluice, tmp_path):
    """make(...): a sluice with a control socket."""
    def make(**changes):
        return make_sluice(control_socket=str(tmp_path / "control"), **changes)
    return make


def pgbench(sluice, script, seconds, tmp_path, clients=4):
    file = tmp_path / "script.sql"
    file.write_text(script)
    return subprocess.Popen(
        ["pgbench", "-n", "-C", "-c", str(clients), "-j", "2", "-T", str(int(seconds)), "-f", str(file)],
        env=sluice.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def failures(out):
    found = re.search(r"number of failed transactions: (\d+)", out)
    return int(found.group(1)) if found else None


# ---- Postgres -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_pgbench_that_reconnects_sees_no_failure_through_ten_upgrades(world, tmp_path):
    sluice = world(postgres={"shutdown_timeout": "4s"})
    bench = pgbench(sluice, "begin;\nselect 1;\nselect 2;\nend;\nselect 3;\n", 16 * SCALE, tmp_path)
    pids = {sluice.pid}
    for _ in range(UPGRADES):
        upgrading.upgrade(sluice)
        pids.add(sluice.pid)
    assert bench.poll() is None, "the load ended before the upgrades did"
    out, err = bench.communicate(timeout=60 * SCALE)
    assert bench.returncode == 0, f"{out}\n{err}\n{sluice.log[-3000:]}"
    assert failures(out) == 0 and "aborted" not in err, f"{out}\n{err}"
    assert len(pids) == UPGRADES + 1
    upgrading.wait_for_earlier(sluice)
    assert upgrading.status(sluice)["process"] == str(sluice.pid)


def test_transaction_of_the_old_process_is_finished(world, pg, table):
    sluice = world(postgres={"shutdown_timeout": "20s"})
    conn = sluice.connect()
    conn.query("begin")
    conn.query("insert into t values (1, 'kept')")
    upgrading.upgrade(sluice)
    assert sluice.connect().query("select 1").value == "1"
    assert conn.query("select note from t").value == "kept"
    assert conn.query("commit").tags == ["COMMIT"]
    upgrading.wait_for_earlier(sluice)
    assert pg.in_app("select note from t") == [("kept",)]


def test_idle_client_of_the_old_process_is_told_57P01(world):
    sluice = world()
    idle = sluice.connect()
    upgrading.upgrade(sluice)
    assert idle.recv_until_closed().codes == ["57P01"]
    upgrading.wait_for_earlier(sluice)


def test_unix_socket_stays_reachable_and_monitoring_too(world, tmp_path, own_binary):
    directory = tmp_path / "sockets"
    directory.mkdir()
    listen = [f"127.0.0.1:{targets.free_port()}", f"unix:{directory}"]
    sluice = world(postgres={"listen": listen})
    for _ in range(2):
        upgrading.upgrade(sluice)
        upgrading.wait_for_earlier(sluice)
        assert sluice.connect(address=sluice.unix_address).query("select 1").value == "1"
        assert sluice.http("/readyz")[0] == 200
    sluice.close_clients()
    assert sluice.stop() == ""
    assert not list(directory.glob(".s.PGSQL.*"))
    sluice.start()


def test_configuration_is_read_anew_with_other_addresses(world, tmp_path):
    sluice = world()
    old = sluice.address
    sluice.config["postgres"]["listen"] = [f"127.0.0.1:{targets.free_port()}"]
    sluice.write_config()
    upgrading.upgrade(sluice)
    sluice.port = int(sluice.config["postgres"]["listen"][0].rsplit(":", 1)[1])
    assert sluice.connect().query("select 1").value == "1"
    upgrading.wait_for_earlier(sluice)
    with pytest.raises(OSError):
        wire.Conn(old, 2)


def test_cancel_of_a_query_of_the_old_process_reaches_it(world):
    sluice = world(postgres={"shutdown_timeout": "30s"})
    conn = sluice.connect()
    conn.send(wire.query("select pg_sleep(30)"))
    assert conn.silent(0.3)
    upgrading.upgrade(sluice)
    conn.cancel()
    assert conn.recv_until("Z").codes == ["57014"]
    conn.close()
    upgrading.wait_for_earlier(sluice)


def test_sigusr2_upgrades(world):
    sluice = world()
    first = sluice.pid
    sluice.signal(signal.SIGUSR2)
    upgrading.wait_for_log(sluice, "has taken over")
    wire.eventually(lambda: upgrading.status(sluice)["process"] != str(first), 10 * SCALE)
    upgrading.follow(sluice, int(upgrading.status(sluice)["process"]))
    assert sluice.connect().query("select 1").value == "1"
    upgrading.wait_for_earlier(sluice)


def test_old_process_that_is_told_to_end_still_drains_and_a_second_time_ends(world):
    """systemd's stop reaches every process of the unit."""
    sluice = world(postgres={"shutdown_timeout": "60s"})
    busy, lost = sluice.connect(), sluice.connect()
    busy.query("begin")
    lost.query("begin")
    upgrading.upgrade(sluice)
    old = sluice.earlier[0]
    old.send_signal(signal.SIGTERM)
    assert busy.query("commit").tags == ["COMMIT"]
    assert old.poll() is None and lost.query("select 1").value == "1"
    old.send_signal(signal.SIGTERM)
    lost.recv_until_closed()
    upgrading.wait_for_earlier(sluice)
    assert sluice.connect().query("select 1").value == "1"


def test_upgrades_do_not_gather_descriptors(make_kv):
    kv = make_kv()
    counts = []
    for _ in range(4):
        upgrading.upgrade(kv)
        upgrading.wait_for_earlier(kv)
        counts.append(kv.descriptors())
    assert max(counts) - counts[0] <= 1, counts


# ---- the key-value port -------------------------------------------------------------------------


def test_key_value_client_goes_on_with_its_connection(make_kv, rng):
    kv = make_kv(kv={"users": {"ann": {"password": "secret-1", "projects": "all"}}})
    conn = kv.connect("3", "AUTH", "ann", "secret-1", "SETNAME", "me")
    conn.call("SELECT", "7")
    number = conn.call("CLIENT", "ID")
    conn.call("SET", "a", "1")
    half = resp.encode("SET", "b", "x" * 100000)
    cut = rng.randrange(1, len(half))
    conn.send(half[:cut])
    for _ in range(3):
        out = upgrading.upgrade(kv)
        assert "the key-value port paused for" in out
    conn.send(half[cut:])
    assert conn.read() == "OK"
    assert conn.call("GET", "a") == b"1"
    assert len(conn.call("GET", "b")) == 100000
    assert conn.call("CLIENT", "ID") == number
    assert conn.call("CLIENT", "GETNAME") == b"me"
    assert conn.call("ACL", "WHOAMI") == b"ann"
    assert isinstance(conn.call("CONFIG", "GET", "port"), dict)  # RESP 3
    upgrading.wait_for_earlier(kv)


def test_key_value_client_in_multi_or_with_watch_is_closed_and_others_are_not(make_kv):
    kv = make_kv()
    plain, multi, watch = kv.connect(), kv.connect(), kv.connect()
    assert plain.call("SET", "a", "1") == "OK"
    multi.call("MULTI")
    multi.call("SET", "a", "2")
    watch.call("WATCH", "a")
    upgrading.upgrade(kv)
    assert multi.ended() and watch.ended()
    assert plain.call("GET", "a") == b"1"
    upgrading.wait_for_earlier(kv)


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["0", "1"], ids=["reconnecting", "connected"])
@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_redis_benchmark_sees_no_error_through_upgrades(make_kv, keep, fsync):
    kv = make_kv(kv={"fsync": fsync})
    load = subprocess.Popen(
        ["redis-benchmark", "-p", str(kv.port), "-k", keep, "-c", "8", "-t", "set,get", "-r",
         "1000", "-n", "40000" if keep == "0" else "120000", "-l", "-q"],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=kv_targets.environment(kv))
    pauses = []
    for _ in range(UPGRADES):
        pauses.append(int(re.search(r"paused for (\d+) ms", upgrading.upgrade(kv)).group(1)))
        assert load.poll() is None, load.stdout.read()[-3000:]
    load.terminate()
    out = load.communicate(timeout=20)[0]
    assert "rror" not in out and "refused" not in out, out[-3000:]
    print("pauses in ms:", pauses)
    upgrading.wait_for_earlier(kv, 30)


def test_no_acknowledged_write_is_lost_or_doubled(make_kv):
    kv = make_kv(kv={"fsync": "everysec"})
    stop = threading.Event()
    counts, errors = [0] * 4, []

    def write(i):
        try:
            conn = kv.connect()
            while not stop.is_set():
                counts[i] = conn.call("INCR", f"n{i}")
        except Exception as problem:  # noqa: BLE001 - shown by the test
            errors.append(problem)

    threads = [threading.Thread(target=write, args=(i,), daemon=True) for i in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        before = list(counts)
        upgrading.upgrade(kv)
        wire.eventually(lambda: errors or all(a > b for a, b in zip(counts, before)), 20 * SCALE,
                        "writers go on")
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not errors, errors
    conn = kv.connect()
    assert [int(conn.call("GET", f"n{i}")) for i in range(4)] == counts
    upgrading.wait_for_earlier(kv)


# ---- what goes wrong ----------------------------------------------------------------------------


def serves_on(sluice, pid):
    assert sluice.pid == pid and sluice.alive()
    assert sluice.connect().query("select 1").value == "1"
    assert upgrading.status(sluice)["state"] == "serving"


PYTHON = "#!" + sys.executable + "\n"
# What fake successors are made of: the protocol's other side.
FAKE = PYTHON + textwrap.dedent("""
    import array, os, socket, sys, time
    if sys.argv[1:2] != ["serve"]:
        os.execv(os.environ["REAL_SLUICE"], sys.argv)
    pair = socket.socket(fileno=int(os.environ["SLUICE_HANDOVER"]))
    def read():
        text, control, _, _ = socket.recv_fds(pair, 65536, 1)
        return text
    def until(word):
        while True:
            text = read()
            if not text or text.split()[0] == word:
                return text
""")
FAKES = {
    "exits": (FAKE + "sys.exit(7)\n", "exit code 7"),
    "is killed": (FAKE + "os.kill(os.getpid(), 9)\n", "signal Killed"),
    "closes the pair": (FAKE + "pair.close()\ntime.sleep(60)\n", "closed its end"),
    "hangs": (FAKE + "time.sleep(60)\n", "did not answer"),
    "says nonsense": (FAKE + "until(b'sockets')\npair.send(b'hurray')\ntime.sleep(60)\n",
                      "said what it should not"),
    "fails": (FAKE + "until(b'sockets')\npair.send(b'failed no luck today')\ntime.sleep(60)\n",
              "no luck today"),
    "exits when ready": (FAKE + "until(b'sockets')\npair.send(b'ready')\nsys.exit(3)\n",
                         "exit code 3"),
    "exits with the store": (FAKE + "until(b'sockets')\npair.send(b'ready')\nuntil(b'go')\n"
                             "sys.exit(4)\n", "exit code 4"),
    "hangs with the store": (FAKE + "until(b'sockets')\npair.send(b'ready')\nuntil(b'go')\n"
                             "time.sleep(60)\n", "did not answer"),
    "fails with the store": (FAKE + "until(b'sockets')\npair.send(b'ready')\nuntil(b'go')\n"
                             "pair.send(b'failed broken store')\ntime.sleep(60)\n",
                             "broken store"),
    "is no program": ("no program at all\n", "cannot be started"),
}


@pytest.mark.parametrize("what", list(FAKES))
def test_bad_successor_leaves_the_old_process_serving(world, own_binary, what, tmp_path):
    text, reason = FAKES[what]
    sluice = world(environment={"REAL_SLUICE": str(own_binary.original)}, upgrade_timeout="1500ms",
                   kv={"listen": [f"127.0.0.1:{targets.free_port()}"],
                       "directory": str(tmp_path / "store")})
    port = int(sluice.config["kv"]["listen"][0].rsplit(":", 1)[1])
    conn, kv = sluice.connect(), resp.Conn(("127.0.0.1", port))
    sluice.opened.append(kv)
    conn.query("begin")
    assert kv.call("SET", "a", "1") == "OK"
    pid = sluice.pid
    own_binary(text)
    for _ in range(2):
        code, out, err = run_control(sluice, own_binary.original, "upgrade")
        assert code == 1 and reason in err, (out, err, sluice.log[-2000:])
    assert reason in sluice.log
    own_binary(source=own_binary.original)
    serves_on(sluice, pid)
    assert conn.query("commit").tags == ["COMMIT"]
    assert kv.call("GET", "a") == b"1"  # the same connection
    assert kv.call("SET", "b", "2") == "OK"
    upgrading.upgrade(sluice)
    assert kv.call("GET", "b") == b"2"
    upgrading.wait_for_earlier(sluice)


def test_missing_binary_leaves_the_old_process_serving(world, own_binary):
    sluice = world()
    pid = sluice.pid
    own_binary.path.unlink()
    code, _, err = run_control(sluice, own_binary.original, "upgrade")
    assert code == 1 and "No such file" in err
    own_binary(source=own_binary.original)
    serves_on(sluice, pid)


def test_bad_configuration_leaves_the_old_process_serving_and_says_where(world):
    sluice = world()
    pid = sluice.pid
    text = sluice.config_path.read_text()
    sluice.config_path.write_text(text.replace("pool_size", "pool_sizes"))
    code, out, err = targets.run_sluice("upgrade", "--socket", sluice.config["control_socket"])
    assert code == 1 and "pool_sizes" in err and "sluice.yaml:" in err, (out, err)
    sluice.config_path.write_text(text)
    serves_on(sluice, pid)


def test_address_in_use_leaves_the_old_process_serving(world, pg):
    sluice = world()
    pid = sluice.pid
    text = sluice.config_path.read_text()
    sluice.config["postgres"]["listen"].append(f"127.0.0.1:{pg.port}")
    sluice.write_config()
    code, _, err = upgrading.control(sluice, "upgrade")
    assert code == 1 and f"127.0.0.1:{pg.port}" in err, err
    sluice.config_path.write_text(text)
    serves_on(sluice, pid)


def test_second_upgrade_at_the_same_time_is_refused(world, own_binary, tmp_path):
    sluice = world(environment={"REAL_SLUICE": str(own_binary.original)}, upgrade_timeout="3s")
    pid = sluice.pid
    own_binary(FAKES["hangs"][0])
    sluice.signal(signal.SIGUSR2)
    upgrading.wait_for_log(sluice, "starts")
    code, _, err = run_control(sluice, own_binary.original, "upgrade")
    assert code == 1 and "under way already" in err
    upgrading.wait_for_log(sluice, "did not answer")
    own_binary(source=own_binary.original)
    serves_on(sluice, pid)


def test_sigterm_during_an_upgrade_ends_both(world, own_binary):
    sluice = world(environment={"REAL_SLUICE": str(own_binary.original)},
                   postgres={"shutdown_timeout": "10s"})
    conn = sluice.connect()
    conn.query("begin")
    own_binary(FAKES["hangs"][0])
    sluice.signal(signal.SIGUSR2)
    upgrading.wait_for_log(sluice, "starts")
    child = int(re.search(r"process (\d+) starts", sluice.log).group(1))
    sluice.signal(signal.SIGTERM)
    upgrading.wait_for_log(sluice, "told to end")
    wire.eventually(lambda: not os.path.exists(f"/proc/{child}"), 10 * SCALE, "the new one gone")
    assert conn.query("commit").tags == ["COMMIT"]
    own_binary(source=own_binary.original)
    sluice.process.wait(15 * SCALE)
    assert sluice.process.returncode == 0
    sluice.process = None


# ---- the control socket -------------------------------------------------------------------------


def test_reload_waits_and_prints_what_changed(world):
    sluice = world()
    sluice.config["postgres"]["pool_size"] = 7
    sluice.config["workers"] = 1
    sluice.write_config()
    code, out, err = upgrading.control(sluice, "reload")
    assert code == 0 and "changed: postgres.pool_size" in out, (out, err)
    assert "needs a restart or an upgrade: workers" in out


def test_reload_of_a_bad_file_ends_with_one_and_the_mistake(world):
    sluice = world()
    text = sluice.config_path.read_text()
    sluice.config_path.write_text(text + "nonsense: 1\n")
    code, _, err = targets.run_sluice("reload", "--socket", sluice.config["control_socket"])
    assert code == 1 and "nonsense" in err
    sluice.config_path.write_text(text)


def test_control_socket_is_for_its_user_only_and_goes_at_the_end(world):
    sluice = world()
    path = sluice.config["control_socket"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert upgrading.status(sluice)["state"] == "serving"
    assert sluice.stop() == ""
    assert not os.path.exists(path)
    code, _, err = upgrading.control(sluice, "status")
    assert code == 1 and "no running sluice" in err
    sluice.start()


def test_control_socket_by_default_is_in_the_store_directory(make_kv):
    kv = make_kv()
    assert (kv.data / "daemon.sock").is_socket()
    assert upgrading.status(kv)["process"] == str(kv.pid)
    before = time.monotonic()
    assert "paused for" in upgrading.upgrade(kv)
    assert time.monotonic() - before < 20 * SCALE
    upgrading.wait_for_earlier(kv)
