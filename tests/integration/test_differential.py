"""Whole random conversations, compared message by message with PostgreSQL itself."""

import subprocess

import psycopg
import pytest

import wire

P, B, D, E, S = wire.parse, wire.bind, wire.describe, wire.execute, wire.SYNC


@pytest.fixture
def one(make_sluice):
    """One server connection, so that any mistake meets the next client."""
    return make_sluice(postgres={"pool_size": 1})


@pytest.fixture
def two(make_sluice):
    return make_sluice(postgres={"pool_size": 2})


def random_conversation(rng):
    """Chunks that always end synchronised; names may be unknown, doubled or closed."""
    names = ["", "", "s1", "s2", "s3"]
    statements = ["select 1", "select $1::text", "select 1/0", "selekt", "select generate_series"
                  "(1, 7)", "begin", "commit", "rollback", "select 'x', null", "",
                  "savepoint a", "rollback to a", "values (1), (2)", "select $1::int + $2::int",
                  "insert into t values (1, 'r')", "set local work_mem = '5MB'"]
    chunks = []
    for _ in range(rng.randrange(1, 9)):
        kind = rng.randrange(10)
        name, portal = rng.choice(names), rng.choice(["", "", "p1"])
        if kind == 0:
            chunks.append(wire.query("; ".join(
                rng.choice([s for s in statements if "$" not in s])
                for _ in range(rng.randrange(1, 4)))))
        elif kind <= 3:
            chunks.append(P(name, rng.choice(statements)))
        elif kind <= 5:
            chunks.append(B(portal, name, [["5"], [], ["7", "8"]][rng.randrange(3)]))
        elif kind == 6:
            chunks.append(D(rng.choice("SP"), rng.choice([name, portal])))
        elif kind <= 8:
            chunks.append(E(portal, rng.choice([0, 0, 2])))
        else:
            chunks.append(rng.choice([wire.close("S", name), wire.close("P", portal), S,
                                      wire.FLUSH]))
    chunks.append(S)
    if rng.random() < 0.2:
        chunks.append(wire.query("deallocate all"))
    return chunks


def comparable(result):
    out = []
    for m in result.messages:
        if m.type == "E":
            fields = wire.error_fields(m.body)
            out.append((m.type, fields["C"], fields["S"]))
        elif m.type != "S":
            out.append((m.type, m.body))
    return out


def same(ours, theirs):
    """Equal, but that a doubled name may be refused before its text is looked at."""
    return len(ours) == len(theirs) and all(
        a == b or (a[1:2] == ("42P05",) and b[1:2] in (("42601",), ("25P02",)))
        for a, b in zip(ours, theirs))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_differential_random_conversations_are_as_without_a_pooler(one, direct, table, rng, part):
    """The bodies of errors may name our way of preparing; codes and order may not differ."""
    for number in range(150):
        ours, theirs = one.connect(), direct.connect()
        history = []
        for _ in range(rng.randrange(1, 4)):
            chunks = random_conversation(rng)
            history.append(chunks)
            # A Query inside a batch that failed is skipped too: how many ReadyForQuery there
            # are is PostgreSQL's to tell.
            turn = [*chunks, wire.query("rollback"), wire.query("select 'end of turn'")]
            theirs.send(*turn)
            real = wire.Result()
            while ("end of turn",) not in real.rows:
                real.messages += theirs.recv_until("Z").messages
            ours.send(*turn)
            mine = wire.Result()
            while ("end of turn",) not in mine.rows:
                mine.messages += ours.recv_until("Z").messages
            assert same(comparable(mine), comparable(real)), (
                number, history, comparable(mine), comparable(real))
        ours.terminate(), theirs.terminate()


@pytest.mark.slow
def test_differential_random_conversations_of_many_clients_at_once(two, rng, table):
    """Interleaved, each client still gets its own rows, and everything ends."""
    conns = [two.connect() for _ in range(12)]
    for _ in range(40):
        for i, conn in enumerate(conns):
            conn.send(*[c for c in random_conversation(rng)
                        if c[:1] not in (b"Q",)], wire.query("rollback"),
                      wire.query(f"select 'mine {i}'"))
        for i, conn in enumerate(conns):
            seen = conn.recv_until("Z")
            while (f"mine {i}",) not in seen.rows:
                seen = conn.recv_until("Z")
                others = [r for r in seen.rows if str(r[0]).startswith("mine ")]
                assert others in ([], [(f"mine {i}",)])


def test_psql_regression_style_script_has_the_same_output(one, direct, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text(r"""
\set ON_ERROR_STOP 0
create temp table x_unused ();
begin; create table script_t (i int, t text); insert into script_t select i, repeat('a', i)
from generate_series(1, 20) i; select * from script_t order by i; savepoint s;
select 1/0; rollback to s; \d script_t
declare c cursor for select i from script_t; fetch 3 from c; move 2 in c; fetch 2 from c;
explain (costs off) select * from script_t; rollback;
do $$ begin raise notice 'n'; raise warning 'w'; end $$;
select 'ü', E'tab\t', null, array[1,2], '{"a": 1}'::jsonb, interval '1 day';
\copy (select 1, 2) to stdout
""")
    outputs = []
    for target in (direct, one):
        done = subprocess.run(["psql", "-Xaf", str(script)], env=target.environment(),
                              capture_output=True, text=True, timeout=60)
        outputs.append(done.stdout + done.stderr)
    assert outputs[0] == outputs[1]


def test_psycopg_errors_do_not_break_the_connection(one):
    conn = one.psycopg()
    for _ in range(10):
        with pytest.raises(psycopg.errors.DivisionByZero):
            conn.execute("select 1/0")
        assert conn.execute("select 1").fetchone() == (1,)
