"""SQL-level PREPARE in transaction mode: one's own names, whoever has the connections."""

import pytest

import wire
from session_world import World, make_objects

P, B, E, S = wire.parse, wire.bind, wire.execute, wire.SYNC


@pytest.fixture
def world(make_sluice, pg):
    make_objects(pg)
    return World(make_sluice, pg)


@pytest.fixture
def table_as(pg):
    """Both connections of World.check create this table, one after the other."""
    pg.in_app("drop table if exists session_test.made")
    yield "session_test.made"
    pg.in_app("drop table if exists session_test.made")


CASES = {
    "execute": ["PREPARE p AS SELECT 42", ("EXECUTE p", "42"), ("EXECUTE p", "42")],
    "parameters": ["PREPARE p(int, text) AS SELECT $1 * 2, $2", ("EXECUTE p(4, 'a')", "8"),
                   ("EXECUTE p(5, 'b')", "10"), "EXECUTE p(1)", "EXECUTE p('x', 'y')"],
    "untyped": ["PREPARE p AS SELECT $1 || 'x'", ("EXECUTE p('a')", "ax")],
    "explain": ["PREPARE p(int) AS SELECT $1", "EXPLAIN (COSTS OFF) EXECUTE p(4)",
                "EXPLAIN (COSTS OFF, ANALYZE, TIMING OFF, SUMMARY OFF) EXECUTE p(4)"],
    "deallocate": ["PREPARE p AS SELECT 1", "DEALLOCATE p", "EXECUTE p", "DEALLOCATE p",
                   "PREPARE p AS SELECT 2", ("EXECUTE p", "2"), "DEALLOCATE PREPARE p"],
    "deallocate_all": ["PREPARE p AS SELECT 1", "PREPARE q AS SELECT 2", "DEALLOCATE ALL",
                       "EXECUTE p", "EXECUTE q"],
    "discard": ["PREPARE p AS SELECT 1", "DISCARD PLANS", ("EXECUTE p", "1"), "DISCARD ALL",
                "EXECUTE p"],
    "twice": ["PREPARE p AS SELECT 1", "PREPARE p AS SELECT 2", ("EXECUTE p", "1")],
    "rolled_back": ["BEGIN", "PREPARE p AS SELECT 1", "ROLLBACK", ("EXECUTE p", "1")],
    "deallocate_rolled_back": ["PREPARE p AS SELECT 1", "BEGIN", "DEALLOCATE p", "ROLLBACK",
                               "EXECUTE p"],
    "failed_transaction": ["BEGIN", "PREPARE p AS SELECT 1", "SELECT 1/0", "EXECUTE p",
                           "ROLLBACK", ("EXECUTE p", "1")],
    "odd_names": ['PREPARE "Odd name" AS SELECT 1', ('EXECUTE "Odd name"', "1"),
                  "PREPARE UPPER AS SELECT 2", ("EXECUTE upper", "2"),
                  'EXECUTE "UPPER"', "/* a */ EXECUTE -- b\n upper"],
    "write": ["PREPARE p(int) AS INSERT INTO session_test.touched VALUES ($1) RETURNING id",
              ("EXECUTE p(3)", "3")],
    "several": ["PREPARE a AS SELECT 1; PREPARE b AS SELECT 2", "EXECUTE b; EXECUTE a",
                "DEALLOCATE a", ("EXECUTE b", "2"), "EXECUTE a"],
    "extended": [("PREPARE p AS SELECT 7", None, []), ("EXECUTE p", "7", []),
                 ("EXECUTE p", "7", []), ("DEALLOCATE p", None, []), ("EXECUTE p", None, [])],
    "search_path": ["SET search_path = session_test", "PREPARE p AS SELECT count(*) >= 0 FROM "
                    "touched", "EXECUTE p", "SET search_path = public", "EXECUTE p"],
    "execute_sets": ["PREPARE p(text) AS SELECT set_config('work_mem', $1, false)",
                     "EXECUTE p('9MB')", ("SHOW work_mem", "9MB"), "DEALLOCATE p",
                     ("SHOW work_mem", "9MB")],
    "execute_locks": ["PREPARE p AS SELECT pg_advisory_lock_shared(9001)", "EXECUTE p",
                      "DEALLOCATE p", ("SELECT pg_advisory_unlock_shared(9001)", "t")],
    "unknown": ["EXECUTE nobody_has_this", "DEALLOCATE nobody_has_this"],
    "listed": ["PREPARE p AS SELECT 1",
               ("SELECT count(*)::text FROM pg_prepared_statements WHERE from_sql", "1")],
}


@pytest.mark.parametrize("kind", CASES)
def test_prepared_statement_is_as_on_a_connection_of_ones_own(world, kind):
    world.check(*CASES[kind])


def test_create_table_as_execute(world, table_as, pg):
    client = world.client()
    client.q("PREPARE p(int) AS SELECT generate_series(1, $1) AS n")
    world.disturb(client)
    assert client.q(f"CREATE TABLE {table_as} AS EXECUTE p(4)").tags == ["SELECT 4"]
    world.disturb(client)
    assert client.q(f"CREATE TABLE IF NOT EXISTS {table_as} AS EXECUTE p(4)").notices
    world.disturb(client)
    assert client.one(f"SELECT sum(n) FROM {table_as}") == "10"


def test_same_name_means_something_else_to_each_client(world):
    clients = [world.client() for _ in range(2)]
    for i, client in enumerate(clients):
        client.q(f"PREPARE p AS SELECT 'of client {i}'")
        world.disturb(client)
    for _ in range(5):
        for i, client in enumerate(clients):
            world.disturb(client)
            assert client.one("EXECUTE p") == f"of client {i}"
    clients[0].q("DEALLOCATE p")
    assert clients[1].one("EXECUTE p") == "of client 1"
    clients[0].refused("EXECUTE p", "26000")
    world.client().refused("EXECUTE p", "26000")


def test_names_are_gone_with_their_client(world):
    for i in range(6):
        client = world.client()
        client.refused("EXECUTE p", "26000")
        client.q(f"PREPARE p AS SELECT {i}")
        assert client.one("EXECUTE p") == str(i)
        client.close()
    world.wait_pins()


def test_deallocated_statement_lets_its_client_go(world):
    client = world.client()
    client.q("PREPARE p AS SELECT 1")
    world.disturb(client)
    client.q("DEALLOCATE p")
    world.wait_pins()
    world.rotate(client)


def test_deallocate_of_a_protocol_level_name(world):
    """As psycopg and others do it."""
    client = world.client()
    for i in range(4):
        client.conn.run(P("s", f"SELECT {i}"), S)
        world.rotate(client)
        assert client.conn.run(B("", "s"), E(), S).rows == [(str(i),)]
        world.rotate(client)
        assert client.q("DEALLOCATE s").tags == ["DEALLOCATE"]
        world.rotate(client)
        assert client.conn.run(B("", "s"), E(), S, check=False).codes == ["26000"]


def test_sql_level_name_used_in_the_protocol_is_right_or_refused(world):
    """PostgreSQL has one space of names; docs/sessions.md may say that a pooler has two."""
    client = world.client()
    client.q("PREPARE p(int) AS SELECT $1 + 1")
    world.disturb(client)
    got = client.conn.run(B("", "p", [4]), E(), S, check=False)
    assert got.rows == [("5",)] or got.codes == ["26000"]
    got = client.conn.run(P("p", "SELECT $1::int + 10"), B("", "p", [4]), E(), S, check=False)
    assert got.rows == [("14",)] or got.codes == ["42P05"]
    world.disturb(client)
    assert client.q("EXECUTE p(4)").rows == [("5",)]


def test_protocol_level_name_can_be_executed_in_sql(world):
    client = world.client()
    client.conn.run(P("s", "SELECT $1::int + 1"), S)
    world.rotate(client)
    got = client.try_q("EXECUTE s(4)")
    # docs/sessions.md may say that this is refused; it must not be another statement.
    assert got.rows == [("5",)] or got.codes == ["26000"]


def test_plan_follows_a_changed_table(world, pg):
    pg.in_app("drop table if exists session_test.changing; create table session_test.changing "
              "(a int); insert into session_test.changing values (1); "
              "grant all on session_test.changing to public")
    client = world.client()
    client.q("PREPARE p AS SELECT a FROM session_test.changing")
    world.disturb(client)
    pg.in_app("alter table session_test.changing add column b int")
    assert client.one("EXECUTE p") == "1"
    world.disturb(client)
    pg.in_app("drop table session_test.changing")
    client.refused("EXECUTE p", "42P01")
