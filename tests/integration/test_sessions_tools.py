"""psql, pg_dump and pg_restore in transaction mode, while other clients take every connection."""

import subprocess

import pytest

import targets
from session_world import Hammer, World, make_objects


@pytest.fixture
def make_world(make_sluice, pg):
    make_objects(pg)
    return lambda **changes: World(make_sluice, pg, **changes)


@pytest.fixture
def hammered(make_world):
    """Three connections, and three clients with other settings that never leave them alone."""
    world = make_world()
    with Hammer(world, 3):
        yield world


# ---- psql ---------------------------------------------------------------------------------------


def command(target, *words, stdin=None, database="app", **environment):
    done = subprocess.run([str(w) for w in words], input=stdin, text=True, capture_output=True,
                          env={**target.environment(database=database), **environment},
                          timeout=90 * targets.SCALE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


PSQL = r"""
\set ON_ERROR_STOP 1
set app.tenant = 'script'; set work_mem = '12MB'; set search_path = session_test, public;
select set_config('app.user_id', '2', false) as mine \gset
select amount as own from accounts \gset
select :own + 1 as next, :'mine' as who \gset seen_
\echo :own :seen_next :seen_who
create temp table notes (id int, note text);
\copy notes from pstdin
1	one
2	two
\.
select format('insert into notes values (%s, %L)', n, 'made ' || n)
    from generate_series(3, 5) n \gexec
select count(*) > 4 as many from notes \gset
\if :many
prepare pick(int) as select note, current_setting('app.tenant') from notes where id = $1;
\else
\echo too few
\endif
select format('execute pick(%s)', n) from generate_series(1, 5) n \gexec
\copy (select * from notes order by id) to pstdout
select 'show ' || name from (values ('work_mem'), ('app.tenant'), ('search_path')) v(name) \gexec
declare held cursor with hold for select generate_series(1, 6) as n;
fetch 1 from held \gset later_
\echo :later_n
fetch 3 from held;
begin;
savepoint a;
set local work_mem = '1MB';
select current_setting('work_mem');
rollback to a;
select current_setting('work_mem');
commit;
\set ON_ERROR_ROLLBACK on
\set ON_ERROR_STOP 0
begin;
insert into notes values (6, 'six');
select 1/0;
select count(*) from notes;
commit;
\echo :LAST_ERROR_SQLSTATE
close held;
deallocate pick;
select id, note from notes order by id \g | cat
select 1 as a, 2 as b union all select 3, 4 \crosstabview a b b
\o /dev/null
select 'not shown';
\o
\set FETCH_COUNT 2
select id from notes order by id;
drop table notes;
select count(*) from pg_cursors where is_holdable;
"""


def test_psql_script_is_as_on_a_connection_of_its_own(hammered, direct):
    ours, theirs = (command(target, "psql", "-XAq", stdin=PSQL)
                    for target in (hammered.target, direct))
    assert ours == theirs
    assert "20 21 2" in ours and "made 5|script" in ours
    hammered.wait_pins()


def test_psql_connects_anew_in_the_middle(hammered):
    """After \\connect there is another session."""
    out = command(hammered.target, "psql", "-XAtq", stdin=(
        "set app.tenant = 'first'; create temp table x (a int);\n\\connect\n"
        "select coalesce(current_setting('app.tenant', true), ''), to_regclass('x') is null;\n"))
    assert out == "|t\n"


@pytest.mark.parametrize("options", [("-1",), ("-v", "ON_ERROR_ROLLBACK=on"), ()])
def test_psql_file_with_options_of_the_environment(hammered, tmp_path, options):
    """-1 wraps the file into a transaction; PGOPTIONS are startup parameters."""
    file = tmp_path / "script.sql"
    file.write_text("show work_mem;\nshow TimeZone;\nset TimeZone = 'Asia/Kolkata';\n"
                    "show TimeZone;\nreset TimeZone;\n" * 3)
    out = command(hammered.target, "psql", "-XAtq", *options, "-f", file, PGTZ="Europe/Rome",
                  PGOPTIONS="-c work_mem=7MB")
    assert out == "7MB\nEurope/Rome\nAsia/Kolkata\n" * 3


def test_psql_large_objects(hammered, tmp_path):
    """\\lo_import and its family use function calls, several in one transaction."""
    source, copy = tmp_path / "in", tmp_path / "out"
    source.write_bytes(bytes(range(256)) * 1000)
    out = command(hammered.target, "psql", "-XAtq", stdin=(
        f"set app.tenant = 'large';\n\\lo_import '{source}' 'a comment'\n"
        f"\\lo_export :LASTOID '{copy}'\n\\lo_unlink :LASTOID\n"
        "select current_setting('app.tenant');\n"))
    assert out.splitlines()[-1] == "large"
    assert copy.read_bytes() == source.read_bytes()
    hammered.wait_pins()


# ---- pg_dump and pg_restore ---------------------------------------------------------------------

KINDS = """
DROP SCHEMA IF EXISTS dumped CASCADE;
CREATE SCHEMA dumped;
CREATE TYPE dumped.mood AS ENUM ('sad', 'ok');
CREATE TYPE dumped.pair AS (a int, b text);
CREATE DOMAIN dumped.positive AS int CHECK (VALUE > 0);
CREATE SEQUENCE dumped.counter START 5 INCREMENT 3;
SELECT nextval('dumped.counter') FROM generate_series(1, 4);
CREATE TABLE dumped.people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
    mood dumped.mood DEFAULT 'ok', age dumped.positive, born date, data jsonb,
    upper_name text GENERATED ALWAYS AS (upper(name)) STORED, bits bytea, at timestamptz);
INSERT INTO dumped.people (name, age, born, data, bits, at) SELECT 'name ' || n, n,
    date '2000-01-01' + n, jsonb_build_object('n', n, 'f', n / 3.0), decode(md5(n::text), 'hex'),
    timestamptz '2020-02-02 02:02:02+02' + n * interval '1 hour' FROM generate_series(1, 3000) n;
CREATE TABLE dumped.orders (id bigserial, person int REFERENCES dumped.people, day date NOT NULL,
    amount numeric(10, 2), share double precision) PARTITION BY RANGE (day);
CREATE TABLE dumped.orders_old PARTITION OF dumped.orders FOR VALUES FROM ('2020-01-01') TO
    ('2021-01-01');
CREATE TABLE dumped.orders_new PARTITION OF dumped.orders DEFAULT;
INSERT INTO dumped.orders (person, day, amount, share) SELECT n, date '2020-06-01' + n, n / 7.0,
    n / 7.0 FROM generate_series(1, 500) n;
CREATE INDEX orders_day ON dumped.orders (day) WHERE amount > 1;
CREATE VIEW dumped.sums AS SELECT person, sum(amount) FROM dumped.orders GROUP BY person;
CREATE MATERIALIZED VIEW dumped.kept AS SELECT count(*) FROM dumped.people;
CREATE FUNCTION dumped.twice(x int) RETURNS int LANGUAGE sql IMMUTABLE SET work_mem = '5MB'
    RETURN x * 2;
CREATE PROCEDURE dumped.does() LANGUAGE plpgsql AS '
    BEGIN PERFORM set_config(''a.b'', ''c'', false); END';
CREATE FUNCTION dumped.on_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER changes BEFORE UPDATE ON dumped.people FOR EACH ROW
    EXECUTE FUNCTION dumped.on_change();
CREATE AGGREGATE dumped.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE OPERATOR dumped.@+@ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
CREATE TEXT SEARCH CONFIGURATION dumped.words (COPY = simple);
CREATE RULE quiet AS ON DELETE TO dumped.people DO INSTEAD NOTHING;
CREATE STATISTICS dumped.together ON name, age FROM dumped.people;
ALTER TABLE dumped.people ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON dumped.people USING (name = current_setting('app.user_id', true));
GRANT SELECT ON dumped.people TO alice;
GRANT USAGE ON SCHEMA dumped TO alice;
COMMENT ON TABLE dumped.people IS 'it''s a comment; with a semicolon';
ALTER DEFAULT PRIVILEGES IN SCHEMA dumped GRANT SELECT ON TABLES TO bob;
SELECT lo_from_bytea(0, convert_to(repeat('large ', 5000), 'UTF8'));
"""


@pytest.fixture
def two_databases(make_world, pg):
    """A world whose databases `app` and `other` are both of the pool; `dumped` is in app."""
    def clean():
        for database in ("app", "other"):
            pg.in_app("drop schema if exists dumped cascade; select lo_unlink(oid) from "
                      "pg_largeobject_metadata", database=database)
    clean()
    world = make_world(pool_size=4, databases={n: {"url": pg.url(n)} for n in ("app", "other")})
    direct = targets.Direct(pg)
    command(direct, "psql", "-Xq", "-v", "ON_ERROR_STOP=1", stdin=KINDS)
    yield world, direct
    clean()


def dump(target, *options, database="app"):
    text = command(target, "pg_dump", "-n", "dumped", *options, database=database)
    return [x for x in text.splitlines() if not x.startswith(("\\restrict", "\\unrestrict"))]


DUMPS = [(), ("--inserts", "--rows-per-insert=50"), ("-b",), ("-s", "-c"),
         ("--role=app", "--serializable-deferrable"), ("-a", "--column-inserts"),
         ("--enable-row-security", "-E", "LATIN1")]


@pytest.mark.parametrize("options", DUMPS, ids=" ".join)
def test_pg_dump_is_as_on_a_connection_of_its_own(two_databases, options):
    world, direct = two_databases
    with Hammer(world, 3):
        ours = dump(world.target, *options)
    assert ours == dump(direct, *options) and len(ours) > 50


RESTORES = {  # name: (format, options of pg_dump, options of pg_restore)
    "plain": ("p", [], []),
    "custom": ("c", [], []),
    "single_transaction": ("t", [], ["-1", "--role=app"]),
    "parallel": ("d", ["-j", 2], ["-j", 2]),  # several that share a snapshot by its name
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RESTORES)
def test_pg_restore_makes_the_same_database(two_databases, tmp_path, kind):
    letter, dumping, restoring = RESTORES[kind]
    world, direct = two_databases
    archive = tmp_path / "archive"
    with Hammer(world, 3):
        command(world.target, "pg_dump", "-n", "dumped", "-b", f"-F{letter}", "-f", archive,
                *dumping)
        restore = (["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f"] if letter == "p" else
                   ["pg_restore", "-d", "other", "--exit-on-error", *restoring])
        command(world.target, *restore, archive, database="other")
    assert dump(direct, "-b", database="other") == dump(direct, "-b")
    world.wait_pins()


@pytest.mark.parametrize("words", [["vacuumdb", "-z", "-j", "2", "-t", "dumped.people"],
                                   ["reindexdb", "--concurrently", "-t", "dumped.people"],
                                   ["clusterdb"]], ids=lambda words: words[0])
def test_maintenance_programs_do_their_work(two_databases, words):
    world, _ = two_databases
    with Hammer(world, 3):
        command(world.target, *words)
    world.wait_pins()
