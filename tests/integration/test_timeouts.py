"""Every timeout of the configuration, with short values, and the notice of the queue."""

import time

import pytest

import fake_server
import targets
import wire


class Clock:
    def __enter__(self):
        self.start = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.start

    def about(self, seconds):
        """Not before, and not much later."""
        return seconds * 0.7 <= self.seconds <= seconds + 2 * targets.SCALE


def ended(conn, first=None):
    """The error that ends what the client does: from an answer, or from the closing."""
    try:
        got = conn.recv_until("EZ")
    except wire.Closed:
        return {"C": "closed", "M": ""}
    assert got.errors, got.messages
    return got.errors[0]


@pytest.fixture
def held(make_sluice):
    """A pool of one connection that somebody holds: (sluice, holder)."""
    def make(**settings):
        sluice = make_sluice(postgres={"pool_size": 1, **settings})
        holder = sluice.connect(application_name="the-holder")
        holder.query("begin")
        return sluice, holder
    return make


# ---- waiting ------------------------------------------------------------------------------------


def test_query_wait_timeout_ends_the_wait(held):
    sluice, holder = held(query_wait_timeout="300ms")
    waiter = sluice.connect()
    with Clock() as clock:
        waiter.send(wire.query("select 1"))
        error = ended(waiter)
    assert clock.about(0.3)
    assert "query_wait_timeout" in error["M"]
    assert error["C"] in ("53300", "57014", "08P01", "58000")
    assert holder.query("select 1").value == "1"


def test_query_wait_timeout_leaves_the_pool_sound(held):
    sluice, holder = held(query_wait_timeout="200ms")
    waiters = [sluice.connect() for _ in range(5)]
    for waiter in waiters:
        waiter.send(wire.query("select 1"))
    for waiter in waiters:
        ended(waiter)
    holder.query("commit")
    assert sluice.connect().query("select 1").value == "1"
    assert sluice.waiting() == 0


def test_query_wait_notify_says_how_many_wait_and_who_holds(held):
    sluice, holder = held(query_wait_notify="200ms")
    pid = holder.backend()
    waiter, second = sluice.connect(), sluice.connect()
    second.send(wire.query("select 1"))
    sluice.wait_waiting(1)
    with Clock() as clock:
        waiter.send(wire.query("select 1"))
        got = waiter.recv()
    assert got.type == "N" and clock.about(0.2)
    text = " ".join(wire.error_fields(got.body).values())
    assert "2" in text, "how many wait"
    port = str(holder.sock.getsockname()[1])
    assert any(word in text for word in ("the-holder", str(pid), port)), text
    holder.query("commit")
    assert waiter.recv_until("Z").value == "1"


def test_query_wait_notify_comes_once_and_only_to_those_who_wait(held):
    sluice, holder = held(query_wait_notify="150ms")
    waiter = sluice.connect()
    waiter.send(wire.query("select 1"))
    assert waiter.recv().type == "N"
    assert waiter.silent(0.5), "the notice was repeated at once"
    assert not holder.query("select pg_sleep(0.3)").notices
    holder.query("commit")
    assert not waiter.recv_until("Z").notices


def test_no_notice_without_waiting(make_sluice):
    conn = make_sluice(postgres={"query_wait_notify": "50ms"}).connect()
    assert not conn.query("select pg_sleep(0.3)").notices


# ---- queries and transactions -------------------------------------------------------------------


def test_query_timeout_ends_a_long_query(make_sluice, pg):
    sluice = make_sluice(postgres={"query_timeout": "400ms", "pool_size": 1})
    conn = sluice.connect()
    with Clock() as clock:
        conn.send(wire.query("select pg_sleep(30)"))
        error = ended(conn)
    assert clock.about(0.4) and error["C"] == "57014"
    assert "query" in error["M"] and "time" in error["M"]
    wire.eventually(lambda: all(s["state"] == "idle" for s in pg.sessions()), 5,
                    "the query to be cancelled")
    assert sluice.connect().query("select 1").value == "1"


def test_query_timeout_spares_short_queries(make_sluice):
    conn = make_sluice(postgres={"query_timeout": "1s"}).connect()
    for _ in range(12):
        assert conn.query("select pg_sleep(0.1)").tags == ["SELECT 1"]


def test_query_timeout_of_a_user_wins(make_sluice):
    sluice = make_sluice(postgres={"users": {"alice": {"query_timeout": "200ms"}}})
    alice, bob = sluice.connect(user="alice"), sluice.connect(user="bob")
    alice.send(wire.query("select pg_sleep(0.8)"))
    bob.send(wire.query("select pg_sleep(0.8)"))
    assert ended(alice)["C"] == "57014"
    assert bob.recv_until("Z").tags == ["SELECT 1"]


def test_transaction_timeout_ends_a_long_transaction(make_sluice, pg, table):
    sluice = make_sluice(postgres={"transaction_timeout": "600ms", "pool_size": 1})
    conn = sluice.connect()
    error = None
    with Clock() as clock:
        conn.query("begin")
        conn.query("insert into t values (1, 'never')")
        try:
            while clock.start + 5 * targets.SCALE > time.monotonic():
                conn.query("select pg_sleep(0.02)")
        except wire.PgError as caught:
            error = caught
        except wire.Closed:
            error = None
    assert clock.about(0.6)
    if error:
        assert error.code in ("25P04", "25P03", "57014", "57P05")
        assert "transaction" in error.message
    assert sluice.connect().query("select count(*) from t").value == "0"


def test_idle_transaction_timeout_ends_an_idle_transaction(make_sluice, pg, table):
    sluice = make_sluice(postgres={"idle_transaction_timeout": "300ms", "pool_size": 1})
    conn = sluice.connect()
    conn.query("begin")
    conn.query("insert into t values (1, 'never')")
    backend = conn.backend()
    with Clock() as clock:
        error = ended(conn)
    assert clock.about(0.3) and error["C"] == "25P03"
    assert "idle" in error["M"]
    other = sluice.connect()
    row = other.query("select count(*), pg_backend_pid() from t").rows[0]
    assert row == ("0", str(backend)), "rolled back, and the server connection kept"


def test_idle_transaction_timeout_spares_busy_and_idle_clients(make_sluice):
    sluice = make_sluice(postgres={"idle_transaction_timeout": "300ms"})
    idle, busy = sluice.connect(), sluice.connect()
    busy.query("begin")
    assert busy.query("select pg_sleep(0.8)").tags == ["SELECT 1"]
    busy.query("commit")
    assert idle.query("select 1").value == "1"
    assert busy.query("select 1").value == "1"


def test_client_idle_timeout_ends_an_idle_client(make_sluice):
    sluice = make_sluice(postgres={"client_idle_timeout": "400ms"})
    conn = sluice.connect()
    conn.query("select 1")
    with Clock() as clock:
        error = ended(conn)
    assert clock.about(0.4)
    assert error["C"] == "closed" or "idle" in error["M"]


def test_client_idle_timeout_spares_clients_in_a_transaction_or_at_work(make_sluice):
    sluice = make_sluice(postgres={"client_idle_timeout": "300ms"})
    inside, busy = sluice.connect(), sluice.connect()
    inside.query("begin")
    assert busy.query("select pg_sleep(0.8)").tags == ["SELECT 1"]
    assert inside.query("select 1").value == "1"


@pytest.mark.parametrize("said", [b"", wire.SSL_REQUEST, b"\0\0\0\x20\0\x03\0\0us",
                                  wire.startup({"user": "app", "database": "app"})],
                         ids=["nothing", "ssl_request", "half_a_packet", "no_password"])
def test_client_login_timeout_ends_a_slow_login(make_sluice, said):
    sluice = make_sluice(postgres={"client_login_timeout": "400ms"})
    with Clock() as clock:
        conn = sluice.raw()
        if said:
            conn.send(said)
        try:
            while True:
                conn.recv_byte()
        except wire.Closed:
            pass
    assert clock.about(0.4)
    assert sluice.connect().query("select pg_sleep(0.6)").tags == ["SELECT 1"]


# ---- server connections -------------------------------------------------------------------------


def test_server_idle_timeout_closes_idle_connections(make_sluice, pg):
    sluice = make_sluice(postgres={"server_idle_timeout": "400ms"})
    a, b = sluice.connect(), sluice.connect()
    a.query("begin"), b.query("begin")
    with Clock() as clock:
        a.query("commit"), b.query("commit")
        assert pg.session_count() == 2
        wire.eventually(lambda: pg.session_count() == 0, 5 * targets.SCALE, "no connection left")
    assert clock.about(0.4)
    assert a.query("select 1").value == "1"


def test_server_lifetime_replaces_old_connections(make_sluice):
    sluice = make_sluice(postgres={"server_lifetime": "300ms", "pool_size": 1})
    conn = sluice.connect()
    first = conn.backend()
    wire.eventually(lambda: conn.backend() != first, 5 * targets.SCALE, "another backend")


def test_server_lifetime_never_cuts_a_transaction(make_sluice):
    sluice = make_sluice(postgres={"server_lifetime": "200ms", "pool_size": 1})
    conn = sluice.connect()
    conn.query("begin")
    backend = conn.backend()
    conn.query("select pg_sleep(0.8)")
    assert conn.backend() == backend
    conn.query("commit")


def test_server_connect_timeout_gives_up_a_silent_server(make_sluice, make_fake):
    def silent(conn):
        conn.take(1 << 20)
    fake = make_fake(scripts=[silent])
    sluice = make_sluice(postgres={"server_connect_timeout": "400ms",
                                   "databases": {"app": {"url": fake.url()}}})
    with Clock() as clock:
        assert sluice.connect().query("select 1").status == "I"
    assert 0.3 < clock.seconds < 5 * targets.SCALE


@pytest.fixture
def silent_cancels(make_fake):
    """A server that cancels and never closes the connection that carried the request."""
    def script(conn):
        if conn.recv_startup() is None:
            conn.take(1 << 20)
            return
        conn.send(wire.message("R", b"\0\0\0\0"),
                  *[fake_server.parameter_status(k, v)
                    for k, v in fake_server.PARAMETERS.items()],
                  wire.message("K", b"\0\0\0\x07\0\0\0\x07"), fake_server.ready())
        while True:
            got = conn.recv()
            if got.body.startswith(b"select 'slow'"):
                wire.eventually(lambda: fake.cancels, 10, "the cancel request")
                conn.send(fake_server.error("57014", "canceling statement due to user request"),
                          fake_server.ready())
            else:
                conn.answer(got)
    fake = make_fake(script)
    return fake


def test_cancel_wait_timeout_gives_up_a_silent_cancel(make_sluice, silent_cancels):
    fake = silent_cancels
    sluice = make_sluice(postgres={"pool_size": 1, "cancel_wait_timeout": "500ms",
                                   "databases": {"app": {"url": fake.url()}}})
    conn, other = sluice.connect(), sluice.connect()
    conn.send(wire.query("select 'slow'"))
    wire.eventually(lambda: fake.messages("Q"), 5, "the query upstream")
    conn.cancel(wait=False)
    assert conn.recv_until("Z").codes == ["57014"]
    with Clock() as clock:
        assert other.query("select 1").status == "I"
    assert clock.seconds < 5 * targets.SCALE
    wire.eventually(lambda: [c for c in fake.connections if not c.parameters and c.closed_at],
                    5, "the cancel connection to be given up")


def test_session_that_ends_within_a_cancel_leaves_no_connection_to_hit(make_sluice, silent_cancels):
    """The cancel that is under way would hit the reset query, or the next client's."""
    fake = silent_cancels
    sluice = make_sluice(postgres={"pool_size": 1, "pool_mode": "session",
                                   "databases": {"app": {"url": fake.url()}}})
    conn = sluice.connect()
    conn.send(wire.query("select 'slow'"))
    wire.eventually(lambda: fake.messages("Q"), 5, "the query upstream")
    conn.cancel(wait=False)
    assert conn.recv_until("Z").codes == ["57014"]
    conn.close()
    assert sluice.connect().query("select 1").status == "I"
    hit = {number for _, number, got in fake.received if got.body == b"select 'slow'\0"}
    assert [got.body for _, number, got in fake.received if number in hit and got.type == "Q"] == \
        [b"select 'slow'\0"]


def test_shutdown_ends_within_its_timeout_whatever_clients_do(make_sluice):
    sluice = make_sluice(postgres={"shutdown_timeout": "500ms"})
    conn = sluice.connect()
    conn.query("begin")
    sluice.signal(15)
    with Clock() as clock:
        rest = conn.recv_until_closed()
    assert clock.seconds < 3 * targets.SCALE
    assert set(rest.codes) <= {"57P01"}
    sluice.process.wait(10 * targets.SCALE)
    assert sluice.process.returncode == 0
    make_sluice.made.remove(sluice)


@pytest.mark.parametrize("timeout", ["10s", "0"])
def test_shutdown_lets_a_transaction_finish(make_sluice, pg, table, timeout):
    """A timeout of 0 waits for as long as it takes."""
    sluice = make_sluice(postgres={"shutdown_timeout": timeout})
    conn, idle = sluice.connect(), sluice.connect()
    conn.query("begin")
    conn.query("insert into t values (1, 'kept')")
    sluice.signal(15)
    assert set(idle.recv_until_closed().codes) <= {"57P01"}
    assert conn.silent(0.5)
    assert conn.query("commit").tags == ["COMMIT"]
    sluice.process.wait(10 * targets.SCALE)
    assert sluice.process.returncode == 0
    assert pg.in_app("select note from t") == [("kept",)]
    make_sluice.made.remove(sluice)
