"""Cancel reaches the right query only: never a later one, never another client's."""

import random
import socket
import struct
import threading
import time

import psycopg
import pytest

import targets
import wire


def sleep_and_wait(pg, *conns):
    """Each of them runs a query of its own mark; returns when all are at work."""
    for i, conn in enumerate(conns):
        conn.send(wire.query(f"select pg_sleep(60) /* mark {i} */"))
    wire.eventually(lambda: len([s for s in pg.sessions() if "/* mark" in s["query"]
                                 and s["state"] == "active"]) == len(conns), 5, "work")


def test_cancel_stops_only_the_right_query(sluice, pg):
    a, b, c = (sluice.connect() for _ in range(3))
    sleep_and_wait(pg, a, b, c)
    b.cancel()
    result = b.recv_until("Z")
    assert result.codes == ["57014"] and result.status == "I"
    assert result.errors[0]["M"] == "canceling statement due to user request"
    assert a.silent(0.2) and c.silent(0.1)
    a.cancel(), c.cancel()
    assert a.recv_until("Z").codes == c.recv_until("Z").codes == ["57014"]
    assert [x.query("select 1").value for x in (a, b, c)] == ["1"] * 3


def test_cancel_is_quick(sluice, pg):
    conn = sluice.connect()
    sleep_and_wait(pg, conn)
    started = time.monotonic()
    conn.cancel(wait=False)
    conn.recv_until("Z")
    assert time.monotonic() - started < 1 * targets.SCALE


def test_cancel_keeps_the_server_connection(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 1})
    conn = sluice.connect()
    backend = conn.backend()
    for _ in range(5):
        sleep_and_wait(pg, conn)
        conn.cancel()
        assert conn.recv_until("Z").codes == ["57014"]
        assert conn.backend() == backend


def test_cancel_in_a_transaction_fails_the_transaction(sluice, pg):
    conn = sluice.connect()
    conn.query("begin")
    sleep_and_wait(pg, conn)
    conn.cancel()
    assert conn.recv_until("Z").status == "E"
    assert conn.query("select 1", check=False).codes == ["25P02"]
    assert conn.query("rollback").status == "I"


def test_cancel_of_an_extended_query_skips_to_sync(sluice, pg):
    conn = sluice.connect()
    conn.send(wire.parse("", "select pg_sleep(60) /* mark 0 */"), wire.bind(), wire.execute(),
              wire.parse("", "select 'skipped'"), wire.bind(), wire.execute(), wire.SYNC)
    wire.eventually(lambda: [s for s in pg.sessions() if "/* mark" in s["query"]
                             and s["state"] == "active"], 5, "work")
    conn.cancel()
    assert conn.recv_until("Z").types in ("12EZ", "EZ")
    assert conn.query("select 1").value == "1"


def test_cancel_of_a_copy_in_stops_it(sluice, pg, table):
    conn = sluice.connect()
    conn.send(wire.query("copy t from stdin"))
    conn.recv_until("G")
    conn.send(wire.copy_data(b"1\tx\n"))
    conn.cancel()
    # PostgreSQL looks for a cancel between the messages of a COPY, not while it waits for one.
    conn.send(wire.copy_data(b"2\tx\n"))
    assert conn.recv_until("Z").codes == ["57014"]
    conn.send(wire.copy_data(b"3\tx\n"), wire.COPY_DONE)
    assert conn.query("select count(*) from t").value == "0"


def test_cancel_in_the_queue_is_57014_at_once(make_sluice, pg, table):
    sluice = make_sluice(postgres={"pool_size": 1})
    holder, waiter = sluice.connect(), sluice.connect()
    holder.query("begin")
    waiter.send(wire.query("insert into t values (1, 'cancelled')"))
    sluice.wait_waiting(1)
    started = time.monotonic()
    waiter.cancel()
    result = waiter.recv_until("Z")
    assert result.codes == ["57014"] and result.status == "I"
    assert time.monotonic() - started < 1 * targets.SCALE
    assert holder.query("select 'undisturbed'").value == "undisturbed"
    holder.query("commit")
    assert waiter.query("select count(*) from t").value == "0"


def test_cancel_in_the_queue_of_an_extended_batch_is_57014_up_to_sync(make_sluice, pg, table):
    sluice = make_sluice(postgres={"pool_size": 1})
    holder, waiter = sluice.connect(), sluice.connect()
    holder.query("begin")
    waiter.send(wire.batch("insert into t values (1, 'one')"),
                wire.batch("select 'second batch'"))
    sluice.wait_waiting(1)
    waiter.cancel()
    holder.query("commit")
    first = waiter.recv_until("Z")
    assert first.codes == ["57014"]
    second = waiter.recv_until("Z")
    assert second.rows == [("second batch",)] or second.codes == ["57014"]
    assert waiter.query("select count(*) from t").value == "0"


@pytest.mark.parametrize("how", ["close", "half_close", "reset_later", "byte_by_byte"])
def test_cancel_whose_sender_does_not_wait_is_honoured(sluice, pg, how):
    conn = sluice.connect()
    sleep_and_wait(pg, conn)
    other = sluice.raw()
    request = wire.cancel_request(conn.pid, conn.key)
    if how == "byte_by_byte":
        for byte in request:
            other.send(bytes([byte]))
    else:
        other.send(request)
    if how == "half_close":
        other.sock.shutdown(socket.SHUT_WR)
    else:
        other.close()
    assert conn.recv_until("Z").codes == ["57014"]


def test_cancel_is_answered_with_nothing_but_the_end(sluice, pg):
    conn = sluice.connect()
    sleep_and_wait(pg, conn)
    conn.cancel(wait=True)  # asserts that nothing is said
    assert conn.recv_until("Z").codes == ["57014"]


@pytest.mark.parametrize("change", ["key", "pid", "short", "long", "empty"])
def test_cancel_with_a_wrong_key_does_nothing(sluice, pg, change):
    conn = sluice.connect()
    sleep_and_wait(pg, conn)
    pid, key = conn.pid, conn.key
    request = {
        "key": wire.cancel_request(pid, bytes([key[0] ^ 1]) + key[1:]),
        "pid": wire.cancel_request(pid ^ 1, key),
        "short": wire.cancel_request(pid, key[:-1]),
        "long": wire.cancel_request(pid, key + b"\0"),
        "empty": wire.cancel_request(pid, b""),
    }[change]
    other = sluice.raw()
    other.send(request)
    assert not other.recv_until_closed()._of("Z")
    assert conn.silent(0.3)
    conn.cancel()
    assert conn.recv_until("Z").codes == ["57014"]


def test_cancel_of_an_idle_client_never_hits_its_later_query(sluice):
    conn = sluice.connect()
    for _ in range(30):
        conn.query("select 1")
        conn.cancel()  # returns when the request was dealt with
        assert conn.query("select pg_sleep(0.005)").tags == ["SELECT 1"]


def test_cancel_of_an_idle_client_never_hits_the_next_user_of_the_connection(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    idle, worker = sluice.connect(), sluice.connect()
    idle.query("select 1")
    for _ in range(30):
        worker.send(wire.query("select pg_sleep(0.01)"))
        idle.cancel(wait=False)
        assert worker.recv_until("Z").errors == []


def test_cancel_of_a_client_that_left_hits_nobody(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 1})
    gone, worker = sluice.connect(), sluice.connect()
    gone.query("select 1")
    pid, key = gone.pid, gone.key
    gone.terminate()
    sleep_and_wait(pg, worker)
    for _ in range(10):
        other = sluice.raw()
        other.send(wire.cancel_request(pid, key))
        other.recv_until_closed()
    assert worker.silent(0.2)
    worker.cancel()
    assert worker.recv_until("Z").codes == ["57014"]


@pytest.mark.slow
def test_cancel_stress_hits_no_other_client_and_no_later_query(make_sluice, rng):
    """Short queries, cancels that race with their ends, and neighbours on the same server
    connections who are never cancelled and must never see a 57014."""
    sluice = make_sluice(postgres={"pool_size": 2})
    stop = threading.Event()
    problems, cancelled = [], [0]
    seeds = [rng.random() for _ in range(12)]

    def victim(conn):
        try:
            while not stop.is_set():
                result = conn.query("select pg_sleep(0.002)", check=False)
                if result.codes:
                    assert result.codes == ["57014"], result.errors
                    cancelled[0] += 1
        except Exception as problem:  # noqa: BLE001
            problems.append(problem)

    def neighbour(conn):
        try:
            while not stop.is_set():
                assert conn.query("select pg_sleep(0.001), 'n'").rows[0][1] == "n"
                assert conn.execute("select $1::text", ["m"]).value == "m"
        except Exception as problem:  # noqa: BLE001
            problems.append(problem)

    def canceller(conn, seed):
        mine = random.Random(seed)
        try:
            while not stop.is_set():
                conn.cancel(wait=mine.random() < 0.5)
                time.sleep(mine.random() * 0.004)
        except Exception as problem:  # noqa: BLE001
            problems.append(problem)

    victims = [sluice.connect() for _ in range(4)]
    neighbours = [sluice.connect() for _ in range(6)]
    threads = [threading.Thread(target=victim, args=(c,), daemon=True) for c in victims]
    threads += [threading.Thread(target=neighbour, args=(c,), daemon=True) for c in neighbours]
    threads += [threading.Thread(target=canceller, args=(c, s), daemon=True)
                for c, s in zip(victims, seeds)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 5
    while time.monotonic() < end and not problems:
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join(15 * targets.SCALE)
    assert not problems, problems[:3]
    assert cancelled[0] > 0, "no cancel ever hit"


def test_cancel_storm_leaves_the_pool_sound(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 2})
    conn = sluice.connect()
    sleep_and_wait(pg, conn)
    others = []
    for _ in range(200):
        other = sluice.raw()
        other.send(wire.cancel_request(conn.pid, conn.key))
        others.append(other)
    assert conn.recv_until("Z").codes == ["57014"]
    for other in others:
        other.recv_until_closed()
    for i in range(20):
        assert sluice.connect().query(f"select {i}").value == str(i)


def test_cancel_of_libpq_and_psycopg_works(sluice, pg):
    conn = sluice.psycopg()
    timer = threading.Thread(target=lambda: (
        wire.eventually(lambda: [s for s in pg.sessions() if s["state"] == "active"], 5, "work"),
        conn.cancel()))
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        conn.execute("select pg_sleep(60)")
    timer.join()
    assert conn.execute("select 1").fetchone() == (1,)


def test_cancel_request_of_absurd_size_is_refused(sluice):
    conn = sluice.raw()
    conn.send(struct.pack("!iii", 8 + 4 + 5000, wire.CANCEL_CODE, 1) + b"k" * 5000)
    assert not conn.recv_until_closed()._of("Z")
    assert sluice.connect().query("select 1").value == "1"
