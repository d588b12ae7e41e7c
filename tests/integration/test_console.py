"""The admin console: databases pgbouncer and sluice on the Postgres port."""

import asyncio
import os
import random
import subprocess
import threading
import time

import asyncpg
import psycopg
import pytest

import targets
import wire
from postgres import PASSWORDS, free_port
from test_node import node  # noqa: F401 - a fixture
from wire import eventually

# Columns of PgBouncer 1.25, which come first in this order.
COLUMNS = {
    "POOLS": "database,user,cl_active,cl_waiting,cl_active_cancel_req,cl_waiting_cancel_req,"
             "sv_active,sv_active_cancel,sv_being_canceled,sv_idle,sv_used,sv_tested,sv_login,"
             "maxwait,maxwait_us,pool_mode,load_balance_hosts",
    "DATABASES": "name,host,port,database,force_user,pool_size,min_pool_size,reserve_pool_size,"
                 "server_lifetime,pool_mode,load_balance_hosts,max_connections,"
                 "current_connections,max_client_connections,current_client_connections,paused,"
                 "disabled",
    "CLIENTS": "type,user,database,replication,state,addr,port,local_addr,local_port,"
               "connect_time,request_time,wait,wait_us,close_needed,ptr,link,remote_pid,tls,"
               "application_name,prepared_statements,id",
    "STATS_TOTALS": "database,server_assignment_count,xact_count,query_count,bytes_received,"
                    "bytes_sent,xact_time,query_time,wait_time,client_parse_count,"
                    "server_parse_count,bind_count,client_login_count",
    "USERS": "name,pool_size,reserve_pool_size,pool_mode,max_user_connections,"
             "current_connections,max_user_client_connections,current_client_connections",
    "LISTS": "list,items",
    "CONFIG": "key,value,default,changeable",
    "VERSION": "version",
    "MEM": "name,size,used,free,memtotal",
}
SHOWS = ["ACTIVE_SOCKETS", "CLIENTS", "CONFIG", "DATABASES", "DNS_HOSTS", "DNS_ZONES", "LISTS",
         "MEM", "PEERS", "PEER_POOLS", "PINS", "POOLS", "QUERIES", "SERVERS", "SOCKETS", "STATE",
         "STATS", "STATS_AVERAGES", "STATS_TOTALS", "TOTALS", "USERS", "VERSION", "WAITERS"]


@pytest.fixture
def make(make_sluice):
    """alice is admin, bob may look."""
    def start(**postgres):
        return make_sluice(postgres={"admin_users": ["alice"], "stats_users": ["bob"],
                                     **postgres})
    return start


def console(sluice, user="alice", database="pgbouncer", **options):
    return sluice.connect(user=user, database=database, **options)


def table(conn, command):
    """Rows as dictionaries."""
    result = conn.query(command)
    assert not result.errors, result.errors
    (shape,) = result._of("T")
    names = wire.column_names(shape.body)
    return [dict(zip(names, row)) for row in result.rows]


def only(rows, **which):
    found = [row for row in rows if all(row[key] == value for key, value in which.items())]
    assert len(found) == 1, (which, rows)
    return found[0]


def error_of(conn, command):
    result = conn.query(command, check=False)
    assert result.types.endswith("EZ"), result.messages
    return result.errors[0]


def ok(conn, command):
    result = conn.query(command)
    assert not result.errors, result.errors
    return result.tags


# ---- who may come -------------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["pgbouncer", "sluice"])
def test_admin_and_stats_users_log_in(make, database):
    sluice = make()
    for user in ("alice", "bob"):
        version = console(sluice, user, database).query("SHOW VERSION").value
        assert version.startswith("PgBouncer 1.25.2 compatible, sluice "), version


def refusal(sluice, **login):
    with pytest.raises(wire.PgError) as caught:
        sluice.connect(**{"database": "pgbouncer", **login})
    return caught.value


def test_others_are_refused_after_their_password(make):
    sluice = make()
    assert refusal(sluice, user="app").code == "28000"
    assert "not allowed" in refusal(sluice, user="app").message
    assert refusal(sluice, user="alice", secret="wrong").code == "28P01"
    assert refusal(sluice, user="nobody", secret="x").code == "28P01"


def test_admin_without_a_password_is_told_so(make):
    sluice = make(admin_users=["alice", "root"])
    problem = refusal(sluice, user="root", secret="x")
    assert problem.code == "28000" and "has no password" in problem.message
    assert "postgres.users" in problem.fields["H"]


def test_own_user_needs_no_password_over_the_unix_socket(make, tmp_path):
    sluice = make(listen=[f"127.0.0.1:{free_port()}", f"unix:{tmp_path}"])
    for user in ("pgbouncer", "sluice"):
        conn = console(sluice, user, address=sluice.unix_address, secret="")
        assert ok(conn, "RELOAD") == ["RELOAD"]
        row = only(table(conn, "SHOW CLIENTS"), user=user)
        assert row["addr"] == "unix" and row["remote_pid"] == str(os.getpid())
    assert refusal(sluice, user="pgbouncer", secret="").code == "28P01"  # over TCP


def test_configured_database_of_that_name_is_itself(make, pg):
    sluice = make(databases={"app": {"url": pg.url()}, "pgbouncer": {"url": pg.url()}})
    conn = sluice.connect(user="alice", database="pgbouncer")
    assert conn.query("select current_database()").value == "app"
    assert console(sluice, database="sluice").query("SHOW VERSION").rows


def test_star_database_leaves_the_console(make, pg):
    sluice = make(databases={"*": {"url": pg.url()}})
    assert console(sluice).query("SHOW VERSION").rows


def test_stats_users_only_look(make):
    sluice = make()
    conn = console(sluice, "bob")
    for show in SHOWS:
        assert not conn.query(f"SHOW {show}").errors
    for command in ("RELOAD", "PAUSE", "RESUME", "DISABLE app", "ENABLE app", "RECONNECT", "KILL",
                    "KILL_CLIENT 1", "SUSPEND", "SHUTDOWN", "WAIT_CLOSE",
                    "SET query_timeout = 1"):
        assert error_of(conn, command)["M"] == "admin access needed", command
    assert conn.query("SHOW VERSION").rows
    assert sluice.connect().query("select 1").value == "1"


def test_console_is_there_when_clients_are_too_many(make):
    sluice = make(max_client_conn=1)
    sluice.connect()
    with pytest.raises(wire.PgError):
        sluice.connect()
    assert only(table(console(sluice), "SHOW DATABASES"),
                name="app")["current_client_connections"] == "1"


def test_console_does_not_hold_up_the_end(make):
    sluice = make(shutdown_timeout="60s")
    console(sluice)
    start = time.monotonic()
    assert sluice.stop() == ""
    assert time.monotonic() - start < 30 * targets.SCALE


@pytest.mark.parametrize("auth_type", ["trust", "cleartext", "passthrough"])
def test_other_kinds_of_authentication(make, pg, auth_type):
    url = pg.url(user=None) if auth_type == "passthrough" else pg.url()
    sluice = make(auth_type=auth_type, databases={"app": {"url": url}})
    assert console(sluice).query("SHOW VERSION").rows
    if auth_type != "trust":
        assert refusal(sluice, user="alice", secret="wrong").code == "28P01"
    assert refusal(sluice, user="app").code == "28000"


def test_a_hundred_consoles_and_no_more(make):
    sluice = make()
    clients = [sluice.connect() for _ in range(100)]
    consoles = [console(sluice) for _ in range(100)]
    assert refusal(sluice, user="alice").code == "53300"
    for conn in consoles:
        conn.send(wire.query("SHOW CLIENTS; SHOW SERVERS; SHOW WAITERS") * 5)
    for conn in consoles:
        for _ in range(5):
            assert conn.recv_until("Z").tags == ["SHOW"] * 3
    for conn in consoles[1:]:
        conn.close()
    eventually(lambda: only(table(consoles[0], "SHOW POOLS"), database="pgbouncer")["cl_active"]
               == "1", 10, "consoles gone")
    assert all(client.query("select 1").value == "1" for client in clients)


# ---- SHOW ---------------------------------------------------------------------------------------


def test_columns_are_pgbouncers(make):
    sluice = make()
    conn = console(sluice)
    for show, names in COLUMNS.items():
        (shape,) = conn.query(f"show {show.lower()};")._of("T")
        wanted = names.split(",")
        assert wire.column_names(shape.body)[:len(wanted)] == wanted, show


def test_pools_and_sockets_show_what_is_there(make, pg):
    sluice = make(pool_size=1)
    busy, waiting, idle = (sluice.connect() for _ in range(3))
    busy.query("begin")
    backend = busy.backend()
    waiting.send(wire.query("select 1"))
    conn = console(sluice)

    def seen():
        row = only(table(conn, "SHOW POOLS"), database="app")
        return row if row["cl_waiting"] == "1" else None

    row = eventually(seen, 10, "a waiting client")
    assert row["user"] == "app" and row["pool_mode"] == "transaction"
    assert (row["cl_active"], row["sv_active"], row["sv_idle"]) == ("2", "1", "0")
    clients = table(conn, "SHOW CLIENTS")
    assert sorted(c["state"] for c in clients if c["database"] == "app") == [
        "active", "idle", "waiting"]
    assert only(clients, state="waiting")["wait_reason"] == "pool_size"
    assert only(clients, database="pgbouncer")["user"] == "alice"
    server = only(table(conn, "SHOW SERVERS"), database="app")
    holder = only(clients, state="active", database="app")
    assert server["remote_pid"] == str(backend) == holder["server_pid"]
    assert server["link"] == holder["ptr"] and holder["link"] == server["ptr"]
    assert server["port"] == str(pg.port) and server["type"] == "S"
    waiter = only(table(conn, "SHOW WAITERS"))
    assert waiter["id"] == only(clients, state="waiting")["id"]
    assert waiter["position"] == "1" and f"client {holder['id']} (app)" in waiter["holders"]
    lists = {r["list"]: r["items"] for r in table(conn, "SHOW LISTS")}
    assert lists["used_clients"] == "4" and lists["used_servers"] == "1"
    busy.query("commit")
    assert waiting.recv_until("Z").value == "1"
    assert not table(conn, "SHOW WAITERS")
    assert idle.query("select 2").value == "2"


def test_pins_are_shown(make):
    sluice = make()
    client = sluice.connect()
    client.query("select pg_advisory_lock(1)")
    conn = console(sluice)
    eventually(lambda: table(conn, "SHOW PINS"), 10, "pinned")
    row = only(table(conn, "SHOW PINS"))
    assert row["reasons"] == "lock" and row["server_pid"] == str(client.backend())
    assert only(table(conn, "SHOW POOLS"), database="app")["cl_pinned"] == "1"
    client.query("select pg_advisory_unlock(1)")
    eventually(lambda: not table(conn, "SHOW PINS"), 10, "unpinned")


def test_stats_count(make):
    sluice = make()
    client = sluice.connect()
    for _ in range(5):
        client.query("select 1")
    client.send(wire.batch("select 2"))
    client.recv_until("Z")
    conn = console(sluice)
    row = only(table(conn, "SHOW STATS_TOTALS"), database="app")
    assert int(row["query_count"]) == 6 and int(row["xact_count"]) == 6
    assert int(row["client_parse_count"]) == int(row["server_parse_count"]) == 1
    assert int(row["bind_count"]) == 1 and int(row["client_login_count"]) == 1
    assert int(row["bytes_received"]) > 0 and int(row["query_time"]) > 0
    assert int(row["server_assignment_count"]) >= 6
    stats = only(table(conn, "SHOW STATS"), database="app")
    assert stats["total_query_count"] == "6" and stats["avg_query_count"] == "0"
    totals = {r["name"]: r["value"] for r in table(conn, "SHOW TOTALS")}
    assert totals["total_query_count"] == "6"


def test_config_has_values_and_no_secrets(make):
    sluice = make(query_wait_timeout="90s", pool_size=7)
    conn = console(sluice)
    rows = table(conn, "SHOW CONFIG")
    by_key = {row["key"]: row for row in rows}
    assert by_key["default_pool_size"]["value"] == "7"
    assert by_key["query_wait_timeout"] == {"key": "query_wait_timeout", "value": "90",
                                            "default": "120", "changeable": "yes"}
    assert by_key["max_client_conn"]["value"] == "10000"
    assert by_key["workers"]["changeable"] == "no"
    everything = str(rows)
    assert not [secret for secret in PASSWORDS.values() if secret and secret in everything]


def test_help_is_a_notice(make):
    conn = console(make())
    result = conn.query("SHOW HELP")
    assert result.tags == ["SHOW"] and "D" not in result.types
    assert "KILL_CLIENT" in result.notices[0]["D"]


def test_unknown_commands_do_not_end_the_connection(make):
    conn = console(make())
    for command in ("select * from pg_class", "DROP", "SHOW tables", "PAUSE"*5, "'"):
        fields = error_of(conn, command)
        assert fields["C"] == "42601" and fields["S"] == "ERROR" and "H" in fields, command
    assert error_of(conn, "SUSPEND")["C"] == "0A000"
    assert error_of(conn, "SHOW FDS")["C"] == "0A000"
    assert error_of(conn, "PAUSE nowhere")["M"] == "no such database: nowhere"
    assert error_of(conn, "DISABLE pgbouncer")["C"] == "55000"
    result = conn.query("SET extra_float_digits = 3; SHOW VERSION")
    assert result.tags == ["SET", "SHOW"] and result.notices[0]["M"] == "SET ignored"


def test_set_changes_a_setting_until_the_file_is_read_again(make):
    sluice = make(pool_size=1, query_wait_timeout=5)
    conn = console(sluice)
    clients = [sluice.connect() for _ in range(3)]
    clients[0].query("begin")

    def value(key):
        return only(table(conn, "SHOW CONFIG"), key=key)["value"]

    result = conn.query("SET default_pool_size = 2")
    assert result.tags == ["SET"] and "postgres.pool_size" in result.notices[0]["M"]
    assert value("default_pool_size") == "2"
    clients[1].query("begin")  # at once: there is room for two
    assert not conn.query("SET query_wait_timeout TO '0.2'").errors
    assert value("query_wait_timeout") == "0.200"
    assert error_of(clients[2], "select 1")["M"] == "query_wait_timeout"
    for bad, says in (("SET default_pool_size = many", "many"), ("SET workers = 2", "restart"),
                      ("SET pool_mode = magic", "transaction"),
                      ("SET kv.fsync = sometimes", "kv.fsync"),
                      ("SET work_mem = 5", None)):
        if says is None:
            assert conn.query(bad).notices[0]["M"] == "SET ignored"
            continue
        problem = error_of(conn, bad)
        assert problem["C"] == "22023" and says in problem["D"], problem
    assert value("default_pool_size") == "2"
    assert not conn.query("SET admin_users = 'alice, carol'").errors
    assert value("admin_users") == "alice, carol"
    assert conn.query("SET pool_size = 3; RELOAD").tags == ["SET", "RELOAD"]
    assert (value("default_pool_size"), value("query_wait_timeout")) == ("1", "5")
    for client in clients[:2]:
        assert client.query("commit; select 1").value == "1"


def test_reset_queries_begins_again(make):
    sluice = make()
    conn = console(sluice)
    sluice.connect().query("select 1 as counted")
    eventually(lambda: "counted" in str(conn.query("SHOW QUERIES").rows), 10, "it is shown")
    assert conn.query("RESET QUERIES").tags == ["RESET"]
    assert "counted" not in str(conn.query("SHOW QUERIES").rows)
    assert conn.query("RESET ALL").tags == ["RESET"]
    assert error_of(console(sluice, "bob"), "RESET QUERIES")["C"] == "42501"


def test_bytes_at_random_end_nothing_but_the_connection(make, rng: random.Random):
    sluice = make()
    whole = (wire.query("SHOW POOLS; SHOW CLIENTS") + wire.batch("SHOW STATS") +
             wire.parse("s", "SHOW LISTS") + wire.describe("S", "s") + wire.SYNC)
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        conn = console(sluice)
        conn.send(bytes(broken), wire.TERMINATE)
        conn.close()
    conn = console(sluice)
    conn.send(b"Q" + (1 << 29).to_bytes(4, "big"))
    assert conn.recv_until_closed().codes == ["08P01"]
    assert console(sluice).query("SHOW VERSION").rows


def test_exporter_queries_have_what_it_reads(make):
    """What prometheus-community's pgbouncer_exporter asks for, and the columns that it reads."""
    sluice = make()
    sluice.connect().query("select 1")
    conn = psycopg.connect(sluice.dsn("bob", "pgbouncer"), autocommit=True,
                           cursor_factory=psycopg.ClientCursor)
    sluice.opened.append(conn)

    def rows(command):
        cursor = conn.execute(command)
        names = [c.name for c in cursor.description]
        return [dict(zip(names, row)) for row in cursor]

    lists = {row["list"]: row["items"] for row in rows("SHOW LISTS;")}
    for name in ("databases", "users", "pools", "free_clients", "used_clients", "login_clients",
                 "free_servers", "used_servers", "dns_names", "dns_zones", "dns_queries",
                 "dns_pending"):
        assert float(lists[name]) >= 0
    for row in rows("SHOW DATABASES;"):
        for name in ("pool_size", "reserve_pool_size", "max_connections", "current_connections",
                     "paused", "disabled"):
            assert float(row[name]) >= 0
        assert {"name", "host", "port", "database", "force_user", "pool_mode"} <= row.keys()
    for row in rows("SHOW STATS;"):
        for name in ("total_query_count", "total_query_time", "total_received",
                     "total_sent", "total_wait_time", "total_xact_count", "total_xact_time",
                     "total_client_parse_count", "total_server_parse_count", "total_bind_count"):
            assert float(row[name]) >= 0
    for row in rows("SHOW POOLS;"):
        for name in ("cl_active", "cl_active_cancel_req", "cl_waiting", "cl_waiting_cancel_req",
                     "sv_active", "sv_active_cancel", "sv_being_canceled", "sv_idle", "sv_used",
                     "sv_tested", "sv_login", "maxwait", "maxwait_us"):
            assert float(row[name]) >= 0
    config = {row["key"]: row["value"] for row in rows("SHOW CONFIG;")}
    assert float(config["max_client_conn"]) > 0 and float(config["listen_backlog"]) > 0
    assert rows("SHOW VERSION;")[0]["version"].startswith("PgBouncer ")


# ---- clients that nobody here wrote -------------------------------------------------------------


def run_psql(sluice, script, *options, **more):
    environment = sluice.environment("alice", "pgbouncer")
    done = subprocess.run(["psql", "-X", *options], input=script, text=True, capture_output=True,
                          env=environment, timeout=30 * targets.SCALE, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_psql_shows_expanded_and_several(make):
    sluice = make()
    out, problems = run_psql(sluice, "\\x\nSHOW POOLS;\nSHOW VERSION \\; SHOW STATE;\nSHOW HELP;")
    assert "pool_mode" in out and "-[ RECORD 1 ]" in out and "suspended" in out
    assert "WARNING" not in problems and "Console usage" in problems


def test_psql_watch_repeats(make):
    sluice = make()
    with subprocess.Popen(["psql", "-XAt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True, env=sluice.environment("alice", "pgbouncer")) as psql:
        psql.stdin.write("SHOW VERSION \\watch 0.1\n")
        psql.stdin.flush()
        seen = 0
        while seen < 3:
            line = psql.stdout.readline()
            assert line, "psql ended"
            seen += "PgBouncer" in line
        psql.kill()


@pytest.mark.parametrize("cursor", ["server", "client"])
def test_psycopg_in_and_outside_a_transaction(make, cursor):
    sluice = make()
    factory = psycopg.Cursor if cursor == "server" else psycopg.ClientCursor
    with psycopg.connect(sluice.dsn("alice", "pgbouncer"), cursor_factory=factory) as conn:
        for binary in (False, True) if cursor == "server" else (False,):
            rows = conn.cursor(binary=binary).execute("SHOW LISTS").fetchall()
            assert dict(rows)["used_clients"] == 1
            stats = conn.cursor(binary=binary).execute("SHOW STATS_TOTALS").fetchall()
            assert [int(value) for value in stats[0][1:]] == [0] * 12
        with pytest.raises(psycopg.errors.SyntaxError):
            conn.execute("SHOW nothing")
        conn.rollback()
        assert conn.execute("SHOW STATE", prepare=True).fetchone() == ("active", "yes")
        assert conn.execute("SHOW STATE", prepare=True).fetchone() == ("active", "yes")


def test_asyncpg_in_binary(make):
    sluice = make()
    sluice.connect().query("select 1")

    async def talk():
        conn = await asyncpg.connect(host=sluice.host, port=sluice.port, user="alice",
                                     password=PASSWORDS["alice"], database="pgbouncer", ssl=False)
        for show in SHOWS:
            await conn.fetch(f"SHOW {show}")
        stats = await conn.fetch("SHOW STATS_TOTALS")
        assert [int(row["query_count"]) for row in stats if row["database"] == "app"] == [1]
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await conn.fetch("SHOW nothing")
        assert await conn.execute("RECONNECT") == "RECONNECT"
        await conn.close()

    asyncio.run(talk())


def test_wire_extended_in_round_trips(make):
    conn = console(make())
    conn.send(wire.parse("s", "SHOW LISTS"), wire.describe("S", "s"), wire.FLUSH)
    assert conn.recv_count("T", 1).types == "1tT"
    conn.send(wire.bind("", "s", result_formats=[0, 1]), wire.execute("", 1), wire.FLUSH)
    conn.recv_count("s", 1)
    conn.send(wire.execute(), wire.SYNC)
    assert conn.recv_until("Z").types == "D" * 13 + "CZ"
    conn.send(wire.parse("", "KILL_CLIENT 99999"), wire.bind(), wire.execute(),
              wire.parse("", "RELOAD"), wire.SYNC, wire.query("SHOW STATE"))
    assert conn.recv_until("Z").codes == ["22023"]
    assert conn.recv_until("Z").types == "TDDDCZ"


def test_node_postgres_works(make, node, tmp_path):  # noqa: F811
    sluice = make()
    folder = os.path.join(os.path.dirname(__file__), "node")
    script = """
import pg from 'pg'
const client = new pg.Client()
await client.connect()
const simple = await client.query('SHOW POOLS')
const extended = await client.query({ text: 'SHOW LISTS', name: 'lists', values: [] })
const again = await client.query({ text: 'SHOW LISTS', name: 'lists', values: [] })
let code = ''
try { await client.query('SHOW nothing') } catch (error) { code = error.code }
const state = await client.query('SHOW STATE')
console.log(JSON.stringify([simple.fields.length > 16, extended.rows.length, again.rows.length,
                            code, state.rows[0]]))
await client.end()
"""
    done = subprocess.run([node, "--input-type=module", "-e", script], cwd=folder, text=True,
                          capture_output=True, timeout=60 * targets.SCALE,
                          env=sluice.environment("alice", "pgbouncer"))
    assert done.stdout.strip() == \
        '[true,14,14,"42601",{"key":"active","value":"yes"}]', done.stdout + done.stderr


# ---- commands -----------------------------------------------------------------------------------


def test_reload_says_what_changed_and_what_is_wrong(make):
    sluice = make()
    conn = console(sluice)
    sluice.config = targets.merge(sluice.config, {"postgres": {"query_wait_timeout": "33s"}})
    sluice.write_config()
    result = conn.query("RELOAD")
    assert result.tags == ["RELOAD"]
    assert "postgres.query_wait_timeout" in result.notices[0]["M"]
    config = {row["key"]: row["value"] for row in table(conn, "SHOW CONFIG")}
    assert config["query_wait_timeout"] == "33"
    sluice.config_path.write_text("postgres: {query_wait_timeout: never}\n")
    problem = error_of(conn, "RELOAD")
    assert problem["C"] == "F0000" and "query_wait_timeout" in problem["D"]
    sluice.write_config()


def gone(pg):
    """No server process is left: each needs a moment to notice that its connection is closed."""
    eventually(lambda: pg.session_count("app", "app") == 0, 10, "server connections gone")


class Load:
    """Clients that add to rows of their own in transactions, and what became of them."""

    def __init__(self, sluice, clients):
        self.sluice = sluice
        self.stop = threading.Event()
        self.errors = []
        self.rounds = [0] * clients
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True)
                        for i in range(clients)]

    def _run(self, i):
        try:
            conn = self.sluice.connect()
            while not self.stop.is_set():
                for sql in ("begin", f"insert into t values ({i})", "commit"):
                    result = conn.query(sql)
                    assert not result.errors, result.errors
                self.rounds[i] += 1
        except Exception as problem:  # noqa: BLE001 - shown by the test
            self.errors.append(problem)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def wait_for_more(self):
        before = list(self.rounds)
        eventually(lambda: self.errors or all(
            now > then for now, then in zip(self.rounds, before)), 20 * targets.SCALE,
            "every client goes on")
        assert not self.errors, self.errors[:2]

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(30 * targets.SCALE)
        assert not self.errors, self.errors[:2]


@pytest.mark.parametrize("which", ["", " app"])
def test_pause_and_resume_under_load_lose_nothing(make, pg, table_t, which):
    sluice = make(pool_size=3)
    conn = console(sluice)
    with Load(sluice, 8) as load:
        load.wait_for_more()
        for _ in range(3):
            assert ok(conn, f"PAUSE{which}") == ["PAUSE"]
            gone(pg)
            row = only(table(conn, "SHOW POOLS"), database="app")
            assert row["paused"] == "1" and row["sv_active"] == row["sv_idle"] == "0"
            assert ok(conn, f"RESUME{which}") == ["RESUME"]
            load.wait_for_more()
    assert pg.in_app("select count(*) from t")[0][0] == sum(load.rounds)


@pytest.fixture
def table_t(table):
    return table


def test_pause_waits_for_transactions_and_holds_for_new_clients(make, pg):
    sluice = make()
    conn, other = console(sluice), console(sluice)
    busy, idle = sluice.connect(), sluice.connect()
    assert idle.query("select 1").value == "1"
    busy.query("begin")
    conn.send(wire.query("PAUSE app"))
    eventually(lambda: only(table(other, "SHOW DATABASES"), name="app")["paused"] == "1", 10,
               "paused")
    assert conn.silent(0.3)
    assert busy.query("select 2").value == "2"  # its transaction goes on
    idle.send(wire.query("select 3"))
    assert idle.silent(0.3)
    assert only(table(other, "SHOW WAITERS"))["reason"] == "paused"
    busy.query("commit")
    assert conn.recv_until("Z").tags == ["PAUSE"]
    gone(pg)
    late = sluice.connect()  # is welcomed, and waits, too
    late.send(wire.query("select 4"))
    assert late.silent(0.3)
    assert only(table(other, "SHOW STATE"), key="paused")["value"] == "no"
    assert error_of(other, "RESUME")["M"] == "pooler is not paused/suspended"
    ok(other, "RESUME app")
    assert idle.recv_until("Z").value == "3" and late.recv_until("Z").value == "4"
    assert error_of(other, "RESUME app")["M"] == "database app is not paused"


def test_pause_stays_when_its_console_leaves(make):
    sluice = make()
    busy = sluice.connect()
    busy.query("begin")
    leaving, conn = console(sluice), console(sluice)
    leaving.send(wire.query("PAUSE"))
    eventually(lambda: only(table(conn, "SHOW STATE"), key="paused")["value"] == "yes", 10,
               "paused")
    leaving.close()
    busy.query("commit")
    busy.send(wire.query("select 1"))
    assert busy.silent(0.3)
    assert error_of(conn, "PAUSE")["M"] == "already suspended/paused"
    ok(conn, "RESUME")
    assert busy.recv_until("Z").value == "1"


def test_pause_before_the_first_client_holds(make):
    sluice = make()
    conn = console(sluice)
    ok(conn, "PAUSE")
    client = sluice.raw()
    client.send(wire.startup({"user": "app", "database": "app"}))
    with pytest.raises(TimeoutError):  # nobody has asked this server for its parameters yet
        client.settimeout(0.5)
        client.authenticate(PASSWORDS["app"])
        client.recv_until("Z")
    ok(conn, "RESUME")
    client.settimeout(10 * targets.SCALE)
    client.recv_until("Z")
    assert client.query("select 1").value == "1"


def test_query_wait_timeout_strikes_in_a_pause(make):
    sluice = make(query_wait_timeout="300ms")
    client = sluice.connect()
    client.query("select 1")
    conn = console(sluice)
    ok(conn, "PAUSE")
    assert client.query("select 1", check=False).codes == ["53300"]
    ok(conn, "RESUME")
    assert client.query("select 1").value == "1"


def test_cancel_ends_the_wait_and_not_the_pause(make):
    sluice = make()
    busy = sluice.connect()
    busy.query("begin")
    conn, other = console(sluice), console(sluice)
    conn.send(wire.query("PAUSE app"))
    assert conn.silent(0.2)
    canceller = sluice.raw()
    canceller.send(wire.cancel_request(conn.pid, conn.key))
    assert conn.recv_until("Z").codes == ["57014"]
    assert only(table(other, "SHOW DATABASES"), name="app")["paused"] == "1"
    ok(other, "RESUME app")
    busy.query("commit")


def test_disable_refuses_new_clients_only(make):
    sluice = make()
    client, conn = sluice.connect(), console(sluice)
    ok(conn, "DISABLE app")
    assert only(table(conn, "SHOW DATABASES"), name="app")["disabled"] == "1"
    assert client.query("select 1").value == "1"
    assert refusal(sluice, user="app", database="app").message == 'database "app" is disabled'
    ok(conn, "ENABLE app")
    assert sluice.connect().query("select 1").value == "1"


def test_reconnect_while_transactions_run(make, pg, table_t):
    sluice = make(pool_size=3)
    conn = console(sluice)
    with Load(sluice, 6) as load:
        for _ in range(4):
            load.wait_for_more()
            old = set(pg.pids("app", "app"))
            assert ok(conn, "RECONNECT app") == ["RECONNECT"]
            assert ok(conn, "WAIT_CLOSE app") == ["WAIT_CLOSE"]
            eventually(lambda: not old & set(pg.pids("app", "app")), 10, "old sessions gone")
    assert pg.in_app("select count(*) from t")[0][0] == sum(load.rounds)


def test_wait_close_waits_for_a_transaction(make):
    sluice = make()
    busy = sluice.connect()
    busy.query("begin")
    conn, other = console(sluice), console(sluice)
    ok(conn, "RECONNECT")
    conn.send(wire.query("WAIT_CLOSE"))
    assert conn.silent(0.3)
    assert only(table(other, "SHOW SERVERS"), database="app")["close_needed"] == "1"
    before = busy.backend()
    busy.query("commit")
    assert conn.recv_until("Z").tags == ["WAIT_CLOSE"]
    assert busy.backend() != before


def test_kill_client_ends_it_and_its_server_connection(make, pg):
    sluice = make()
    victim, bystander = sluice.connect(), sluice.connect()
    victim.query("begin")
    backend = victim.backend()
    victim.send(wire.query("select pg_sleep(60)"))
    conn = console(sluice)
    row = eventually(lambda: next((c for c in table(conn, "SHOW CLIENTS")
                                   if c["server_pid"] == str(backend)), None), 10, "running")
    assert ok(conn, f"KILL_CLIENT {row['id']}") == ["KILL_CLIENT"]
    assert victim.recv_until_closed().errors[-1]["M"] == "admin forced disconnect"
    eventually(lambda: row["id"] not in [c["id"] for c in table(conn, "SHOW CLIENTS")], 10, "gone")
    assert bystander.query("select 1").value == "1"
    assert error_of(conn, f"KILL_CLIENT {row['id']}")["M"] == "client not found"
    assert error_of(conn, "KILL_CLIENT x")["C"] == "22023"
    pg.kill_sessions("app")


def test_kill_ends_everybody_and_pauses(make, pg):
    sluice = make(pool_size=2)
    active, waiting, idle = (sluice.connect() for _ in range(3))
    active.query("begin")
    other = sluice.connect()
    other.query("begin")
    waiting.send(wire.query("select 1"))
    conn = console(sluice)
    assert ok(conn, "KILL app") == ["KILL"]
    for client in (active, waiting, idle, other):
        assert client.recv_until_closed().codes == ["57P01"]
    eventually(lambda: pg.session_count("app", "app") == 0, 10, "server connections gone")
    assert only(table(conn, "SHOW DATABASES"), name="app")["paused"] == "1"
    late = sluice.connect()
    late.send(wire.query("select 1"))
    assert late.silent(0.3)
    ok(conn, "RESUME app")
    assert late.recv_until("Z").value == "1"


def test_listeners_hear_again_after_a_pause(make, pg):
    sluice = make()
    listener = sluice.psycopg()
    listener.execute("listen ch")
    conn = console(sluice)
    ok(conn, "PAUSE app")
    gone(pg)
    ok(conn, "RESUME app")
    eventually(lambda: any("LISTEN" in (s["query"] or "") for s in pg.sessions("app", "app")),
               10 * targets.SCALE, "listening again")
    sluice.psycopg().execute("notify ch, 'x'")
    assert next(listener.notifies()).payload == "x"


@pytest.mark.parametrize("mode", ["", " WAIT_FOR_SERVERS", " WAIT_FOR_CLIENTS"])
def test_shutdown_ends_the_daemon(make, mode):
    sluice = make()
    conn = console(sluice)
    assert error_of(conn, "SHUTDOWN SOON")["C"] == "42601"
    conn.send(wire.query(f"SHUTDOWN{mode}"))
    if mode:
        assert conn.recv_until("Z").tags == ["SHUTDOWN"]
    conn.recv_until_closed()
    assert sluice.process.wait(15 * targets.SCALE) == 0
    sluice.process = None
