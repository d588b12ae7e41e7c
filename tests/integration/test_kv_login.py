"""The key-value port before and around a login: how little it keeps, how long it waits, AUTH inside
MULTI."""

import base64
import hashlib
import hmac
import time

import pytest

import resp
import targets
from certificates import client_context
from resp import ReplyError, encode
from test_kv_protocol import NOAUTH, growth
from test_reload import reload

pytestmark = pytest.mark.sluice_only
WRONGPASS = "WRONGPASS invalid username-password pair or user is disabled."
SECONDS = targets.SCALE


def verifier(password, iterations):
    salt = b"sixteen bytes of"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


def user(password):
    return {"users": {"alice": {"password": password, "projects": "all"}}}


@pytest.fixture(params=["plain", "verifier"])
def closed_kv(make_kv, request):
    plain = request.param == "plain"
    return make_kv(kv=user("wonderland" if plain else verifier("wonderland", 4096)))


# ---- how little is kept -------------------------------------------------------------------------


@pytest.mark.parametrize("data, error", [
    (b"*2\r\n$4\r\nAUTH\r\n$8192\r\n", "unauthenticated bulk length"),
    (b"*3\r\n$4\r\nAUTH\r\n$4000\r\n" + b"x" * 4000 + b"\r\n$4200\r\n",
     "unauthenticated bulk length"),
    (b"AUTH " + b"x" * 9000, "too big inline request"),
    (b"AUTH " + b"x" * 200_000 + b"\r\n", "too big inline request"),
    (b"*1\r\n$" + b"1" * 9000, "too big bulk count string"),
], ids=["bulk", "sum", "line", "whole_line", "header"])
def test_command_of_more_than_8_kilobytes_before_the_login_is_refused(closed_kv, data, error):
    conn = closed_kv.connect()
    conn.send(data)
    assert conn.read_to_end() == f"-ERR Protocol error: {error}\r\n".encode()


def test_long_passwords_and_all_of_hello_fit(make_kv):
    password = "p" * 4096
    kv = make_kv(kv=user(password))
    assert kv.connect().call("AUTH", "alice", password) == "OK"
    assert kv.connect().call("AUTH", "alice", password[1:]) == WRONGPASS
    conn = kv.connect()
    reply = conn.call("HELLO", 3, "AUTH", "alice", password, "SETNAME", "n" * 500)
    assert reply[b"proto"] == 3 and conn.call("CLIENT", "GETNAME") == b"n" * 500
    conn = kv.connect()
    conn.send(f"AUTH alice '{password}'\r\n".encode())
    assert conn.read() == "OK"


@pytest.mark.parametrize("piece", [None, 10, 8191, 8192, 8193])
def test_any_pipeline_behind_auth_in_the_same_packet_works(closed_kv, piece):
    big = b"b" * 300_000
    data = encode("AUTH", "alice", "wonderland") + encode("SET", "big", big) \
        + encode("INCR", "n") * 3000 + encode("GET", "big")
    conn = closed_kv.connect()
    if piece is None:
        conn.send(data)
    else:  # the first bytes in pieces of that size
        for at in range(0, min(len(data), 40 * piece), piece):
            conn.send(data[at:at + piece])
        conn.send(data[min(len(data), 40 * piece):])
    assert conn.read() == "OK"
    assert conn.read() == "OK"
    assert conn.read_many(3000) == list(range(1, 3001))
    assert conn.read() == big


def test_any_pipeline_behind_auth_works_with_tls(make_kv, server_certificates, authority):
    certificate, key = server_certificates["first"]
    kv = make_kv(kv={**user(verifier("wonderland", 4096)), "tls": {
        "mode": "require", "certificate": str(certificate), "key": str(key)}})
    kv.tls = client_context(authority.ca)
    big = b"b" * 300_000
    conn = kv.connect()
    conn.send(encode("GET", "a") + encode("AUTH", "alice", "wonderland") + encode("SET", "big", big)
              + encode("INCR", "n") * 3000 + encode("GET", "big"))
    assert conn.read_many(3) == [NOAUTH, "OK", "OK"]
    assert conn.read_many(3000) == list(range(1, 3001))
    assert conn.read() == big
    conn = kv.connect()
    conn.send(b"AUTH " + b"x" * 9000)
    assert conn.read() == "ERR Protocol error: too big inline request"


def test_commands_of_any_number_before_and_behind_a_login_are_answered(closed_kv):
    conn = closed_kv.connect()
    conn.send(encode("GET", "a") * 2000 + encode("AUTH", "alice", "no") + encode("PING") * 10
              + encode("AUTH", "alice", "wonderland") + encode("PING") * 2000 + encode("RESET")
              + encode("PING") * 10)
    assert conn.read_many(2000) == [NOAUTH] * 2000
    assert conn.read_many(11) == [WRONGPASS] + [NOAUTH] * 10
    assert conn.read_many(2001) == ["OK"] + ["PONG"] * 2000
    assert conn.read_many(11) == ["RESET"] + [NOAUTH] * 10


def test_what_comes_while_a_password_is_checked_waits_in_the_kernel(make_kv):
    kv = make_kv(kv=user(verifier("wonderland", 100_000)))
    conns = [kv.connect() for _ in range(60)]
    for conn in conns:
        conn.send(encode("GET", "a"))
    assert [conn.read() for conn in conns] == [NOAUTH] * 60
    peak = before = kv.memory("VmRSS")
    for conn in conns:
        conn.send(encode("AUTH", "alice", "wrong") + b"GET a\r\n" * 9000)
    for conn in conns:
        peak = max(peak, kv.memory("VmRSS"))
        assert conn.read() == WRONGPASS
    assert max(growth(kv, before), peak - before) < 60 * 24 * 1024


def test_half_a_command_costs_a_few_kilobytes(make_kv):
    kv = make_kv(kv=user("wonderland"))
    conns = [kv.connect() for _ in range(300)]
    for conn in conns:
        conn.send(encode("GET", "a"))
    assert [conn.read() for conn in conns] == [NOAUTH] * 300
    before = kv.memory("VmRSS")
    for conn in conns:
        conn.send(encode("GET", "a"), b"*2\r\n$4\r\nAUTH\r\n$8000\r\n" + b"x" * 100)
    assert [conn.read() for conn in conns] == [NOAUTH] * 300
    for conn in conns:
        conn.send(b"x" * 7000)
    assert kv.connect().call("GET", "a") == NOAUTH
    assert growth(kv, before) < 300 * 14 * 1024
    for conn in conns:
        conn.send(b"x" * 900, b"\r\n")
    assert [conn.read() for conn in conns] == [WRONGPASS] * 300


# ---- how long it waits --------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", b"AUTH alice", b"*2\r\n$4\r\nAUTH\r\n"])
def test_client_that_does_not_log_in_is_closed(make_kv, said):
    kv = make_kv(kv={**user("wonderland"), "client_login_timeout": "600ms"})
    known = kv.connect()
    known.ok("AUTH", "alice", "wonderland")
    late = kv.connect()
    began = time.monotonic()
    if said:
        late.send(said)
    assert late.read_to_end().startswith(b"-ERR client_login_timeout: ")
    assert 0.5 < time.monotonic() - began < 5 * SECONDS
    assert known.silent(0.8)
    assert known.call("PING") == "PONG"
    assert "client closed: client_login_timeout" in kv.log


def test_client_that_tries_and_tries_is_closed(make_kv):
    kv = make_kv(kv={**user(verifier("wonderland", 4096)), "client_login_timeout": "600ms"})
    conn = kv.connect()
    end = time.monotonic() + 10 * SECONDS
    with pytest.raises((resp.Closed, BrokenPipeError)):
        while time.monotonic() < end:
            answer = conn.call("AUTH", "alice", "wrong")
            if not str(answer).startswith("WRONGPASS"):
                assert str(answer).startswith("ERR client_login_timeout")
                conn.read()
    assert time.monotonic() < end


def test_reset_begins_the_time_anew(make_kv):
    kv = make_kv(kv={**user("wonderland"), "client_login_timeout": "600ms"})
    conn = kv.connect()
    conn.ok("AUTH", "alice", "wonderland")
    assert conn.silent(0.8)
    assert conn.call("RESET") == "RESET"
    assert conn.call("GET", "a") == NOAUTH
    assert conn.read_to_end().startswith(b"-ERR client_login_timeout: ")


def test_without_users_or_with_0_nobody_is_closed(make_kv):
    kv = make_kv(kv={"client_login_timeout": "300ms"})
    conn = kv.connect()
    assert conn.silent(0.6)
    assert conn.call("PING") == "PONG"
    kv = make_kv(kv={**user("wonderland"), "client_login_timeout": "0"})
    conn = kv.connect()
    assert conn.silent(0.6)
    assert conn.call("PING") == NOAUTH


def test_idle_timeout_counts_for_a_client_that_has_logged_in(make_kv):
    kv = make_kv(kv={**user("wonderland"), "client_login_timeout": "10s", "timeout": "1s"})
    conn = kv.connect()
    conn.ok("AUTH", "alice", "wonderland")
    assert conn.read_to_end() == b""
    assert kv.connect().read_to_end() == b""  # nor does an unknown one stay longer


def test_reload_changes_the_time_of_those_that_are_there(make_kv):
    kv = make_kv(kv=user("wonderland"))
    conn, known = kv.connect(), kv.connect()
    known.ok("AUTH", "alice", "wonderland")
    assert conn.call("PING") == NOAUTH
    reload(kv, kv={"client_login_timeout": "200ms"})
    assert conn.read_to_end().startswith(b"-ERR client_login_timeout: ")
    assert known.call("PING") == "PONG"


# ---- AUTH inside MULTI --------------------------------------------------------------------------


def test_login_in_a_transaction_counts_from_its_place_on(make_kv):
    kv = make_kv(kv={"users": {
        "alice": {"password": verifier("wonderland", 4096), "projects": "all"},
        "bob": {"password": "builder", "projects": [5]}}})
    conn = kv.connect()
    conn.ok("AUTH", "bob", "builder")
    conn.ok("MULTI")
    for command in [("SET", "a", 1), ("SELECT", 7), ("AUTH", "alice", "wonderland"),
                    ("ACL", "WHOAMI"), ("SELECT", 7), ("SET", "a", 2), ("AUTH", "alice", "x"),
                    ("AUTH", "bob", "builder"), ("GET", "a"), ("SELECT", 7)]:
        assert conn.call(*command) == "QUEUED"
    assert conn.call("EXEC") == [
        "OK", "NOPERM user 'bob' may not open project 7", "OK", b"alice", "OK", "OK", WRONGPASS,
        "OK", b"1", "NOPERM user 'bob' may not open project 7"]
    assert conn.call("ACL", "WHOAMI") == b"bob"


def test_login_in_a_transaction_gets_the_replies_of_redis(make_kv, redis_server):
    kv = make_kv()
    a, b = (server.connect() for server in (kv, redis_server))
    for command in ["MULTI", "AUTH default x", "AUTH nobody x", "AUTH x", "AUTH a b c", "HELLO 9",
                    "HELLO 2 AUTH default", "HELLO 3 AUTH nobody x", "ACL WHOAMI", "EXEC",
                    "MULTI", "AUTH", "AUTH default x", "EXEC", "ACL WHOAMI",
                    "MULTI", "AUTH default x", "DISCARD"]:
        assert a.raw_call(*command.split()) == b.raw_call(*command.split()), command
