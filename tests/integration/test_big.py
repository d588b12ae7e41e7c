"""Messages of any size pass without being held whole; a slow reader stops the sender."""

import socket
import struct
import threading
import time

import pytest

import fake_server
import targets
import wire
from certificates import client_context
from postgres import PASSWORDS

MiB = 1 << 20
needs_honest_memory = pytest.mark.skipif(
    targets.SANITIZED or targets.TARGET != "sluice",
    reason="the memory of this build says nothing")


# Limits leave room for what appears once: the dashboard's history, what reads statements.
class Growth:
    """How much the resident memory's peak grew inside the block."""

    def __init__(self, sluice):
        self.sluice = sluice

    def __enter__(self):
        self.sluice.reset_peak()
        self.before = self.sluice.memory("VmRSS")
        return self

    def __exit__(self, *_):
        self.bytes = self.sluice.memory("VmHWM") - self.before


def warmed(sluice, **arguments):
    conn = sluice.connect(**arguments)
    for _ in range(3):
        conn.query("select repeat('x', 1000000)")
        conn.execute("select $1::text", ["x" * MiB])
    return conn


def skip_row(conn, length):
    """Read T, D (dropping its bytes) and the rest of the answer; the length of the D."""
    assert conn.recv().type == "T"
    conn._fill(5)
    kind, size = conn.buffer[:1], struct.unpack_from("!i", conn.buffer, 1)[0]
    assert kind == b"D" and size > length
    conn.drain_bytes(size + 1)
    assert conn.recv_until("Z").types == "CZ"
    return size


@pytest.mark.slow
@needs_honest_memory
def test_row_of_a_gigabyte_adds_no_memory(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    conn = warmed(sluice)
    conn.settimeout(120)
    with Growth(sluice) as growth:
        conn.send(wire.query("select repeat('x', 1000000000)"))
        skip_row(conn, 1_000_000_000)
    assert growth.bytes < 4 * MiB, growth.bytes
    assert conn.query("select 1").value == "1"


@needs_honest_memory
def test_row_of_100_megabytes_over_tls_both_sides_adds_no_memory(make_sluice, pg,
                                                                 server_certificates):
    certificate, key = server_certificates["first"]
    sluice = make_sluice(postgres={
        "databases": {"app": {"url": pg.url(sslmode="require")}},
        "tls": {"mode": "require", "certificate": str(certificate), "key": str(key)}})
    conn = warmed(sluice, tls=client_context())
    conn.settimeout(60)
    with Growth(sluice) as growth:
        conn.send(wire.query("select repeat('x', 100000000)"))
        skip_row(conn, 100_000_000)
    assert growth.bytes < 4 * MiB, growth.bytes


@needs_honest_memory
def test_copy_out_of_300_megabytes_adds_no_memory(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    conn = warmed(sluice)
    with Growth(sluice) as growth:
        conn.send(wire.query("copy (select repeat('x', 100000) from generate_series(1, 3000)) "
                             "to stdout"))
        conn.recv_until("H")
        conn.drain_bytes(3000 * (5 + 100_001))
        assert conn.recv_until("Z").types == "cCZ"
    assert growth.bytes < 4 * MiB, growth.bytes


@needs_honest_memory
@pytest.mark.parametrize("piece", [8000, 16 * MiB], ids=["small_messages", "large_messages"])
def test_copy_in_of_256_megabytes_adds_no_memory(make_sluice, table, piece):
    sluice = make_sluice(postgres={"pool_size": 1})
    conn = warmed(sluice)
    conn.settimeout(60)
    line = b"1\t" + b"x" * 997 + b"\n"
    data = wire.copy_data(line * (piece // 1000))
    count = 256 * MiB // len(data)
    with Growth(sluice) as growth:
        conn.send(wire.query("copy t from stdin where false"))
        conn.recv_until("G")
        block = data * max(1, MiB // len(data))
        for _ in range(count * len(data) // len(block)):
            conn.sock.sendall(block)
        conn.send(wire.COPY_DONE)
        assert conn.recv_until("Z").tags == ["COPY 0"]
    assert growth.bytes < 4 * MiB, growth.bytes


@needs_honest_memory
@pytest.mark.parametrize("kind", ["bind", "query", "parse"])
def test_request_of_100_megabytes_adds_little_memory(make_sluice, kind):
    """The text of a statement may be looked at; a parameter's value never has to be held."""
    sluice = make_sluice(postgres={"pool_size": 1})
    conn = warmed(sluice)
    conn.settimeout(60)
    big = b"x" * (100 * MiB)
    with Growth(sluice) as growth:
        if kind == "bind":
            result = conn.run(wire.parse("", "select length($1::text)"),
                              wire.bind("", "", [big]), wire.execute(), wire.SYNC)
        elif kind == "query":
            result = conn.run(wire.query(b"select length('" + big + b"')"))
        else:
            result = conn.run(wire.parse("", b"select length('" + big + b"')"), wire.bind(),
                              wire.execute(), wire.SYNC)
    assert result.value == str(len(big))
    limit = 4 * MiB if kind != "parse" else 330 * MiB
    assert growth.bytes < limit, growth.bytes


def test_large_messages_arrive_unchanged(make_sluice, rng):
    conn = make_sluice(postgres={"pool_size": 1}).connect()
    for size in (4095, 4096, 4097, 8191, 8192, 16384, 65535, 65536, 65537, 131072, 1000003):
        text = rng.randbytes(size // 2 + 1).hex()[:size]
        assert conn.execute("select $1::text", [text]).value == text
        assert conn.query(f"select '{text}'").value == text


@pytest.mark.parametrize("size", [100_000, 1_000_000, 10_000_000])
def test_large_message_that_had_to_wait_goes_on(make_sluice, size):
    """Reading stops while a client waits for a connection, and goes on when it has one."""
    sluice = make_sluice(postgres={"pool_size": 1})
    holder, conn = sluice.connect(), sluice.connect()
    text = "x" * size
    for send in (lambda: conn.send(wire.query(f"select length('{text}')")),
                 lambda: conn.send(wire.parse("", "select length($1::text)"),
                                   wire.bind("", "", [text]), wire.execute(), wire.SYNC)):
        holder.query("begin")
        sender = threading.Thread(target=send)
        sender.start()
        wire.eventually(lambda: sluice.waiting() == 1)
        holder.query("commit")
        assert conn.recv_until("Z").value == str(size)
        sender.join()


def test_rows_around_every_buffer_size_arrive_unchanged(make_sluice):
    conn = make_sluice(postgres={"pool_size": 1}).connect()
    rows = conn.query("select repeat('ab', n) from generate_series(1, 40000, 37) n").rows
    assert [len(r[0]) for r in rows] == [2 * n for n in range(1, 40001, 37)]
    assert all(set(r[0]) == {"a", "b"} for r in rows)


@needs_honest_memory
def test_slow_reader_stops_the_sender(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 2})
    conn, other = warmed(sluice), sluice.connect()
    with Growth(sluice) as growth:
        conn.send(wire.query("select repeat('x', 100000) from generate_series(1, 5000)"))
        wire.eventually(lambda: [s for s in pg.sessions() if s["wait_event"] == "ClientWrite"],
                        10, "a server that waits for its reader")
        for i in range(50):
            assert other.query(f"select {i}").value == str(i)
        assert [s for s in pg.sessions() if s["wait_event"] == "ClientWrite"]
    assert growth.bytes < 4 * MiB, growth.bytes
    result = conn.recv_until("Z")
    assert len(result._of("D")) == 5000 and result.tags == ["SELECT 5000"]


def test_slow_reader_in_steps_gets_everything(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    conn = sluice.raw()
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    conn.login("app", "app", PASSWORDS["app"])
    conn.send(wire.query("select repeat('x', 10000) from generate_series(1, 100)"))
    got = bytearray()
    while not got.endswith(b"Z\0\0\0\5I"):
        data = conn.sock.recv(3000)
        assert data
        got += data
    assert got.count(b"D\0\0") == 100


@needs_honest_memory
def test_slow_server_stops_the_sender(make_sluice, make_fake):
    """A server that does not read: the client's bytes must not pile up in between."""
    go = threading.Event()

    def script(conn):
        if not conn.login():
            return
        while True:
            got = conn.recv()
            if got.body.startswith(b"copy"):
                conn.send(wire.message("G", b"\0\0\0"))
                go.wait(30)
                while conn.recv().type != "c":
                    pass
                conn.send(fake_server.tag("COPY 1"), fake_server.ready())
            else:
                conn.answer(got)
    fake = make_fake(script)
    sluice = make_sluice(postgres={"databases": {"app": {"url": fake.url()}}})
    conn, other = sluice.connect(), sluice.connect()
    conn.query("select 1")
    conn.send(wire.query("copy t from stdin"))
    conn.recv_until("G")
    conn.sock.setblocking(False)
    data, sent, quiet = wire.copy_data(b"x" * 60000) * 16, 0, time.monotonic()
    with Growth(sluice) as growth:
        offset = 0
        while time.monotonic() - quiet < 0.5:
            try:
                count = conn.sock.send(data[offset:])
                offset = (offset + count) % len(data)
                sent += count
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            assert sent < 64 * MiB, "nothing stops the sender"
        assert other.query("select 2").status == "I"
    assert growth.bytes < 4 * MiB, growth.bytes
    go.set()
    conn.sock.setblocking(True)
    conn.settimeout(20)
    if offset:
        conn.send(data[offset:])
    conn.send(wire.COPY_DONE)
    assert conn.recv_until("Z").tags == ["COPY 1"]


@needs_honest_memory
def test_a_thousand_idle_clients_are_cheap(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 2, "auth_type": "trust"})
    conns = [sluice.connect() for _ in range(100)]
    before = sluice.memory("VmRSS")
    conns += [sluice.connect() for _ in range(800)]
    for conn in conns[::50]:
        assert conn.query("select 1").value == "1"
    grown = sluice.memory("VmRSS") - before
    assert grown / 800 < 8192, f"{grown / 800:.0f} bytes for each client"
