"""What systemd sees and gives: notifications, the watchdog, listening sockets, stored ones."""

import os
import select
import signal
import socket
import subprocess
import time

import pytest
import yaml

import resp
import targets
import upgrading
import wire
from postgres import free_port

SCALE = targets.SCALE


@pytest.fixture(scope="module", autouse=True)
def orphans():
    upgrading.adopt_orphans()


class Notifications:
    """The socket that systemd listens on; keeps what is said, with descriptors."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.said = []  # (process, {name: value}, [descriptors])

    def read(self):
        while select.select([self.socket], [], [], 0)[0]:
            text, extra, _, _ = self.socket.recvmsg(65536, 4096)
            descriptors, process = [], None
            for level, kind, data in extra:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    descriptors += [int.from_bytes(data[i:i + 4], "little")
                                    for i in range(0, len(data) - len(data) % 4, 4)]
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    process = int.from_bytes(data[:4], "little")
            fields = dict(line.split("=", 1) for line in text.decode().splitlines())
            self.said.append((process, fields, descriptors))
        return self.said

    def wait(self, name, value=None, process=None, after=0, timeout=15):
        """The place of the first message with this field."""
        def found():
            for i, (by, fields, _) in enumerate(self.read()):
                if i >= after and name in fields and value in (None, fields[name]) \
                        and process in (None, by):
                    return i + 1
            return 0
        return wire.eventually(found, timeout * SCALE, f"{name}={value} in {self.said}") - 1

    def stored(self):
        """Name to descriptor, as systemd's store has it now."""
        out = {}
        for _, fields, descriptors in self.read():
            if fields.get("FDSTORE") == "1":
                out.setdefault(fields["FDNAME"], descriptors[0])
            if fields.get("FDSTOREREMOVE") == "1":
                out.pop(fields["FDNAME"], None)
        return out

    def close(self):
        self.socket.close()


@pytest.fixture
def systemd(tmp_path):
    made = Notifications(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture
def notified(make_sluice, systemd, tmp_path):
    def make(environment=None, **changes):
        return make_sluice(environment={"NOTIFY_SOCKET": str(systemd.path), **(environment or {})},
                           control_socket=str(tmp_path / "control"), **changes)
    return make


# ---- notifications ------------------------------------------------------------------------------


def test_start_reload_and_stop_are_told(notified, systemd, make_sluice):
    sluice = notified()
    ready = systemd.wait("READY", "1", sluice.pid)
    sluice.signal(signal.SIGHUP)
    at = systemd.wait("RELOADING", "1", sluice.pid, after=ready + 1)
    told = int(systemd.said[at][1]["MONOTONIC_USEC"])
    assert 0 <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6 - told < 60e6
    at = systemd.wait("READY", "1", sluice.pid, after=at)
    assert sluice.stop() == ""
    systemd.wait("STOPPING", "1", after=at)
    make_sluice.made.remove(sluice)


def test_watchdog_is_told_at_half_its_interval(notified, systemd):
    sluice = notified(environment={"WATCHDOG_USEC": "1000000"})
    at = systemd.wait("WATCHDOG", "1", sluice.pid)
    begin = time.monotonic()
    for _ in range(3):
        at = systemd.wait("WATCHDOG", "1", sluice.pid, after=at + 1)
    assert "do not answer" not in sluice.log
    assert 1.2 < time.monotonic() - begin < 3 * SCALE


def test_watchdog_of_another_process_is_not_told(notified, systemd):
    sluice = notified(environment={"WATCHDOG_USEC": "400000", "WATCHDOG_PID": "1"})
    systemd.wait("READY", "1")
    time.sleep(1)
    assert not [f for _, f, _ in systemd.read() if "WATCHDOG" in f]
    assert sluice.alive()


def test_stopped_process_is_not_called_alive(notified, systemd):
    """A worker that hangs keeps the watchdog from being told; here the whole process does."""
    sluice = notified(environment={"WATCHDOG_USEC": "400000"})
    systemd.wait("WATCHDOG", "1")
    sluice.signal(signal.SIGSTOP)
    try:
        time.sleep(0.2)
        before = len(systemd.read())
        time.sleep(1)
        assert len(systemd.read()) == before
    finally:
        sluice.signal(signal.SIGCONT)
    systemd.wait("WATCHDOG", "1", after=before)


def test_upgrade_names_the_new_main_process_and_the_old_one_falls_silent(notified, systemd):
    sluice = notified(postgres={"shutdown_timeout": "10s"},
                      environment={"WATCHDOG_USEC": "400000"})
    old = sluice.pid
    busy = sluice.connect()
    busy.query("begin")
    upgrading.upgrade(sluice)
    at = systemd.wait("MAINPID", str(sluice.pid), old)
    ready = systemd.wait("READY", "1", sluice.pid, after=at)
    systemd.wait("WATCHDOG", "1", sluice.pid, after=ready)
    assert busy.query("commit").tags == ["COMMIT"]
    busy.close()
    upgrading.wait_for_earlier(sluice)
    after = [fields for by, fields, _ in systemd.read()[at + 1:] if by == old]
    assert after == []


# ---- sockets that systemd has -------------------------------------------------------------------


def bind(port, host="127.0.0.1"):
    out = socket.socket()
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    out.bind((host, port))
    out.listen(64)
    return out


def start_with_sockets(sluice, sockets):
    """As systemd does: descriptors from 3 on, and variables for that process number."""
    sluice.write_config()
    names = ":".join(name for name, _ in sockets)
    descriptors = [one.fileno() for _, one in sockets]
    # High numbers first, so that no dup2 hits one that is still needed.
    moves = "; ".join(f"exec {100 + i}<&{d}" for i, d in enumerate(descriptors))
    places = "; ".join(f"exec {3 + i}<&{100 + i} {100 + i}<&-" for i in range(len(sockets)))
    script = (f"{moves}; {places}; export LISTEN_PID=$$ LISTEN_FDS={len(sockets)} "
              f"LISTEN_FDNAMES='{names}'; exec {targets.BINARY} serve --config "
              f"{sluice.config_path}")
    environment = {**os.environ, **sluice.environment_extra}
    with open(sluice.log_path, "ab") as log:
        sluice.process = subprocess.Popen(["bash", "-c", script], stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, env=environment,
                                          cwd=sluice.directory, pass_fds=descriptors)
    return sluice


def test_socket_units_give_the_ports_by_name(make_sluice, tmp_path):
    pg, kv, web = (free_port() for _ in range(3))
    sluice = make_sluice.prepare(control_socket=str(tmp_path / "control"),
                                 kv={"listen": [f"127.0.0.1:{free_port()}"],
                                     "directory": str(tmp_path / "store")})
    given = [("postgres", bind(pg)), ("kv", bind(kv)), ("monitoring", bind(web))]
    configured = int(sluice.config["postgres"]["listen"][0].rsplit(":", 1)[1])
    start_with_sockets(sluice, given)
    sluice.port, sluice.monitoring_port = pg, web
    sluice.wait_listening([("127.0.0.1", web)])
    for _ in range(2):  # and after an upgrade
        assert sluice.connect().query("select 1").value == "1"
        assert resp.Conn(("127.0.0.1", kv)).call("PING") == "PONG"
        wire.eventually(lambda: sluice.http("/readyz")[0] == 200, 5)
        with pytest.raises(OSError):
            wire.Conn(("127.0.0.1", configured), 2)
        upgrading.upgrade(sluice)
    upgrading.wait_for_earlier(sluice)


def test_connection_that_waits_in_the_socket_is_served(make_sluice):
    """The unit starts because of it."""
    port = free_port()
    sluice = make_sluice.prepare()
    listening = bind(port)
    sluice.port = port
    early = sluice.raw()
    start_with_sockets(sluice, [("postgres", listening)])
    early.login("app", "app", "app-secret-7Kq")
    assert early.query("select 1").value == "1"


def test_socket_without_a_name_is_taken_by_its_address(make_sluice):
    sluice = make_sluice.prepare()
    port = int(sluice.config["postgres"]["listen"][0].rsplit(":", 1)[1])
    listening = bind(port)
    start_with_sockets(sluice, [("something", listening)])
    sluice.port = port
    listening.close()
    assert wire.eventually(lambda: sluice.connect().query("select 1").value == "1", 10)


@pytest.mark.skipif(not os.path.exists("/usr/bin/systemd-socket-activate"),
                    reason="no systemd-socket-activate")
def test_systemd_socket_activate_starts_it(make_sluice):
    port = free_port()
    sluice = make_sluice.prepare()
    sluice.write_config()
    sluice.port = port
    with open(sluice.log_path, "ab") as log:
        sluice.process = subprocess.Popen(
            ["/usr/bin/systemd-socket-activate", "-l", f"127.0.0.1:{port}", "--fdname=postgres",
             str(targets.BINARY), "serve", "--config", str(sluice.config_path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=sluice.directory)
    wire.eventually(lambda: "Listening on" in sluice.log, 10)
    assert sluice.connect().query("select 1").value == "1"


# ---- sockets that systemd keeps -----------------------------------------------------------------


def test_listening_sockets_are_stored_and_come_back_after_a_crash(notified, systemd, tmp_path,
                                                                  make_sluice):
    directory = tmp_path / "sockets"
    directory.mkdir()
    sluice = notified(postgres={"listen": [f"127.0.0.1:{free_port()}", f"unix:{directory}"]})
    systemd.wait("FDSTORE", "1")
    wire.eventually(lambda: len(systemd.stored()) == 4, 10, "postgres twice, monitoring, control")
    assert all(":" not in name for name in systemd.stored())
    sluice.process.kill()
    sluice.process.wait()
    early = sluice.raw()  # nobody refuses it: systemd has the socket
    kept = [(name, socket.socket(fileno=descriptor))
            for name, descriptor in systemd.stored().items()]
    start_with_sockets(sluice, kept)
    early.login("app", "app", "app-secret-7Kq")
    assert early.query("select 1").value == "1"
    wire.eventually(lambda: os.path.exists(sluice.unix_address), 5)
    assert sluice.connect(address=sluice.unix_address).query("select 1").value == "1"
    assert upgrading.status(sluice)["state"] == "serving"


def test_stored_unix_socket_without_its_file_is_bound_anew(notified, systemd, tmp_path):
    """As when systemd has removed the runtime directory; twice, so that no dead socket is stored."""
    directory = tmp_path / "sockets"
    directory.mkdir()
    sluice = notified(postgres={"listen": [f"127.0.0.1:{free_port()}", f"unix:{directory}"]})
    for _ in range(2):
        wire.eventually(lambda: len(systemd.stored()) == 4, 10)
        at = len(systemd.read())
        sluice.process.kill()
        sluice.process.wait()
        os.unlink(sluice.unix_address)
        kept = [(name, socket.socket(fileno=os.dup(descriptor)))
                for name, descriptor in systemd.stored().items()]
        start_with_sockets(sluice, kept)
        systemd.wait("READY", "1", sluice.pid, after=at)
        assert sluice.connect(address=sluice.unix_address).query("select 1").value == "1"


def test_address_that_is_given_up_leaves_the_store(notified, systemd):
    sluice = notified()
    wire.eventually(lambda: len(systemd.stored()) == 3, 10)
    name = next(n for n in systemd.stored() if n.endswith(f"_{sluice.port}"))
    sluice.config["postgres"]["listen"] = [f"127.0.0.1:{free_port()}"]
    sluice.write_config()
    upgrading.upgrade(sluice)
    wire.eventually(lambda: name not in systemd.stored() and len(systemd.stored()) == 3, 10,
                    "the new address in the place of the old one")
    upgrading.wait_for_earlier(sluice)


def test_default_control_socket_is_in_the_runtime_directory(make_sluice, tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    sluice = make_sluice(environment={"RUNTIME_DIRECTORY": str(directory)})
    path = directory / "control.sock"
    code, out, err = targets.run_sluice("status", "--config", sluice.config_path,
                                        environment={"RUNTIME_DIRECTORY": str(directory)})
    assert code == 0 and f"process: {sluice.pid}" in out, err
    assert path.is_socket()
    assert yaml.safe_load(sluice.config_path.read_text()).get("control_socket") is None
