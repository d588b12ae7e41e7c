"""SHOW POOLS of the admin console: server connections that idled, cancel requests on their way."""

import threading

import pytest

import targets
import wire
from test_console import console, make, only, table  # noqa: F401 - one is a fixture
from wire import eventually


@pytest.mark.slow
def test_server_that_idled_for_thirty_seconds_is_used(make, pg):  # noqa: F811
    sluice = make(server_idle_timeout="10min")
    sluice.connect().query("select 1")
    conn = console(sluice)

    def pool():
        return only(table(conn, "SHOW POOLS"), database="app")

    assert (pool()["sv_idle"], pool()["sv_used"]) == ("1", "0")
    eventually(lambda: pool()["sv_used"] == "1", 45 * targets.SCALE, "used")
    assert pool()["sv_idle"] == "0"
    assert only(table(conn, "SHOW SERVERS"))["state"] == "used"
    lists = {r["list"]: r["items"] for r in table(conn, "SHOW LISTS")}
    assert lists["used_servers"] == "1"  # those that there are, as in PgBouncer
    sluice.connect().query("select 1")
    assert (pool()["sv_idle"], pool()["sv_used"]) == ("1", "0")


SENDERS = 64  # threads that send cancel requests (helper_threads)
CANCEL_COLUMNS = ("cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel",
                  "sv_being_canceled", "sv_active", "sv_tested")


@pytest.fixture
def slow_cancels(make_fake):
    """A server whose cancel connections stay open until `over` is set, and whose queries end when
    `answer` is. The events hang on it."""
    over, answer = threading.Event(), threading.Event()

    def reply(_sql):
        answer.wait(60 * targets.SCALE)

    def script(conn):
        if conn.login():
            conn.serve(reply)
        else:
            over.wait(60 * targets.SCALE)
    fake = make_fake(script)
    fake.over, fake.answer = over, answer
    yield fake
    over.set()
    answer.set()


def cancel_figures(conn):
    row = only(table(conn, "SHOW POOLS"), database="app")
    return tuple(int(row[name]) for name in CANCEL_COLUMNS)


def wait_for_figures(conn, *expected):
    seen = []

    def check():
        seen[:] = [cancel_figures(conn)]
        return seen == [expected]
    try:
        eventually(check, 20 * targets.SCALE, "figures")
    except AssertionError as problem:
        raise AssertionError(f"{CANCEL_COLUMNS}: {seen} is not {expected}") from problem


def test_cancel_requests_that_wait_and_that_are_sent_are_shown(make, slow_cancels):  # noqa: F811
    """More cancel requests at a time than threads that send them."""
    count = SENDERS + 3
    sluice = make(pool_size=count, cancel_wait_timeout="2min",
                  databases={"app": {"url": slow_cancels.url()}})
    clients = [sluice.connect() for _ in range(count)]
    for client in clients:
        client.send(wire.query("select hang"))
    conn = console(sluice)
    wait_for_figures(conn, 0, 0, 0, 0, count, 0)
    for client in clients:
        client.cancel(wait=False)
    wait_for_figures(conn, SENDERS, 3, SENDERS, 0, count, 0)
    slow_cancels.over.set()
    wait_for_figures(conn, 0, 0, 0, 0, count, 0)
    slow_cancels.answer.set()
    for client in clients:
        client.recv_until("Z")
    wait_for_figures(conn, 0, 0, 0, 0, 0, 0)


def test_server_that_a_cancel_holds_back_is_shown(make, slow_cancels):  # noqa: F811
    sluice = make(pool_size=2, cancel_wait_timeout="2min",
                  databases={"app": {"url": slow_cancels.url()}})
    stays, leaves = sluice.connect(), sluice.connect()
    for client in (stays, leaves):
        client.send(wire.query("select hang"))
    conn = console(sluice)
    wait_for_figures(conn, 0, 0, 0, 0, 2, 0)
    stays.cancel(wait=False)
    wait_for_figures(conn, 1, 0, 1, 0, 2, 0)
    # Nobody has asked for the cancel that follows, but sluice.
    leaves.close()
    wait_for_figures(conn, 1, 0, 2, 1, 1, 0)
    # The answers have come; a cancel may still hit what would be run next.
    slow_cancels.answer.set()
    stays.recv_until("Z")
    wait_for_figures(conn, 1, 0, 2, 2, 0, 0)
    states = [row["state"] for row in table(conn, "SHOW SERVERS")]
    assert states == ["being_canceled"] * 2
    slow_cancels.over.set()
    wait_for_figures(conn, 0, 0, 0, 0, 0, 0)
