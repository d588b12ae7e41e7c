"""Clients that nobody here wrote: psql, pgbench, psycopg 3, asyncpg, pg_dump."""

import asyncio
import signal
import subprocess
import threading

import asyncpg
import psycopg
import pytest
from psycopg import sql as psycopg_sql

import targets
import wire
from certificates import client_context
from postgres import PASSWORDS


def run(target, *command, stdin=None, timeout=60, check=True, **environment):
    done = subprocess.run([str(c) for c in command], input=stdin, text=True, capture_output=True,
                          env={**target.environment(), **environment},
                          timeout=timeout * targets.SCALE)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout if check else done


# ---- psql ---------------------------------------------------------------------------------------


def psql(target, script, *options, **environment):
    return run(target, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *options, stdin=script,
               **environment)


def test_psql_runs_statements(sluice):
    assert psql(sluice, "select 1; select 'two', 3;\nselect 4 \\; select 5;") == \
        "1\ntwo|3\n4\n5\n"


def test_psql_transaction_and_savepoints(sluice, table):
    out = psql(sluice, "begin; insert into t values (1, 'a'); savepoint s; "
                       "insert into t values (2, 'b'); rollback to s; commit; table t;")
    assert out == "1|a\n"


def test_psql_copy_in_and_out(sluice, table, tmp_path):
    source, copy = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text("".join(f"{i}\tline {i}\n" for i in range(20000)))
    psql(sluice, f"\\copy t from '{source}'\n\\copy (select * from t order by id) to '{copy}'\n")
    assert copy.read_text() == source.read_text()


def test_psql_gdesc(sluice):
    assert psql(sluice, "select 1 as one, 'x'::text as two \\gdesc\n") == \
        "one|integer\ntwo|text\n"


def test_psql_bind(sluice):
    version = run(sluice, "psql", "--version")
    if int(version.split()[2].split(".")[0]) < 16:
        pytest.skip("\\bind came with psql 16")
    assert psql(sluice, "select $1::int + $2::int \\bind 20 22 \\g\n") == "42\n"


def test_psql_fetch_count_and_gexec_and_watch(sluice):
    assert psql(sluice, "\\set FETCH_COUNT 7\nselect generate_series(1, 50);\n") == \
        "".join(f"{i}\n" for i in range(1, 51))
    assert psql(sluice, "select 'select ' || i from generate_series(1, 3) i \\gexec\n") == \
        "1\n2\n3\n"


def test_psql_describes_and_lists(sluice, table):
    assert "id|integer" in psql(sluice, "\\d t\n")
    assert "app|" in psql(sluice, "\\l\n") and "alice" in psql(sluice, "\\du\n")


def test_psql_over_tls_with_url(make_sluice, server_certificates, authority):
    certificate, key = server_certificates["first"]
    sluice = make_sluice(postgres={"tls": {"mode": "require", "certificate": str(certificate),
                                           "key": str(key)}})
    url = (f"postgresql://app:{PASSWORDS['app']}@localhost:{sluice.port}/app?sslmode=verify-full"
           f"&sslrootcert={authority.ca}&channel_binding=require&hostaddr=127.0.0.1")
    assert run(sluice, "psql", "-XAtc", "select 1", url) == "1\n"


def test_psql_cancels_with_control_c(sluice, pg):
    process = subprocess.Popen(["psql", "-Xc", "select pg_sleep(60)"], env=sluice.environment(),
                               stderr=subprocess.PIPE, text=True)
    wire.eventually(lambda: [s for s in pg.sessions() if "pg_sleep" in s["query"]], 10, "psql")
    process.send_signal(signal.SIGINT)
    assert "canceling statement due to user request" in process.communicate(timeout=20)[1]


def test_pg_dump_dumps_through_a_session_pool(make_sluice, direct, table):
    sluice = make_sluice(postgres={"pool_mode": "session"})
    psql(sluice, "insert into t select i, 'note ' || i from generate_series(1, 1000) i;")

    def strip(text):
        return [x for x in text.splitlines() if not x.startswith(("\\restrict", "\\unrestrict"))]
    assert strip(run(sluice, "pg_dump", "-t", "t")) == strip(run(direct, "pg_dump", "-t", "t"))


# ---- pgbench ------------------------------------------------------------------------------------


@pytest.fixture
def bench_tables(pg, direct):
    run(direct, "pgbench", "-iq", "-s", "1", "-I", "dtGvp")
    yield
    pg.in_app("drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, "
              "pgbench_tellers")


def pgbench(target, *options, **arguments):
    out = run(target, "pgbench", "-n", *options, **arguments)
    assert "number of failed transactions: 0 " in out, out
    return out


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench_select_only(sluice, bench_tables, mode):
    pgbench(sluice, "-S", "-M", mode, "-c", "20", "-j", "2", "-t", "100")


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench_tpcb_keeps_its_sums(sluice, bench_tables, pg, mode):
    """A thread for each client: pgbench prepares with a blocking call, in which the thread's
    other clients would keep their transactions, and the whole pool, for ever."""
    pgbench(sluice, "-M", mode, "-c", "12", "-j", "12", "-t", "40")
    sums = pg.in_app("select (select sum(abalance) from pgbench_accounts), "
                     "(select sum(tbalance) from pgbench_tellers), "
                     "(select sum(bbalance) from pgbench_branches), "
                     "(select sum(delta) from pgbench_history), "
                     "(select count(*) from pgbench_history)")[0]
    assert len(set(sums[:4])) == 1 and sums[4] == 12 * 40


@pytest.mark.parametrize("mode", ["extended", "prepared"])
def test_pgbench_pipelines(sluice, bench_tables, tmp_path, mode):
    script = tmp_path / "pipeline.sql"
    script.write_text(
        "\\set a random(1, 100000)\n\\startpipeline\n"
        "begin;\nselect abalance from pgbench_accounts where aid = :a;\n"
        "update pgbench_accounts set abalance = abalance + 1 where aid = :a;\nselect 1;\n"
        "commit;\n\\endpipeline\n")
    pgbench(sluice, "-M", mode, "-c", "15", "-j", "2", "-t", "50", "-f", script)


def test_pgbench_connect_per_transaction(sluice, bench_tables):
    pgbench(sluice, "-S", "-C", "-c", "10", "-j", "2", "-t", "15")


@pytest.mark.slow
def test_pgbench_500_clients_on_a_pool_of_5(sluice, bench_tables, pg):
    pgbench(sluice, "-S", "-M", "prepared", "-c", "500", "-j", "2", "-t", "20")
    assert pg.session_count() <= 5


# ---- psycopg 3 ----------------------------------------------------------------------------------


def test_psycopg_sync(sluice, table):
    with sluice.psycopg(autocommit=False) as conn:
        conn.execute("insert into t values (%s, %s)", (1, "ü"))
        conn.commit()
        with conn.cursor() as cursor:
            cursor.executemany("insert into t values (%s, %s)", [(i, str(i)) for i in range(50)])
        conn.rollback()
        assert conn.execute("select * from t").fetchall() == [(1, "ü")]


def test_psycopg_binary_results(sluice):
    with sluice.psycopg() as conn, conn.cursor(binary=True) as cursor:
        cursor.execute("select %s::bytea, %s::int[], now()::date", (b"\0\1\xff", [1, 2]))
        assert cursor.fetchone()[:2] == (b"\0\1\xff", [1, 2])


@pytest.mark.parametrize("threshold", [0, 1, 5])
def test_psycopg_prepared(make_sluice, threshold):
    sluice = make_sluice(postgres={"pool_size": 2})
    conns = [sluice.psycopg() for _ in range(6)]
    for conn in conns:
        conn.prepare_threshold = threshold
    for i in range(20):
        for n, conn in enumerate(conns):
            assert conn.execute("select %s::int + %s::int", (i, n)).fetchone() == (i + n,)


def test_psycopg_prepared_statements_beyond_its_own_limit(sluice):
    """psycopg deallocates its oldest by SQL (DEALLOCATE name)."""
    conn = sluice.psycopg()
    conn.prepare_threshold, conn.prepared_max = 0, 5
    for _ in range(2):
        for i in range(12):
            assert conn.execute(f"select {i}, %s::int", (i,)).fetchone() == (i, i)


def test_psycopg_pipeline(sluice, table):
    conn = sluice.psycopg()
    with conn.pipeline():
        cursors = [conn.execute("select %s::int * 2", (i,)) for i in range(300)]
        conn.execute("insert into t values (1, 'p')")
        assert [c.fetchone() for c in cursors] == [(2 * i,) for i in range(300)]
    with pytest.raises(psycopg.errors.DivisionByZero):
        with conn.pipeline():
            conn.execute("select 1")
            conn.execute("select 1/0")
            conn.execute("select 2")
    assert conn.execute("select note from t").fetchall() == [("p",)]


def test_psycopg_server_side_cursor(sluice):
    with sluice.psycopg(autocommit=False) as conn:
        with conn.cursor(name="c") as cursor:
            cursor.itersize = 100
            cursor.execute("select generate_series(1, 1050)")
            assert [r[0] for r in cursor] == list(range(1, 1051))


def test_psycopg_copy(sluice, table):
    with sluice.psycopg() as conn, conn.cursor() as cursor:
        with cursor.copy("copy t from stdin") as copy:
            for i in range(5000):
                copy.write_row((i, "x" * 50))
        with cursor.copy("copy t to stdout") as copy:
            assert sum(1 for _ in copy.rows()) == 5000
        with pytest.raises(psycopg.DataError):
            with cursor.copy("copy t from stdin") as copy:
                copy.write_row(("no number", "x"))
        assert cursor.execute("select count(*) from t").fetchone() == (5000,)


def test_psycopg_notices_and_errors(sluice):
    conn = sluice.psycopg()
    seen = []
    conn.add_notice_handler(lambda d: seen.append(d.message_primary))
    conn.execute("do $$ begin raise notice 'hello'; end $$")
    assert seen == ["hello"]
    with pytest.raises(psycopg.errors.UndefinedTable) as caught:
        conn.execute("select * from nowhere")
    assert caught.value.diag.statement_position == "15"


def test_psycopg_async(sluice):
    async def one(i):
        async with await psycopg.AsyncConnection.connect(sluice.dsn(), autocommit=True) as conn:
            for k in range(10):
                cursor = await conn.execute("select %s::int", (i * 100 + k,))
                assert await cursor.fetchone() == (i * 100 + k,)

    async def main():
        await asyncio.gather(*(one(i) for i in range(30)))
    asyncio.run(main())


def test_psycopg_composed_sql_and_types(sluice, table):
    conn = sluice.psycopg()
    statement = psycopg_sql.SQL("insert into {} ({}) values (%s) returning *").format(
        psycopg_sql.Identifier("t"), psycopg_sql.Identifier("id"))
    assert conn.execute(statement, (5,)).fetchone() == (5, None)


def test_psycopg_two_phase_commit(sluice, table):
    with sluice.psycopg(autocommit=False) as conn:
        conn.tpc_begin(conn.xid(1, "global", "branch"))
        conn.execute("insert into t values (1, 'two phases')")
        conn.tpc_prepare()
        conn.tpc_commit()
        assert conn.execute("select note from t").fetchall() == [("two phases",)]


def test_psycopg_many_threads(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 3})
    problems = []

    def work(i):
        try:
            with psycopg.connect(sluice.dsn(), autocommit=True) as conn:
                for k in range(40):
                    assert conn.execute("select %s::int, %s::int", (i, k)).fetchone() == (i, k)
        except Exception as problem:  # noqa: BLE001
            problems.append(problem)
    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30 * targets.SCALE)
    assert not problems, problems[:3]


# ---- asyncpg ------------------------------------------------------------------------------------


def with_asyncpg(sluice, work, **options):
    async def main():
        conn = await asyncpg.connect(host=sluice.host, port=sluice.port, user="app",
                                     password=PASSWORDS["app"], database="app", **options)
        try:
            await work(conn)
        finally:
            await conn.close()
    asyncio.run(main())


def test_asyncpg_statement_cache(sluice):
    async def work(conn):
        for i in range(30):
            assert await conn.fetchval("select $1::int + 1", i) == i + 1
        rows = await conn.fetch("select g, g::text from generate_series(1, 100) g")
        assert [tuple(r) for r in rows] == [(i, str(i)) for i in range(1, 101)]
    with_asyncpg(sluice, work, ssl=False)


def test_asyncpg_statement_cache_of_many_connections(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 2, "max_prepared_statements": 20})

    async def main():
        conns = [await asyncpg.connect(host=sluice.host, port=sluice.port, user="app", ssl=False,
                                       password=PASSWORDS["app"], database="app",
                                       statement_cache_size=10) for _ in range(10)]

        async def one(n, conn):
            for i in range(40):
                assert await conn.fetchval(f"select $1::int * {i % 15}", n) == n * (i % 15)
        await asyncio.gather(*(one(n, c) for n, c in enumerate(conns)))
        for conn in conns:
            await conn.close()
    asyncio.run(main())


def test_asyncpg_cursor_and_transactions(sluice, table):
    async def work(conn):
        async with conn.transaction():
            seen = [r[0] async for r in conn.cursor("select generate_series(1, 500)",
                                                    prefetch=40)]
            assert seen == list(range(1, 501))
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with conn.transaction():
                await conn.execute("insert into t values (1, 'x')")
                await conn.execute("select 1/0")
        assert await conn.fetchval("select count(*) from t") == 0
        async with conn.transaction():
            with pytest.raises(asyncpg.UndefinedTableError):
                async with conn.transaction():
                    await conn.execute("select * from nowhere")
            assert await conn.fetchval("select 1") == 1
    with_asyncpg(sluice, work, ssl=False)


def test_asyncpg_copy(sluice, table):
    async def work(conn):
        await conn.copy_records_to_table("t", records=[(i, "x" * 30) for i in range(5000)])
        assert await conn.fetchval("select count(*) from t") == 5000
        got = bytearray()

        async def sink(data):
            got.extend(data)
        await conn.copy_from_query("select * from t", output=sink)
        assert got.count(b"\n") == 5000
    with_asyncpg(sluice, work, ssl=False)


def test_asyncpg_prepare_and_executemany(sluice, table):
    async def work(conn):
        statement = await conn.prepare("select $1::text || 'x'")
        for word in ("a", "b"):
            assert await statement.fetchval(word) == word + "x"
        await conn.executemany("insert into t values ($1, $2)", [(i, str(i)) for i in range(300)])
        assert await conn.fetchval("select sum(id) from t") == sum(range(300))
    with_asyncpg(sluice, work, ssl=False)


def test_asyncpg_timeout_cancels(sluice, pg):
    async def work(conn):
        with pytest.raises(asyncio.TimeoutError):
            await conn.fetchval("select pg_sleep(60)", timeout=0.2)
        assert await conn.fetchval("select 1") == 1
    with_asyncpg(sluice, work, ssl=False)


def test_asyncpg_server_settings(sluice):
    async def work(conn):
        assert await conn.fetchval("show search_path") == "audit"
        assert await conn.fetchval("show statement_timeout") == "4321ms"
    with_asyncpg(sluice, work, ssl=False, server_settings={
        "search_path": "audit", "statement_timeout": "4321", "application_name": "pg"})


def test_asyncpg_over_tls(make_sluice, server_certificates, authority):
    certificate, key = server_certificates["first"]
    sluice = make_sluice(postgres={"tls": {"mode": "require", "certificate": str(certificate),
                                           "key": str(key)}})

    async def work(conn):
        assert await conn.fetchval("select repeat('x', 200000)") == "x" * 200000
    with_asyncpg(sluice, work, ssl=client_context(authority.ca))


def test_asyncpg_pool_of_its_own(sluice):
    async def main():
        async with asyncpg.create_pool(host=sluice.host, port=sluice.port, user="app", ssl=False,
                                       password=PASSWORDS["app"], database="app", min_size=5,
                                       max_size=20) as pool:
            async def one(i):
                async with pool.acquire() as conn:
                    assert await conn.fetchval("select $1::int", i) == i
            await asyncio.gather(*(one(i) for i in range(100)))
    asyncio.run(main())
