"""Settings in transaction mode: as on a connection of one's own, whoever had it in between."""

import random
import threading

import pytest

import fake_server
import targets
import wire
from session_world import BOSS, Hammer, World, make_objects, pooled_only


@pytest.fixture
def objects(pg):
    make_objects(pg)


@pytest.fixture
def make_world(make_sluice, pg, objects):
    return lambda **changes: World(make_sluice, pg, **changes)


@pytest.fixture
def world(make_world):
    return make_world()


WORK_MEM = "SELECT current_setting('work_mem')"
# On a connection where somebody has set it, a name of the application's own reads '' after RESET
# and not NULL, and nothing can make it unknown again (docs/sessions.md).
TENANT = "SELECT coalesce(current_setting('app.tenant', true), '')"
WHO = "SELECT current_user || '/' || session_user, count(*) > 0 FROM pg_class"
def settings_query(names):
    return "SELECT " + ", ".join(f"coalesce(current_setting('{n}', true), '')" for n in names)


PUT = "SELECT session_test.put('app.tenant', 'from a function')"

TRAVELS = {
    "set": ["SET work_mem = '17MB'", (WORK_MEM, "17MB")],
    "set_to": ["SET work_mem TO 18432", (WORK_MEM, "18MB")],
    "set_session": ["SET SESSION work_mem = '19MB'", ("SHOW work_mem", "19MB")],
    "set_twice": ["SET work_mem = '5MB'", "SET work_mem = '6MB'", (WORK_MEM, "6MB")],
    "set_several": ["SET work_mem = '5MB'; SET geqo = off; SET app.tenant = 'x'",
                    ("SHOW geqo", "off"), (WORK_MEM, "5MB"), (TENANT, "x")],
    "reset": ["SET work_mem = '17MB'", "RESET work_mem", (WORK_MEM, "4MB")],
    "set_default": ["SET work_mem = '17MB'", "SET work_mem TO DEFAULT", (WORK_MEM, "4MB")],
    "reset_all": ["SET work_mem = '17MB'; SET geqo = off; SET TimeZone = 'Asia/Kolkata'",
                  "RESET ALL", (WORK_MEM, "4MB"), ("SHOW geqo", "on"), "SHOW TimeZone"],
    "set_config_null": ["SET app.tenant = 'x'",
                        "SELECT coalesce(set_config('app.tenant', NULL, false), '')", TENANT],
    "reset_custom": ["SET app.tenant = 'x'", "RESET app.tenant", TENANT],
    "discard_all": ["SET work_mem = '17MB'; SET app.tenant = 'x'", "DISCARD ALL",
                    (WORK_MEM, "4MB"), TENANT],
    "time_zone": ["SET TIME ZONE 'Asia/Kolkata'", ("SHOW TimeZone", "Asia/Kolkata"),
                  ("SELECT '2024-01-01 00:00+00'::timestamptz::text", "2024-01-01 05:30:00+05:30"),
                  "SET TIME ZONE -3", "SHOW TimeZone", "SET TIME ZONE LOCAL", "SHOW TimeZone",
                  "SET TIME ZONE INTERVAL '+02:30' HOUR TO MINUTE", "SHOW TimeZone"],
    "names": ["SET NAMES 'LATIN1'", ("SHOW client_encoding", "LATIN1"),
              ("SELECT octet_length(convert_to('x', 'LATIN1'))::text", "1")],
    "date_style": ["SET DateStyle = 'SQL, DMY'", ("SELECT '2024-02-01'::date::text", "01/02/2024"),
                   "SET DateStyle = 'ISO'", ("SHOW DateStyle", "ISO, DMY")],
    "characteristics": [
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
        ("SHOW transaction_isolation", "serializable"), ("SHOW transaction_read_only", "on"),
        "INSERT INTO session_test.touched VALUES (1)",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        ("SHOW transaction_read_only", "off"), ("SHOW transaction_isolation", "serializable")],
    "role": ["SET ROLE session_reader", (WHO, "session_reader/app"), "RESET ROLE",
             (WHO, "app/app"), "SET ROLE 'session_writer'", (WHO, "session_writer/app"),
             "SET ROLE NONE", (WHO, "app/app")],
    "role_and_setting": ["SET work_mem = '17MB'", "SET ROLE session_reader",
                         "SET app.tenant = 'r'", (WHO, "session_reader/app"), (WORK_MEM, "17MB"),
                         "RESET ROLE", (TENANT, "r"), (WORK_MEM, "17MB")],
    "role_local": ["BEGIN", "SET LOCAL ROLE session_reader", (WHO, "session_reader/app"),
                   "COMMIT", (WHO, "app/app")],
    "own_authorization": ["SET SESSION AUTHORIZATION app", (WHO, "app/app"),
                          "SET SESSION AUTHORIZATION DEFAULT", (WHO, "app/app")],
    "set_config": ["SELECT set_config('app.tenant', 'a''b', false)", (TENANT, "a'b")],
    "set_config_local": ["SELECT set_config('app.tenant', 'x', true)", TENANT],
    "set_config_from_table": [
        "SELECT set_config(name, '23MB', false) FROM pg_settings WHERE name = 'work_mem'",
        (WORK_MEM, "23MB")],
    "set_config_search_path_empty": ["SELECT pg_catalog.set_config('search_path', '', false)",
                                     ("SHOW search_path", "")],
    "set_config_bound": [
        ("SELECT set_config('app.tenant', $1, false)", "bound", ["bound"]), (TENANT, "bound"),
        ("SELECT set_config($1, $2, $3)", "named", ["app.tenant", "named", "f"]),
        (TENANT, "named"),
        ("SELECT set_config($1, $2, $3)", "31MB", ["work_mem", "31MB", "f"]), (WORK_MEM, "31MB"),
        ("SELECT set_config($1, $2, $3)", "new", ["app.never_named_before", "new", "f"]),
        ("SELECT current_setting($1, true)", "new", ["app.never_named_before"])],
    "extended_set": [("SET work_mem = '17MB'", None, []), (WORK_MEM, "17MB", [])],
    "function": [PUT, (TENANT, "from a function"), "SELECT session_test.put_work_mem()",
                 (WORK_MEM, "21MB")],
    "procedure": ["CALL session_test.put_tenant()", (TENANT, "from a procedure")],
    "do_block": ["DO $$ BEGIN PERFORM set_config('app.tenant', 'done', false); END $$",
                 (TENANT, "done"), "DO $$ BEGIN SET work_mem = '27MB'; END $$",
                 (WORK_MEM, "27MB")],
    "trigger": ["INSERT INTO session_test.touched VALUES (7)", (TENANT, "touched 7")],
    "view": ["SELECT a FROM session_test.putting", (TENANT, "by a view")],
    "column_default": ["INSERT INTO session_test.defaulted (id) VALUES (1)",
                       (TENANT, "by a default")],
    "extension": ["SET plpgsql.extra_warnings = 'shadowed_variables'",
                  "DO $$ BEGIN PERFORM 1; END $$",
                  ("SHOW plpgsql.extra_warnings", "shadowed_variables")],
    "own_function": [
        "CREATE OR REPLACE FUNCTION session_test.mine() RETURNS text LANGUAGE sql AS "
        "$$ SELECT set_config('app.tenant', 'mine', false) $$",
        "SELECT session_test.mine()", (TENANT, "mine")],
    "set_local": ["BEGIN", "SET LOCAL work_mem = '17MB'", (WORK_MEM, "17MB"), "COMMIT",
                  (WORK_MEM, "4MB")],
    "set_local_over_set": ["SET work_mem = '5MB'", "BEGIN", "SET LOCAL work_mem = '6MB'",
                           "COMMIT", (WORK_MEM, "5MB")],
    "set_then_local": ["BEGIN", "SET work_mem = '5MB'", "SET LOCAL work_mem = '6MB'",
                       (WORK_MEM, "6MB"), "COMMIT", (WORK_MEM, "5MB")],
    "rolled_back": ["SET work_mem = '5MB'", "BEGIN", "SET work_mem = '6MB'",
                    "SET app.tenant = 'gone'", "ROLLBACK", (WORK_MEM, "5MB"), TENANT],
    "reset_rolled_back": ["SET work_mem = '5MB'", "BEGIN", "RESET ALL", (WORK_MEM, "4MB"),
                          "ROLLBACK", (WORK_MEM, "5MB")],
    "failed": ["SET work_mem = '5MB'", "BEGIN", "SET work_mem = '6MB'", "SELECT 1/0", "COMMIT",
               (WORK_MEM, "5MB")],
    "savepoint": ["BEGIN", "SET work_mem = '5MB'", "SAVEPOINT a", "SET work_mem = '6MB'",
                  "ROLLBACK TO a", (WORK_MEM, "5MB"), "COMMIT", (WORK_MEM, "5MB")],
    "savepoint_released": ["BEGIN", "SAVEPOINT a", "SET work_mem = '6MB'", "RELEASE a", "COMMIT",
                           (WORK_MEM, "6MB")],
    "one_query_fails": ["SET work_mem = '6MB'; SELECT 1/0", (WORK_MEM, "4MB")],
    "one_query_with_commit": ["BEGIN; SET work_mem = '6MB'; COMMIT; SELECT 1/0",
                              (WORK_MEM, "6MB")],
    "chain": ["BEGIN", "SET work_mem = '6MB'", "COMMIT AND CHAIN", "SET work_mem = '7MB'",
              "ROLLBACK", (WORK_MEM, "6MB")],
    "bad_value": ["SET work_mem = '5MB'", "SET work_mem = 'much'", "SET nothing_such = 1",
                  (WORK_MEM, "5MB")],
    "search_path": ['SET search_path = "$user", public, "Odd, Name", pg_temp',
                    "SHOW search_path", "SET search_path = session_test",
                    ("SELECT count(*)::text FROM touched", None), "SET search_path = ''",
                    ("SHOW search_path", '""'), "SELECT count(*) FROM touched"],
    "odd_text": [r"SET app.tenant = E'it''s \\ \"x\" ü'; SET application_name = 'a''b\\c'", TENANT,
                 "SHOW application_name", "SET app.tenant = ''", (TENANT, "")],
    "backslashes": ["SET standard_conforming_strings = off; SET backslash_quote = on; "
                    "SET escape_string_warning = off", r"SELECT 'a\\b'",
                    r"SET app.tenant = 'c\\d'", (TENANT, r"c\d")],
    "read_only_default": ["SET default_transaction_read_only = on", "SET app.tenant = 'ro'",
                          (TENANT, "ro"), "INSERT INTO session_test.touched VALUES (1)"],
    "statement_timeout": ["SET statement_timeout = '200ms'", "SELECT pg_sleep(5)",
                          ("SHOW statement_timeout", "200ms")],
    "idle_timeout_setting": ["SET idle_in_transaction_session_timeout = '1h'",
                             ("SHOW idle_in_transaction_session_timeout", "1h")],
    "formats": ["SET bytea_output = 'escape'; SET IntervalStyle = 'iso_8601'; "
                "SET extra_float_digits = -3; SET xmlbinary = 'hex'", r"SELECT '\x00ff'::bytea",
                ("SELECT '1 day'::interval::text", "P1D"), "SELECT 0.1::float8 + 0.2::float8"],
    "planner": ["SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; "
                "SET jit = off", ("SHOW enable_seqscan", "off"),
                ("SHOW plan_cache_mode", "force_generic_plan")],
}


@pytest.mark.parametrize("kind", TRAVELS)
def test_setting_is_as_on_a_connection_of_ones_own(world, kind):
    client = world.check(*TRAVELS[kind])
    if kind != "set_config_from_table":  # whose names nobody can know from outside
        world.rotate(client)  # settings alone do not pin


BOSSES = {
    "authorization": ["SET SESSION AUTHORIZATION app", (WHO, "app/app"),
                      "SELECT * FROM pg_authid", "RESET SESSION AUTHORIZATION",
                      (WHO, f"{BOSS}/{BOSS}")],
    "authorization_then_role": ["SET SESSION AUTHORIZATION app", "SET ROLE session_reader",
                                (WHO, "session_reader/app"), "RESET ROLE", (WHO, "app/app"),
                                "SET SESSION AUTHORIZATION DEFAULT", (WHO, f"{BOSS}/{BOSS}")],
    "role_by_name": ["SET ROLE app", (WHO, f"app/{BOSS}"), "RESET ROLE", (WHO, f"{BOSS}/{BOSS}")],
    "superusers_setting": ["SET session_replication_role = replica",
                           ("SHOW session_replication_role", "replica"),
                           "INSERT INTO session_test.touched VALUES (9)", TENANT],
    "superusers_setting_then_role": ["SET log_min_duration_statement = '5s'", "SET ROLE app",
                                     ("SHOW log_min_duration_statement", "5s"),
                                     (WHO, f"app/{BOSS}"),
                                     "SET log_min_duration_statement = '6s'",
                                     ("SHOW log_min_duration_statement", "5s"), "RESET ROLE",
                                     ("SHOW log_min_duration_statement", "5s")],
    "authorization_local": ["BEGIN", "SET LOCAL SESSION AUTHORIZATION app", (WHO, "app/app"),
                            "COMMIT", (WHO, f"{BOSS}/{BOSS}")],
}


@pytest.mark.parametrize("kind", BOSSES)
def test_superusers_session_is_as_on_a_connection_of_ones_own(make_world, kind):
    make_world(user=BOSS).check(*BOSSES[kind])


def test_rotation_moves_the_client(world):
    """Without which no test here says anything."""
    client, seen = world.client(), set()
    for _ in range(8):
        before = world.rotate(client)
        assert client.where() != before
        seen.add(client.where())
    assert len(seen) > 1 or world.on_postgres


# ---- what a session starts with -----------------------------------------------------------------


STARTS = {
    "options": {"options": "-c work_mem=5MB -c app.tenant=acme"},
    "parameters": {"work_mem": "5MB", "app.tenant": "acme"},
    "reported": {"DateStyle": "SQL, DMY", "TimeZone": "Asia/Kolkata", "application_name": "mine"},
    "role": {"options": "-c role=session_reader"},
}


@pytest.mark.parametrize("word", ["RESET", "SET TO DEFAULT", "RESET ALL", "DISCARD ALL"])
@pytest.mark.parametrize("kind", STARTS)
def test_reset_goes_back_to_what_the_session_started_with(world, kind, word):
    names = {"options": ["work_mem", "app.tenant"], "parameters": ["work_mem", "app.tenant"],
             "reported": ["DateStyle", "TimeZone", "application_name"], "role": ["role"]}[kind]
    other = {"work_mem": "9MB", "app.tenant": "x", "DateStyle": "German", "TimeZone": "UTC",
             "application_name": "other", "role": "session_writer"}
    show = settings_query(names)
    undo = {"RESET": [f"RESET {n}" for n in names],
            "SET TO DEFAULT": [f"SET {n} TO DEFAULT" for n in names]}.get(word, [word])
    world.check(show, *[f"SET {n} = '{other[n]}'" for n in names], show, *undo, show,
                **STARTS[kind])


def test_defaults_of_role_and_database_hold(make_world, pg):
    pg.query("alter role app in database app set work_mem = '9MB'")
    pg.query("alter database app set geqo_threshold = 14")
    pg.query("alter role app set app.tenant = 'of the role'")
    try:
        world = make_world()
        client = world.check((WORK_MEM, "9MB"), (TENANT, "of the role"), "SET work_mem = '5MB'",
                             "SET app.tenant = 'x'", ("SHOW geqo_threshold", "14"),
                             "SET geqo_threshold = 15", "RESET work_mem", (WORK_MEM, "9MB"),
                             "RESET ALL", (TENANT, "of the role"), ("SHOW geqo_threshold", "14"))
        world.rotate(client)
        assert client.one(TENANT) == "of the role"
    finally:
        pg.query("alter role app in database app reset all")
        pg.query("alter database app reset all")
        pg.query("alter role app reset all")


def test_client_without_settings_sees_the_defaults(world):
    plain, noisy = world.client(), world.client()
    names = ["work_mem", "app.tenant", "TimeZone", "DateStyle", "search_path", "role",
             "application_name", "statement_timeout"]
    question = settings_query(names)
    expected = world.direct().query(question).rows
    for i in range(20):
        noisy.q(f"SET work_mem = '{5 + i}MB'; SET app.tenant = 'n{i}'; SET role = session_reader; "
                "SET search_path = session_test; SET TimeZone = 'Asia/Tokyo'")
        world.rotate(noisy)
        assert plain.q(question).rows == expected


def test_reported_parameters_are_those_of_the_session(world):
    client = world.client()
    for i in range(6):
        zone = ("Asia/Kolkata", "Europe/Paris", "UTC")[i % 3]
        client.q(f"SET TimeZone = '{zone}'; SET DateStyle = 'SQL, DMY'")
        world.rotate(client)
        client.q("SELECT count(*) FROM pg_class")
        for name in ("TimeZone", "DateStyle", "application_name", "client_encoding"):
            assert client.conn.parameters[name] == client.show(name)
        assert client.conn.parameters["TimeZone"] == zone


# ---- row-level security -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SET app.user_id = '{}'",
                                 "SELECT set_config('app.user_id', '{}', false)",
                                 "SELECT session_test.put('app.user_id', '{}')"])
def test_row_level_security_sees_only_ones_own(world, how):
    clients = {str(n): world.client() for n in (1, 2, 3)}
    nobody = world.client()
    for number, client in clients.items():
        client.q(how.format(number))
    for _ in range(5):
        for number, client in clients.items():
            world.rotate(client)
            assert client.q("SELECT owner FROM session_test.accounts").rows == [(number,)]
            assert nobody.q("SELECT owner FROM session_test.accounts").rows == []


# ---- many at once -------------------------------------------------------------------------------


def one_of_many(world, number, seed, count, problems):
    """A client that changes its settings and looks at all of them in every statement."""
    mine = random.Random(seed)
    names = ["work_mem", "app.user_id", "TimeZone", "role", "search_path"]
    values = {"work_mem": [f"{n}MB" for n in range(5, 15)],
              "app.user_id": [f"{number}-{n}" for n in range(5)],
              "TimeZone": ["UTC", "Asia/Kolkata", "Europe/Paris"],
              "role": ["none", "session_reader", "session_writer"],
              "search_path": ["public", f"s{number}, public", "session_test"]}
    question = settings_query(names) + " FROM (SELECT count(*) FROM session_test.accounts) a"
    try:
        client = world.client()
        first = client.q(question).rows[0]
        wanted = dict(zip(names, first))
        for step in range(count):
            name, act = mine.choice(names), mine.random()
            value = mine.choice(values[name])
            if act < 0.1:
                client.q(f"SET {name} = '{value}'" if name != "search_path" else
                         f"SET {name} = {value}")
                wanted[name] = value
            elif act < 0.15:
                client.q(f"BEGIN; SET LOCAL {name} = '{value}'; COMMIT")
            elif act < 0.2:
                client.q(f"BEGIN; SELECT set_config('{name}', '{value}', false); ROLLBACK")
            elif act < 0.25:
                client.x("SELECT set_config($1, $2, false)", [name, value])
                wanted[name] = value
            elif act < 0.27:
                client.try_q(f"SET {name} = '{value}'; SELECT 1/0")
            got = client.x(question) if step % 2 else client.q(question)
            assert dict(zip(names, got.rows[0])) == wanted, step
    except Exception as problem:  # noqa: BLE001 - shown by the test
        problems.append((number, problem))


@pytest.mark.slow
def test_clients_never_see_each_others_settings(make_world, rng):
    world = make_world(pool_size=3)
    count, problems = 10, []
    threads = [threading.Thread(target=one_of_many, daemon=True,
                                args=(world, n, rng.random(), 400, problems))
               for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120 * targets.SCALE)
    assert not any(t.is_alive() for t in threads), "a client hangs"
    assert not problems, problems[:3]


@pytest.mark.slow
def test_pipelined_settings_hold_from_statement_to_statement(world, rng):
    """Nothing waits for answers, and others use every connection in between."""
    client, size = world.client(), 5
    client.q("SET work_mem = '5MB'")
    with Hammer(world):
        for _ in range(150):
            statements, expected = [], []
            for _ in range(rng.randrange(1, 6)):
                if rng.random() < 0.6:
                    size = rng.randrange(5, 90)
                    statements.append(rng.choice([
                        f"SET work_mem = '{size}MB'", f"BEGIN; SET work_mem = '{size}MB'; COMMIT",
                        f"SELECT set_config('work_mem', '{size}MB', false)"]))
                    expected.append(None)
                statements.append(WORK_MEM)
                expected.append(f"{size}MB")
            for want, got in zip(expected, client.send_all(*statements)):
                assert not got.errors and (want is None or got.value == want)


def test_named_statement_that_sets_is_seen_each_time(world):
    """Its text is known from its Parse, long ago and on another connection."""
    first, second = world.client(), world.client()
    for client in (first, second):
        client.conn.run(wire.parse("s", "SELECT set_config('app.user_id', $1, false)"), wire.SYNC)
    for i in range(6):
        for number, client in enumerate((first, second)):
            world.rotate(client)
            client.conn.run(wire.bind("", "s", [f"{number}-{i}"]), wire.execute(), wire.SYNC)
        for number, client in enumerate((first, second)):
            world.rotate(client)
            assert client.show("app.user_id") == f"{number}-{i}"


@pytest.mark.parametrize("end", ["SELECT 1", "SELECT 1/0"])
def test_pipelined_batch_is_one_transaction(world, end):
    """Several statements before one Sync: a SET in it counts if all succeed."""
    client = world.client()
    client.q("SET work_mem = '5MB'")
    world.rotate(client)
    chunks = [wire.parse("", sql) + wire.bind() + wire.execute()
              for sql in ("SET work_mem = '6MB'", end)]
    client.conn.run(*chunks, wire.SYNC, check=False)
    world.rotate(client)
    assert client.show("work_mem") == ("6MB" if end == "SELECT 1" else "5MB")


# ---- what can no longer be set ------------------------------------------------------------------


@pooled_only
@pytest.mark.parametrize("how", ["drop", "revoke"])
def test_role_that_may_no_longer_be_taken_ends_in_an_error(world, pg, how):
    pg.query("drop role if exists doomed")
    pg.query("create role doomed")
    pg.query("grant doomed to app")
    pg.in_app("delete from session_test.touched")
    client = world.client()
    client.q("SET ROLE doomed")
    world.rotate(client)
    pg.query("drop role doomed" if how == "drop" else "revoke doomed from app")
    with pytest.raises((wire.PgError, wire.Closed)):
        client.q("INSERT INTO session_test.touched SELECT 1")
    assert pg.in_app("select count(*) from session_test.touched")[0][0] == 0
    with pytest.raises((wire.PgError, wire.Closed)):  # nor the next one
        client.q("INSERT INTO session_test.touched SELECT 2")
    assert pg.in_app("select count(*) from session_test.touched")[0][0] == 0
    assert world.client().one(WHO) == "app/app"


@pooled_only
def test_value_that_the_server_no_longer_takes_is_kept_or_an_error(world, pg):
    pg.in_app("create text search configuration session_test.words (copy = simple)")
    client = world.client()
    client.q("SET default_text_search_config = 'session_test.words'; SET work_mem = '5MB'")
    world.rotate(client)
    pg.in_app("drop text search configuration session_test.words")
    try:
        got = client.q("SELECT current_setting('default_text_search_config'), "
                       "current_setting('work_mem')").rows
        assert got == [("session_test.words", "5MB")]
    except (wire.PgError, wire.Closed):
        pass


@pooled_only
def test_statements_that_change_nothing_cost_no_message(make_sluice, make_fake):
    """The server gets what the client sends, and nothing more."""
    fake = make_fake()
    sluice = make_sluice(postgres={"pool_size": 1, "databases": {"app": {"url": fake.url()}}})
    client = sluice.connect()
    client.query("select 0")
    kinds = "QPBDESCHf"
    before = sum(len(fake.messages(kind)) for kind in kinds)
    for i in range(20):
        client.query(f"select {i}")
    client.run(wire.batch("select 20"))
    assert sum(len(fake.messages(kind)) for kind in kinds) == before + 25


# ---- what functions do --------------------------------------------------------------------------


MAKE_PUTTER = ("CREATE OR REPLACE FUNCTION session_test.{0}() RETURNS text LANGUAGE plpgsql AS "
               "$$ BEGIN RETURN set_config('app.tenant', '{0}', false); END $$")
PUTTERS = {
    "function": ("SELECT session_test.{0}()", []),
    "caller": ("SELECT session_test.{0}_caller()",
               ["CREATE FUNCTION session_test.{0}_caller() RETURNS text LANGUAGE sql AS "
                "'SELECT session_test.{0}()'"]),
    "atomic": ("SELECT session_test.{0}_atomic()",
               ["CREATE FUNCTION session_test.{0}_atomic() RETURNS text LANGUAGE sql "
                "BEGIN ATOMIC SELECT session_test.{0}(); END"]),
    "view_of_view": ("SELECT * FROM session_test.{0}_seen",
                     ["CREATE VIEW session_test.{0}_view AS SELECT session_test.{0}() AS a",
                      "CREATE VIEW session_test.{0}_seen AS SELECT a FROM session_test.{0}_view"]),
    "default": ("INSERT INTO session_test.{0}_table (id) VALUES (1)",
                ["CREATE TABLE session_test.{0}_table (id int)",
                 "ALTER TABLE session_test.{0}_table ADD a text",
                 "ALTER TABLE session_test.{0}_table ALTER a SET DEFAULT session_test.{0}()"]),
    "domain": ("SELECT 'x'::session_test.{0}_domain",
               ["CREATE DOMAIN session_test.{0}_domain AS text "
                "CHECK (session_test.{0}() IS NOT NULL)"]),
    "policy": ("SELECT * FROM session_test.{0}_table",
               ["CREATE TABLE session_test.{0}_table AS SELECT 1 AS id",
                "ALTER TABLE session_test.{0}_table ENABLE ROW LEVEL SECURITY, "
                "FORCE ROW LEVEL SECURITY",
                "CREATE POLICY p ON session_test.{0}_table "
                "USING (session_test.{0}() IS NOT NULL)"]),
    "rule": ("DELETE FROM session_test.{0}_table",
             ["CREATE TABLE session_test.{0}_table AS SELECT 1 AS id",
              "CREATE RULE r AS ON DELETE TO session_test.{0}_table DO INSTEAD "
              "SELECT session_test.{0}()"]),
    "cascade": ("DELETE FROM session_test.{0}_parent",
                ["CREATE TABLE session_test.{0}_parent (id int PRIMARY KEY)",
                 "CREATE TABLE session_test.{0}_child (id int REFERENCES session_test.{0}_parent "
                 "ON DELETE CASCADE)",
                 "INSERT INTO session_test.{0}_parent VALUES (1)",
                 "INSERT INTO session_test.{0}_child VALUES (1)",
                 "CREATE FUNCTION session_test.{0}_gone() RETURNS trigger LANGUAGE plpgsql AS "
                 "$$ BEGIN PERFORM session_test.{0}(); RETURN old; END $$",
                 "CREATE TRIGGER t AFTER DELETE ON session_test.{0}_child "
                 "FOR EACH ROW EXECUTE FUNCTION session_test.{0}_gone()"]),
    "partition": ("INSERT INTO session_test.{0}_whole VALUES (1)",
                  ["CREATE TABLE session_test.{0}_whole (id int) PARTITION BY LIST (id)",
                   "CREATE TABLE session_test.{0}_part PARTITION OF session_test.{0}_whole "
                   "FOR VALUES IN (1)",
                   "CREATE FUNCTION session_test.{0}_come() RETURNS trigger LANGUAGE plpgsql AS "
                   "$$ BEGIN PERFORM session_test.{0}(); RETURN new; END $$",
                   "CREATE TRIGGER t BEFORE INSERT ON session_test.{0}_part "
                   "FOR EACH ROW EXECUTE FUNCTION session_test.{0}_come()"]),
}


@pytest.mark.parametrize("kind", PUTTERS)
@pytest.mark.parametrize("where", ["before", "through"])
def test_what_reaches_a_function_is_known(make_world, pg, kind, where):
    """Whether it was there first, or another client of the pool has just made it."""
    name = f"putter_{kind}"
    use, more = PUTTERS[kind]
    make = [MAKE_PUTTER, *more, "GRANT ALL ON ALL TABLES IN SCHEMA session_test TO PUBLIC"]
    if where == "before":
        for sql in make:
            pg.in_app(sql.format(name))
        world = make_world()
    else:
        world = make_world()
        maker = world.client()
        for sql in make:
            maker.q(sql.format(name))
    client = world.client()
    client.q(use.format(name))
    world.rotate(client)
    assert client.one(TENANT) == name
    other = world.client()
    assert other.one(TENANT) == ""


@pytest.mark.parametrize("how", ["named", "unnamed"])
def test_statement_that_was_read_before_its_function_changed(world, how):
    maker, client = world.client(), world.client()
    maker.q("CREATE OR REPLACE FUNCTION session_test.turncoat() RETURNS text LANGUAGE sql AS "
            "'SELECT ''harmless'''")
    name = "s" if how == "named" else ""
    client.conn.run(wire.parse(name, "SELECT session_test.turncoat()"), wire.SYNC)
    client.conn.run(wire.bind("", name), wire.execute(), wire.SYNC)
    maker.q(MAKE_PUTTER.format("turncoat"))
    client.conn.run(wire.bind("", name), wire.execute(), wire.SYNC)
    world.rotate(client)
    assert client.one(TENANT) == "turncoat"


def test_function_of_the_same_transaction_is_known(world):
    client = world.client()
    client.q("BEGIN")
    client.q(MAKE_PUTTER.format("in_transaction"))
    client.q("SELECT session_test.in_transaction()")
    client.q("COMMIT")
    world.rotate(client)
    assert client.one(TENANT) == "in_transaction"


@pooled_only
def test_function_made_past_the_pool_is_known_after_the_next_look(world, pg):
    client = world.client()
    client.q("SELECT count(*) FROM pg_class")
    pg.in_app(MAKE_PUTTER.format("made_past"))
    client.q("CREATE OR REPLACE VIEW session_test.whatever AS SELECT 1 AS a")
    client.q("SELECT session_test.made_past()")
    world.rotate(client)
    assert client.one(TENANT) == "made_past"


def test_look_survives_settings_of_the_session(world):
    client = world.client()
    client.q("SET standard_conforming_strings = off; SET search_path = ''; "
             "SET statement_timeout = '1ms'; SET quote_all_identifiers = on")
    client.try_q(MAKE_PUTTER.format("impatient"))
    client.q("SET statement_timeout = 0")
    client.q(MAKE_PUTTER.format("patient"))
    client.q("SET client_encoding = 'LATIN1'")
    client.q("CREATE VIEW session_test.looked AS SELECT 1 AS a")
    client.q("SELECT session_test.patient()")
    world.rotate(client)
    assert client.one(TENANT) == "patient"


@pooled_only
def test_settings_only_cleans_what_a_block_left(make_world):
    world = make_world(session_state="settings_only")
    client = world.client()
    client.q("DO $$ BEGIN PERFORM set_config('app.tenant', 'done', false); "
             "CREATE TEMP TABLE left_behind (a int); END $$")
    assert client.one(TENANT) == "done"
    client.refused("SELECT * FROM left_behind", "42P01")


@pooled_only
def test_pool_serves_without_a_look_and_says_so(make_sluice, make_fake):
    refusal = fake_server.error("42501", "permission denied for table pg_proc")
    fake = make_fake(survey=refusal + fake_server.ready())
    sluice = make_sluice(postgres={"pool_size": 1, "databases": {"app": {"url": fake.url()}}})
    client = sluice.connect()
    assert not client.query("select 1").errors
    wire.eventually(lambda: "could not be looked through" in sluice.log, 10)
