"""SIGHUP: what changes while clients are there, and what does not (docs/reload.md)."""

import json
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import targets
import wire
from certificates import client_context
from postgres import PASSWORDS, Postgres, free_port
from test_races import Crowd

SECONDS = targets.SCALE
# For whoever takes part in a pool's life behind the clients' backs.
WHERE = "select inet_server_port()"


@pytest.fixture(scope="module")
def second_server(authority):
    server = Postgres(authority)
    yield server
    server.destroy()


@pytest.fixture
def second(second_server):
    second_server.kill_sessions("app")
    return second_server


def reload(sluice, **changes):
    """Reloads and waits for the outcome; the log since then."""
    before = len(sluice.log)
    sluice.reload(**changes)
    pattern = "configuration (not )?reloaded"
    wire.eventually(lambda: re.search(pattern, sluice.log[before:]), 10 * SECONDS, "a reload")
    return sluice.log[before:]


def url(target):
    return {"databases": {"app": {"url": target}}}


def try_connect(sluice, **arguments):
    try:
        return sluice.connect(**arguments)
    except (wire.PgError, wire.Closed):
        return None


def refusal(sluice, **arguments):
    with pytest.raises(wire.PgError) as caught:
        sluice.connect(**arguments)
    return caught.value


def last_words(conn):
    """The error that ended the connection."""
    return conn.recv_until_closed().errors[-1]


# ---- another address ----------------------------------------------------------------------------


def test_url_change_under_load_fails_no_transaction(make_sluice, pg, second):
    """Settings, prepared statements and open transactions of many clients, while the pool goes to
    and fro between two servers."""
    for server in (pg, second):
        server.in_app("drop table if exists moved; create table moved (n int); "
                      "grant all on moved to public")
    sluice = make_sluice(postgres={"pool_size": 4})
    conns = [sluice.connect(application_name=f"c{n}") for n in range(10)]
    for n, conn in enumerate(conns):
        conn.query(f"set statement_timeout to {100001 + n}")
        conn.run(wire.parse("where", WHERE), wire.SYNC)
    seen = [set() for _ in conns]

    def step(n):
        conn = conns[n]
        conn.query("begin")
        first = conn.query(WHERE).value
        conn.query(f"insert into moved values ({n})")
        bound = conn.run(wire.bind("", "where"), wire.execute(), wire.SYNC).value
        assert conn.query(WHERE).value == first == bound
        conn.query("commit")
        seen[n].add(first)
        assert conn.query("show statement_timeout").value == f"{100001 + n}ms"
        assert conn.query("show application_name").value == f"c{n}"

    with Crowd(len(conns), step) as crowd:
        for server in (second, pg, second):
            before = list(crowd.steps)
            wire.eventually(lambda: min(a - b for a, b in zip(crowd.steps, before)) > 5,
                            20 * SECONDS, "some traffic")
            reload(sluice, postgres=url(server.url()))
        before = list(crowd.steps)
        wire.eventually(lambda: min(a - b for a, b in zip(crowd.steps, before)) > 5,
                        20 * SECONDS, "traffic on the second server")
        wire.eventually(lambda: not pg.session_count(), 5 * SECONDS, "old connections gone")
    assert not crowd.problems
    assert all(places == {str(pg.port), str(second.port)} for places in seen)
    done = sum(server.in_app("select count(*) from moved")[0][0] for server in (pg, second))
    assert done == sum(crowd.steps)


def test_transaction_ends_where_it_began_and_the_next_is_elsewhere(make_sluice, pg, second):
    sluice = make_sluice()
    a, idle = sluice.connect(), sluice.connect()
    idle.query("select 1")
    a.query("begin")
    assert a.query(WHERE).value == str(pg.port)
    log = reload(sluice, postgres=url(second.url()))
    assert "postgres.databases.app.url" in log
    assert idle.query(WHERE).value == str(second.port)
    assert a.query(WHERE).value == str(pg.port)
    assert a.query("commit").status == "I"
    assert a.query(WHERE).value == str(second.port)
    wire.eventually(lambda: not pg.session_count(), 5 * SECONDS, "old connections gone")


def test_client_that_waits_gets_a_connection_to_the_new_server(make_sluice, pg, second):
    sluice = make_sluice(postgres={"pool_size": 1})
    a, b = sluice.connect(), sluice.connect()
    a.query("begin")
    b.send(wire.query(WHERE))
    sluice.wait_waiting(1)
    reload(sluice, postgres=url(second.url()))
    assert b.silent(0.2), "the bound holds over both servers"
    a.query("commit")
    assert b.recv_until("Z").value == str(second.port)


def test_login_to_a_dead_address_does_not_hold_up_the_new_one(make_sluice, pg):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(16)
        dead = pg.url().replace(str(pg.port), str(deaf.getsockname()[1]))
        sluice = make_sluice(postgres={"server_connect_timeout": "60s", **url(dead)})
        waiting = threading.Thread(target=lambda: done.append(sluice.connect().query(WHERE).value),
                                   daemon=True)
        done = []
        waiting.start()
        sluice.wait_waiting(1)
        started = time.monotonic()
        reload(sluice, postgres=url(pg.url()))
        waiting.join(20 * SECONDS)
        assert done == [str(pg.port)] and time.monotonic() - started < 10 * SECONDS


def test_back_off_and_hopeless_logins_end_with_the_reload(make_sluice, pg):
    sluice = make_sluice(postgres=url(f"postgresql://app:x@127.0.0.1:{free_port()}/app"))
    done = []
    waiting = threading.Thread(target=lambda: done.append(sluice.connect().query(WHERE).value),
                               daemon=True)
    waiting.start()
    wire.eventually(lambda: sluice.log.count("server login failed") >= 2, 10 * SECONDS, "failures")
    reload(sluice, postgres=url(pg.url()))
    waiting.join(10 * SECONDS)
    assert done == [str(pg.port)]


def test_new_clients_are_welcomed_with_what_the_new_server_reports(make_sluice, pg, second):
    second.in_app("alter role app set datestyle to 'German'")
    try:
        sluice = make_sluice()
        old = sluice.connect()
        reload(sluice, postgres=url(second.url()))
        conn = sluice.psycopg()
        assert conn.info.parameter_status("DateStyle") == "German, DMY"
        assert old.query("select 1").parameters.get("DateStyle") == "German, DMY"
    finally:
        second.in_app("alter role app reset datestyle")


def test_functions_of_the_new_server_are_known(make_sluice, pg, second):
    """What a function does to a session is learnt anew, from the new server."""
    for server, body in ((pg, "select 1"), (second, "select set_config('my.word', 'kept', false)")):
        server.in_app("drop function if exists touch(); create function touch() returns text "
                      f"language sql as $$ {body}::text $$; grant all on function touch to public")
    sluice = make_sluice(postgres={"pool_size": 2})
    a, b = sluice.connect(), sluice.connect()
    a.query("select touch()")
    reload(sluice, postgres=url(second.url()))
    a.query("select touch()")
    b.query("begin")
    assert b.query("select current_setting('my.word', true)").value in (None, "")
    assert a.query("show my.word").value == "kept"
    b.query("commit")
    assert a.query("show my.word").value == "kept"


def test_pinned_client_keeps_its_connection_until_the_pin_is_gone(make_sluice, pg, second):
    sluice = make_sluice()
    a = sluice.connect()
    a.query("create temporary table mine (n int)")
    reload(sluice, postgres=url(second.url()))
    assert a.query("select count(*) from mine").value == "0"
    assert a.query(WHERE).value == str(pg.port)
    a.query("drop table mine")
    assert a.query(WHERE).value == str(second.port)
    wire.eventually(lambda: not pg.session_count(), 5 * SECONDS, "old connections gone")


def test_session_mode_client_keeps_its_connection_until_it_leaves(make_sluice, pg, second):
    sluice = make_sluice(postgres={"pool_mode": "session"})
    a = sluice.connect()
    assert a.query(WHERE).value == str(pg.port)
    reload(sluice, postgres=url(second.url()))
    assert a.query(WHERE).value == str(pg.port)
    assert sluice.connect().query(WHERE).value == str(second.port)
    a.terminate()
    wire.eventually(lambda: not pg.session_count(), 5 * SECONDS, "old connections gone")


def test_listener_moves_and_is_told(make_sluice, pg, second):
    sluice = make_sluice()
    listener = sluice.connect()
    listener.query("listen news")
    reload(sluice, postgres=url(second.url()))
    notice = listener.recv_until("N").notices[-1]
    assert "notifications may have been missed" in notice["M"]
    wire.eventually(lambda: not pg.session_count(), 5 * SECONDS, "old connections gone")
    second.in_app("notify news, 'from there'")
    assert b"from there" in listener.recv_until("A").messages[-1].body
    assert listener.query("select 1").value == "1"


def test_same_url_again_disturbs_nothing(make_sluice, pg):
    sluice = make_sluice()
    conn = sluice.connect()
    pid = conn.query("select pg_backend_pid()").value
    reload(sluice, postgres={"pool_size": 6})
    assert conn.query("select pg_backend_pid()").value == pid


# ---- another upstream user ----------------------------------------------------------------------


def test_clients_move_to_the_pool_of_the_new_upstream_user(make_sluice, pg):
    sluice = make_sluice()
    a, b, listener = (sluice.connect() for _ in range(3))
    listener.query("listen news")
    b.query("select 1")
    a.query("begin")
    assert a.query("select current_user").value == "app"
    reload(sluice, postgres=url(pg.url(user="alice")))
    assert a.query("select current_user").value == "app"
    a.query("commit")
    assert a.query("select current_user").value == "alice"
    assert b.query("select current_user").value == "alice"
    assert "missed" in listener.recv_until("N").notices[-1]["M"]
    wire.eventually(lambda: not pg.session_count(user="app"), 5 * SECONDS, "the old pool is empty")

    def heard():
        pg.in_app("notify news, 'hello'")
        return not listener.silent(0.2)
    wire.eventually(heard, 10 * SECONDS, "a notification")
    listener.recv_until("A")
    assert sluice.metrics()["sluice_pool_size"].label_values("user") == {"alice"}
    reload(sluice, postgres=url(pg.url()))
    assert b.query("select current_user").value == "app"


def test_client_that_waits_moves_with_its_pool(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 1})
    a, b = sluice.connect(), sluice.connect()
    a.query("begin")
    b.send(wire.query("select current_user"))
    sluice.wait_waiting(1)
    reload(sluice, postgres=url(pg.url(user="alice")))
    assert b.recv_until("Z").value == "alice", "another pool has room"
    a.query("commit")


def test_url_without_a_user_takes_the_clients_own(make_sluice, pg):
    sluice = make_sluice(postgres={"users": {"bob": {"password": wire.scram_verifier(
        PASSWORDS["bob"])}}})
    alice, bob, app = (sluice.connect(user=user) for user in ("alice", "bob", "app"))
    for conn in (alice, bob, app):
        assert conn.query("select current_user").value == "app"
    reload(sluice, postgres=url(pg.url(user=None)))
    assert alice.query("select current_user").value == "alice"
    assert app.query("select current_user").value == "app"
    error = last_words(bob)
    assert error["C"] == "57P01" and "upstream user" in error["M"]
    assert "their own password" in error["D"]


def test_url_with_a_user_now_serves_all_as_that_user(make_sluice, pg):
    sluice = make_sluice(postgres=url(pg.url(user=None)))
    conns = {user: sluice.connect(user=user) for user in ("alice", "bob")}
    assert all(c.query("select current_user").value == user for user, c in conns.items())
    reload(sluice, postgres=url(pg.url()))
    assert all(c.query("select current_user").value == "app" for c in conns.values())
    wire.eventually(lambda: not pg.session_count(user="alice"), 5 * SECONDS, "the old pool empty")


# ---- databases come and go ----------------------------------------------------------------------


def test_database_is_added(make_sluice, pg):
    sluice = make_sluice()
    assert refusal(sluice, database="other").code == "3D000"
    log = reload(sluice, postgres={"databases": {"other": {"url": pg.url("other")}}})
    assert "postgres.databases.other" in log and "needs a restart" not in log
    assert sluice.connect(database="other").query("select current_database()").value == "other"


def test_database_is_removed(make_sluice, pg):
    both = {"app": {"url": pg.url()}, "other": {"url": pg.url("other")}}
    sluice = make_sluice(postgres={"databases": both})
    idle, busy, app = (sluice.connect(database=d) for d in ("other", "other", "app"))
    idle.query("select 1")
    busy.query("begin")
    reload(sluice, postgres={"databases": {"other": None}})
    error = last_words(idle)
    assert (error["C"], error["M"]) == ("57P01", "database removed")
    assert '"other"' in error["D"]
    error = refusal(sluice, database="other")
    assert (error.code, error.message) == ("3D000", "no such database: other")
    assert busy.query("select 1").value == "1"
    busy.send(wire.query("commit"))
    rest = busy.recv_until_closed()
    assert rest.tags == ["COMMIT"] and rest.codes == ["57P01"]
    wire.eventually(lambda: not pg.session_count("other"), 5 * SECONDS, "the pool is empty")
    wire.eventually(lambda: sluice.metrics()["sluice_pool_size"].label_values("database") == {"app"},
                    5 * SECONDS, "no metrics of it")
    assert app.query("select 1").value == "1"
    reload(sluice, postgres={"databases": {"other": {"url": pg.url("other")}}})
    assert sluice.connect(database="other").query("select 1").value == "1"


def test_waiting_and_session_mode_clients_of_a_removed_database_are_told(make_sluice, pg):
    both = {"app": {"url": pg.url()},
            "other": {"url": pg.url("other"), "pool_mode": "session", "pool_size": 1}}
    sluice = make_sluice(postgres={"databases": both})
    holder, waiter = (sluice.connect(database="other") for _ in range(2))
    holder.query("begin")
    waiter.send(wire.query("select 1"))
    sluice.wait_waiting(1)
    reload(sluice, postgres={"databases": {"other": None}})
    assert last_words(waiter)["M"] == "database removed"
    holder.send(wire.query("commit"))
    assert last_words(holder)["M"] == "database removed"
    wire.eventually(lambda: not pg.session_count("other"), 5 * SECONDS, "the pool is empty")


def test_named_database_takes_over_from_the_fallback(make_sluice, pg, second):
    sluice = make_sluice(postgres={"databases": {"*": {"url": pg.url("")}}})
    conn = sluice.connect(database="other")
    assert conn.query(WHERE).value == str(pg.port)
    reload(sluice, postgres={"databases": {"other": {"url": second.url("app")}}})
    assert conn.query(f"{WHERE}").value == str(second.port)
    assert conn.query("select current_database()").value == "app"
    reload(sluice, postgres={"databases": {"other": None}})
    assert conn.query("select current_database(), inet_server_port()").rows == [
        ("other", str(pg.port))]


# ---- users, authentication, TLS -----------------------------------------------------------------


def test_password_change_counts_for_new_logins(make_sluice, pg):
    sluice = make_sluice()
    conn = sluice.connect(user="alice")
    reload(sluice, postgres={"users": {"alice": {"password": "new-one"}}})
    assert refusal(sluice, user="alice").code == "28P01"
    assert sluice.connect(user="alice", secret="new-one").query("select 1").value == "1"
    assert conn.query("select 1").value == "1"


def test_password_change_counts_upstream(make_sluice, pg):
    """With a URL that names no user, the file's password is what opens the next connection."""
    sluice = make_sluice(postgres={"databases": {"app": {"url": pg.url(user=None)}}})
    conn = sluice.connect(user="alice")
    assert conn.query("select current_user").value == "alice"
    pg.query("alter role alice password 'another-secret'")
    try:
        reload(sluice, postgres={"users": {"alice": {"password": "another-secret"}}})
        pg.kill_sessions()
        assert conn.query("select current_user").value == "alice"
    finally:
        pg.query(f"alter role alice password '{PASSWORDS['alice']}'")


def test_removed_user_stays_but_does_not_come_back(make_sluice):
    sluice = make_sluice()
    conn = sluice.connect(user="alice")
    reload(sluice, postgres={"users": {"alice": None}})
    assert conn.query("select 1").value == "1"
    assert refusal(sluice, user="alice").code == "28P01"


def test_auth_type_and_pool_mode_count_for_new_clients(make_sluice):
    sluice = make_sluice()
    old = sluice.connect()
    assert refusal(sluice, secret="wrong").code == "28P01"
    reload(sluice, postgres={"auth_type": "trust", "pool_mode": "session"})
    new = sluice.connect(secret="wrong")
    new.query("set my.own to 'x'")
    first = new.query("select pg_backend_pid()").value
    assert all(old.query("select pg_backend_pid()").value != first for _ in range(3))
    reload(sluice, postgres={"auth_type": "scram-sha-256", "pool_mode": "transaction"})
    assert refusal(sluice, secret="wrong").code == "28P01"
    assert new.query("select pg_backend_pid()").value == first


def test_tls_is_turned_on_and_certificates_change_under_load(make_sluice, server_certificates):
    sluice = make_sluice()
    plain = sluice.connect()

    def tls(name):
        certificate, key = server_certificates[name]
        return {"tls": {"mode": "require", "certificate": str(certificate), "key": str(key)}}
    reload(sluice, postgres=tls("first"))
    assert refusal(sluice).code == "28000"
    conns = [sluice.connect(tls=client_context()) for _ in range(4)]
    with Crowd(len(conns), lambda n: conns[n].query("select repeat('x', 20000)")) as crowd:
        for name in ("second", "first", "second"):
            reload(sluice, postgres=tls(name))
            conn = sluice.connect(tls=client_context(), gs2="p")
            assert conn.query("select 1").value == "1"
    assert not crowd.problems and min(crowd.steps) > 0
    assert plain.query("select 1").value == "1"
    reload(sluice, postgres={"tls": {"mode": "disable"}})
    assert sluice.connect().query("select 1").value == "1"


def test_ends_of_certificates_are_metrics_that_follow_a_reload(make_sluice, server_certificates,
                                                               tmp_path):
    key = server_certificates["first"][1]

    def tls(days):
        """A certificate that ends by then, and when that is."""
        made = tmp_path / f"{days}.pem"
        subprocess.run(["openssl", "req", "-x509", "-key", str(key), "-subj", "/CN=x", "-days",
                        str(days), "-out", str(made)], check=True, capture_output=True)
        said = subprocess.run(["openssl", "x509", "-enddate", "-noout", "-in", str(made)],
                              check=True, capture_output=True, text=True).stdout
        end = ssl.cert_time_to_seconds(said.strip().removeprefix("notAfter="))
        return {"tls": {"mode": "allow", "certificate": str(made), "key": str(key)}}, end

    def ends():
        family = sluice.metrics()["sluice_tls_certificate_expiry_seconds"]
        return {labels["listener"]: value for _, labels, value in family.samples}

    sluice = make_sluice(kv={"listen": [f"127.0.0.1:{free_port()}"], "directory": "kv"})
    assert ends() == {}
    (postgres, five), (kv, forty), (monitoring, seventy) = tls(5), tls(40), tls(70)
    reload(sluice, postgres=postgres, kv=kv)
    assert ends() == {"postgres": five, "kv": forty}
    reload(sluice, postgres=kv, kv={"tls": {"mode": "disable"}})
    assert ends() == {"postgres": forty}
    sluice.config = targets.merge(sluice.config, {"monitoring": monitoring})
    sluice.write_config()
    sluice.stop()
    sluice.start()
    assert ends() == {"postgres": forty, "monitoring": seventy}
    reload(sluice, monitoring=postgres)
    assert ends() == {"postgres": forty, "monitoring": five}


# ---- limits and timeouts ------------------------------------------------------------------------


def test_pool_sizes_apply_at_once(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 4})
    conns = [sluice.connect() for _ in range(4)]
    for conn in conns:
        conn.query("begin")
    assert pg.session_count() == 4
    for conn in conns[:2]:
        conn.query("commit")
    reload(sluice, postgres={"pool_size": 1})
    wire.eventually(lambda: pg.session_count() == 2, 5 * SECONDS, "idle ones closed")
    for conn in conns[2:]:
        conn.query("commit")
    wire.eventually(lambda: pg.session_count() == 1, 5 * SECONDS, "the rest closed when free")
    reload(sluice, postgres={"pool_size": 5, "min_pool_size": 3})
    wire.eventually(lambda: pg.session_count() == 3, 5 * SECONDS, "the minimum")
    reload(sluice, postgres={"max_db_connections": 2, "min_pool_size": 0})
    wire.eventually(lambda: pg.session_count() == 2, 5 * SECONDS, "the database's limit")
    reload(sluice, postgres={"max_db_connections": 0, "server_lifetime": "100ms"})
    wire.eventually(lambda: pg.session_count() == 0, 5 * SECONDS, "old age")


def test_limits_on_clients_apply_at_once(make_sluice):
    sluice = make_sluice()
    conns = [sluice.connect() for _ in range(3)]
    for name in ("max_client_conn", "max_db_client_connections", "max_user_client_connections"):
        reload(sluice, postgres={name: 3})
        error = refusal(sluice)
        assert error.code == "53300" and name in error.message
        reload(sluice, postgres={name: 100})
        sluice.connect().terminate()
    assert [c.query("select 1").value for c in conns] == ["1"] * 3


def test_timeouts_apply_to_clients_that_are_there(make_sluice):
    sluice = make_sluice()
    quick, idle, sleepy, user = (sluice.connect() for _ in range(4))
    idle.query("begin")
    reload(sluice, postgres={"query_timeout": "200ms"})
    assert quick.query("select pg_sleep(20)", check=False).codes == ["57014"]
    reload(sluice, postgres={"query_timeout": "0", "idle_transaction_timeout": "200ms"})
    assert last_words(idle)["C"] == "25P03"
    sleepy.query("select 1")
    reload(sluice, postgres={"idle_transaction_timeout": "0",
                             "users": {"app": {"client_idle_timeout": "200ms"}}})
    assert last_words(sleepy)["C"] == last_words(user)["C"] == "57P05"


def test_query_wait_timeout_applies_to_who_waits(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    holder, waiter = sluice.connect(), sluice.connect()
    holder.query("begin")
    waiter.send(wire.query("select 1"))
    sluice.wait_waiting(1)
    reload(sluice, postgres={"query_wait_timeout": "300ms"})
    assert waiter.recv_until("Z").errors[0]["M"] == "query_wait_timeout"


# ---- what is refused, and what waits ------------------------------------------------------------


def bad_files(text):
    return {
        "value": (text.replace("pool_size: 5", "pool_size: x"), "postgres.pool_size"),
        "key": (text.replace("pool_size: 5", "pool_sizes: 5"), "postgres.pool_sizes"),
        "url": (text.replace("@127.0.0.1", "@[127.0.0.1"), "databases.app.url"),
        "file": (text.replace("pool_size: 5", "pool_size: '${file:/no/such/file}'"),
                 "postgres.pool_size"),
        "variable": (text.replace("pool_size: 5", "pool_size: '${NO_SUCH_NAME}'"),
                     "postgres.pool_size"),
        "certificate": (text.replace("  pool_size: 5", "  pool_size: 5\n  tls: {mode: allow, "
                                     "certificate: /no/such.pem, key: /no/such.key}"),
                        "postgres.tls.certificate"),
        "not YAML": (text.replace("pool_size: 5", "pool_size: ]"), ""),
        "empty": ("", "postgres.databases"),
        "half": (text[:text.index("  users:")], "postgres.users"),
    }


def test_bad_file_changes_nothing_and_says_where(make_sluice, pg):
    sluice = make_sluice()
    text = sluice.config_path.read_text()
    conn = sluice.connect()
    for what, (bad, key) in bad_files(text).items():
        assert bad != text, what
        sluice.text = bad
        log = reload(sluice)
        assert "configuration not reloaded" in log, what
        assert key in log and "sluice.yaml:" in log, f"{what}: {log}"
        line = re.search(r"sluice\.yaml:(\d+):", log)
        assert what == "empty" or line, f"{what}: {log}"
        assert "SECRET" not in log and PASSWORDS["app"] not in log
        assert conn.query("select 1").value == "1"
        assert sluice.connect().query("select 1").value == "1"
    sluice.text = None
    sluice.config_path.unlink()
    before = len(sluice.log)
    sluice.signal(signal.SIGHUP)
    wire.eventually(lambda: "not reloaded" in sluice.log[before:], 5 * SECONDS, "a word about it")
    assert "no readable file" in sluice.log[before:]
    assert sluice.connect().query("select 1").value == "1"
    assert "configuration reloaded" in reload(sluice, postgres={"pool_size": 7})


def test_what_waits_for_a_restart_is_named_with_the_way_out(make_sluice):
    sluice = make_sluice()
    log = reload(sluice, workers=3, postgres={"listen": [f"127.0.0.1:{free_port()}"],
                                              "pool_size": 3})
    for key in ("workers", "postgres.listen"):
        assert re.search(f"setting needs a restart.*{re.escape(key)}.*sluice upgrade", log), log
    assert "postgres.pool_size" in log
    assert sluice.connect().query("select 1").value == "1"


def test_systemd_is_told_about_each_reload(make_sluice, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(10 * SECONDS)
        sluice = make_sluice(environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})

        def next_message():
            while True:
                message = dict(line.split("=", 1)
                               for line in notify.recv(4096).decode().splitlines())
                if message.keys() & {"READY", "RELOADING"}:
                    return message
        assert next_message()["READY"] == "1"
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        reload(sluice, postgres={"pool_size": 7})
        message = next_message()
        assert message["RELOADING"] == "1" and int(message["MONOTONIC_USEC"]) >= before
        assert next_message()["READY"] == "1"
        reload(sluice, postgres={"pool_size": "x"})
        assert next_message()["RELOADING"] == "1"
        message = next_message()
        assert message["READY"] == "1" and "failed" in message["STATUS"]


def test_storm_of_signals_under_load_leaves_the_last_file(make_sluice, pg, second, rng):
    """Files that change all the time, signals without end: no client notices, and what remains is
    the last one."""
    sluice = make_sluice(postgres={"pool_size": 3})
    conns = [sluice.connect() for _ in range(6)]

    def step(n):
        conns[n].query("begin")
        first = conns[n].query(WHERE).value
        assert conns[n].query(WHERE).value == first
        conns[n].query("commit")

    with Crowd(len(conns), step) as crowd:
        for number in range(60):
            sluice.config = targets.merge(sluice.config, {"postgres": {
                "pool_size": rng.randrange(1, 6), **url(rng.choice([pg, second]).url())}})
            sluice.write_config()
            for _ in range(rng.randrange(1, 4)):
                sluice.signal(signal.SIGHUP)
            time.sleep(rng.random() * 0.03)
        sluice.reload(postgres={"pool_size": 3, **url(second.url())})
        wire.eventually(lambda: not pg.session_count(), 10 * SECONDS, "the last file in force")
        before = list(crowd.steps)
        wire.eventually(lambda: min(a - b for a, b in zip(crowd.steps, before)) > 3,
                        20 * SECONDS, "some traffic")
    assert not crowd.problems
    assert "not reloaded" not in sluice.log
    assert all(c.query(WHERE).value == str(second.port) for c in conns)


def test_log_settings_apply_at_once(make_sluice):
    sluice = make_sluice(log={"level": "info", "format": "text"})
    log = reload(sluice, log={"format": "json"})
    sluice.connect()
    wire.eventually(lambda: "client connected" in sluice.log, 5 * SECONDS, "a line")
    lines = [line for line in sluice.log.splitlines() if "client connected" in line]
    assert json.loads(lines[-1]), log
    sluice.reload(log={"level": "error"})

    def silent():
        before = len(sluice.log)
        sluice.connect().terminate()
        return len(sluice.log) == before
    wire.eventually(silent, 5 * SECONDS, "silence")


# ---- every key ----------------------------------------------------------------------------------

CHOICES = {
    "log.level": "info", "log.format": "json", "postgres.auth_type": "trust",
    "pool_mode": "session", "session_state": "off", "kv.fsync": "always",
    "postgres.tls.mode": "require", "kv.tls.mode": "require", "monitoring.tls.mode": "require",
}
LISTS = {"list of names": ["somebody"], "list of commands": ["flushall"],
         "list of numbers or `all`": [1, 2]}


def documented_keys():
    page = (targets.REPOSITORY / "docs/configuration.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| `[^`]*` \| [^|]* \| (live|restart) \|", page,
                      re.MULTILINE)
    assert len(rows) > 80
    return [(key, kind.strip(), change) for key, kind, change in rows]


def changed_value(key, kind, other):
    """Another value than the default and than the base configuration's."""
    if key in other:
        return other[key]
    if kind in LISTS:
        return LISTS[kind]
    if kind == "choice":
        return CHOICES.get(key) or CHOICES[key.rsplit(".", 1)[-1]]
    values = {"duration": "7s", "number": 3, "size": "3MiB", "switch": None, "text": "select 1",
              "secret text": "another",
              "number or `auto`": 3, "list of addresses": None, "mapping": None}
    assert kind in values, f"{key}: a value for type {kind!r} is missing in this test"
    return values[kind]


def test_every_key_of_the_reference_is_reloaded_as_it_says(make_sluice, pg, tmp_path,
                                                           server_certificates, authority):
    """One key after the other gets another value: taken over if it is live, named if not."""
    first = [str(path) for path in server_certificates["first"]]
    second = [str(path) for path in server_certificates["second"]]
    tls = {"mode": "allow", "certificate": first[0], "key": first[1],
           "client_ca": str(authority.ca)}
    other_ca = tmp_path / "other-ca.pem"
    other_ca.write_text(authority.ca.read_text())
    other = {
        "postgres.databases": {"new": {"url": pg.url("other")}},
        "postgres.databases.<name>.url": pg.url("other"),
        "postgres.users": {"new": {"password": "x"}},
        "postgres.users.<name>.password": "another",
        "postgres.tcp_keepalive": False,
        "kv.users": {"new": {"password": "x", "projects": "all"}},
        "kv.users.<name>.password": "another",
        "kv.protected_mode": False,
        "monitoring.users": {"new": {"password": "x"}},
        "monitoring.allow_anonymous": True,
        "control_socket": str(tmp_path / "control"),
        "kv.directory": str(tmp_path / "other-store"),
        "kv.backup.directory": str(tmp_path / "backups"),
        "kv.backup.keep": 3,
        "kv.max_value_size": "3MiB",
        "postgres.listen": [f"127.0.0.1:{free_port()}"],
        "kv.listen": [f"127.0.0.1:{free_port()}"],
        "monitoring.listen": [f"127.0.0.1:{free_port()}"],
        "postgres.tls.client_ca": str(other_ca), "kv.tls.client_ca": str(other_ca),
        "monitoring.tls.client_ca": str(other_ca),
    }
    pairs = {f"{port}.tls": second for port in ("postgres", "kv", "monitoring")}
    sluice = make_sluice(
        workers=2, log={"level": "info"}, postgres={"tls": tls},
        kv={"listen": [f"127.0.0.1:{free_port()}"], "directory": str(tmp_path / "store"),
            "tls": dict(tls), "users": {"app": {"password": "secret", "projects": "all"}}},
        monitoring={"users": {"app": {"password": "secret"}}, "tls": {**tls, "mode": "disable"}})
    client = sluice.connect()
    base = sluice.config
    for key, kind, change in documented_keys():
        if key.startswith("log."):
            continue  # test_log_settings_apply_at_once: this one reads the log
        path = key.replace("<name>", "app").split(".")
        section = ".".join(path[:-1])
        if section in pairs and path[-1] in ("certificate", "key"):
            certificate, secret = pairs[section]
            changes = {"certificate": certificate, "key": secret}
        else:
            changes = {path[-1]: changed_value(key, kind, other)}
        for name in reversed(path[:-1]):
            changes = {name: changes}
        named = key.replace("<name>", "app")
        if kind == "mapping":
            named += ".new"
        log = reload(sluice, **changes)
        assert "configuration reloaded" in log, f"{key}: {log}"
        where = "configuration reloaded" if change == "live" else "setting needs a restart"
        lines = [line for line in log.splitlines() if where in line]
        assert any(re.search(re.escape(named) + r'(?![\w.])', line) for line in lines), \
            f"{key}: {log}"
        assert client.query("select 1").value == "1", key
        sluice.config = base
        assert "configuration reloaded" in reload(sluice), key
    assert sluice.connect().query("select current_database()").value == "app"
