"""A connection that comes back is clean, however its client left; limits of pins; session_state."""

import os
import signal
import subprocess

import pytest

import wire
from postgres import PASSWORDS
from session_world import World, advisory_locks, make_objects, pooled_only, wait_gone, wait_until

MESS = ["SET work_mem = '77MB'; SET app.user_id = '1'; SET role = session_reader; "
        "SET search_path = nowhere; SET TimeZone = 'Asia/Tokyo'; SET statement_timeout = '55s'",
        "CREATE TEMP TABLE left_behind (a int)", "PREPARE left_behind AS SELECT 'foreign'",
        "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 'foreign'", "LISTEN left_behind",
        "SELECT pg_advisory_lock(6001), session_test.lock(6002), setseed(0.5)"]
TEMPORARY = "select count(*) from pg_class where relpersistence = 't' and relkind = 'r'"
LOCKS = "select count(*) from pg_locks where locktype = 'advisory'"
STATE = """SELECT current_user, current_setting('work_mem'), current_setting('role'),
    current_setting('search_path'), current_setting('TimeZone'),
    current_setting('statement_timeout'), coalesce(current_setting('app.user_id', true), ''),
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND
        relnamespace = pg_my_temp_schema()),
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql),
    (SELECT count(*) FROM pg_cursors WHERE is_holdable),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
    (SELECT count(*) FROM pg_listening_channels())"""


@pytest.fixture
def make_world(make_sluice, pg):
    make_objects(pg)
    return lambda **changes: World(make_sluice, pg, **changes)


@pytest.fixture
def world(make_world):
    return make_world()


def clean_everywhere(world, clean):
    """New clients on every connection of the pool see the state `clean`."""
    world.release()
    clients = [world.client() for _ in range(world.size)]
    for client in clients:
        client.q("BEGIN")
    for client in clients:
        assert client.q(STATE).rows == clean
        client.refused("EXECUTE left_behind", "26000")
        client.q("ROLLBACK")
        client.close()


@pytest.fixture
def clean(world):
    return world.direct().query(STATE).rows


def make_mess(client):
    for sql in MESS:
        client.q(sql)


def leave_terminate(client):
    client.conn.terminate()


def leave_close(client):
    client.conn.close()


def leave_reset(client):
    client.conn.reset()


def leave_in_transaction(client):
    client.q("BEGIN; SET work_mem = '88MB'")
    client.conn.close()


def leave_in_failed_transaction(client):
    client.try_q("BEGIN; SET work_mem = '88MB'; CREATE TEMP TABLE y (a int); SELECT 1/0")
    client.conn.close()


def leave_in_statement(client):
    client.conn.send(wire.query("SELECT pg_sleep(0.3)"))
    client.conn.reset()


def leave_in_batch(client):
    client.conn.send(wire.parse("", "SELECT set_config('work_mem', '88MB', false)"), wire.bind(),
                     wire.execute(), wire.FLUSH)
    client.conn.close()


def leave_in_message(client):
    client.conn.send(wire.query("SELECT 1")[:-3])
    client.conn.reset()


def leave_in_copy(client):
    client.q("SET search_path = session_test")
    client.conn.send(wire.query("COPY touched FROM STDIN"))
    client.conn.recv_until("G")
    client.conn.send(wire.copy_data(b"1\n"))
    client.conn.close()


LEAVES = [leave_terminate, leave_close, leave_reset, leave_in_transaction,
          leave_in_failed_transaction, leave_in_statement, leave_in_batch, leave_in_message,
          leave_in_copy]


@pytest.mark.parametrize("leave", LEAVES, ids=lambda f: f.__name__)
def test_nothing_is_left_of_a_client_that_leaves(world, pg, clean, leave):
    client = world.client()
    make_mess(client)
    leave(client)
    world.forget(client)
    wait_gone(pg, LOCKS, "its locks")
    wait_gone(pg, TEMPORARY, "its temporary tables")
    world.wait_pins()
    clean_everywhere(world, clean)


@pytest.mark.parametrize("leave", LEAVES, ids=lambda f: f.__name__)
def test_nothing_is_left_in_session_mode_either(make_world, pg, leave):
    world = make_world(pool_mode="session", pool_size=1)
    clean = world.direct().query(STATE).rows
    for helper in world.helpers:
        helper.close()
    client = world.client()
    make_mess(client)
    leave(client)
    wait_gone(pg, LOCKS, "its locks")
    wait_gone(pg, TEMPORARY, "its temporary tables")
    assert world.client().q(STATE).rows == clean


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT pg_sleep(0.5)"])
def test_nothing_is_left_of_a_killed_process(world, pg, clean, statement):
    """kill -9 of a psql in the middle of a statement or between two."""
    script = ";\n".join([*MESS, "SELECT count(*) FROM left_behind", statement])
    psql = subprocess.Popen(
        [pg.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**world.target.environment(), "PGPASSWORD": PASSWORDS["app"]})
    psql.stdin.write((script + ";\n").encode())
    psql.stdin.flush()
    wait_until(lambda: advisory_locks(pg) == 2, 10, "the locks of psql")
    os.kill(psql.pid, signal.SIGKILL)
    psql.wait()
    psql.stdin.close()
    wait_gone(pg, LOCKS, "its locks")
    wait_gone(pg, TEMPORARY, "its temporary tables")
    world.wait_pins()
    clean_everywhere(world, clean)


def test_nothing_is_left_after_errors(world, clean):
    """Errors in every place where a hint may be pending."""
    client = world.client()
    for sql in ["SET work_mem = '88MB'; CREATE TEMP TABLE x (a int); SELECT 1/0",
                "BEGIN; SET ROLE session_reader; CREATE TEMP TABLE x (a int); SELECT 1/0",
                "ROLLBACK", "SELECT set_config('work_mem', '88MB', false), 1/0",
                "DO $$ BEGIN CREATE TEMP TABLE x (a int); RAISE 'no'; END $$",
                "CREATE TEMP TABLE x AS SELECT 1/0", "SET work_mem = 'no'", "LISTEN",
                "SELECT session_test.put('work_mem', '88MB'), nothing", "PREPARE p AS nothing"]:
        client.try_q(sql)
    assert client.q(STATE).rows == clean
    world.wait_pins()
    world.rotate(client)
    assert client.q(STATE).rows == clean
    clean_everywhere(world, clean)


def test_cancelled_statement_leaves_what_was_there_before_it(world, pg, clean):
    client = world.client()
    client.q("SET work_mem = '66MB'; CREATE TEMP TABLE x AS SELECT 1 AS a")
    world.disturb(client)
    client.conn.send(wire.query("SELECT set_config('work_mem', '67MB', false), pg_advisory_lock(61)"
                                ", pg_sleep(30)"))
    wait_until(lambda: advisory_locks(pg) == 1, what="the lock")
    client.conn.cancel()
    assert client.conn.recv_until("Z").codes == ["57014"]
    world.disturb(client)
    assert client.show("work_mem") == "66MB"
    assert client.one("SELECT a FROM x") == "1"
    assert client.one("SELECT pg_advisory_unlock(61)") == "t"  # locks outlive the error
    client.close()
    world.wait_pins()
    clean_everywhere(world, clean)


def test_lock_of_a_client_that_leaves_is_free_at_once(world):
    for _ in range(10):
        holder, taker = world.client(), world.client()
        holder.q("SELECT pg_advisory_lock(6003)")
        taker.conn.send(wire.query("SELECT pg_advisory_lock(6003)"))
        assert taker.conn.silent(0.02)
        holder.close()
        assert not taker.conn.recv_until("Z").errors
        assert taker.one("SELECT pg_advisory_unlock(6003)") == "t"
        taker.close()


def test_discard_all_makes_the_session_new(world, clean):
    client = world.client()
    make_mess(client)
    assert client.q("DISCARD ALL").tags == ["DISCARD ALL"]
    assert client.q(STATE).rows == clean
    if not world.on_postgres:
        wait_until(lambda: set(world.pins()) <= {"seed"}, what="only the seed")


# ---- limits -------------------------------------------------------------------------------------


@pooled_only
def test_max_pinned_ends_the_one_too_many(make_world, pg):
    world = make_world(max_pinned=1)
    first, second = world.client(), world.client()
    first.q("CREATE TEMP TABLE x AS SELECT 'first' AS a")
    world.wait_pins(temporary=1)
    second.q("CREATE TEMP TABLE x AS SELECT 'second' AS a")
    error = second.fatal()
    assert error["C"] == "53300" and "temporary" in error["M"] + error.get("D", "")
    assert first.one("SELECT a FROM x") == "first"
    world.wait_pins(temporary=1)
    wire.eventually(lambda: pg.in_app(TEMPORARY)[0][0] == 1, what="only one temporary table")
    third = world.client()
    third.q("SET work_mem = '5MB'")  # what does not pin goes on
    first.q("DROP TABLE x")
    world.wait_pins()
    third.q("CREATE TEMP TABLE x AS SELECT 'third' AS a")
    world.disturb(third)
    assert third.one("SELECT a FROM x") == "third"


@pooled_only
def test_max_pinned_zero_lets_all_be_pinned(make_world):
    world = make_world(max_pinned=0)
    clients = [world.client() for _ in range(3)]
    for i, client in enumerate(clients):
        client.q(f"CREATE TEMP TABLE x AS SELECT {i} AS a")
    world.wait_pins(temporary=3)
    waiting = world.client()
    waiting.conn.send(wire.query("SELECT 'served'"))
    assert waiting.conn.silent(0.2)
    clients[0].q("DROP TABLE x")
    assert waiting.conn.recv_until("Z").value == "served"


@pooled_only
def test_pin_timeout_ends_an_idle_pinned_client(make_world, pg):
    world = make_world(pin_timeout="400ms")
    client, plain = world.client(), world.client()
    plain.q("SET work_mem = '5MB'")
    client.q("CREATE TEMP TABLE x (a int)")
    for _ in range(8):  # it does not end one that goes on
        assert client.conn.silent(0.1)
        client.q("SELECT count(*) FROM x")
    error = client.fatal()
    assert error["C"] == "25P03"
    world.wait_pins()
    wait_gone(pg, TEMPORARY, "its temporary table")
    assert plain.show("work_mem") == "5MB"


@pooled_only
def test_limits_of_pins_are_reloaded(make_world):
    world = make_world()
    world.target.reload(postgres={"max_pinned": 1})
    wait_until(lambda: "configuration reloaded" in world.target.log, 10, "the reload")
    first, second = world.client(), world.client()
    first.q("CREATE TEMP TABLE x (a int)")
    world.wait_pins(temporary=1)
    second.q("CREATE TEMP TABLE x (a int)")
    assert second.fatal()["C"] == "53300"


# ---- session_state ------------------------------------------------------------------------------


@pooled_only
def test_settings_only_carries_settings_and_clears_the_rest(make_world, pg, clean):
    world = make_world(session_state="settings_only")
    client = world.client()
    client.q("SET work_mem = '17MB'; SET app.user_id = '1'; SET ROLE session_reader")
    client.conn.run(wire.parse("s", "SELECT 'protocol'"), wire.SYNC)
    world.rotate(client)
    assert client.q("SELECT current_setting('work_mem'), current_setting('app.user_id'), "
                    "current_user").rows == [("17MB", "1", "session_reader")]
    assert client.conn.run(wire.bind("", "s"), wire.execute(), wire.SYNC).value == "protocol"
    client.q("RESET ALL; RESET ROLE")
    client.q("CREATE TEMP TABLE left_behind AS SELECT 1 AS a; SELECT pg_advisory_lock(62)")
    client.refused("SELECT a FROM left_behind", "42P01")
    wait_gone(pg, LOCKS, "the lock")
    wait_gone(pg, TEMPORARY, "the table")
    client.q("BEGIN; CREATE TEMP TABLE left_behind AS SELECT 1 AS a")
    assert client.one("SELECT a FROM left_behind") == "1"
    client.q("COMMIT")
    assert world.pins() == {}
    world.rotate(client)
    client.close()
    clean_everywhere(world, clean)


@pooled_only
def test_off_carries_what_the_server_reports(make_world):
    world = make_world(session_state="off")
    client, other = world.client(application_name="mine"), world.client()
    client.q("SET TimeZone = 'Asia/Kolkata'")
    world.rotate(client)
    assert client.show("TimeZone") == "Asia/Kolkata"
    assert client.show("application_name") == "mine"
    assert other.show("TimeZone") != "Asia/Kolkata"
    client.q("CREATE TEMP TABLE pg_temp.off_table (a int)")
    assert world.pins() == {}
    world.rotate(client)
    client.refused("SELECT * FROM off_table", "42P01")


@pooled_only
def test_session_state_can_differ_by_user(make_world):
    """The nearer one counts: full for the pool, off for this user."""
    world = make_world(users={"app": {"session_state": "off"}})
    client = world.client()
    client.q("CREATE TEMP TABLE off_table (a int)")
    assert world.pins() == {}
    world.rotate(client)


@pooled_only
@pytest.mark.slow
def test_crowd_that_leaves_in_the_middle_leaves_nothing(world, pg, clean, rng):
    for _ in range(40):
        client = world.client()
        for sql in rng.sample(MESS, rng.randrange(1, len(MESS))):
            if "lock" not in sql:
                client.q(sql)
        rng.choice([f for f in LEAVES if f is not leave_in_statement])(client)
        world.forget(client)
    world.wait_pins(timeout=10)
    wait_gone(pg, TEMPORARY, "temporary tables", 10)
    assert pg.session_count() <= world.size + 2  # ours, and the one that listens
    clean_everywhere(world, clean)
