"""Broken bytes from clients and from servers, at every point: a clear error or a closed
connection, bounded memory, and every other client undisturbed."""

import random
import socket
import struct
import threading
import time

import pytest

import fake_server
import targets
import wire
from postgres import PASSWORDS

MiB = 1 << 20


@pytest.fixture
def bystander(make_sluice):
    """(sluice, check): check() fails if a client that did nothing wrong was disturbed."""
    sluice = make_sluice(postgres={"pool_size": 2, "client_login_timeout": "30s"})
    client = sluice.connect()
    client.run(wire.parse("mine", "select $1::int + 1"), wire.SYNC)

    def check():
        assert sluice.alive(), sluice.log[-3000:]
        assert client.query("select 'fine'").rows == [("fine",)]
        assert client.run(wire.bind("", "mine", [1]), wire.execute(), wire.SYNC).value == "2"
        fresh = sluice.connect()
        assert fresh.query("select 'fresh'").rows == [("fresh",)]
        fresh.terminate()
    yield sluice, check
    check()


def ending(conn, limit=5.0):
    """What a broken client hears until it is cut off, which must happen."""
    conn.settimeout(limit * targets.SCALE)
    try:
        rest = conn.recv_until_closed()
    except TimeoutError:
        pytest.fail("neither an error nor the end of the connection")
    except AssertionError as error:
        pytest.fail(f"broken bytes were answered with broken bytes: {error}")
    return rest


def tolerant_send(conn, data):
    try:
        conn.send(data)
    except wire.Closed:
        pass


# ---- clients ------------------------------------------------------------------------------------


def header(kind, length):
    return kind + struct.pack("!i", length)


BROKEN = {
    "unknown_type": header(b"\x01", 4),
    "unknown_letter": header(b"y", 4),
    "length_zero": header(b"Q", 0),
    "length_three": header(b"Q", 3),
    "length_negative": header(b"Q", -1),
    "length_most_negative": header(b"P", -2147483648),
    "sync_with_a_body_of_2_gigabytes": header(b"S", 0x7FFFFFFF),
    "bind_negative": header(b"B", -5),
    "execute_of_2_gigabytes": header(b"E", 0x7FFFFFFF),
    "describe_of_a_gigabyte": header(b"D", 0x40000000),
    "close_of_a_gigabyte": header(b"C", 0x40000000),
    "backend_message": header(b"Z", 5) + b"I",
    "authentication_out_of_place": header(b"R", 8) + b"\0\0\0\0",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_broken_message_ends_the_connection(bystander, broken):
    sluice, _ = bystander
    conn = sluice.connect()
    tolerant_send(conn, broken)
    rest = ending(conn)
    assert set(rest.codes) <= {"08P01", "54000"}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_broken_message_in_a_transaction_rolls_back(make_sluice, pg, table, broken):
    sluice = make_sluice(postgres={"pool_size": 1})
    conn = sluice.connect()
    conn.query("begin")
    conn.query("insert into t values (1, 'never')")
    tolerant_send(conn, broken)
    ending(conn)
    assert sluice.connect().query("select count(*) from t").value == "0"


MALFORMED = {
    "query_without_end": wire.message("Q", b"select 1"),
    "query_empty_body": wire.message("Q", b""),
    "parse_empty_body": wire.message("P", b""),
    "parse_without_sql": wire.message("P", b"name\0"),
    "parse_without_types": wire.message("P", b"\0select 1\0"),
    "parse_many_types": wire.message("P", b"\0select 1\0\x7f\xff"),
    "parse_negative_types": wire.message("P", b"\0select 1\0\xff\xff"),
    "bind_empty_body": wire.message("B", b""),
    "bind_cut": wire.bind("", "", ["abc"])[:1] + struct.pack("!i", 12) + b"\0\0\0\0\0\1\0\0",
    "bind_negative_length": wire.message("B", b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"),
    "bind_negative_count": wire.message("B", b"\0\0\0\0\xff\xff\0\0"),
    "describe_empty": wire.message("D", b""),
    "describe_kind": wire.message("D", b"Xname\0"),
    "describe_without_end": wire.message("D", b"Sname"),
    "close_kind": wire.message("C", b"Yname\0"),
    "execute_cut": wire.message("E", b"\0\0\0"),
    "execute_without_end": wire.message("E", b"portal"),
    "function_call_cut": wire.message("F", b"\0\0"),
    "sync_with_body": wire.message("S", b"body"),
    "name_of_a_megabyte": wire.message("D", b"S" + b"n" * MiB + b"\0"),
}


@pytest.mark.parametrize("broken", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_body_is_an_error_or_the_end(bystander, broken):
    """Some of these PostgreSQL answers and goes on; then so may we, but never in a tangle."""
    sluice, _ = bystander
    conn = sluice.connect()
    tolerant_send(conn, broken + wire.SYNC)
    conn.settimeout(5 * targets.SCALE)
    try:
        conn.recv_until("Z")
        if broken[:1] in b"QFS":  # they have a ReadyForQuery of their own
            conn.recv_until("Z")
        assert conn.query("select 'in step'").value == "in step"
    except wire.Closed:
        pass


@pytest.mark.parametrize("point", ["start", "after_ssl_request", "password", "idle",
                                   "in_transaction", "copy_in", "extended", "busy"])
def test_random_bytes_at_every_point_disturb_nobody(bystander, rng, point, table):
    sluice, check = bystander
    for _ in range(12):
        conn = sluice.raw()
        try:
            if point == "after_ssl_request":
                conn.send(wire.SSL_REQUEST)
                conn.recv_byte()
            elif point == "password":
                conn.send(wire.startup({"user": "app", "database": "app"}))
                conn.recv_until("R")
            elif point != "start":
                conn.login("app", "app", PASSWORDS["app"])
            if point == "in_transaction":
                conn.query("begin")
            elif point == "copy_in":
                conn.send(wire.query("copy t from stdin"))
                conn.recv_until("G")
            elif point == "extended":
                conn.send(wire.parse("", "select 1"), wire.FLUSH)
                conn.recv_until("1")
            elif point == "busy":
                conn.send(wire.query("select pg_sleep(0.02)"))
            conn.send(rng.randbytes(rng.choice([1, 4, 5, 17, 300, 70000])))
            if rng.random() < 0.5:
                conn.sock.shutdown(socket.SHUT_WR)
        except wire.Closed:
            pass
        (conn.reset if rng.random() < 0.5 else conn.close)()
    check()


def test_conversation_cut_at_every_byte_disturbs_nobody(bystander):
    sluice, check = bystander
    login = wire.startup({"user": "app", "database": "app"})
    for cut in range(0, len(login), 3):
        conn = sluice.raw()
        conn.send(login[:cut])
        conn.close()
    stream = (wire.parse("n", "select $1::text") + wire.bind("", "n", ["value"])
              + wire.describe("P") + wire.execute() + wire.SYNC + wire.query("select 2"))
    for cut in range(0, len(stream), 3):
        conn = sluice.connect()
        conn.send(stream[:cut])
        (conn.close if cut % 2 else conn.reset)()
    check()


def test_random_mutations_of_a_conversation_disturb_nobody(bystander, rng):
    sluice, check = bystander
    stream = (wire.query("select 1") + wire.parse("n", "select $1::text")
              + wire.bind("", "n", ["value"]) + wire.describe("P") + wire.execute() + wire.SYNC
              + wire.close("S", "n") + wire.SYNC)
    for _ in range(80):
        broken = bytearray(stream)
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        conn = sluice.connect()
        try:
            conn.send(bytes(broken), wire.TERMINATE)
            conn.sock.shutdown(socket.SHUT_WR)
            conn.settimeout(0.05)
            conn.recv_until_closed()
        except (wire.Closed, TimeoutError, OSError, AssertionError):
            pass
        conn.close()
    check()


def test_password_message_of_every_wrong_kind_ends_the_login(bystander):
    sluice, _ = bystander
    for broken in (wire.query("select 1"), header(b"p", 3), header(b"p", -1),
                   header(b"p", 0x7FFFFFFF), wire.message("p", b"x" * 100_000), wire.SYNC,
                   wire.message("p", b"")):
        conn = sluice.raw()
        conn.send(wire.startup({"user": "app", "database": "app"}))
        conn.recv_until("R")
        tolerant_send(conn, broken)
        rest = ending(conn)
        assert not rest._of("Z") and set(rest.codes) <= {"08P01", "28P01", "28000"}


def test_queries_before_the_password_are_never_run(bystander, pg, table):
    sluice, _ = bystander
    conn = sluice.raw()
    tolerant_send(conn, wire.startup({"user": "app", "database": "app"})
                  + wire.query("insert into t values (1, 'unauthenticated')"))
    ending(conn)
    assert pg.in_app("select count(*) from t") == [(0,)]


def test_http_request_is_closed(bystander):
    sluice, _ = bystander
    conn = sluice.raw()
    conn.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    conn.sock.shutdown(socket.SHUT_WR)
    ending(conn)


def test_slow_logins_do_not_keep_others_waiting(bystander):
    sluice, check = bystander
    stuck = []
    for i in range(200):
        conn = sluice.raw()
        conn.send([b"", wire.SSL_REQUEST, b"\0\0\0\x50", wire.startup(
            {"user": "app", "database": "app"})][i % 4])
        stuck.append(conn)
    started = time.monotonic()
    check()
    assert time.monotonic() - started < 2 * targets.SCALE


def test_idle_connections_are_given_back(bystander):
    """Descriptors of clients that came and went, in whatever way, are closed."""
    sluice, check = bystander
    check()
    before = sluice.descriptors()
    for i in range(100):
        conn = sluice.connect() if i % 2 else sluice.raw()
        (conn.reset if i % 3 else conn.close)()
    wire.eventually(lambda: sluice.descriptors() <= before + 2, 5, "descriptors given back")


def test_half_closed_client_is_answered_and_then_closed(bystander):
    sluice, _ = bystander
    conn = sluice.connect()
    conn.send(wire.query("select pg_sleep(0.1), 'late'"))
    conn.sock.shutdown(socket.SHUT_WR)
    rest = ending(conn)
    assert rest.types in ("TDCZ", "", "EZ", "E")


def test_reset_in_mid_query_disturbs_nobody(bystander):
    sluice, check = bystander
    for _ in range(10):
        conn = sluice.connect()
        conn.send(wire.query("select pg_sleep(30)"))
        conn.reset()
        check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "query", "extended"])
def test_100_000_pipelined_messages_are_answered(bystander, kind):
    sluice, _ = bystander
    conn = sluice.connect()
    conn.settimeout(60 * targets.SCALE)
    unit, replies, units = {
        "sync": (wire.SYNC, b"Z\0\0\0\5I", 100_000),
        "query": (wire.query(";"), b"I\0\0\0\4Z\0\0\0\5I", 100_000),
        "extended": (wire.parse("", "") + wire.bind() + wire.execute() + wire.SYNC,
                     b"1\0\0\0\0042\0\0\0\4I\0\0\0\4Z\0\0\0\5I", 25_000),
    }[kind]
    before = sluice.memory("VmRSS") if targets.TARGET == "sluice" else 0
    if before:
        sluice.reset_peak()
    sender = threading.Thread(target=lambda: conn.sock.sendall(unit * units), daemon=True)
    sender.start()
    got = bytearray()
    while len(got) < units * len(replies):
        data = conn.sock.recv(1 << 20)
        assert data, "closed"
        got += data
    sender.join(5)
    assert got == replies * units
    if before and not targets.SANITIZED:
        assert sluice.memory("VmHWM") - before < 16 * MiB
    assert conn.query("select 1").value == "1"


def test_100_000_messages_without_reading_are_bounded(bystander):
    """A client that only sends is stopped by its own unread answers, not by our memory."""
    if targets.SANITIZED or targets.TARGET != "sluice":
        pytest.skip("the memory of this build says nothing")
    sluice, check = bystander
    conn = sluice.connect()
    check()
    before = sluice.memory("VmRSS")
    sluice.reset_peak()
    conn.sock.setblocking(False)
    data = wire.query("select repeat('x', 1000)") * 1000
    quiet, sent = time.monotonic(), 0
    while time.monotonic() - quiet < 0.3 and sent < 64 * MiB:
        try:
            sent += conn.sock.send(data)
            quiet = time.monotonic()
        except BlockingIOError:
            time.sleep(0.005)
    assert sent < 64 * MiB, "nothing stopped the sender"
    check()
    assert sluice.memory("VmHWM") - before < 4 * MiB


# ---- servers ------------------------------------------------------------------------------------


GARBAGE = bytes(random.Random(7).randbytes(3000))

BAD_ANSWERS = {
    "garbage": GARBAGE,
    "length_negative": header(b"D", -1),
    "length_zero": header(b"T", 0),
    "ready_of_a_gigabyte": header(b"Z", 0x40000000) + b"I" * 1000,
    "ready_without_status": wire.message("Z", b""),
    "ready_with_odd_status": wire.message("Z", b"Q"),
    "unknown_type": header(b"\x02", 4),
    "frontend_message": wire.query("select 1"),
    "reply_nobody_asked_for": wire.message("1") + fake_server.ready(),
    "two_answers": fake_server.rows(["a"]) + fake_server.ready() + fake_server.rows(["b"])
    + fake_server.ready(),
    "authentication_again": wire.message("R", struct.pack("!i", 3)),
    "truncated_row": fake_server.rows(["a" * 500])[:200],
    "truncated_header": b"D\0\0",
    "nothing": b"",
    "error_without_end": wire.message("E", b"SERROR\0C42601"),
    "error_empty": wire.message("E", b""),
    "error_without_code": fake_server.report("E", "FATAL", None, "bye"),
    "tag_without_end": wire.message("C", b"SELECT 1"),
    "parameter_without_end": wire.message("S", b"TimeZone"),
    "copy_in_nobody_asked_for": wire.message("G", b"\0\0\1\0\0"),
    "row_count_lies": wire.message("D", struct.pack("!hi", 9, 100) + b"x"),
    "endless_parameters": b"".join(fake_server.parameter_status(f"p{i}", "v" * 900)
                                   for i in range(2000)),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_broken_answer_of_a_server_costs_one_query_only(make_sluice, make_fake, answer):
    """The server says it and closes. The client gets an error or the end, other clients and
    the next query a connection that works."""
    def bad(conn):
        if conn.login():
            while True:
                got = conn.recv()
                if b"select 'bad'" in got.body:
                    conn.send(answer)
                    return
                conn.answer(got)

    def good(sql):
        return fake_server.rows([sql]) + fake_server.ready() if "select" in sql else None
    fake = make_fake(fake_server.polite(good), scripts=[bad])
    sluice = make_sluice(postgres={"pool_size": 1, "databases": {"app": {"url": fake.url()}}})
    victim, other = sluice.connect(), sluice.connect()
    victim.send(wire.query("select 'bad'"))
    victim.settimeout(5 * targets.SCALE)
    try:
        victim.recv_until("ZE")
    except (wire.Closed, AssertionError):
        pass
    for i in range(3):
        assert other.query(f"select {i}").rows == [(f"select {i}",)]
    assert sluice.alive()


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_broken_bytes_of_an_idle_server_cost_nobody_anything(make_sluice, make_fake, answer):
    told = threading.Event()

    def bad(conn):
        if conn.login():
            conn.answer(conn.recv())
            conn.send(answer)
            told.set()

    def good(sql):
        return fake_server.rows([sql]) + fake_server.ready() if "select" in sql else None
    fake = make_fake(fake_server.polite(good), scripts=[bad])
    sluice = make_sluice(postgres={"pool_size": 1, "databases": {"app": {"url": fake.url()}}})
    client = sluice.connect()
    client.query("select 'first'", check=False)
    told.wait(5)
    wire.eventually(lambda: fake.connections[0].closed_at, 5, "the bad server's end")
    for i in range(3):
        try:
            result = client.query(f"select {i}", check=False)
        except wire.Closed:
            client = sluice.connect()
            continue
        assert result.errors or result.rows == [(f"select {i}",)]
    assert client.query("select 'last'").rows == [("select 'last'",)]


BAD_LOGINS = {
    "garbage": GARBAGE,
    "closes": b"",
    "half_a_message": b"R\0\0",
    "length_negative": header(b"R", -1),
    "length_huge": header(b"R", 0x7FFFFFFF),
    "unknown_authentication": wire.message("R", struct.pack("!i", 99)),
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "md5_of_nothing": wire.message("R", struct.pack("!i", 5)),
    "sasl_of_nothing": wire.message("R", struct.pack("!i", 10)),
    "evil_nonce": wire.message("R", struct.pack("!i", 11) + b"r=" + b"x" * 9000 + b",s=,i=1"),
    "error_without_code": fake_server.report("E", "FATAL", None, "go away"),
    "ready_without_login": fake_server.ready(),
}


@pytest.mark.parametrize("answer", BAD_LOGINS.values(), ids=BAD_LOGINS.keys())
def test_broken_login_of_a_server_is_an_error_and_disturbs_no_other_database(
        make_sluice, make_fake, pg, answer):
    def bad(conn):
        conn.recv_startup()
        conn.send(answer)
    fake = make_fake(bad)
    sluice = make_sluice(postgres={"query_wait_timeout": "700ms",
                                   "databases": {"bad": {"url": fake.url()}}})
    other = sluice.connect()
    conn = sluice.raw()
    conn.settimeout(10 * targets.SCALE)
    with pytest.raises((wire.PgError, wire.Closed)) as caught:
        conn.login("app", "bad", PASSWORDS["app"])
        conn.query("select 1")
    if isinstance(caught.value, wire.PgError):
        assert caught.value.code is not None and len(caught.value.code) == 5
    assert other.query("select 1").value == "1"
    assert sluice.connect().query("select 1").value == "1"


def test_server_that_trickles_bytes_is_served_rightly(make_sluice, make_fake):
    def slow(conn):
        if not conn.login():
            return
        while True:
            got = conn.recv()
            if got.type != "Q":
                conn.answer(got)
                continue
            for byte in fake_server.rows([got.body[:-1].decode()]) + fake_server.ready():
                conn.send(bytes([byte]))
    fake = make_fake(slow)
    sluice = make_sluice(postgres={"databases": {"app": {"url": fake.url()}}})
    for i in range(5):
        conn = sluice.connect()
        assert conn.query(f"select {i}").rows == [(f"select {i}",)]


def test_server_answer_cut_at_every_byte_is_never_taken_for_whole(make_sluice, make_fake):
    whole = fake_server.rows(["value"]) + fake_server.ready()
    cuts = list(range(0, len(whole), 2))

    def script_for(cut):
        def script(conn):
            if conn.login():
                while b"select" not in (got := conn.recv()).body:
                    conn.answer(got)
                conn.send(whole[:cut])
        return script
    fake = make_fake(scripts=[script_for(cut) for cut in cuts])
    sluice = make_sluice(postgres={"pool_size": 1, "databases": {"app": {"url": fake.url()}}})
    for cut in cuts:
        conn = sluice.connect()
        try:
            result = conn.query("select 'v'", check=False)
            assert result.errors, f"cut at {cut}: {result.messages}"
        except wire.Closed:
            pass
        conn.close()
        if len(fake.connections) > len(cuts):
            break
