"""SQL-level PREPARE in transaction mode: one's own names, whoever has the connections."""

import pytest

import wire
from session_world import World, make_objects, pooled_only

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


# ---- it travels ---------------------------------------------------------------------------------


@pytest.fixture(params=[1, 2])
def small(request, make_sluice, pg):
    """A pool in which everybody gets the connections of others all the time."""
    make_objects(pg)
    return World(make_sluice, pg, pool_size=request.param)


def free(world, *clients):
    """Nobody keeps a connection."""
    world.wait_pins()
    for client in clients:
        world.rotate(client)
        world.release()


@pooled_only
def test_prepared_client_is_not_pinned(small):
    client = small.client()
    client.q("PREPARE p(int) AS SELECT $1 + 1")
    for i in range(5):
        free(small, client)
        assert client.one(f"EXECUTE p({i})") == str(i + 1)
    assert client.q("DEALLOCATE p").tags == ["DEALLOCATE"]
    free(small, client)
    client.refused("EXECUTE p(1)", "26000")


@pooled_only
def test_same_name_of_two_clients_on_few_connections(small):
    one, two, none = (small.client() for _ in range(3))
    one.q("PREPARE p AS SELECT 'one'")
    two.q("PREPARE p AS SELECT 'two'")
    for _ in range(6):
        assert one.one("EXECUTE p") == "one"
        assert two.one("EXECUTE p") == "two"
        none.refused("EXECUTE p", "26000")
        none.refused("DEALLOCATE p", "26000")
        free(small, one, two, none)
    for client, names in ((one, [("p",)]), (two, [("p",)]), (none, [])):
        assert client.q("SELECT name FROM pg_prepared_statements WHERE from_sql").rows == names
    two.q("DEALLOCATE ALL")
    two.refused("EXECUTE p", "26000")
    assert one.one("EXECUTE p") == "one"
    one.q("DISCARD ALL")
    one.refused("EXECUTE p", "26000")


@pooled_only
def test_name_that_another_client_uses_can_be_prepared(small):
    clients = [small.client() for _ in range(3)]
    for i, client in enumerate(clients):
        assert client.q(f"PREPARE p AS SELECT {i}").tags == ["PREPARE"]
        assert client.one("EXECUTE p") == str(i)
        client.refused("PREPARE p AS SELECT 9", "42P05")
    for i, client in enumerate(clients):
        client.refused("PREPARE p AS SELECT 9", "42P05")
        assert client.one("EXECUTE p") == str(i)


@pooled_only
def test_equal_statements_are_shared(small):
    clients = [small.client() for _ in range(3)]
    for client in clients:
        client.q("PREPARE same AS SELECT 1")
    free(small, *clients)
    for client in clients:
        assert client.one("EXECUTE same") == "1"
    clients[0].q("DEALLOCATE same")
    clients[0].refused("EXECUTE same", "26000")
    assert clients[1].one("EXECUTE same") == "1"


@pooled_only
@pytest.mark.parametrize("setting", ["DateStyle = 'German'", "search_path = session_test",
                                     "standard_conforming_strings = off", "TimeZone = 'Asia/Tokyo'",
                                     "transform_null_equals = on", "ROLE session_reader"])
def test_statement_is_parsed_as_it_was_first(world, setting):
    """On another connection, under other settings, within a transaction or not."""
    steps = [f"PREPARE before AS SELECT '1.2.2020'::date - '2020-01-01'::date, '\\x'::text, "
             "1 = NULL, '2020-01-01 00:00'::timestamptz = '2020-01-01 00:00+00'",
             f"SET {setting}",
             "PREPARE after AS SELECT '3.4.2020'::date - '2020-01-01'::date, 'a\\b'::text, 1 = NULL,"
             " '2020-01-01 00:00'::timestamptz = '2020-01-01 00:00+00'",
             "EXECUTE before", "EXECUTE after", "BEGIN", "EXECUTE before", "EXECUTE after",
             "COMMIT", "RESET ALL", "RESET ROLE", "EXECUTE after", "EXECUTE before",
             "BEGIN", "EXECUTE after", "SHOW DateStyle", "SHOW search_path", "SELECT current_user",
             "ROLLBACK"]
    if "search_path" not in setting:  # PostgreSQL parses anew when that has changed
        steps += ["BEGIN", "SET LOCAL DateStyle = 'SQL, DMY'", "EXECUTE before",
                  "SHOW DateStyle", "EXECUTE after", "COMMIT", "SHOW DateStyle"]
    world.check(*steps)
    world.wait_pins()


@pooled_only
def test_statement_of_a_transaction_that_changes_how_it_is_parsed_pins(world):
    client = world.client()
    client.q("BEGIN; SET LOCAL DateStyle = 'German'; PREPARE p AS SELECT '1.2.2020'::date")
    client.q("COMMIT")
    world.wait_pins(prepared=1)
    assert client.one("EXECUTE p") == "2020-02-01"
    client.q("DEALLOCATE p")
    world.wait_pins()
    client.q("BEGIN; SET LOCAL statement_timeout = '7s'; PREPARE p AS SELECT 1; COMMIT")
    free(world, client)
    assert client.one("EXECUTE p") == "1"


@pooled_only
def test_failing_replay_is_told_to_who_needs_it_only(small, pg):
    pg.in_app("drop table if exists session_test.gone; create table session_test.gone (a int); "
              "grant all on session_test.gone to public")
    client = small.client()
    client.q("PREPARE broken AS SELECT a FROM session_test.gone")
    client.q("PREPARE good AS SELECT 'good'")
    other = small.client()
    other.q("PREPARE broken AS SELECT 'other'")
    pg.in_app("drop table session_test.gone")
    for _ in range(3):
        client.refused("EXECUTE broken", "42P01")
        assert client.status == "I"
        assert client.one("EXECUTE good") == "good"
        assert other.one("EXECUTE broken") == "other"
        client.q("BEGIN")
        assert client.one("EXECUTE good") == "good"
        assert client.q("DO $$ BEGIN END $$").tags == ["DO"]
        assert client.status == "T"
        client.refused("EXECUTE broken", "42P01")
        assert client.status == "E"
        client.refused("EXECUTE good", "25P02")
        client.q("ROLLBACK")
        assert client.q("SELECT count(*) FROM pg_prepared_statements WHERE from_sql").rows
        got = client.try_x("EXECUTE broken")
        assert got.codes == ["42P01"]
        assert client.x("EXECUTE good").value == "good"
    assert client.q("DEALLOCATE broken").tags == ["DEALLOCATE"]
    client.refused("EXECUTE broken", "26000")
    pg.in_app("create table session_test.gone (a int)")
    client.q("PREPARE broken AS SELECT 'again'")
    assert client.one("EXECUTE broken") == "again"


@pooled_only
def test_failed_transaction(small):
    client, other = small.client(), small.client()
    client.q("PREPARE p AS SELECT 'mine'")
    other.q("PREPARE p AS SELECT 'other'")
    for sql in ("EXECUTE p", "SELECT 1; EXECUTE p"):
        other.one("EXECUTE p")
        client.try_q("BEGIN; SELECT 1/0")
        client.refused(sql, "25P02")
        got = client.try_q("ROLLBACK; EXECUTE p")
        assert got.rows == [("mine",)] or got.codes == ["0A000"]
        client.try_q("ROLLBACK")
        assert client.one("EXECUTE p") == "mine"
    other.one("EXECUTE p")
    client.try_q("BEGIN; SELECT 1/0")
    client.conn.send(wire.query("ROLLBACK"), wire.query("EXECUTE p"))
    assert client.conn.recv_until("Z").tags == ["ROLLBACK"]
    assert client.conn.recv_until("Z").rows == [("mine",)]


@pooled_only
def test_queries_that_do_not_wait(small):
    client, other = small.client(), small.client()
    for i in range(3):
        other.try_q("DEALLOCATE ALL")
        other.q("PREPARE p AS SELECT 'other'; PREPARE q AS SELECT 'other'")
        results = client.send_all(f"PREPARE p AS SELECT {i}", "EXECUTE p", "BEGIN", "EXECUTE p",
                                  "PREPARE q AS SELECT 'q'", "EXECUTE q; EXECUTE p", "COMMIT",
                                  "EXECUTE q", "DEALLOCATE p", "EXECUTE p", "DEALLOCATE q")
        assert [r.rows for r in results] == [[], [(str(i),)], [], [(str(i),)], [],
                                             [("q",), (str(i),)], [], [("q",)], [], [], []]
        assert [r.codes for r in results if r.codes] == [["26000"]]
        assert other.one("EXECUTE q") == "other"


@pooled_only
def test_pipelines_of_the_extended_protocol(small):
    client, other = small.client(), small.client()
    client.q("PREPARE p(int) AS SELECT $1 * 2")
    client.q("PREPARE q AS SELECT 'q'")
    several = [wire.parse("", sql) + B() + wire.describe("P") + E()
               for sql in ("SELECT 'first'", "EXECUTE p(4)", "EXECUTE q", "EXECUTE p(5)")]
    for _ in range(3):
        other.try_q("DEALLOCATE ALL")
        other.q("PREPARE p AS SELECT 'other'; PREPARE q AS SELECT 'other'")
        got = client.conn.run(*several, S)
        assert got.rows == [("first",), ("8",), ("q",), ("10",)]
        assert other.one("EXECUTE p") == "other"
        broken = client.conn.run(several[0], P("", "EXECUTE nobody"), B(), E(), several[1], S,
                                 check=False)
        assert broken.codes == ["26000"]
        assert client.x("EXECUTE p(6)").value == "12"
        assert other.one("EXECUTE p") == "other"


@pooled_only
def test_named_statements_that_execute(small):
    """By the protocol's prepare, with the shape of the client's own rows."""
    client, other = small.client(), small.client()
    client.q("PREPARE p AS SELECT 1 AS a")
    other.q("PREPARE p AS SELECT 'x' AS b, 'y' AS c")
    for _ in range(3):
        for one, columns, row in ((client, 1, ("1",)), (other, 2, ("x", "y"))):
            got = one.conn.run(P("s", "EXECUTE p"), wire.describe("S", "s"), S)
            assert got.types.count("T") == 1
            got = one.conn.run(B("", "s"), wire.describe("P"), E(), S)
            assert got.rows == [row]
            one.conn.run(wire.close("S", "s"), S)


@pooled_only
def test_functions_run_although_a_statement_was_prepared_under_other_settings(small):
    """They could run it, so it is brought; in the middle of a pipeline it cannot be."""
    client, other = small.client(), small.client()
    client.q("SET ROLE session_writer")
    client.q("PREPARE p AS SELECT current_setting('role')")
    client.q("RESET ROLE")
    call = "SELECT session_test.put('work_mem', '6MB')"
    for _ in range(2):
        other.try_q("DEALLOCATE ALL")
        other.q("PREPARE p AS SELECT 'other'")
        assert client.x(call).value == "6MB"
        other.try_q("DEALLOCATE ALL")
        other.q("PREPARE p AS SELECT 'other'")
        several = [P("", sql) + B() + E() for sql in ("SELECT 'first'", call, "SELECT 'last'")]
        assert client.conn.run(*several, S).rows == [("first",), ("6MB",), ("last",)]
        assert client.one("EXECUTE p") == "none"
        assert other.one("EXECUTE p") == "other"


@pooled_only
@pytest.mark.parametrize("name", ["", "s"])
def test_described_in_a_batch_of_its_own(small, name):
    """psql's gdesc: Parse and Sync, then Describe and Sync; others have the connection between."""
    client, other = small.client(), small.client()
    client.q("PREPARE p AS SELECT 1 AS a")
    for _ in range(3):
        client.conn.run(P(name, "EXECUTE p"), S)
        other.try_q("DEALLOCATE ALL")
        other.q("PREPARE p AS SELECT 'x' AS b, 'y' AS c")
        described = client.conn.run(wire.describe("S", name), S)
        assert [wire.column_names(m.body) for m in described.messages if m.type == "T"] == [["a"]]
        other.q("DEALLOCATE p")
        described = client.conn.run(wire.describe("S", name), S)
        assert [wire.column_names(m.body) for m in described.messages if m.type == "T"] == [["a"]]
        client.conn.run(wire.close("S", name), S)


@pooled_only
def test_names_of_the_poolers_own_are_refused(small):
    client, other = small.client(), small.client()
    other.conn.run(P("s", "SELECT 'secret'"), S)
    for sql in ("EXECUTE sluice_1", "PREPARE sluice_1 AS SELECT 1", "DEALLOCATE sluice_1",
                'EXECUTE "sluice_ask_pins"', "EXPLAIN EXECUTE sluice_1", "SELECT 1; EXECUTE Sluice_2"):
        client.refused(sql, "42939")
        assert client.try_x(sql).codes in (["42939"], ["42601"])
    client.q("BEGIN")
    client.refused("EXECUTE sluice_1", "42939")
    assert client.status == "E"
    client.q("ROLLBACK")
    assert other.conn.run(B("", "s"), E(), S).rows == [("secret",)]
    client.q("CREATE TEMP TABLE sluice_t (a int)")
    client.q("PREPARE p AS SELECT count(*) FROM sluice_t")
    assert client.one("EXECUTE p") == "0"


@pooled_only
def test_several_statements_in_one_text(small):
    client, other = small.client(), small.client()
    client.q("PREPARE a AS SELECT ';' AS x; /* PREPARE b AS SELECT 0; */ PREPARE \"B;\" AS "
             "SELECT $$;PREPARE a AS$$; SELECT 1 -- ;")
    for _ in range(3):
        free(small, client)
        other.try_q("DEALLOCATE ALL")
        other.q("PREPARE a AS SELECT 'other'; PREPARE \"B;\" AS SELECT 'other'")
        assert client.one("EXECUTE a") == ";"
        assert client.one('EXECUTE "B;"') == ";PREPARE a AS"
    client.q("DEALLOCATE ALL")
    client.q("PREPARE a AS SELECT 1; DEALLOCATE a; PREPARE a AS SELECT 2")
    small.wait_pins(prepared=1)
    assert client.one("EXECUTE a") == "2"
    client.q("DEALLOCATE a")
    small.wait_pins()


@pooled_only
def test_what_is_too_much_pins(world):
    client = world.client()
    client.q(f"PREPARE p AS SELECT length('{'x' * 70000}')")
    world.wait_pins(prepared=1)
    assert client.one("EXECUTE p") == "70000"
    client.q("DEALLOCATE p")
    world.wait_pins()
    client.x(f"PREPARE p AS SELECT length('{'x' * 15000}')")
    free(world, client)
    assert client.one("EXECUTE p") == "15000"
    for i in range(205):
        client.q(f"PREPARE n{i} AS SELECT {i}")
    world.wait_pins(prepared=1)
    assert client.one("EXECUTE n204") == "204"
    client.q("DEALLOCATE ALL")
    free(world, client)


@pooled_only
def test_client_that_leaves_in_the_middle(small):
    for sql in ("PREPARE p AS SELECT 'left'", "PREPARE p AS SELECT pg_sleep(10)", "BEGIN; EXECUTE p"):
        client = small.client()
        client.try_q("PREPARE q AS SELECT 1")
        client.conn.send(wire.query(sql))
        client.conn.close()
        small.forget(client)
        other = small.client()
        for _ in range(3):
            other.refused("EXECUTE p", "26000")
            other.q("PREPARE p AS SELECT 'other'")
            assert other.one("EXECUTE p") == "other"
            other.q("DEALLOCATE p")
        other.close()
    small.wait_pins()


@pooled_only
def test_transaction_of_ones_own_around_execute(small, table_as):
    client, other = small.client(), small.client()
    client.q("PREPARE p(int) AS SELECT generate_series(1, $1) AS n")
    for _ in range(3):
        other.try_q("DEALLOCATE ALL")
        other.q("PREPARE p AS SELECT 'other'")
        got = client.q("BEGIN; EXECUTE p(2); COMMIT")
        assert got.tags == ["BEGIN", "SELECT 2", "COMMIT"] and got.rows == [("1",), ("2",)]
        other.one("EXECUTE p")
        client.q(f"BEGIN; CREATE TABLE {table_as} AS EXECUTE p(3); SAVEPOINT s")
        assert client.q(f"COPY {table_as} TO STDOUT; EXECUTE p(1)").tags == ["COPY 3", "SELECT 1"]
        client.q("ROLLBACK TO s; ROLLBACK")
    assert client.q("EXPLAIN (COSTS OFF) EXECUTE p(1)").rows


@pooled_only
def test_protocol_level_names_are_others(small):
    client, other = small.client(), small.client()
    for i in range(3):
        client.conn.run(P(f"s{i}", f"SELECT 'protocol {i}'"), S)
        client.q(f"PREPARE s{i} AS SELECT 'sql {i}'")
        other.q("DISCARD ALL")
        free(small, client)
        assert client.conn.run(B("", f"s{i}"), E(), S).rows == [(f"protocol {i}",)]
        assert client.one(f"EXECUTE s{i}") == f"sql {i}"


@pooled_only
def test_without_max_prepared_statements_they_pin(make_sluice, pg):
    make_objects(pg)
    world = World(make_sluice, pg, pool_size=2, max_prepared_statements=0)
    client, other = world.client(), world.client()
    client.q("PREPARE p AS SELECT 1")
    world.wait_pins(prepared=1)
    assert client.one("EXECUTE p") == "1"
    other.refused("EXECUTE p", "26000")
    client.q("DEALLOCATE p")
    world.wait_pins()


@pooled_only
def test_do_block_that_executes(small):
    client, other = small.client(), small.client()
    client.q("PREPARE p AS SELECT set_config('app.a', 'mine', false)")
    other.q("PREPARE p AS SELECT set_config('app.a', 'other', false)")
    client.q("DO $$ BEGIN EXECUTE 'EXECUTE p'; END $$")
    assert client.show("app.a") == "mine"
    other.q("DO $$ BEGIN EXECUTE 'DEALLOCATE p'; END $$")
    other.refused("EXECUTE p", "26000")
    assert client.q("EXECUTE p").rows == [("mine",)]


@pooled_only
def test_cancel_while_a_statement_is_brought(small, pg):
    """It waits for a lock: the client's cancel ends its EXECUTE."""
    pg.in_app("drop table if exists session_test.locked; create table session_test.locked (a int); "
              "grant all on session_test.locked to public")
    client, other = small.client(), small.client()
    client.q("PREPARE p AS SELECT count(*) FROM session_test.locked")
    other.q("PREPARE p AS SELECT 'other'")
    holder = small.direct()
    holder.query("begin; lock session_test.locked in access exclusive mode")
    client.conn.send(wire.query("EXECUTE p"))
    wire.eventually(lambda: pg.value("select count(*) from pg_stat_activity where "
                                     "wait_event_type = 'Lock'"), 10)
    client.conn.cancel()
    got = client.conn.recv_until("Z")
    assert got.codes == ["57014"]
    holder.query("rollback")
    assert client.one("EXECUTE p") == "0"
    assert other.one("EXECUTE p") == "other"
