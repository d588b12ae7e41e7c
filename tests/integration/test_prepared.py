"""Prepared statements in transaction mode: any client's names on any connection."""

import random
import threading

import pytest

import fake_server
import targets
import wire

P, B, D, E, S = wire.parse, wire.bind, wire.describe, wire.execute, wire.SYNC


@pytest.fixture
def one(make_sluice):
    return make_sluice(postgres={"pool_size": 1})


def server_statements(conn):
    return int(conn.query("select count(*) from pg_prepared_statements").value)


def on_every_connection(sluice, client, count, work):
    """Run `work()` for `client` while each of the pool's connections in turn is the only free
    one; the backends that served it."""
    backends = set()
    holders = [sluice.connect() for _ in range(count)]
    for _ in range(count):
        for holder in holders:
            holder.query("begin")
        # Which holder has which connection is the pool's business: free one not seen yet.
        next(h for h in holders if h.backend() not in backends).query("commit")
        backends.add(client.backend())
        work()
        for holder in holders:
            holder.query("rollback")
    return backends


def test_named_statement_works_on_every_connection(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 3})
    client = sluice.connect()
    client.run(P("s", "select $1::int * 10"), S)

    def work():
        assert client.run(B("", "s", [4]), E(), S).rows == [("40",)]
        assert client.run(D("S", "s"), S).types == "tTZ"
    assert len(on_every_connection(sluice, client, 3, work)) == 3


def test_unnamed_statement_works_on_every_connection(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 3})
    client = sluice.connect()

    def work():
        client.run(P("", "select $1::int * 10"), S)
        assert client.run(B("", "", [4]), E(), S).rows == [("40",)]
    on_every_connection(sluice, client, 3, work)


def test_statement_prepared_once_is_parsed_once_upstream(make_sluice, make_fake):
    fake = make_fake()
    sluice = make_sluice(postgres={"pool_size": 1, "databases": {"app": {"url": fake.url()}}})
    for client in [sluice.connect() for _ in range(5)]:
        client.run(P("mine", "select 'the same text'"), S)
        for _ in range(4):
            client.run(B("", "mine"), E(), S)
    parses = [m for m in fake.messages("P") if b"the same text" in m.body]
    assert len(parses) == 1
    assert len(fake.messages("B")) == 20


def test_statement_of_another_client_with_the_same_text_is_shared(one):
    a, b = one.connect(), one.connect()
    a.run(P("a_name", "select 'shared'"), S)
    b.run(P("b_name", "select 'shared'"), S)
    assert a.run(B("", "a_name"), E(), S).rows == b.run(B("", "b_name"), E(), S).rows
    assert server_statements(one.connect()) == 1


def test_least_recently_used_statement_is_evicted(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1, "max_prepared_statements": 5})
    client = sluice.connect()
    for i in range(20):
        client.run(P(f"s{i}", f"select {i}"), B("", f"s{i}"), E(), S)
    assert server_statements(client) <= 5
    for i in list(range(20)) + list(range(19, -1, -1)):
        assert client.run(B("", f"s{i}"), E(), S).rows == [(str(i),)]
    assert server_statements(client) <= 5


def test_recently_used_statement_is_not_evicted(make_sluice, make_fake):
    fake = make_fake()
    sluice = make_sluice(postgres={"pool_size": 1, "max_prepared_statements": 3,
                                   "databases": {"app": {"url": fake.url()}}})
    client = sluice.connect()
    client.run(P("hot", "select 'hot'"), S)
    for i in range(10):
        client.run(P(f"s{i}", f"select {i}"), S)
        client.run(B("", "hot"), E(), S)
    assert len([m for m in fake.messages("P") if b"'hot'" in m.body]) == 1


def test_batch_with_more_statements_than_the_limit_works(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1, "max_prepared_statements": 3})
    client = sluice.connect()
    chunks = [P(f"s{i}", f"select {i}") for i in range(12)]
    assert client.run(*chunks, S).types == "1" * 12 + "Z"
    chunks = []
    for i in range(12):
        chunks += [B("", f"s{i}"), E()]
    assert client.run(*chunks, S).rows == [(str(i),) for i in range(12)]


def test_limit_zero_passes_names_unchanged(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1, "pool_mode": "session",
                                   "max_prepared_statements": 0})
    client = sluice.connect()
    client.run(P("my_own_name", "select 1"), S)
    assert client.query("select name from pg_prepared_statements").rows == [("my_own_name",)]
    assert client.run(B("", "my_own_name"), E(), S).rows == [("1",)]


def test_statements_of_clients_that_left_do_not_pile_up(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1, "max_prepared_statements": 10})
    for i in range(60):
        with sluice.connect() as client:
            client.run(P("s", f"select {i}, 'left'"), B("", "s"), E(), S)
    assert server_statements(sluice.connect()) <= 10


def test_prepare_in_a_transaction_that_rolls_back_stays_prepared(one):
    """As in PostgreSQL: prepared statements are not transactional."""
    client = one.connect()
    client.query("begin")
    client.run(P("s", "select 5"), S)
    client.query("rollback")
    assert client.run(B("", "s"), E(), S).rows == [("5",)]


def test_describe_is_right_for_parameters_and_columns(one, direct):
    seen = []
    for target in (direct, one):
        conn = target.connect()
        conn.run(P("s", "select $1::int as a, $2::text as b, now() as c"), S)
        seen.append(conn.run(D("S", "s"), S).messages)
    assert seen[0] == seen[1]


def test_statement_that_another_client_closed_is_parsed_again(one):
    a, b = one.connect(), one.connect()
    for conn in (a, b):
        conn.run(P("s", "select 'both'"), S)
    a.run(wire.close("S", "s"), S)
    a.run(P("s", "select 'changed'"), S)
    assert a.run(B("", "s"), E(), S).rows == [("changed",)]
    assert b.run(B("", "s"), E(), S).rows == [("both",)]


def test_sql_prepare_does_not_break_protocol_statements(one):
    client = one.connect()
    client.run(P("s", "select 1"), S)
    client.query("begin; prepare other as select 2; execute other; deallocate other; commit")
    assert client.run(B("", "s"), E(), S).rows == [("1",)]


@pytest.mark.parametrize("word", ["DISCARD ALL", "DEALLOCATE ALL"])
def test_discard_of_one_client_costs_others_nothing(make_sluice, word):
    sluice = make_sluice(postgres={"pool_size": 2})
    clients = [sluice.connect() for _ in range(6)]
    for i, client in enumerate(clients):
        client.run(P("s", f"select {i}"), S)
    for i, client in enumerate(clients):
        clients[0].query(word)
        if i:
            assert client.run(B("", "s"), E(), S).rows == [(str(i),)]
    assert clients[0].run(B("", "s"), E(), S, check=False).codes == ["26000"]


def test_discard_in_a_batch_with_parse_behind_it(one):
    client = one.connect()
    client.run(P("s", "select 1"), S)
    result = client.run(P("", "deallocate all"), B(), E(), P("s", "select 2"), B("", "s"), E(), S,
                        check=False)
    # PostgreSQL takes the name again at once; a pooler that learns of DEALLOCATE from its tag
    # may refuse the doubled name in the same batch, but must then go on rightly.
    if not result.errors:
        assert result.rows == [("2",)]
    assert client.run(P("t", "select 3"), B("", "t"), E(), S).rows == [("3",)]


def test_deallocate_all_in_one_pipeline_with_what_follows(one):
    """As without a pooler: the name is free at once, and what is parsed behind it stays."""
    client = one.connect()
    client.run(P("s", "select 'old'"), S)
    client.send(wire.query("deallocate all"), P("s", "select 'new'"), B("", "s"), E(), S)
    client.recv_until("Z")
    assert client.recv_until("Z").rows == [("new",)]
    assert client.run(B("", "s"), E(), S).rows == [("new",)]


# ---- plans that change --------------------------------------------------------------------------


@pytest.fixture
def changing(pg):
    pg.in_app("drop table if exists changing; create table changing (a int); "
              "insert into changing values (1); grant all on changing to public")
    yield
    pg.in_app("drop table if exists changing")


def test_cached_plan_is_prepared_anew_outside_a_transaction(one, pg, changing):
    client = one.connect()
    client.run(P("s", "select * from changing"), S)
    assert client.run(B("", "s"), E(), S).rows == [("1",)]
    for i, kind in enumerate(("text", "int", "numeric")):
        pg.in_app(f"alter table changing add column b{i} {kind} default 7")
        result = client.run(B("", "s"), E(), S)
        assert result.rows == [("1",) + ("7",) * (i + 1)]
        assert result.types == "2DCZ"


def test_cached_plan_of_other_clients_is_prepared_anew_too(one, pg, changing):
    clients = [one.connect() for _ in range(3)]
    for client in clients:
        client.run(P("s", "select * from changing where a = $1"), S)
        client.run(B("", "s", [1]), E(), S)
    pg.in_app("alter table changing add column b text default 'x'")
    for client in clients:
        assert client.run(B("", "s", [1]), D("P"), E(), S).rows == [("1", "x")]


def test_cached_plan_error_in_a_transaction_is_the_clients(one, pg, changing):
    client = one.connect()
    client.run(P("s", "select * from changing"), S)
    client.run(B("", "s"), E(), S)
    pg.in_app("alter table changing add column b text")
    client.query("begin")
    result = client.run(B("", "s"), E(), S, check=False)
    assert result.codes == ["0A000"] and result.status == "E"
    client.query("rollback")
    assert client.run(B("", "s"), E(), S).rows == [("1", None)]


def test_cached_plan_batch_with_writes_is_not_run_twice(one, pg, changing, table):
    client = one.connect()
    client.run(P("s", "select * from changing"), P("w", "insert into t values (1, 'w')"), S)
    client.run(B("", "s"), E(), S)
    pg.in_app("alter table changing add column b text")
    client.run(B("", "w"), E(), B("", "s"), E(), S, check=False)
    assert int(client.query("select count(*) from t").value) in (0, 1)
    assert client.run(B("", "s"), E(), S).rows == [("1", None)]


def test_dropped_and_created_table_is_planned_anew(one, pg, changing):
    client = one.connect()
    client.run(P("s", "select a from changing"), S)
    assert client.run(B("", "s"), E(), S).rows == [("1",)]
    pg.in_app("drop table changing; create table changing (a int); "
              "insert into changing values (2); grant all on changing to public")
    assert client.run(B("", "s"), E(), S).rows == [("2",)]


# ---- many at once -------------------------------------------------------------------------------


@pytest.mark.slow
def test_many_clients_with_the_same_names_never_mix(make_sluice, rng):
    sluice = make_sluice(postgres={"pool_size": 3, "max_prepared_statements": 7})
    problems = []

    def work(number, seed):
        mine = random.Random(seed)
        try:
            conn = sluice.connect()
            known = set()
            for _ in range(150):
                name = f"s{mine.randrange(6)}"
                if name not in known:
                    conn.run(P(name, f"select '{number} {name} ' || $1::text"), S)
                    known.add(name)
                elif mine.random() < 0.1:
                    conn.run(wire.close("S", name), S)
                    known.discard(name)
                    continue
                elif mine.random() < 0.02:
                    conn.query("deallocate all")
                    known.clear()
                    continue
                got = conn.run(B("", name, ["x"]), E(), S).rows
                assert got == [(f"{number} {name} x",)], got
        except Exception as problem:  # noqa: BLE001
            problems.append((number, problem))

    threads = [threading.Thread(target=work, args=(i, rng.random()), daemon=True)
               for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60 * targets.SCALE)
    assert not problems, problems[:3]


def test_memory_of_many_statements_is_bounded(make_sluice, make_fake):
    """16,000 distinct statements of clients that close them do not stay in memory."""
    if targets.SANITIZED:
        pytest.skip("memory of a sanitized build says nothing")
    fake = make_fake(fake_server.polite())
    sluice = make_sluice(postgres={"pool_size": 1, "databases": {"app": {"url": fake.url()}}})
    client = sluice.connect()

    def many(start, count):
        for base in range(start, start + count, 200):
            chunks = []
            for i in range(base, base + 200):
                chunks += [P("s", f"select {i} -- {'x' * 200}"), wire.close("S", "s")]
            client.run(*chunks, S)
    many(0, 4000)
    before = sluice.memory("VmRSS")
    many(4000, 12000)
    assert sluice.memory("VmRSS") - before < 3 << 20
