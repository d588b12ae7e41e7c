"""LISTEN and NOTIFY in transaction mode, over one shared connection for all who listen."""

import asyncio
import os
import signal
import threading

import asyncpg
import pytest

import targets
import wire
from postgres import PASSWORDS
from session_world import World, make_objects, notification, notifications, pooled_only, wait_until

CHANNELS = "SELECT pg_listening_channels()"


@pytest.fixture
def make_world(make_sluice, pg):
    make_objects(pg)
    return lambda **changes: World(make_sluice, pg, **changes)


@pytest.fixture
def world(make_world):
    return make_world()


def listening(world, *channels):
    client = world.client()
    for channel in channels:
        assert client.q(f"LISTEN {channel}").tags == ["LISTEN"]
    return client


def nothing_more(client, seconds=0.15):
    assert client.conn.silent(seconds), "another notification"


def test_notification_arrives_with_channel_and_payload(world):
    client, sender = listening(world, "news"), world.client()
    world.rotate(client)
    for payload in ("one", "", "ü € \"quoted\" 'it'", "x" * 7999):
        sender.x("SELECT pg_notify('news', $1)", [payload])
        assert client.notification() == ("news", payload)
    sender.q("NOTIFY news")
    assert client.notification() == ("news", "")
    sender.q("NOTIFY news, 'a'; NOTIFY other, 'b'")
    assert client.notification() == ("news", "a")
    nothing_more(client)


def test_names_of_channels_are_identifiers(world):
    client = listening(world, '"Odd, Name"', "UPPER")
    sender = world.client()
    sender.q("SELECT pg_notify('Odd, Name', 'a'), pg_notify('upper', 'b'), pg_notify('UPPER', 'c')")
    got = [client.notification() for _ in range(2)]
    assert sorted(got) == [("Odd, Name", "a"), ("upper", "b")]  # docs/sessions.md: the order
    nothing_more(client)


def test_each_client_gets_what_it_listens_to_in_order(world):
    wanted = {("a",): 0, ("b",): 0, ("a", "b"): 0, ("b", "c", "a"): 0}
    clients = {channels: listening(world, *channels) for channels in wanted}
    senders = [world.client() for _ in range(2)]
    sent = []
    for i in range(60):
        channel = "abc"[i % 3]
        senders[i % 2].q(f"NOTIFY {channel}, '{i}'")
        sent.append((channel, str(i)))
        if i % 20 == 0:
            world.rotate(senders[0])
    for channels, client in clients.items():
        expected = [s for s in sent if s[0] in channels]
        assert [client.notification() for _ in expected] == expected
        nothing_more(client, 0.05)


def test_sender_is_a_process_that_the_sender_knows(world):
    client, sender = listening(world, "news"), world.client()
    pid = sender.q("BEGIN; SELECT count(*), pg_backend_pid() FROM pg_class; NOTIFY news, 'x'; "
                   "COMMIT").rows[0][1]
    client.conn.settimeout(5)
    got = notification(client.conn.recv_until("A").messages[-1])
    assert got[0] in (int(pid), sender.conn.pid)


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_own_notification_arrives_before_ready_for_query(world, protocol):
    client = listening(world, "news")
    do = client.q if protocol == "simple" else client.x
    for i in range(30):
        if i % 5 == 0:
            world.rotate(client)
        got = do(f"NOTIFY news, '{i}'")
        assert notifications(got) == [("news", str(i))]
        assert got.messages[-1].type == "Z"
    assert notifications(do("SELECT pg_notify('news', 'f')")) == [("news", "f")]
    nothing_more(client)


def test_own_notification_in_a_transaction_arrives_at_its_end(world):
    client = listening(world, "news")
    world.rotate(client)
    client.q("BEGIN")
    assert notifications(client.q("NOTIFY news, 'a'")) == []
    assert notifications(client.q("SELECT pg_notify('news', 'b'), pg_notify('news', 'a')")) == []
    assert notifications(client.q("COMMIT")) == [("news", "a"), ("news", "b")]
    client.q("BEGIN; NOTIFY news, 'never'")
    assert notifications(client.q("ROLLBACK")) == []
    nothing_more(client)


def test_listen_and_notify_in_one_transaction(world):
    client = world.client()
    got = client.q("BEGIN; LISTEN news; NOTIFY news, 'first'; COMMIT")
    assert notifications(got) == [("news", "first")]
    client = world.client()
    client.q("BEGIN")
    client.q("NOTIFY news, 'before'")
    client.q("LISTEN news")
    assert notifications(client.q("COMMIT")) == [("news", "before")]
    nothing_more(client)


def test_unlisten_ends_delivery(world):
    client, sender = listening(world, "a", "b", "c"), world.client()
    client.q("UNLISTEN b")
    world.rotate(client)
    sender.q("NOTIFY a, '1'; NOTIFY b, '2'; NOTIFY c, '3'")
    assert [client.notification() for _ in range(2)] == [("a", "1"), ("c", "3")]
    client.q("UNLISTEN nothing_such")
    client.q("UNLISTEN *")
    world.rotate(client)
    sender.q("NOTIFY a; NOTIFY b; NOTIFY c")
    nothing_more(client)
    client.q("LISTEN b")
    sender.q("NOTIFY a; NOTIFY b, 'again'")
    assert client.notification() == ("b", "again")
    client.q("DISCARD ALL")
    sender.q("NOTIFY b")
    nothing_more(client)


def test_unlisten_of_one_client_leaves_the_others(world):
    first, second, sender = listening(world, "a"), listening(world, "a"), world.client()
    first.q("UNLISTEN a")
    sender.q("NOTIFY a, '1'")
    assert second.notification() == ("a", "1")
    nothing_more(first)
    first.q("LISTEN a")
    second.close()
    sender.q("NOTIFY a, '2'")
    assert first.notification() == ("a", "2")


@pytest.mark.parametrize("end, heard", [("COMMIT", True), ("ROLLBACK", False)])
def test_listen_counts_at_the_end_of_its_transaction(world, end, heard):
    client, sender = world.client(), world.client()
    client.q("BEGIN")
    client.q("LISTEN a")
    client.q("SAVEPOINT s")
    client.q("LISTEN b")
    client.q("ROLLBACK TO s")
    client.q(end)
    world.rotate(client)
    sender.q("NOTIFY a, '1'; NOTIFY b, '2'")
    if heard:
        assert client.notification() == ("a", "1")
    nothing_more(client)


def test_unlisten_in_a_rolled_back_transaction_changes_nothing(world):
    client, sender = listening(world, "a"), world.client()
    client.q("BEGIN; UNLISTEN a; LISTEN b")
    client.q("ROLLBACK")
    sender.q("NOTIFY a, '1'; NOTIFY b, '2'")
    assert client.notification() == ("a", "1")
    nothing_more(client)


def test_unlisten_that_was_committed_stays_whatever_fails_after_it(world):
    client, sender = listening(world, "a"), world.client()
    client.send_all("COMMIT", "UNLISTEN *", "COMMIT AND CHAIN")  # an error: no transaction is open
    assert client.q(CHANNELS).rows == []
    sender.q("NOTIFY a, '1'")
    nothing_more(client)


def test_notifications_wait_while_the_listener_is_in_a_transaction(world):
    client, sender = listening(world, "a"), world.client()
    client.q("BEGIN")
    sender.q("NOTIFY a, '1'")
    sender.q("NOTIFY a, '2'")
    got = notifications(client.q("SELECT count(*) FROM pg_class"))
    got += notifications(client.q("COMMIT"))
    while len(got) < 2:
        got.append(client.notification())
    assert got == [("a", "1"), ("a", "2")]


def test_listen_twice_is_delivered_once(world):
    client, sender = listening(world, "a", "a"), world.client()
    world.rotate(client)
    client.q("LISTEN a")
    sender.q("NOTIFY a, '1'; NOTIFY a, '1'")
    assert client.notification() == ("a", "1")
    nothing_more(client)


def test_handing_over_loses_and_doubles_nothing(world):
    """Another client notifies all the time while this one starts to listen."""
    sender, stop, sent = world.client(), threading.Event(), []

    def send():
        while not stop.is_set():
            sender.q(f"NOTIFY busy, '{len(sent)}'")
            sent.append(len(sent))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        wait_until(lambda: len(sent) > 20, what="some notifications")
        for _ in range(15):
            client = world.client()
            client.q("LISTEN busy")
            before = len(sent)  # this one and all later ones must come
            numbers = [int(client.notification()[1]) for _ in range(20)]
            assert numbers == list(range(numbers[0], numbers[0] + 20))
            assert numbers[0] <= before + 1
            client.close()
    finally:
        stop.set()
        thread.join(10 * targets.SCALE)


def test_listening_client_is_multiplexed_and_keeps_its_settings(world):
    client = listening(world, "a")
    client.q("SET work_mem = '17MB'")
    world.wait_pins()
    world.rotate(client)
    assert client.show("work_mem") == "17MB"
    assert notifications(client.q("NOTIFY a, 'x'")) == [("a", "x")]
    world.rotate(client)


def test_client_that_does_not_listen_hears_nothing(world):
    client, plain = listening(world, "a"), [world.client() for _ in range(3)]
    sender = world.client()
    for _ in range(10):
        world.rotate(sender)
        assert notifications(sender.q("NOTIFY a, 'x'")) == []
        client.notification()
    for other in plain:
        assert notifications(other.q("SELECT count(*) FROM pg_class")) == []
        nothing_more(other, 0.02)


def test_own_channels_are_listed(world):
    """docs/sessions.md may say that the function shows the server connection's."""
    client, other = listening(world, "a", "b"), listening(world, "c")
    got = {row[0] for row in client.q(CHANNELS).rows}
    assert "c" not in got, other


# ---- drivers ------------------------------------------------------------------------------------


def psycopg_notifications(conn, count):
    out = []
    for got in conn.notifies():
        out.append((got.channel, got.payload))
        if len(out) == count:
            return out


@pytest.mark.parametrize("autocommit", [True, False])
def test_psycopg_listens(world, autocommit):
    conn = world.target.psycopg(autocommit=autocommit)
    conn.execute("LISTEN jobs")
    if not autocommit:
        conn.commit()
    sender = world.client()
    sender.q("NOTIFY jobs, '1'")
    sender.q("NOTIFY jobs, '2'")
    assert psycopg_notifications(conn, 2) == [("jobs", "1"), ("jobs", "2")]
    conn.execute("SELECT 1")
    if not autocommit:
        conn.rollback()
    sender.q("NOTIFY jobs, '3'")
    assert psycopg_notifications(conn, 1) == [("jobs", "3")]


def test_asyncpg_listens(world):
    async def work():
        heard = asyncio.Queue()
        conns = [await asyncpg.connect(host=world.target.host, port=world.target.port, user="app",
                                       database="app", password=PASSWORDS["app"], ssl=False)
                 for _ in range(2)]
        await conns[0].add_listener("jobs", lambda _, pid, channel, text: heard.put_nowait(
            (channel, text)))
        for i in range(5):
            await conns[1].execute(f"NOTIFY jobs, '{i}'")
            assert await asyncio.wait_for(heard.get(), 5 * targets.SCALE) == ("jobs", str(i))
            assert await conns[0].fetchval("SELECT 1") == 1
        async with conns[0].transaction():
            await conns[0].execute("SELECT pg_notify('jobs', 'own')")
        assert await asyncio.wait_for(heard.get(), 5 * targets.SCALE) == ("jobs", "own")
        for conn in conns:
            await conn.close()
    asyncio.run(work())


# ---- the shared connection ----------------------------------------------------------------------


@pooled_only
@pytest.mark.parametrize("how", ["restart", "terminate"])
def test_listening_goes_on_after_the_server_comes_back(world, pg, how):
    clients = [listening(world, "a", f"own_{i}") for i in range(3)]
    sender = world.client()
    sender.q("NOTIFY a, 'before'")
    for client in clients:
        assert client.notification() == ("a", "before")
    if how == "restart":
        pg.restart()
    else:
        pg.kill_sessions("app")
    for client in clients:
        client.conn.settimeout(20 * targets.SCALE)
        got = client.conn.recv()
        assert got.type == "N", got
        assert wire.error_fields(got.body)["S"] == "NOTICE"

    def sent():
        return not world.client().try_q("NOTIFY a, 'after'; NOTIFY own_1, 'own'").errors
    wait_until(sent, 20, "a connection to the new server")
    for i, client in enumerate(clients):
        assert client.notification(10) == ("a", "after")
        if i == 1:
            assert client.notification() == ("own_1", "own")
        client.q("SELECT count(*) FROM pg_class")


@pooled_only
def test_connection_that_ends_while_a_channel_changes_hands_is_told(make_world, pg):
    world = make_world(pool_size=1)
    listening(world, "a")
    wait_until(lambda: len(pg.pids("app")) == 2, 10, "the shared connection")
    own = int(world.client().one("SELECT pg_backend_pid()"))
    (shared,) = set(pg.pids("app")) - {own}
    os.kill(shared, signal.SIGSTOP)
    try:
        client = world.client()
        client.conn.send(wire.query("LISTEN b"))
        wait_until(lambda: pg.query("select 1 from pg_stat_activity where pid = %s and state = "
                                    "'idle' and query like '%%b%%'", (own,)), 10, "it was run")
        pg.query("select pg_terminate_backend(%s, 5000)", (own,))
        client.conn.settimeout(10 * targets.SCALE)
        assert client.conn.recv_until_closed().codes == ["57P01"]
    finally:
        os.kill(shared, signal.SIGCONT)
    assert world.client().one("SELECT 1") == "1"


@pooled_only
@pytest.mark.slow
def test_thousands_of_listeners_use_one_server_connection(make_world, pg):
    """300; ten thousand with SLUICE_TEST_FULL=1."""
    count = 10_000 if os.environ.get("SLUICE_TEST_FULL") == "1" else 300
    world = make_world(max_client_conn=count + 10)
    clients = [listening(world, "everyone", f"only_{i}") for i in range(count)]
    wait_until(lambda: pg.session_count() <= world.size + 1, 10, "one connection besides the pool")
    sender = world.client()
    for payload in ("1", "2"):
        sender.q(f"NOTIFY everyone, '{payload}'")
    sender.q("; ".join(f"NOTIFY only_{i}, 'x'" for i in range(0, count, 50)))
    for i, client in enumerate(clients):
        assert [client.notification(), client.notification()] == [("everyone", "1"), ("everyone", "2")]
        if i % 50 == 0:
            assert client.notification() == (f"only_{i}", "x")
    assert pg.session_count() <= world.size + 1
    for client in list(clients):
        client.close()
    wait_until(lambda: pg.session_count() <= world.size + 1, 10, "not more connections")


@pooled_only
def test_listeners_of_two_databases_do_not_hear_each_other(make_world, pg):
    world = make_world(databases={"app": {"url": pg.url()}, "other": {"url": pg.url("other")}})
    here, there = listening(world, "a"), world.client(database="other")
    there.q("LISTEN a")
    world.client().q("NOTIFY a, 'here'")
    assert here.notification() == ("a", "here")
    nothing_more(there)
    assert notifications(there.q("NOTIFY a, 'there'")) == [("a", "there")]
    nothing_more(here)


def test_sender_is_the_client_in_session_mode(make_sluice):
    sluice = make_sluice(postgres={"pool_mode": "session", "pool_size": 2})
    listener, sender = sluice.connect(), sluice.connect()
    listener.query("LISTEN from_session")
    for payload in ("1", "2"):
        sender.query(f"NOTIFY from_session, '{payload}'")
        frame = listener.recv_until("A").messages[-1]
        assert int.from_bytes(frame.body[:4], "big") == sender.pid
