"""Drivers that nobody here wrote, and SQL as frameworks and migration tools send it, in transaction
mode: what each leaves on its session stays its own while other clients take every connection."""

import asyncio
import os
import select
import threading

import asyncpg
import psycopg
import pytest

import targets
import test_node
import wire
from postgres import PASSWORDS
from session_world import Hammer, World, advisory_locks, make_objects
from test_node import node  # noqa: F401 - a fixture


@pytest.fixture
def make_world(make_sluice, pg):
    make_objects(pg)
    return lambda **changes: World(make_sluice, pg, **changes)


@pytest.fixture
def world(make_world):
    return make_world()


@pytest.fixture
def hammered(world):
    """Three connections, and three clients with other settings that never leave them alone."""
    with Hammer(world, 3):
        yield world


def connect(world, **options):
    return world.target.psycopg(**options)


def value(conn, sql, parameters=None, **options):
    return conn.execute(sql, parameters, **options).fetchone()[0]


# ---- psycopg 3 ----------------------------------------------------------------------------------


def test_psycopg_prepared_statements_beside_settings(hammered):
    """A prepared plan depends on search_path; both follow their client."""
    conns = [connect(hammered) for _ in range(4)]
    for number, conn in enumerate(conns):
        conn.prepare_threshold = number % 2
        conn.execute(f"set application_name = 'client {number}'")
        conn.execute(f"set app.user_id = '{number}'")
        conn.execute(f"set search_path = {'session_test' if number % 2 else 'public'}")
    for _ in range(20):
        for number, conn in enumerate(conns):
            assert conn.execute(
                "select current_setting('app.user_id'), current_setting('application_name'), "
                "to_regclass('touched') is not null, %s::int", (number,)).fetchone() == \
                (str(number), f"client {number}", number % 2 == 1, number)
            assert value(conn, "select count(*) from session_test.accounts", prepare=True) == \
                (1 if number in (1, 2, 3) else 0)
            assert conn.info.parameter_status("application_name") == f"client {number}"


def test_psycopg_session_characteristics(hammered):
    """What Connection.isolation_level and its like say in each BEGIN, and the session's own."""
    conn = connect(hammered, autocommit=False)
    conn.isolation_level, conn.read_only = psycopg.IsolationLevel.SERIALIZABLE, True
    other = connect(hammered)
    other.execute("set session characteristics as transaction isolation level repeatable read")
    for _ in range(10):
        assert value(conn, "show transaction_isolation") == "serializable"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("insert into session_test.touched values (1)")
        conn.rollback()
        assert value(other, "show transaction_isolation") == "repeatable read"
        assert value(other, "show transaction_read_only") == "off"


@pytest.mark.parametrize("threshold", [0, None])
def test_django_iterator_with_hold(hammered, threshold):
    """QuerySet.iterator() without a transaction: a named cursor WITH HOLD; two at a time."""
    conn = connect(hammered)
    conn.prepare_threshold = threshold
    with conn.cursor("_django_curs_1", scrollable=False, withhold=True) as one, \
            conn.cursor("_django_curs_2", scrollable=False, withhold=True) as two:
        one.execute("select generate_series(1, 1000)")
        two.execute("select generate_series(1001, %s)", (2000,))
        for start in range(0, 1000, 100):
            assert [r[0] for r in one.fetchmany(100)] == list(range(start + 1, start + 101))
            assert [r[0] for r in two.fetchmany(100)] == list(range(start + 1001, start + 1101))
            conn.execute("insert into session_test.touched values (%s)", (start,))
        assert one.fetchmany(1) == two.fetchmany(1) == []
    assert value(conn, "select count(*) from pg_cursors where is_holdable") == 0


def test_psycopg_listens_with_settings_and_a_generator(hammered):
    """A worker: a setting, LISTEN, and a job fetched after each notification."""
    worker, sender = connect(hammered), connect(hammered)
    worker.execute("set app.tenant = 'worker'")
    worker.execute("listen work")
    worker.execute("create temp table done (id int)")
    for number in range(5):
        with sender.transaction():
            sender.execute("select pg_notify('work', %s)", (str(number),))
        assert select.select([worker], [], [], 10 * targets.SCALE)[0], "no notification"
        heard = worker.notifies()
        got = next(heard)
        heard.close()
        assert (got.channel, got.payload) == ("work", str(number))
        worker.execute("insert into done values (%s)", (number,))
        assert worker.execute("select current_setting('app.tenant'), count(*) from done") \
            .fetchone() == ("worker", number + 1)
    worker.execute("unlisten work")
    worker.execute("drop table done")
    assert value(worker, "select count(*) from pg_listening_channels()") == 0


# ---- asyncpg ------------------------------------------------------------------------------------


def asyncpg_words(world, **options):
    return {"host": world.target.host, "port": world.target.port, "user": "app", "ssl": False,
            "password": PASSWORDS["app"], "database": "app", **options}


def run_asyncpg(world, work, **options):
    """`work(pool)` with a pool of asyncpg's own."""
    async def main():
        async with asyncpg.create_pool(**asyncpg_words(world, min_size=1, max_size=1),
                                       **options) as pool:
            await work(pool)
    asyncio.run(main())


def test_asyncpg_settings_and_prepared_statements(hammered):
    async def one(number):
        conn = await asyncpg.connect(**asyncpg_words(hammered))
        await conn.execute(f"set app.user_id = '{number}'")
        await conn.execute("select set_config('TimeZone', 'Europe/Paris', false)")
        statement = await conn.prepare(
            "select current_setting('app.user_id'), current_setting('TimeZone'), $1::int")
        for i in range(30):
            assert tuple(await statement.fetchrow(i)) == (str(number), "Europe/Paris", i)
            assert await conn.fetchval("select count(*) from session_test.accounts") == 1
        assert conn.get_settings().TimeZone == "Europe/Paris"
        await conn.close()

    async def main():
        await asyncio.gather(*(one(n) for n in (1, 2, 3)))
    asyncio.run(main())


def test_asyncpg_pool_resets_what_was_left(hammered, pg):
    """On release: pg_advisory_unlock_all, CLOSE ALL, UNLISTEN *, RESET ALL."""
    heard = []

    async def work(pool):
        for round_ in range(4):
            async with pool.acquire() as conn:
                assert not await conn.fetchval("select current_setting('app.tenant', true)")
                assert await conn.fetchval("show work_mem") == "19MB"  # of the start
                await conn.execute(f"set app.tenant = 'round {round_}'; set work_mem = '5MB'")
                await conn.execute("select pg_advisory_lock(7001)")
                await conn.execute("declare held cursor with hold for select generate_series(1, 9)")

                def listener(*said):
                    heard.append(said[3])
                await conn.add_listener("asyncpg", listener)
                await conn.execute(f"notify asyncpg, '{round_}'")
                assert (await conn.fetchrow("fetch 4 from held"))[0] == 1
                assert await conn.fetchval("show work_mem") == "5MB"
                assert advisory_locks(pg) == 1
                await conn.remove_listener("asyncpg", listener)
            assert advisory_locks(pg) == 0
            async with pool.acquire() as conn:
                assert await conn.fetchval("select count(*) from pg_cursors "
                                           "where name = 'held'") == 0
                assert await conn.fetch("select pg_listening_channels()") == []
                await conn.execute("notify asyncpg, 'nobody listens'")
    run_asyncpg(hammered, work, server_settings={"work_mem": "19MB"})
    assert heard == ["0", "1", "2", "3"]
    hammered.wait_pins()


def test_asyncpg_released_connection_is_multiplexed(world):
    """Nothing of a released one holds a server connection."""
    async def work(pool):
        async with pool.acquire() as conn:
            await conn.execute("select pg_advisory_lock(7002)")
            await conn.execute("declare held cursor with hold for select 1")
            await conn.fetch("fetch held")
        world.wait_pins()
    run_asyncpg(world, work)


def test_asyncpg_introspection_leaves_jit_alone(hammered):
    """Before it asks for unknown types asyncpg puts `jit` off with set_config, and back after."""
    async def main():
        conn = await asyncpg.connect(**asyncpg_words(hammered))
        await conn.execute("create schema session_types; "
                           "create type session_types.mood as enum ('sad', 'ok'); "
                           "create type session_types.pair as (a int, b session_types.mood)")
        try:
            await conn.execute("set jit = on")
            assert await conn.fetchval("select array[(1, 'ok')::session_types.pair]") == [(1, "ok")]
            assert await conn.fetchval("select 'sad'::session_types.mood") == "sad"
            assert await conn.fetchval("show jit") == "on"
        finally:
            await conn.execute("drop schema session_types cascade")
            await conn.close()
    asyncio.run(main())


# ---- Django's and Rails' own SQL ----------------------------------------------------------------

RAILS_7_0 = ["SET client_min_messages TO 'warning'", "SET standard_conforming_strings = on",
             "SET intervalstyle = iso_8601", "SET SESSION timezone TO 'UTC'"]
RAILS_7_1 = ["; ".join(RAILS_7_0)]
RAILS = {"7.0": RAILS_7_0, "7.1": RAILS_7_1}
RAILS_LOOKS = ("select current_setting('client_min_messages'), current_setting('IntervalStyle'), "
               "current_setting('TimeZone'), interval '1 day'::text")
RAILS_SEES = ("warning", "iso_8601", "UTC", "P1D")


@pytest.mark.parametrize("version", RAILS)
def test_rails_connections_keep_what_they_set_at_connect(hammered, version):
    rails, others = [hammered.client() for _ in range(3)], hammered.client()
    for client in rails:
        for statement in RAILS[version]:
            client.q(statement)
    for _ in range(10):
        for client in rails:
            assert client.q(RAILS_LOOKS).rows == [RAILS_SEES]
            assert client.conn.parameters["IntervalStyle"] == "iso_8601"
            client.conn.run(wire.parse("a1", RAILS_LOOKS), wire.SYNC)  # a statement of its cache
            assert client.conn.run(wire.bind("", "a1"), wire.execute(), wire.SYNC).rows == \
                [RAILS_SEES]
            client.q("DEALLOCATE a1")
        assert others.show("IntervalStyle") == "postgres"


@pytest.mark.parametrize("version", RAILS)
def test_rails_reset_makes_a_connection_new(hammered, version):
    """ActiveRecord's reset!: ROLLBACK if needed, DISCARD ALL, and what is set at connect."""
    client = hammered.client()
    for _ in range(3):
        for statement in RAILS[version]:
            client.q(statement)
        client.q("SET statement_timeout = '5s'; CREATE TEMP TABLE x (a int)")
        client.q("SET ROLE session_reader")
        client.q("BEGIN")
        client.refused("SELECT 1/0", "22012")
        client.q("ROLLBACK")
        client.q("DISCARD ALL")
        assert client.show("statement_timeout") == "0"
        assert client.one("SELECT current_user") == "app"
        assert client.show("IntervalStyle") == "postgres"
        client.refused("TABLE x", "42P01")
    hammered.wait_pins()


def rails_migrates(client, lock, log, number):
    """One deployment: `rails db:migrate` as its log shows it. False if another one is at it."""
    for statement in RAILS_7_1:
        client.q(statement)
    if client.one(f"SELECT pg_try_advisory_lock({lock})") != "t":
        return False
    log.append(("begins", number))
    client.q('CREATE TABLE IF NOT EXISTS session_test.schema_migrations '
             '("version" character varying NOT NULL PRIMARY KEY)')
    known = {row[0] for row in client.q("SELECT version FROM session_test.schema_migrations").rows}
    for version in ("20260101000000", "20260102000000", "20260103000000"):
        if version in known:
            continue
        client.q("BEGIN")
        client.q(f"CREATE TABLE session_test.made_{version} (id bigserial primary key)")
        client.x('INSERT INTO session_test.schema_migrations ("version") VALUES ($1)', [version])
        client.q("COMMIT")
        if version == "20260102000000":  # disable_ddl_transaction!
            client.q(f"CREATE INDEX CONCURRENTLY ON session_test.made_{version} (id)")
    log.append(("ends", number))
    assert client.one(f"SELECT pg_advisory_unlock({lock})") == "t"
    return True


def test_rails_migrations_of_three_deployments_run_one_after_another(hammered, pg):
    lock, log, problems = 2053462845 * 3512345678, [], []

    def deploy(number):
        try:
            client = hammered.client()
            wire.eventually(lambda: rails_migrates(client, lock, log, number), 30 * targets.SCALE,
                            "the lock")
        except Exception as problem:  # noqa: BLE001 - shown below
            problems.append(problem)
    threads = [threading.Thread(target=deploy, args=(n,), daemon=True) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60 * targets.SCALE)
    assert not problems, problems
    assert [word for word, _ in log] == ["begins", "ends"] * 3
    assert all(log[i][1] == log[i + 1][1] for i in (0, 2, 4))
    assert pg.in_app("select count(*) from session_test.schema_migrations") == [(3,)]
    assert advisory_locks(pg) == 0


LOCKS = {  # tool: (lock, unlock), each with parameters as the tool sends them
    "django-pglocks": (("SELECT pg_advisory_lock(%s)", (-4711,)),
                       ("SELECT pg_advisory_unlock(%s)", (-4711,))),
    "two_keys": (("SELECT pg_advisory_lock(%s::int, %s::int)", (7, 13)),
                 ("SELECT pg_advisory_unlock(%s::int, %s::int)", (7, 13))),
    "flyway": (("SELECT pg_try_advisory_lock(77431708279161)", None),
               ("SELECT pg_advisory_unlock(77431708279161)", None)),
    "golang-migrate": (("SELECT pg_advisory_lock(%s)", ("4185113913",)),
                       ("SELECT pg_advisory_unlock(%s)", ("4185113913",))),
    "prisma": (("SELECT pg_advisory_lock(72707369)", None),
               ("SELECT pg_advisory_unlock_all()", None)),
    "shared": (("SELECT pg_advisory_lock_shared(hashtext(%s))", ("deploy",)),
               ("SELECT pg_advisory_unlock_shared(hashtext(%s))", ("deploy",))),
}


@pytest.mark.parametrize("tool", LOCKS)
def test_migration_lock_is_held_from_transaction_to_transaction(hammered, pg, tool):
    """Django: TimeZone and sometimes a role at connect, then each migration atomically."""
    lock, unlock = LOCKS[tool]
    conn = connect(hammered)
    conn.execute("SELECT set_config('TimeZone', 'Africa/Nairobi', false)")
    conn.execute("SET ROLE session_writer")
    for _ in range(3):
        conn.execute(*lock)
        for number in range(4):
            with conn.transaction():
                with conn.transaction():  # a savepoint for each atomic() inside
                    assert value(conn, "SHOW TimeZone") == "Africa/Nairobi"
                    conn.execute("INSERT INTO session_test.touched VALUES (%s)", (number,))
            assert advisory_locks(pg) == 1
        assert value(conn, *unlock) in (True, "")
        assert advisory_locks(pg) == 0
        assert value(conn, "SELECT current_user") == "session_writer"
    hammered.wait_pins()


# ---- Node ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("file", ["drizzle", "node_postgres", "postgres_js"])
def test_node_client_keeps_its_session(node, hammered, file):  # noqa: F811
    target = hammered.target
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"DATABASE_URL": f"postgres://app:{PASSWORDS['app']}@{target.host}:{target.port}"
                    "/app", "NO_COLOR": "1", "TZ": "UTC", "SLUICE_TEST_SCALE": str(targets.SCALE)}
    code, output = test_node.run(node, f"sessions/{file}.test.mjs", environment,
                                 180 * targets.SCALE)
    if code != 0:
        pytest.fail(f"{file} ended with {code}\n{output[-12000:]}", pytrace=False)
