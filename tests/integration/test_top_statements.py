"""Top statements of a running daemon, as SHOW QUERIES and the dashboard's JSON show them."""

import json

import psycopg
import pytest

import wire

SECRET = "hunter2-4Xq"


@pytest.fixture
def make(make_sluice):
    def start(**postgres):
        return make_sluice(postgres={"admin_users": ["alice"], **postgres})
    return start


class Top:
    def __init__(self, sluice):
        self.console = sluice.connect(user="alice", database="pgbouncer")

    def lines(self):
        """text -> (calls, errors, total in µs)"""
        result = self.console.query("SHOW QUERIES")
        (shape,) = result._of("T")
        names = wire.column_names(shape.body)
        rows = [dict(zip(names, row)) for row in result.rows]
        assert all(row["database"] == "app" and row["user"] == "app" for row in rows)
        return {row["query"]: (int(row["calls"]), int(row["errors"]), int(row["total_us"]))
                for row in rows}

    def wait(self, text, calls):
        wire.eventually(lambda: self.lines().get(text, (0,))[0] == calls, 10,
                        f"{calls} calls of {text}: {self.lines()}")
        return self.lines()[text]


def test_every_way_to_run_a_statement_is_counted(make, table):
    sluice = make()
    top = Top(sluice)
    client = sluice.connect(user="alice")
    for i in range(3):
        client.query(f"select note from t where id = {i} -- {SECRET}")
    with psycopg.connect(sluice.dsn(user="alice"), autocommit=True) as other:
        for i in range(4):
            other.execute("select note from t where id = %s", [i], prepare=False)
        for i in range(5):
            other.execute("select id from t where note = %s", [SECRET], prepare=True)
        with other.pipeline():
            for i in range(6):
                other.execute("insert into t values (%s, %s)", [i, SECRET])
    assert top.wait("select note from t where id = $1", 7)[1] == 0
    top.wait("select id from t where note = $1", 5)
    top.wait("insert into t values ($1, $2)", 6)
    slow = "select pg_sleep(0.2)"
    client.query(slow)
    calls, errors, took = top.wait("select pg_sleep($1)", 1)
    assert errors == 0 and 200_000 <= took < 5_000_000
    assert next(iter(top.lines())) == "select pg_sleep($1)"  # the most expensive first


def test_errors_and_secrets(make):
    sluice = make()
    top = Top(sluice)
    client = sluice.connect(user="alice")
    texts = [f"alter role nobody password '{SECRET}'", f"select '{SECRET}' from no_such_table",
             f"selekt '{SECRET}'", f"set app.secret = '{SECRET}'",
             f"select * from dblink('password={SECRET}', 'x')", f"select {SECRET} from from"]
    for text in texts:
        client.query(text, check=False)
    assert top.wait("alter role ...", 1)[1] == 1
    assert top.wait("select $1 from no_such_table", 1)[1] == 1
    assert top.wait("<unparsed>", 1)[1] == 1
    assert top.wait("select <unparsed>", 1)[1] == 1
    assert top.wait("set app.secret ...", 1)[1] == 0
    status, _, body = sluice.http("/api/status")
    assert status == 200
    shown = {row["text"]: row["calls"] for row in json.loads(body)["statements"]}
    assert shown["alter role ..."] == 1
    everything = body + str(top.lines()) + sluice.http("/metrics")[2] + sluice.log
    assert SECRET not in everything


def test_workers_add_up(make):
    sluice = make()
    top = Top(sluice)
    for i in range(8):
        with psycopg.connect(sluice.dsn(user="bob"), autocommit=True) as client:
            for k in range(10):
                client.execute(f"select {i} + {k}")
    top.wait("select $1 + $2", 80)


def test_texts_without_end_need_few_lines(make):
    sluice = make(track_statements=20)
    top = Top(sluice)
    client = sluice.connect(user="alice")
    for i in range(300):
        client.query(f"select 1 as name_{i}")
    wire.eventually(lambda: sum(line[0] for line in top.lines().values()) == 300, 10, "300 calls")
    lines = top.lines()
    assert len(lines) <= 21
    assert lines["<other>"][0] >= 280


def test_reload_turns_it_off_and_on(make):
    sluice = make()
    top = Top(sluice)
    client = sluice.connect(user="alice")
    client.query("select 1")
    top.wait("select $1", 1)
    sluice.reload(postgres={"track_statements": 0})
    wire.eventually(lambda: not top.lines(), 10, "nothing is kept")
    client.query("select 1")
    sluice.reload(postgres={"track_statements": 10})
    wire.eventually(lambda: client.query("select 2") and "select $1" in top.lines(), 10,
                    "counted again")


@pytest.mark.parametrize("mode", ["session", "statement"])
def test_other_modes(make, mode):
    sluice = make(pool_mode=mode)
    top = Top(sluice)
    with psycopg.connect(sluice.dsn(user="alice"), autocommit=True) as client:
        for i in range(3):
            client.execute("select %s::int + 1", [i], prepare=True)
    top.wait("select $1::int + $2", 3)
