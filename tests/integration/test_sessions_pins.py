"""What cannot travel pins its client to the connection, and lets it go when it is gone."""

import struct

import pytest

import wire
from session_world import (BOSS, Hammer, World, advisory_locks, make_objects, pooled_only,
                           wait_gone)

UNLOCK_ALL = "SELECT pg_advisory_unlock_all()"


@pytest.fixture
def make_world(make_sluice, pg):
    make_objects(pg)
    return lambda **changes: World(make_sluice, pg, **changes)


@pytest.fixture
def world(make_world):
    return make_world()


# name: (reason, what makes it, [(what uses it, first value)], what ends it)
PINNING = {
    "temporary_table": ("temporary", ["CREATE TEMP TABLE x (a int)"],
                        [("INSERT INTO x VALUES (1) RETURNING a", "1"), ("SELECT a FROM x", "1")],
                        ["DROP TABLE x"]),
    "temporary_spelt_out": ("temporary", ["CREATE /* a */ LOCAL TEMPORARY TABLE x (a int)"],
                            [("SELECT count(*) FROM x", "0")], ["DROP TABLE x"]),
    "table_as": ("temporary", ["CREATE TEMP TABLE x AS SELECT 5 AS a"], [("SELECT a FROM x", "5")],
                 ["DROP TABLE x"]),
    "select_into": ("temporary", ["SELECT 6 AS a INTO TEMP x"], [("SELECT a FROM x", "6")],
                    ["DROP TABLE x"]),
    "pg_temp_table": ("temporary", ["CREATE TABLE pg_temp.x AS SELECT 7 AS a"],
                      [("SELECT a FROM x", "7")], ["DROP TABLE x"]),
    "search_path_to_pg_temp": ("temporary", ["SET search_path = pg_temp, public",
                                             "CREATE TABLE x AS SELECT 8 AS a"],
                               [("SELECT a FROM x", "8")], ["DROP TABLE x"]),
    "view": ("temporary", ["CREATE TEMP VIEW x AS SELECT 9 AS a"], [("SELECT a FROM x", "9")],
             ["DROP VIEW x"]),
    "sequence": ("temporary", ["CREATE TEMP SEQUENCE x"], [("SELECT nextval('x')", "1"),
                                                           ("SELECT nextval('x')", "2")],
                 ["DROP SEQUENCE x"]),
    "function": ("temporary", ["CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS "
                               "'SELECT 10'"], [("SELECT pg_temp.f()", "10")],
                 ["DROP FUNCTION pg_temp.f()"]),
    "type": ("temporary", ["CREATE TYPE pg_temp.mood AS ENUM ('sad', 'ok')"],
             [("SELECT 'ok'::pg_temp.mood", "ok")], ["DROP TYPE pg_temp.mood"]),
    "discard_temp": ("temporary", ["CREATE TEMP TABLE x (a int)"],
                     [("SELECT count(*) FROM x", "0")], ["DISCARD TEMP"]),
    "made_in_transaction": ("temporary", ["BEGIN", "CREATE TEMP TABLE x (a int)",
                                          "INSERT INTO x VALUES (11)", "COMMIT"],
                            [("SELECT a FROM x", "11")], ["BEGIN", "DROP TABLE x", "COMMIT"]),
    "made_in_do": ("temporary", ["DO $$ BEGIN CREATE TEMP TABLE x AS SELECT 12 AS a; END $$"],
                   [("SELECT a FROM x", "12")], ["DROP TABLE x"]),
    "delete_rows": ("temporary", ["CREATE TEMP TABLE x (a int) ON COMMIT DELETE ROWS"],
                    [("INSERT INTO x VALUES (1) RETURNING a", "1"),
                     ("SELECT count(*) FROM x", "0")],
                    ["DROP TABLE x"]),
    "cursor": ("cursor", ["DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT "
                          "generate_series(1, 5)"],
               [("FETCH c", "1"), ("FETCH c", "2"), ("FETCH BACKWARD c", "1")], ["CLOSE c"]),
    "cursor_in_transaction": ("cursor", ["BEGIN", "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT "
                                         "generate_series(1, 5)", "FETCH 2 FROM c", "COMMIT"],
                              [("FETCH c", "3")], ["CLOSE ALL"]),
    "lock": ("lock", ["SELECT pg_advisory_lock(4001)"],
             [("SELECT pg_try_advisory_lock(4001)", "t"), ("SELECT pg_advisory_unlock(4001)", "t")],
             ["SELECT pg_advisory_unlock(4001)"]),
    "lock_unlock_all": ("lock", ["SELECT pg_try_advisory_lock_shared(1, 2)"],
                        [("SELECT pg_try_advisory_lock_shared(1, 2)", "t")], [UNLOCK_ALL]),
    "lock_in_function": ("lock", ["SELECT session_test.lock(4002)"],
                         [("SELECT pg_try_advisory_lock(4002)", "t")],
                         ["SELECT session_test.unlock(4002), session_test.unlock(4002)"]),
    "lock_in_rolled_back_transaction": ("lock", ["BEGIN", "SELECT pg_advisory_lock(4003)",
                                                 "ROLLBACK"],
                                        [("SELECT pg_try_advisory_lock(4003)", "t")],
                                        [UNLOCK_ALL]),
    "lock_before_error": ("lock", ["SELECT pg_advisory_lock(4004); SELECT 1/0"],
                          [("SELECT pg_try_advisory_lock(4004)", "t")], [UNLOCK_ALL]),
    "discard_all": ("temporary", ["CREATE TEMP TABLE x (a int)"], [("SELECT count(*) FROM x", "0")],
                    ["DISCARD ALL"]),
}


@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("kind", PINNING)
def test_pinned_client_keeps_what_it_made_and_is_let_go(world, kind, protocol):
    reason, make, use, end = PINNING[kind]
    if protocol == "extended" and any(";" in s and "$$" not in s for s in make):
        pytest.skip("two statements are one simple query")
    client = world.client()
    do = client.try_q if protocol == "simple" else client.try_x
    for sql in make:
        do(sql)
    world.wait_pins(**{reason: 1})
    for sql, value in use:
        world.disturb(client)
        assert do(sql).value == value, sql
        world.wait_pins(**{reason: 1})
    for sql in end:
        assert not do(sql).errors
    world.wait_pins()
    world.rotate(client)
    client.q("SELECT count(*) FROM pg_class")


HARMLESS = {
    "on_commit_drop": ["BEGIN", "CREATE TEMP TABLE x ON COMMIT DROP AS SELECT 1 AS a",
                       "SELECT a FROM x", "COMMIT", "SELECT a FROM x"],
    "rolled_back_table": ["BEGIN", "CREATE TEMP TABLE x (a int)", "ROLLBACK", "SELECT * FROM x"],
    "made_and_dropped": ["CREATE TEMP TABLE x (a int); DROP TABLE x", "SELECT * FROM x"],
    "transaction_lock": ["BEGIN", "SELECT pg_advisory_xact_lock_shared(5)", "COMMIT"],
    "locked_and_unlocked": ["SELECT pg_advisory_lock_shared(6), pg_advisory_unlock_shared(6)"],
    "cursor_without_hold": ["BEGIN", "DECLARE c CURSOR FOR SELECT 1", "FETCH c", "COMMIT",
                            "FETCH c"],
    "rolled_back_cursor": ["BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "ROLLBACK",
                           "FETCH c"],
    "words_in_strings": ["SELECT 'create temp table x', 'pg_advisory_lock(1)' -- hold temp",
                         "SELECT $$ temporary $$ /* listen */"],
    "columns_named_so": ["SELECT 1 AS temp, 2 AS hold", "SELECT temp FROM (SELECT 1 AS temp) a"],
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_leaves_nothing_behind_does_not_pin(world, kind):
    client = world.check(*HARMLESS[kind])
    world.wait_pins()
    world.rotate(client)


def test_failed_transaction_keeps_what_was_there_before(world):
    world.check("CREATE TEMP TABLE x AS SELECT 1 AS a", "BEGIN", "DROP TABLE x", "SELECT 1/0",
                "ROLLBACK", ("SELECT a FROM x", "1"), "DROP TABLE x", "SELECT a FROM x")


def test_two_clients_have_temporary_tables_of_the_same_name(world):
    clients = [world.client() for _ in range(2)]
    for i, client in enumerate(clients):
        client.q(f"CREATE TEMP TABLE x AS SELECT {i} AS a")
    world.wait_pins(temporary=2)
    for i, client in enumerate(clients):
        world.disturb(client)
        assert client.one("SELECT a FROM x") == str(i)
    world.client().refused("SELECT a FROM x", "42P01")


def test_several_reasons_end_one_by_one(world):
    client = world.client()
    client.q("CREATE TEMP TABLE x AS SELECT 1 AS a; SELECT pg_advisory_lock(7001)")
    client.q("DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 3)")
    client.q("DROP TABLE x")
    world.disturb(client)
    assert client.one("FETCH c") == "1"
    client.q("CLOSE c")
    world.disturb(client)
    assert client.one("SELECT pg_advisory_unlock(7001)") == "t"
    world.wait_pins()
    world.rotate(client)


def test_lock_taken_by_a_function_call_message_is_kept(world):
    """The message has a function's number and no text."""
    lock, unlock = 2880, 2884  # pg_advisory_lock(bigint), pg_advisory_unlock(bigint)
    client, other = world.client(), world.client()
    key = (7003).to_bytes(8, "big")

    def call(oid):
        body = struct.pack("!IhhhI", oid, 1, 1, 1, len(key)) + key + struct.pack("!h", 1)
        return client.conn.run(wire.message("F", body))

    call(lock)
    for _ in range(3):
        world.disturb(client)
        assert other.one("SELECT pg_try_advisory_lock(7003)") == "f"
    assert call(unlock).messages[0].body[4:] == b"\1"
    world.wait_pins()
    assert other.one("SELECT pg_try_advisory_lock(7003)") == "t"


def test_pipelined_statements_stay_together(world):
    """What is sent behind a statement that pins runs where it ran."""
    client = world.client()
    with Hammer(world):
        for i in range(20):
            got = client.send_all(f"CREATE TEMP TABLE x AS SELECT {i} AS a", "SELECT a FROM x",
                                  "SELECT a + 1 FROM x", "DROP TABLE x", "SELECT a FROM x")
            assert [r.rows[0][0] for r in got[1:3]] == [str(i), str(i + 1)]
            assert got[4].codes == ["42P01"]
    world.wait_pins()


@pytest.mark.slow
def test_lock_that_an_unseen_function_released_lets_the_client_go(world, pg):
    """Nothing in the text shows it: found by asking an idle pinned client again."""
    client = world.client()
    client.q("SELECT pg_advisory_lock(7002)")
    world.wait_pins(lock=1)
    pg.in_app("create or replace function session_test.hidden() returns void language plpgsql as "
              "$$ begin execute 'select pg_ad' || 'visory_unlock_all()'; end $$")
    client.q("SELECT session_test.hidden()")
    world.wait_pins(timeout=15)
    world.rotate(client)


# ---- to the end of the session ------------------------------------------------------------------


def test_loaded_library_stays_and_its_connection_is_not_used_again(make_world, pg):
    world = make_world(user=BOSS)
    client = world.client()
    client.q("LOAD 'auto_explain'")
    world.wait_pins(library=1)
    pid = client.where()
    world.disturb(client)
    assert client.one("SHOW auto_explain.log_nested_statements") == "off"
    client.refused("SET auto_explain.log_nested_statements = maybe", "22023")
    client.close()
    wait_gone(pg, f"select count(*) from pg_stat_activity where pid = {pid}", "the connection")
    world.wait_pins()


def test_random_seed_stays(world):
    world.check("SELECT setseed(0.25)", "SELECT random()", "SELECT random(), random()",
                "BEGIN", "SELECT random()", "COMMIT")


def test_process_id_that_was_written_down_reaches_the_client(world, pg):
    client, other = world.client(), world.client()
    client.q("INSERT INTO session_test.numbered (note) SELECT pg_backend_pid()")
    world.wait_pins(process_id=1)
    world.disturb(client)
    client.conn.send(wire.query("SELECT pg_sleep(60)"))
    running = "select count(*) from pg_stat_activity where query = 'SELECT pg_sleep(60)'"
    wire.eventually(lambda: pg.in_app(running) == [(1,)], 10, "the statement runs")
    other.q("SELECT pg_cancel_backend(note::int) FROM session_test.numbered "
            "ORDER BY id DESC LIMIT 1")
    assert client.conn.recv_until("Z").codes == ["57014"]
    world.wait_pins(process_id=1)
    client.q("DISCARD ALL")
    world.wait_pins()
    world.rotate(client)


# ---- sequences ----------------------------------------------------------------------------------

INSERT = "INSERT INTO session_test.numbered (note) VALUES ('x') RETURNING id"
CURRVAL = "SELECT currval('session_test.numbered_id_seq')"


@pytest.mark.parametrize("ask", [CURRVAL, "SELECT lastval()"])
def test_sequence_value_is_ones_own_or_refused_once(world, ask):
    client, other = world.client(), world.client()
    mine = client.one(INSERT)
    world.disturb(client)
    other.q(INSERT)
    got = client.try_q(ask)
    assert got.codes == ["55000"] or got.value == mine
    for _ in range(4):  # from now on the pool knows
        mine = client.one(INSERT)
        world.disturb(client)
        other.q(INSERT)
        assert client.one(ask) == mine
        world.disturb(client)
        assert client.x(ask).value == mine


def test_sequence_value_right_behind_the_insert_is_ones_own(world):
    client = world.client()
    for _ in range(3):
        mine = client.one(INSERT)
        assert client.one(CURRVAL) == mine
        assert client.q(f"BEGIN; {INSERT}; {CURRVAL}; COMMIT").rows == [(str(int(mine) + 1),)] * 2


def test_sequence_value_before_any_is_refused(world):
    other, client = world.client(), world.client()
    other.q(INSERT)
    for ask in (CURRVAL, "SELECT lastval()"):
        world.disturb(client)
        client.refused(ask, "55000")


# ---- large objects ------------------------------------------------------------------------------


def test_large_object_in_one_transaction(world):
    client = world.client()
    for i in range(3):
        world.disturb(client)
        client.q("BEGIN")
        oid = client.one("SELECT lo_create(0)")
        fd = client.one(f"SELECT lo_open({oid}, 131072 | 262144)")
        assert client.one(f"SELECT lowrite({fd}, 'text {i}')") == "6"
        client.q("COMMIT")
        world.disturb(client)
        client.refused(f"SELECT lowrite({fd}, 'more')", "42704")
        assert client.one(f"SELECT convert_from(lo_get({oid}), 'UTF8')") == f"text {i}"
        assert client.one(f"SELECT lo_unlink({oid})") == "1"
    world.wait_pins()


# ---- advisory locks between clients -------------------------------------------------------------


def test_locks_between_two_clients_are_as_between_connections(world, pg):
    a, b = world.client(), world.client()
    a.q("SELECT pg_advisory_lock(8001)")
    world.disturb(b)
    assert b.one("SELECT pg_try_advisory_lock(8001)") == "f"
    assert a.one("SELECT pg_try_advisory_lock(8001)") == "t"  # counted
    assert a.one("SELECT pg_advisory_unlock(8001)") == "t"
    assert b.one("SELECT pg_try_advisory_lock(8001)") == "f"
    assert b.one("SELECT pg_try_advisory_lock_shared(8002)") == "t"
    assert a.one("SELECT pg_try_advisory_lock_shared(8002)") == "t"
    assert a.one("SELECT pg_try_advisory_lock(8002)") == "f"
    assert b.one("SELECT pg_advisory_unlock_shared(8002)") == "t"
    assert a.one("SELECT pg_advisory_unlock(8001)") == "t"
    assert a.try_q("SELECT pg_advisory_unlock(8001)").notices
    assert b.one("SELECT pg_try_advisory_lock(8001)") == "t"
    a.q(UNLOCK_ALL), b.q(UNLOCK_ALL)
    world.wait_pins()
    assert advisory_locks(pg) == 0


def test_lock_is_waited_for_and_handed_over(world, pg):
    a, b = world.client(), world.client()
    a.q("SELECT pg_advisory_lock(8003)")
    b.conn.send(wire.query("SELECT pg_advisory_lock(8003)"))
    wire.eventually(lambda: pg.value("select count(*) from pg_locks where locktype = 'advisory' "
                                     "and not granted"), what="a waiting client")
    assert a.one("SELECT pg_advisory_unlock(8003)") == "t"
    assert not b.conn.recv_until("Z").errors
    assert a.one("SELECT pg_try_advisory_lock(8003)") == "f"
    b.q(UNLOCK_ALL)


def test_deadlock_of_session_locks_is_found(world):
    a, b = world.client(), world.client()
    a.q("SELECT pg_advisory_lock(8004)")
    b.q("SELECT pg_advisory_lock(8005)")
    a.conn.send(wire.query("SELECT pg_advisory_lock(8005)"))
    b.conn.send(wire.query("SELECT pg_advisory_lock(8004)"))
    b.conn.settimeout(0.1)
    results = {}
    while not results:
        for client in (a, b):
            client.conn.settimeout(0.2)
            try:
                results[client] = client.conn.recv_until("Z")
                break
            except TimeoutError:
                continue
    loser, = results
    winner = b if loser is a else a
    assert results[loser].codes == ["40P01"]
    loser.conn.settimeout(10)
    loser.q(UNLOCK_ALL)
    winner.conn.settimeout(10)
    assert not winner.conn.recv_until("Z").errors


def test_migration_lock_runs_one_migrator_at_a_time(world):
    """As Rails, Django and others do it: try, migrate in transactions of their own, unlock."""
    a, b = world.client(), world.client()
    assert a.one("SELECT pg_try_advisory_lock(5713)") == "t"
    for _ in range(3):
        world.disturb(a)
        a.q("BEGIN; INSERT INTO session_test.touched VALUES (1); COMMIT")
        assert b.one("SELECT pg_try_advisory_lock(5713)") == "f"
    assert a.one("SELECT pg_advisory_unlock(5713)") == "t"
    assert b.one("SELECT pg_try_advisory_lock(5713)") == "t"
    assert b.one("SELECT pg_advisory_unlock(5713)") == "t"


# ---- what an operator sees ----------------------------------------------------------------------


@pooled_only
def test_pins_have_labels_and_are_counted(world):
    client = world.client()
    client.q("CREATE TEMP TABLE x (a int)")
    world.wait_pins(temporary=1)
    families = world.target.metrics()
    assert families["sluice_pinned_clients"].total(database="app", user="app",
                                                   reason="temporary") == 1
    assert families["sluice_pins_total"].total(reason="temporary") == 1
    assert "temporary" in world.target.log
    assert "temp table" not in world.target.log.lower()
