"""SIGTERM: who is told what, in which order, how fast, and what stays reachable."""

import signal
import time

import pytest

import resp
import targets
import wire
from postgres import PASSWORDS

SCALE = targets.SCALE


def end_of(conn):
    return conn.recv_until_closed().codes


def ended(make_sluice, sluice, timeout=20):
    sluice.process.wait(timeout * SCALE)
    assert sluice.process.returncode == 0, sluice.log[-3000:]
    make_sluice.made.remove(sluice)


def draining(sluice):
    sluice.signal(signal.SIGTERM)
    wire.eventually(lambda: sluice.http("/readyz")[0] == 503, 10 * SCALE, "not ready any more")


def test_new_client_while_draining_is_refused_with_57P03(make_sluice):
    sluice = make_sluice(postgres={"shutdown_timeout": "10s"})
    busy = sluice.connect()
    busy.query("begin")
    draining(sluice)
    late = sluice.raw()
    late.send(wire.startup({"user": "app", "database": "app"}))
    result = late.recv_until_closed()
    assert result.codes == ["57P03"] and result.errors[0]["S"] == "FATAL"
    assert "shutting down" in result.errors[0]["M"]
    assert busy.query("commit").tags == ["COMMIT"]
    ended(make_sluice, sluice)


def test_monitoring_while_draining_answers_and_is_not_ready(make_sluice):
    sluice = make_sluice(postgres={"shutdown_timeout": "10s"})
    busy = sluice.connect()
    busy.query("begin")
    draining(sluice)
    code, _, text = sluice.http("/readyz")
    assert (code, "shutting down" in text) == (503, True)
    assert sluice.http("/healthz")[0] == 200
    assert sluice.metrics()["sluice_client_connections_open"].total() == 1
    busy.close()
    ended(make_sluice, sluice)


def test_idle_client_gets_57P01_and_one_in_a_transaction_after_it(make_sluice):
    sluice = make_sluice(postgres={"shutdown_timeout": f"{8 * SCALE}s"})
    idle, busy = sluice.connect(), sluice.connect()
    idle.query("select 1")
    busy.query("begin")
    sluice.signal(signal.SIGTERM)
    assert end_of(idle) == ["57P01"]
    assert busy.query("select 1").value == "1"
    wire.eventually(lambda: "shutting down" in sluice.log, 5)
    time.sleep(2.5 * SCALE)  # from then on clients in use are told at their boundary
    busy.send(wire.query("commit"))
    rest = busy.recv_until_closed()
    assert rest.tags == ["COMMIT"] and rest.codes == ["57P01"]
    ended(make_sluice, sluice)


def test_client_that_has_just_logged_in_may_still_ask(make_sluice):
    """One connection for each transaction: nothing of it is lost."""
    sluice = make_sluice(postgres={"shutdown_timeout": "10s"})
    conn = sluice.connect()
    sluice.signal(signal.SIGTERM)
    wire.eventually(lambda: "shutting down" in sluice.log, 5)
    assert conn.query("select 1").value == "1"
    conn.terminate()
    ended(make_sluice, sluice)


def test_waiting_client_is_served_before_it_is_told(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1, "shutdown_timeout": "10s"})
    holder, waiter = sluice.connect(), sluice.connect()
    holder.query("begin")
    waiter.send(wire.query("select 7"))
    sluice.wait_waiting(1)
    sluice.signal(signal.SIGTERM)
    assert waiter.silent(1.5)
    holder.query("commit")
    assert waiter.recv_until("Z").value == "7"
    ended(make_sluice, sluice)


@pytest.mark.slow
def test_idle_clients_are_told_at_the_rate(make_sluice):
    sluice = make_sluice(postgres={"drain_rate": 10, "shutdown_timeout": "20s"})
    conns = [sluice.connect() for _ in range(30)]
    time.sleep(1.1)
    begin = time.monotonic()
    sluice.signal(signal.SIGTERM)
    for conn in conns:
        assert end_of(conn) == ["57P01"]
    seconds = time.monotonic() - begin
    assert 2.0 <= seconds <= 8 * SCALE, seconds
    ended(make_sluice, sluice)


def test_rate_of_zero_tells_all_at_once(make_sluice):
    sluice = make_sluice(postgres={"drain_rate": 0, "shutdown_timeout": "4s"})
    conns = [sluice.connect() for _ in range(50)]
    time.sleep(1.1)
    begin = time.monotonic()
    sluice.signal(signal.SIGTERM)
    for conn in conns:
        assert end_of(conn) == ["57P01"]
    assert time.monotonic() - begin < 1 * SCALE
    ended(make_sluice, sluice)


def test_pinned_client_is_told_last(make_sluice):
    sluice = make_sluice(postgres={"drain_rate": 5, "shutdown_timeout": "20s"})
    pinned = sluice.connect()
    pinned.query("create temp table mine (x int)")
    conns = [sluice.connect() for _ in range(5)]
    time.sleep(1.1)
    sluice.signal(signal.SIGTERM)
    for conn in conns:
        assert end_of(conn) == ["57P01"]
    assert pinned.silent(0.3)
    assert end_of(pinned) == ["57P01"]
    ended(make_sluice, sluice)


def test_shutdown_timeout_cuts_off_what_is_left(make_sluice):
    sluice = make_sluice(postgres={"shutdown_timeout": "700ms"})
    conn = sluice.connect()
    conn.query("begin")
    begin = time.monotonic()
    sluice.signal(signal.SIGTERM)
    assert set(end_of(conn)) <= {"57P01"}
    assert 0.5 < time.monotonic() - begin < 4 * SCALE
    ended(make_sluice, sluice)


def test_second_signal_ends_at_once(make_sluice):
    sluice = make_sluice(postgres={"shutdown_timeout": "60s"})
    conn = sluice.connect()
    conn.query("begin")
    draining(sluice)
    begin = time.monotonic()
    sluice.signal(signal.SIGTERM)
    end_of(conn)
    ended(make_sluice, sluice, 5)
    assert time.monotonic() - begin < 5 * SCALE


def test_socket_that_says_nothing_does_not_hold_up_the_end(make_sluice):
    sluice = make_sluice(postgres={"shutdown_timeout": "20s"})
    silent = sluice.raw()
    sluice.signal(signal.SIGTERM)
    assert set(end_of(silent)) <= {"57P03"}
    ended(make_sluice, sluice, 8)


def test_key_value_clients_are_served_until_the_end_and_get_their_answers(make_kv):
    kv = make_kv(kv={"fsync": "always"}, postgres={"shutdown_timeout": "5s"})
    conn = kv.connect()
    conn.call("SET", "a", "1")
    conn.send(resp.encode("SET", "b", "2"))
    assert conn.read() == "OK"
    kv.signal(signal.SIGTERM)
    kv.process.wait(10 * SCALE)
    assert kv.process.returncode == 0
    kv.process = None
    kv.close_clients()
    kv.start()
    assert kv.connect().call("GET", "b") == b"2"


def test_passwords_are_not_asked_for_while_draining(make_sluice):
    """The refusal comes before authentication, as PostgreSQL's does."""
    sluice = make_sluice(postgres={"shutdown_timeout": "5s"})
    busy = sluice.connect()
    busy.query("begin")
    draining(sluice)
    late = sluice.raw()
    late.send(wire.startup({"user": "nobody", "database": "app"}))
    assert end_of(late) == ["57P03"]
    assert PASSWORDS["app"] not in sluice.log
    busy.close()
    ended(make_sluice, sluice)
