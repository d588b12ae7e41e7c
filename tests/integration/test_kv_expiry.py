"""Expiry on the key-value port in real time: what has expired is nowhere to be seen."""

import time

import pytest


@pytest.fixture
def gone(kv):
    """A connection on which key "gone" expired a moment ago and "here" is alive."""
    conn = kv.connect()
    conn.ok("SET", "gone", "12", "PX", 5)
    conn.ok("SET", "here", "x")
    time.sleep(0.02)
    return conn


@pytest.mark.parametrize("command, reply", [
    (("GET", "gone"), None), (("EXISTS", "gone", "here"), 1), (("TYPE", "gone"), "none"),
    (("TTL", "gone"), -2), (("PTTL", "gone"), -2), (("EXPIRETIME", "gone"), -2),
    (("PERSIST", "gone"), 0), (("EXPIRE", "gone", 100), 0), (("STRLEN", "gone"), 0),
    (("GETRANGE", "gone", 0, -1), b""), (("DEL", "gone"), 0), (("UNLINK", "gone"), 0),
    (("TOUCH", "gone"), 0), (("KEYS", "*"), [b"here"]), (("RANDOMKEY",), b"here"),
    (("SCAN", 0), [b"0", [b"here"]]), (("RENAME", "gone", "a"), "ERR no such key"),
    (("RENAMENX", "here", "gone"), 1), (("COPY", "gone", "a"), 0), (("COPY", "here", "gone"), 1),
    (("MOVE", "gone", 1), 0), (("INCR", "gone"), 1), (("APPEND", "gone", "z"), 1),
    (("SETRANGE", "gone", 1, "z"), 2), (("SETNX", "gone", "new"), 1),
    (("GETSET", "gone", "y"), None), (("GETDEL", "gone"), None), (("GETEX", "gone"), None),
    (("MGET", "gone", "here"), [None, b"x"]),
    (("MSETNX", "gone", 1), 1), (("SET", "gone", "y", "XX"), None),
    (("SET", "gone", "y", "NX"), "OK"), (("SET", "gone", "y", "GET"), None),
    (("SET", "gone", "y", "KEEPTTL"), "OK"), (("INCRBYFLOAT", "gone", "1.5"), b"1.5"),
    (("OBJECT", "ENCODING", "gone"), None),
], ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else "")
def test_expired_key_is_not_there(gone, command, reply):
    assert gone.call(*command) == reply
    if gone.call("EXISTS", "gone"):
        assert gone.call("TTL", "gone") == -1  # what came in its place has nothing of it


def test_keys_that_have_all_expired_end_a_randomkey(kv):
    conn = kv.connect()
    conn.pipe(*(("SET", f"k{i}", 1, "PX", 5) for i in range(500)))
    time.sleep(0.02)
    assert conn.call("RANDOMKEY") is None
    assert conn.call("KEYS", "*") == [] and conn.scan()[0] == []


def test_transaction_on_a_watched_key_that_expires_is_off(kv):
    conn = kv.connect()
    conn.ok("SET", "w", 1, "PX", 20)
    conn.ok("WATCH", "w")
    time.sleep(0.04)
    assert conn.pipe(("MULTI",), ("SET", "a", 1), ("EXEC",))[2] is None
    assert conn.call("EXISTS", "a") == 0


def test_transaction_on_a_key_that_had_expired_before_goes_on(gone):
    gone.ok("WATCH", "gone")
    gone.call("DEL", "gone")
    assert gone.pipe(("MULTI",), ("SET", "a", 1), ("EXEC",))[2] == ["OK"]


def test_watch_is_of_one_key_in_one_database(kv):
    conn, other = kv.connect(), kv.connect()
    conn.ok("WATCH", "w")
    other.ok("SELECT", 1)
    other.ok("SET", "w", 1)
    other.ok("FLUSHALL")
    assert conn.pipe(("MULTI",), ("GET", "w"), ("EXEC",))[2] == [None]
    conn.ok("WATCH", "w")
    other.ok("SWAPDB", 0, 1)
    assert conn.pipe(("MULTI",), ("GET", "w"), ("EXEC",))[2] == [None]  # there is none in either
    conn.ok("WATCH", "w")
    other.ok("SET", "w", 1)
    other.ok("SWAPDB", 0, 1)
    assert conn.pipe(("MULTI",), ("GET", "w"), ("EXEC",))[2] is None


@pytest.mark.parametrize("change", [("SET", "w", 2), ("DEL", "w"), ("EXPIRE", "w", 100),
                                    ("INCR", "w"), ("APPEND", "w", ""), ("RENAME", "w", "v"),
                                    ("FLUSHDB",),
                                    ("FLUSHALL",), ("MOVE", "w", 1), ("GETDEL", "w"),
                                    ("GETEX", "w", "EX", 9), ("SETRANGE", "w", 0, "1"),
                                    ("COPY", "v", "w", "REPLACE"), ("RENAME", "v", "w"),
                                    ("PEXPIREAT", "w", 1), ("SWAPDB", 0, 1), ("SET", "w", 1)])
def test_change_of_a_watched_key_by_another_stops_the_transaction(kv, change):
    conn, other = kv.connect(), kv.connect()
    conn.ok("MSET", "w", 1, "v", 1)
    conn.ok("WATCH", "w")
    other.call(*change)
    assert conn.pipe(("MULTI",), ("SET", "done", 1), ("EXEC",))[2] is None
    assert conn.call("EXISTS", "done") == 0


@pytest.mark.parametrize("no_change", [("GET", "w"), ("DEL", "x"), ("SETNX", "w", 2), ("TTL", "w"),
                                       ("PERSIST", "w"), ("MSETNX", "w", 1, "x", 1), ("TOUCH", "w"),
                                       ("SETRANGE", "w", 0, ""), ("SET", "w", 2, "NX"),
                                       ("RENAMENX", "v", "w"), ("COPY", "v", "w"),
                                       ("EXPIRE", "w", 100, "XX"), ("INCRBY", "w", "x")])
def test_what_changes_nothing_does_not_stop_the_transaction(kv, no_change):
    conn, other = kv.connect(), kv.connect()
    conn.ok("MSET", "w", 1, "v", 1)
    conn.ok("WATCH", "w")
    other.call(*no_change)
    assert conn.pipe(("MULTI",), ("SET", "done", 1), ("EXEC",))[2] == ["OK"]


def test_ttl_is_rounded_and_counts_down(kv):
    conn = kv.connect()
    conn.ok("SET", "a", 1, "PX", 10_400)
    assert conn.call("TTL", "a") == 10
    conn.ok("SET", "a", 1, "PX", 10_700)
    assert conn.call("TTL", "a") == 11
    first = conn.call("PTTL", "a")
    time.sleep(0.03)
    assert first - 5000 < conn.call("PTTL", "a") <= first - 25
    at = conn.call("PEXPIRETIME", "a")
    assert conn.call("EXPIRETIME", "a") == (at + 500) // 1000
    assert abs(at - time.time() * 1000 - first) < 5000
