"""The pool: modes, sizes, limits and order, over all workers."""

import threading
import time

import pytest

import targets
import wire
from postgres import PASSWORDS


def busy_clients(sluice, count, seconds, work):
    """Run `work(conn, i)` in `count` clients over and over; errors, number of rounds."""
    stop = threading.Event()
    errors, rounds = [], [0] * count

    def run(i):
        try:
            conn = sluice.connect()
            while not stop.is_set():
                work(conn, i)
                rounds[i] += 1
        except Exception as problem:  # noqa: BLE001 - shown by the test
            errors.append(problem)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    yield stop
    end = time.monotonic() + seconds
    while time.monotonic() < end and not errors:
        yield rounds
    stop.set()
    for thread in threads:
        thread.join(20 * targets.SCALE)
    assert not errors, errors[:3]
    assert all(rounds), f"a client was starved: {rounds}"


def sample(sluice, pg, count, seconds, work, **which):
    counts = set()
    for _ in busy_clients(sluice, count, seconds, work):
        counts.add(pg.session_count(**which))
    return counts


# ---- modes --------------------------------------------------------------------------------------


def test_transaction_mode_shares_one_connection(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    a, b, c = (sluice.connect() for _ in range(3))
    assert a.backend() == b.backend() == c.backend()


def test_transaction_mode_keeps_the_connection_in_a_transaction(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 2})
    a, b = sluice.connect(), sluice.connect()
    a.query("begin")
    backend = a.backend()
    for _ in range(5):
        assert b.backend() != backend and a.backend() == backend
    a.query("commit")


def test_transaction_mode_waits_while_another_client_is_in_a_transaction(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    a, b = sluice.connect(), sluice.connect()
    a.query("begin")
    b.send(wire.query("select 2"))
    assert b.silent(0.3)
    a.query("commit")
    assert b.recv_until("Z").value == "2"


def test_session_mode_keeps_the_connection_until_the_client_leaves(make_sluice):
    sluice = make_sluice(postgres={"pool_mode": "session", "pool_size": 1})
    a = sluice.connect()
    a.query("set work_mem to '17MB'")
    a.query("create temp table mine (x int)")
    a.run(wire.parse("s", "select 1"), wire.SYNC)
    backend = a.backend()
    b = sluice.raw()
    b.send(wire.startup({"user": "app", "database": "app"}))
    assert a.query("show work_mem").value == "17MB"
    a.terminate()
    b.authenticate(PASSWORDS["app"])
    assert b.backend() == backend
    assert b.query("show work_mem").value == "4MB"
    assert b.query("select to_regclass('pg_temp.mine')").value is None
    assert b.query("select count(*) from pg_prepared_statements").value == "0"


def test_statement_mode_refuses_transaction_blocks(make_sluice):
    sluice = make_sluice(postgres={"pool_mode": "statement", "pool_size": 1})
    a = sluice.connect()
    try:
        result = a.query("begin", check=False)
        assert result.errors and "transaction blocks not allowed" in result.errors[0]["M"]
    except wire.Closed:
        pass
    b = sluice.connect()
    assert b.query("select 1").value == "1"
    assert b.query("select 2; select 3").rows == [("2",), ("3",)]


def test_pool_mode_of_a_database_wins_over_the_global_one(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 1, "databases": {
        "sessions": {"url": pg.url(), "pool_mode": "session"}}})
    a = sluice.connect(database="sessions")
    a.query("select 1")
    b = sluice.raw()
    b.send(wire.startup({"user": "app", "database": "sessions"}))
    c, d = sluice.connect(), sluice.connect()
    assert c.backend() == d.backend()
    b.authenticate(PASSWORDS["app"])
    b.send(wire.query("select 1"))
    assert b.silent(0.3)
    a.terminate()
    assert b.recv_until("Z").value == "1"


def test_pool_mode_of_a_user_wins_over_the_databases(make_sluice, pg):
    sluice = make_sluice(postgres={
        "pool_size": 2, "databases": {"app": {"pool_mode": "transaction"}},
        "users": {"alice": {"pool_mode": "session"}}})
    alice = sluice.connect(user="alice")
    alice.query("set work_mem to '17MB'")
    backend = alice.backend()
    others = [sluice.connect() for _ in range(3)]
    assert backend not in {o.backend() for o in others}
    assert alice.query("show work_mem").value == "17MB"


# ---- sizes --------------------------------------------------------------------------------------


def short_transaction(conn, _):
    conn.query("begin")
    conn.query("select 1")
    conn.query("commit")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_pool_size_is_exact_under_load(make_sluice, pg, workers):
    sluice = make_sluice(workers=workers, postgres={"pool_size": 5})
    counts = sample(sluice, pg, 60, 3, lambda conn, i: conn.query("select pg_sleep(0.002)"))
    assert max(counts) == 5


def test_pool_of_one_is_shared_by_all_workers_without_waiting(make_sluice):
    """No client waits while the connection of its pool idles on another worker."""
    sluice = make_sluice(workers=4, postgres={"pool_size": 1})
    clients = [sluice.connect() for _ in range(16)]
    slowest = 0
    backends = set()
    for _ in range(10):
        for client in clients:
            started = time.monotonic()
            backends.add(client.backend())
            slowest = max(slowest, time.monotonic() - started)
    assert len(backends) == 1
    assert slowest < 0.1 * targets.SCALE


def test_pool_size_of_a_database_wins_over_the_global_one(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 5, "databases": {"app": {"pool_size": 2}}})
    counts = sample(sluice, pg, 12, 1, short_transaction)
    assert max(counts) == 2


def test_pool_size_of_a_user_wins_over_the_databases(make_sluice, pg):
    sluice = make_sluice(postgres={
        "pool_size": 5, "databases": {"app": {"url": pg.url(user=None), "pool_size": 4}},
        "users": {"app": {"pool_size": 2}}})
    counts = sample(sluice, pg, 12, 1, short_transaction)
    assert max(counts) == 2


def test_min_pool_size_is_opened_ahead(make_sluice, pg):
    sluice = make_sluice(postgres={"min_pool_size": 3})
    sluice.connect().query("select 1")
    wire.eventually(lambda: pg.session_count() == 3, 5, "three connections")


def test_pool_opens_no_more_than_it_needs(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 5})
    clients = [sluice.connect() for _ in range(10)]
    for _ in range(5):
        for client in clients:
            client.query("select 1")
    # One; or two, when a client of the other worker was quicker than the connection's way back.
    assert pg.session_count() <= 2


def test_reserve_pool_opens_after_its_timeout(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 1, "reserve_pool_size": 1,
                                   "reserve_pool_timeout": "300ms"})
    a, b, c = (sluice.connect() for _ in range(3))
    a.query("begin")
    started = time.monotonic()
    b.query("begin")
    assert 0.2 < time.monotonic() - started < 3 * targets.SCALE
    c.send(wire.query("select 3"))
    assert c.silent(0.6), "more than pool_size + reserve_pool_size"
    assert pg.session_count() == 2
    a.query("commit")
    assert c.recv_until("Z").value == "3"


def test_pool_size_changes_on_sighup(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 1})
    a, b = sluice.connect(), sluice.connect()
    a.query("begin")
    b.send(wire.query("select 2"))
    assert b.silent(0.2)
    sluice.reload(postgres={"pool_size": 2})
    assert b.recv_until("Z").value == "2"
    assert a.query("commit").status == "I"


# ---- limits -------------------------------------------------------------------------------------


def refused(sluice, **arguments):
    with pytest.raises(wire.PgError) as caught:
        sluice.connect(**arguments)
    return caught.value


def test_max_client_conn_refuses_one_more(make_sluice):
    sluice = make_sluice(postgres={"max_client_conn": 3})
    clients = [sluice.connect() for _ in range(3)]
    error = refused(sluice)
    assert error.code == "53300" and error.fields["S"] == "FATAL"
    assert error.message == "no more connections allowed (max_client_conn)"
    assert [c.query("select 1").value for c in clients] == ["1"] * 3
    clients[0].terminate()
    wire.eventually(lambda: try_connect(sluice), 5, "a free place")


def try_connect(sluice):
    try:
        return sluice.connect()
    except wire.PgError:
        return None


@pytest.mark.parametrize("end", ["terminate", "close", "reset"])
def test_place_of_a_client_that_left_is_free_again(make_sluice, end):
    sluice = make_sluice(postgres={"max_client_conn": 2})
    sluice.connect()
    for _ in range(10):
        getattr(wire.eventually(lambda: try_connect(sluice), 5, "a free place"), end)()


def test_max_db_connections_bounds_all_pools_of_a_database(make_sluice, pg):
    sluice = make_sluice(postgres={
        "pool_size": 3, "databases": {"app": {"url": pg.url(user=None),
                                              "max_db_connections": 2}}})
    users = ["app", "alice", "bob"]
    errors = []

    def client(i):
        try:
            conn = sluice.connect(user=users[i % 3])
            for _ in range(40):
                conn.query("select pg_sleep(0.001)")
        except Exception as problem:  # noqa: BLE001
            errors.append(problem)

    threads = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(12)]
    for thread in threads:
        thread.start()
    most = 0
    while any(t.is_alive() for t in threads):
        most = max(most, pg.session_count())
    assert not errors, errors[:2]
    # A connection that is being closed to make room for another user's may still show.
    assert 1 <= most <= 2 + 1


def test_max_user_connections_bounds_a_user_over_databases(make_sluice, pg):
    sluice = make_sluice(postgres={
        "pool_size": 3, "max_user_connections": 2,
        "databases": {"app": {"url": pg.url(user=None)},
                      "other": {"url": pg.url("other", user=None)}}})
    a, b = sluice.connect(user="alice"), sluice.connect(user="alice")
    a.query("begin"), b.query("begin")
    c = sluice.raw()
    c.send(wire.startup({"user": "alice", "database": "app"}))
    c.authenticate(PASSWORDS["alice"])
    c.send(wire.query("select 3"))
    assert c.silent(0.3)
    assert sluice.connect(user="bob").query("select 1").value == "1"
    a.query("commit")
    assert c.recv_until("Z").value == "3"


def test_max_db_client_connections_refuses_one_more(make_sluice, pg):
    sluice = make_sluice(postgres={"databases": {
        "app": {"max_db_client_connections": 2}, "other": {"url": pg.url("other")}}})
    clients = [sluice.connect() for _ in range(2)]
    error = refused(sluice)
    assert error.code == "53300"
    assert error.message == "client connections exceeded (max_db_client_connections)"
    assert sluice.connect(database="other").query("select 1").value == "1"
    clients[0].terminate()
    wire.eventually(lambda: try_connect(sluice), 5, "a free place")


def test_max_user_client_connections_refuses_one_more(make_sluice):
    sluice = make_sluice(postgres={"users": {"alice": {"max_user_client_connections": 2}}})
    for _ in range(2):
        sluice.connect(user="alice")
    error = refused(sluice, user="alice")
    assert error.code == "53300"
    assert error.message == "client connections exceeded (max_user_client_connections)"
    assert sluice.connect(user="bob").query("select 1").value == "1"


def test_limits_are_not_revealed_before_the_password(make_sluice):
    sluice = make_sluice(postgres={"users": {"alice": {"max_user_client_connections": 1}}})
    sluice.connect(user="alice")
    assert refused(sluice, user="alice", secret="wrong").code == "28P01"
    assert refused(sluice, user="ghost", database="nowhere", secret="wrong").code == "28P01"


# ---- order --------------------------------------------------------------------------------------


def test_waiting_clients_are_served_in_order(make_sluice):
    sluice = make_sluice(workers=4, postgres={"pool_size": 1})
    holder = sluice.connect()
    holder.query("begin")
    clients = [sluice.connect() for _ in range(20)]
    for i, client in enumerate(clients):
        client.send(wire.query("select clock_timestamp()::text"))
        sluice.wait_waiting(i + 1)
    holder.query("commit")
    stamps = [client.recv_until("Z").value for client in clients]
    assert stamps == sorted(stamps)


def test_newcomer_does_not_overtake_those_who_wait(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    holder, waiter, newcomer = (sluice.connect() for _ in range(3))
    holder.query("begin")
    waiter.send(wire.query("select clock_timestamp()::text, pg_sleep(0.05)"))
    sluice.wait_waiting(1)
    holder.send(wire.query("commit"))
    newcomer.send(wire.query("select clock_timestamp()::text"))
    assert waiter.recv_until("Z").rows[0][0] < newcomer.recv_until("Z").value


def test_client_that_leaves_the_queue_is_passed_over(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    holder, first, second = (sluice.connect() for _ in range(3))
    holder.query("begin")
    first.send(wire.query("select 1"))
    second.send(wire.query("select 2"))
    sluice.wait_waiting(2)
    first.close()
    sluice.wait_waiting(1)
    holder.query("commit")
    assert second.recv_until("Z").value == "2"


# ---- names --------------------------------------------------------------------------------------


def test_star_database_serves_every_name(make_sluice, pg):
    sluice = make_sluice(postgres={"databases": {"app": None, "*": {
        "url": f"host=127.0.0.1 port={pg.port} user=app password={PASSWORDS['app']} "
               "sslmode=disable"}}})
    for name in ("app", "other"):
        assert sluice.connect(database=name).query("select current_database()").value == name
    with pytest.raises(wire.PgError) as caught:
        sluice.connect(database="nowhere").query("select 1")
    assert caught.value.code == "3D000"


def test_named_database_wins_over_the_star(make_sluice, pg):
    sluice = make_sluice(postgres={"databases": {"app": {"url": pg.url("other")},
                                                 "*": {"url": pg.url("app")}}})
    assert sluice.connect(database="app").query("select current_database()").value == "other"


def test_pools_of_two_databases_are_apart(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 1, "databases": {
        "other": {"url": pg.url("other")}}})
    a, b = sluice.connect(), sluice.connect(database="other")
    a.query("begin"), b.query("begin")
    assert a.query("select current_database()").value == "app"
    assert b.query("select current_database()").value == "other"
