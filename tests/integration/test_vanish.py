"""A client that vanishes costs a ROLLBACK, or a cancel and a ROLLBACK, and not a connection."""

import os
import signal
import subprocess
import time

import pytest

import wire


@pytest.fixture
def one(make_sluice):
    """A pool of one connection, so that whatever is left behind is met again."""
    return make_sluice(postgres={"pool_size": 1})


WAYS = {"close": wire.Conn.close, "reset": wire.Conn.reset, "terminate": wire.Conn.terminate}
ways = pytest.mark.parametrize("leave", WAYS.values(), ids=WAYS.keys())


def check_survivor(sluice, pg, backend, seconds=5):
    """The same backend serves the next client, soon, clean and outside a transaction."""
    started = time.monotonic()
    other = sluice.connect()
    row = other.query("select pg_backend_pid(), count(*) from pg_stat_activity "
                      "where state like 'idle in transaction%'").rows[0]
    assert time.monotonic() - started < seconds
    assert row == (str(backend), "0")
    assert other.query("select 'mine'").rows == [("mine",)]
    assert pg.session_count() == 1


@ways
def test_idle_in_a_transaction_costs_a_rollback(one, pg, table, leave):
    client = one.connect()
    client.query("begin")
    client.query("insert into t values (1, 'abandoned')")
    backend = client.backend()
    leave(client)
    check_survivor(one, pg, backend)
    assert pg.in_app("select count(*) from t") == [(0,)]


@ways
def test_failed_transaction_costs_a_rollback(one, pg, leave):
    client = one.connect()
    client.query("begin")
    backend = client.backend()
    assert client.query("select 1/0", check=False).status == "E"
    leave(client)
    check_survivor(one, pg, backend)


@ways
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in_transaction"])
def test_busy_query_is_cancelled(one, pg, leave, inside):
    client = one.connect()
    if inside:
        client.query("begin")
    backend = client.backend()
    client.send(wire.query("select pg_sleep(60)"))
    wire.eventually(lambda: [s for s in pg.sessions() if s["state"] == "active"], 5, "work")
    leave(client)
    check_survivor(one, pg, backend)


@ways
def test_in_the_middle_of_a_result_costs_no_connection(one, pg, leave):
    client = one.connect()
    backend = client.backend()
    client.send(wire.query("select repeat('x', 1000) from generate_series(1, 3000000)"))
    client.drain_bytes(100_000)
    leave(client)
    check_survivor(one, pg, backend)


@ways
def test_in_copy_in_costs_no_connection_and_no_row(one, pg, table, leave):
    client = one.connect()
    backend = client.backend()
    client.send(wire.query("copy t from stdin"))
    client.recv_until("G")
    client.send(wire.copy_data(b"1\tabandoned\n"), wire.copy_data(b"2\tab"))
    leave(client)
    check_survivor(one, pg, backend)
    assert pg.in_app("select count(*) from t") == [(0,)]


def test_in_the_middle_of_a_copy_message_costs_no_row(one, pg, table):
    client = one.connect()
    client.send(wire.query("copy t from stdin"))
    client.recv_until("G")
    client.send(wire.copy_data(b"1\tabandoned\n" * 20000)[:100_001])
    client.close()
    assert one.connect().query("select count(*) from t").value == "0"


@ways
def test_in_copy_out_costs_no_connection(one, pg, leave):
    client = one.connect()
    backend = client.backend()
    client.send(wire.query("copy (select repeat('x', 1000) from generate_series(1, 3000000)) "
                           "to stdout"))
    client.recv_until("d")
    leave(client)
    check_survivor(one, pg, backend)


@ways
def test_extended_query_without_sync_costs_no_connection(one, pg, table, leave):
    client = one.connect()
    backend = client.backend()
    client.send(wire.parse("", "insert into t values (1, 'abandoned')"), wire.bind(),
                wire.execute(), wire.FLUSH)
    client.recv_until("C")
    leave(client)
    check_survivor(one, pg, backend)
    assert pg.in_app("select count(*) from t") == [(0,)]


def test_half_a_query_message_is_not_run(one, pg, table):
    client = one.connect()
    backend = client.backend()
    client.send(wire.query("insert into t values (1, 'half')" + " " * 100)[:60])
    client.close()
    check_survivor(one, pg, backend)
    assert pg.in_app("select count(*) from t") == [(0,)]


def test_half_a_query_message_in_a_transaction_is_not_run(one, pg, table):
    client = one.connect()
    client.query("begin")
    client.query("insert into t values (1, 'first')")
    client.send(wire.query("commit" + " " * 100)[:50])
    client.close()
    assert one.connect().query("select count(*) from t").value == "0"
    assert pg.session_count() == 1


def test_suspended_portal_costs_no_connection(one, pg):
    client = one.connect()
    backend = client.backend()
    client.query("begin")
    client.send(wire.parse("", "select generate_series(1, 100000)"), wire.bind("p"),
                wire.execute("p", 5), wire.FLUSH)
    client.recv_until("s")
    client.reset()
    check_survivor(one, pg, backend)


def test_locks_of_a_vanished_client_are_free_at_once(make_sluice, pg, table):
    sluice = make_sluice(postgres={"pool_size": 2})
    client, other = sluice.connect(), sluice.connect()
    client.query("begin")
    client.query("lock table t in access exclusive mode")
    other.send(wire.query("select count(*) from t"))
    wire.eventually(lambda: [s for s in pg.sessions() if s["wait_event"] == "relation"], 5,
                    "a lock wait")
    client.reset()
    assert other.recv_until("Z").value == "0"


def test_many_vanishing_clients_cost_no_login(make_sluice, pg, rng):
    sluice = make_sluice(postgres={"pool_size": 3})
    clients = [sluice.connect() for _ in range(3)]
    for client in clients:
        client.query("begin")
    pids = pg.pids()
    assert len(pids) == 3
    for client in clients:
        client.query("commit")
    for _ in range(60):
        client = sluice.connect()
        client.query("begin")
        client.send(wire.query(rng.choice(
            ["select 1", "select pg_sleep(60)", "select 1/0",
             "select repeat('x', 1000) from generate_series(1, 100000)"])))
        rng.choice(list(WAYS.values()))(client)
    clients = [sluice.connect() for _ in range(3)]
    for client in clients:
        assert client.query("begin").tags == ["BEGIN"]
    assert sorted(c.backend() for c in clients) == pids


def test_killed_psql_costs_no_connection(one, pg, table):
    psql = subprocess.Popen(["psql", "-Xqc", "begin", "-c", "insert into t values (1, 'x')",
                             "-c", "select pg_sleep(60)"], env=one.environment())
    busy = wire.eventually(lambda: [s for s in pg.sessions()
                                    if "pg_sleep" in s["query"] and s["state"] == "active"],
                           10, "psql at work")
    os.kill(psql.pid, signal.SIGKILL)
    psql.wait()
    check_survivor(one, pg, busy[0]["pid"])
    assert pg.in_app("select count(*) from t") == [(0,)]


def test_client_that_leaves_while_waiting_never_runs_its_query(one, pg, table):
    holder, waiter = one.connect(), one.connect()
    holder.query("begin")
    waiter.send(wire.query("insert into t values (1, 'too late')"))
    one.wait_waiting(1)
    waiter.reset()
    one.wait_waiting(0)
    holder.query("commit")
    assert one.connect().query("select count(*) from t").value == "0"


def test_client_that_terminates_while_waiting_disturbs_nobody(one, pg, table):
    """Terminate behind a query that waits: PostgreSQL would run it, a queue need not keep it,
    but whatever happens is whole and the pool goes on."""
    holder, waiter = one.connect(), one.connect()
    holder.query("begin")
    waiter.send(wire.query("insert into t values (1, 'maybe')"))
    one.wait_waiting(1)
    waiter.terminate()
    holder.query("commit")
    assert one.connect().query("select count(*) from t").value in ("0", "1")


@ways
def test_session_mode_client_in_a_transaction_costs_no_connection(make_sluice, pg, table, leave):
    sluice = make_sluice(postgres={"pool_size": 1, "pool_mode": "session"})
    client = sluice.connect()
    client.query("set work_mem to '17MB'")
    client.query("begin")
    client.query("insert into t values (1, 'abandoned')")
    backend = client.backend()
    leave(client)
    other = sluice.connect()
    row = other.query("select pg_backend_pid(), count(*), current_setting('work_mem') from t")
    assert row.rows == [(str(backend), "0", "4MB")]
