"""The way to PostgreSQL: any connection string, servers that die, restart, warn or refuse."""

import threading
import time

import pytest

import fake_server
import targets
import wire
from postgres import PASSWORDS, free_port


def database(url, **more):
    return {"databases": {"app": {"url": url, **more}}}


def served(target, **arguments):
    return target.connect(**arguments).query("select 1").value == "1"


# ---- connection strings -------------------------------------------------------------------------


def test_tls_upstream_is_used(make_sluice, pg):
    sluice = make_sluice(postgres=database(pg.url(sslmode="require")))
    row = sluice.connect().query("select ssl, version from pg_stat_ssl "
                                 "where pid = pg_backend_pid()").rows[0]
    assert row[0] == "t" and row[1] in ("TLSv1.2", "TLSv1.3")


def test_tls_upstream_verified_in_full_is_used(make_sluice, pg, authority):
    sluice = make_sluice(postgres=database(
        f"postgresql://app:{PASSWORDS['app']}@localhost:{pg.port}/app?hostaddr=127.0.0.1"
        f"&sslmode=verify-full&sslrootcert={authority.ca}"))
    assert served(sluice)


def test_tls_upstream_of_a_foreign_authority_is_refused(make_sluice, pg, tmp_path):
    from certificates import Authority
    foreign = Authority(tmp_path / "foreign")
    sluice = make_sluice(postgres={**database(
        pg.url(sslmode="verify-full", sslrootcert=foreign.ca)), "query_wait_timeout": "2s"})
    with pytest.raises(wire.PgError):
        served(sluice)


def test_channel_binding_upstream_is_used(make_sluice, pg):
    sluice = make_sluice(postgres=database(pg.url(sslmode="require", channel_binding="require")))
    assert served(sluice)


def test_channel_binding_upstream_without_tls_fails(make_sluice, pg):
    sluice = make_sluice(postgres={**database(pg.url(channel_binding="require")),
                                   "query_wait_timeout": "2s"})
    with pytest.raises(wire.PgError):
        served(sluice)


def test_megabytes_pass_through_tls_upstream(make_sluice, pg):
    conn = make_sluice(postgres=database(pg.url(sslmode="require"))).connect()
    text = "0123456789abcdef" * (1 << 18)
    assert conn.execute("select $1::text", [text]).value == text


def test_many_small_and_large_rows_pass_through_tls_upstream(make_sluice, pg):
    conn = make_sluice(postgres=database(pg.url(sslmode="require"))).connect()
    rows = conn.query("select repeat('y', i % 5000) from generate_series(1, 3000) i").rows
    assert [len(r[0]) for r in rows] == [i % 5000 for i in range(1, 3001)]


def test_unix_socket_upstream_is_used(make_sluice, pg):
    sluice = make_sluice(postgres=database(
        f"host={pg.socket_directory} port={pg.port} dbname=app user=app "
        f"password={PASSWORDS['app']}"))
    assert sluice.connect().query("select inet_server_addr()").value is None


def test_keyword_string_with_quotes_is_understood(make_sluice, pg):
    sluice = make_sluice(postgres=database(
        f"host = '127.0.0.1' port={pg.port} dbname='app' user=app sslmode=disable "
        f"password='{PASSWORDS['app']}'"))
    assert served(sluice)


def test_host_name_is_resolved(make_sluice, pg):
    sluice = make_sluice(postgres=database(
        f"postgresql://app:{PASSWORDS['app']}@localhost:{pg.port}/app?sslmode=disable"))
    assert served(sluice)


def test_second_host_of_the_list_is_tried(make_sluice, pg):
    sluice = make_sluice(postgres=database(
        f"postgresql://app:{PASSWORDS['app']}@127.0.0.1:{free_port()},127.0.0.1:{pg.port}/app"
        "?sslmode=disable"))
    assert served(sluice)


def test_passfile_is_read(make_sluice, pg, tmp_path):
    passfile = tmp_path / "pass"
    passfile.write_text(f"127.0.0.1:{pg.port}:*:app:{PASSWORDS['app']}\n")
    passfile.chmod(0o600)
    sluice = make_sluice(postgres=database(
        f"postgresql://app@127.0.0.1:{pg.port}/app?sslmode=disable&passfile={passfile}"))
    assert served(sluice)


def test_service_file_is_read(make_sluice, pg, tmp_path):
    (tmp_path / "services").write_text(
        f"[mine]\nhost=127.0.0.1\nport={pg.port}\ndbname=app\nuser=app\n"
        f"password={PASSWORDS['app']}\nsslmode=disable\n")
    sluice = make_sluice(postgres=database("service=mine"),
                         environment={"PGSERVICEFILE": str(tmp_path / "services")})
    assert served(sluice)


def test_database_name_of_the_url_may_differ(make_sluice, pg):
    sluice = make_sluice(postgres={"databases": {"alias": {"url": pg.url("other")}}})
    conn = sluice.connect(database="alias")
    assert conn.query("select current_database()").value == "other"


def test_options_of_the_url_are_kept(make_sluice, pg):
    sluice = make_sluice(postgres=database(pg.url(options="-c%20work_mem%3D19MB")))
    assert sluice.connect().query("show work_mem").value == "19MB"
    assert sluice.connect(geqo="off").query("show work_mem").value == "19MB"


def test_user_of_the_url_is_everyones_user(make_sluice, pg):
    sluice = make_sluice()
    assert sluice.connect(user="alice").query("select current_user").value == "app"
    assert sluice.connect(user="bob").query("select session_user").value == "app"


def test_url_without_a_user_takes_the_clients_own(make_sluice, pg):
    sluice = make_sluice(postgres=database(pg.url(user=None)))
    for user in ("alice", "bob", "app"):
        assert sluice.connect(user=user).query("select current_user").value == user
    assert pg.session_count(user="alice") == 1


def test_name_that_does_not_resolve_is_an_error_and_keeps_nobody_waiting(make_sluice):
    sluice = make_sluice(postgres={"query_wait_timeout": "1s", "databases": {
        "lost": {"url": "postgresql://app:x@no-such-host.invalid:5432/app"}}})
    other = sluice.connect()
    lost = []
    for _ in range(3):
        conn = sluice.raw()
        conn.send(wire.startup({"user": "app", "database": "lost"}))
        lost.append(conn)
    slowest = 0
    for _ in range(50):
        started = time.monotonic()
        assert other.query("select 1").value == "1"
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 0.3 * targets.SCALE
    for conn in lost:
        with pytest.raises((wire.PgError, wire.Closed)):
            conn.authenticate(PASSWORDS["app"])
            conn.query("select 1")


def keepalive_timers(local=None, remote=None):
    """The timers (2: keepalive) of the TCP connections of a local or to a remote port."""
    found = []
    for line in open("/proc/net/tcp").read().splitlines()[1:]:
        words = line.split()
        ports = [int(w.split(":")[1], 16) for w in words[1:3]]
        if words[3] == "01" and (local in (None, ports[0])) and (remote in (None, ports[1])):
            found.append(words[5].split(":")[0])
    return found


def test_keepalive_is_on_towards_clients_and_server(sluice, pg):
    conn = sluice.connect()
    conn.query("select 1")
    wire.eventually(lambda: keepalive_timers(sluice.port, conn.sock.getsockname()[1]) == ["02"],
                    3, "keepalive towards the client")
    wire.eventually(lambda: keepalive_timers(remote=pg.port) == ["02"], 3,
                    "keepalive towards the server")


def test_pooler_host_is_hinted_at_in_the_log(make_sluice, pg):
    sluice = make_sluice(postgres=database(
        f"postgresql://app:{PASSWORDS['app']}@ep-cool-1234-pooler.example.invalid:{pg.port}/app"
        "?sslmode=disable&hostaddr=127.0.0.1"))
    assert served(sluice)
    wire.eventually(lambda: "-pooler" in sluice.log, 5, "a hint about the -pooler host")


# ---- right after login --------------------------------------------------------------------------


LATE = (fake_server.notice("hello after login", "01000", "WARNING")
        + fake_server.parameter_status("application_name", "set by the server")
        + fake_server.parameter_status("in_hot_standby", "on"))


def test_notices_and_parameters_in_one_piece_with_the_login_are_taken(make_sluice, make_fake):
    def script(conn):
        if conn.login(after=LATE):
            conn.serve(lambda sql: fake_server.rows([sql]) + fake_server.ready()
                       if sql.startswith("select") else None)
    fake = make_fake(script)
    sluice = make_sluice(postgres=database(fake.url()))
    for _ in range(3):
        conn = sluice.connect()
        result = conn.query("select 'a'")
        assert result.rows == [("select 'a'",)] and result.status == "I"
        conn.terminate()


def test_notices_and_parameters_while_idle_are_swallowed(make_sluice, make_fake):
    ready = threading.Event()
    conns = []

    def script(conn):
        if conn.login():
            conns.append(conn)
            ready.set()
            conn.serve(lambda sql: fake_server.rows([sql]) + fake_server.ready()
                       if sql.startswith("select") else None)
    fake = make_fake(script)
    sluice = make_sluice(postgres=database(fake.url()))
    client = sluice.connect()
    assert client.query("select 'a'").rows == [("select 'a'",)]
    for conn in conns:
        conn.send(fake_server.notice("to nobody"), fake_server.parameter_status("x.y", "1"))
    for i in range(20):
        result = client.query(f"select {i}")
        assert result.rows == [(f"select {i}",)]
        assert not [n for n in result.notices if n["M"] == "to nobody"] or i == 0
    assert len(fake.connections) == 1, "a notice cost the server connection"


# ---- connections that die -----------------------------------------------------------------------


def test_terminated_idle_connections_are_not_noticed(sluice, pg):
    clients = [sluice.connect() for _ in range(5)]
    for _ in range(10):
        for client in clients:
            client.query("select 1")
        pg.kill_sessions()
        for client in clients:
            assert client.query("select 2").value == "2"
            assert client.execute("select $1::int + 1", ["2"]).value == "3"


def test_query_that_races_with_the_termination_is_answered_rightly_or_refused(sluice, pg):
    """If its bytes were already on the way, 57P01 (or 08...) is honest; silence and a wrong
    answer are not."""
    client = sluice.connect()
    served = 0
    for i in range(40):
        try:
            backend = client.backend()
            pg.query("select pg_terminate_backend(%s)", (backend,))
            result = client.query(f"select {i}", check=False)
        except wire.Closed:
            client = sluice.connect()
            continue
        except wire.PgError as error:
            assert error.code[:2] in ("57", "08")
            client = sluice.connect()
            continue
        if result.errors:
            assert result.codes[0][:2] in ("57", "08")
        else:
            assert result.value == str(i)
            served += 1
    assert served > 0


def test_prepared_statement_survives_the_death_of_its_connection(sluice, pg):
    client = sluice.connect()
    client.run(wire.parse("s1", "select $1::int * 2"), wire.SYNC)
    for i in range(5):
        assert client.run(wire.bind("", "s1", [str(i)]), wire.execute(), wire.SYNC).rows == \
            [(str(2 * i),)]
        pg.kill_sessions()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_between_queries_is_not_noticed(sluice, pg, mode):
    clients = [sluice.connect(application_name=f"c{i}") for i in range(8)]
    for client in clients:
        client.query("select 1")
    pg.restart(mode)
    for i, client in enumerate(clients):
        assert client.query("select current_setting('application_name')").value == f"c{i}"


def test_query_while_the_server_is_down_waits_for_it(sluice, pg):
    client = sluice.connect()
    client.query("select 1")
    pg.stop()
    client.send(wire.query("select 2"))
    late = sluice.raw()
    late.send(wire.startup({"user": "app", "database": "app"}))
    assert client.silent(0.5), "answered while the server was down"
    pg.start()
    assert client.recv_until("Z").value == "2"
    late.authenticate(PASSWORDS["app"])
    assert late.query("select 3").value == "3"


def test_first_client_of_all_may_come_before_the_server(make_sluice, pg):
    pg.stop()
    sluice = make_sluice()
    client = sluice.raw()
    client.send(wire.startup({"user": "app", "database": "app"}))
    pg.start()
    client.authenticate(PASSWORDS["app"])
    assert client.query("select 1").value == "1"


def test_client_gives_up_waiting_for_a_server_that_stays_down(make_sluice, pg):
    sluice = make_sluice(postgres={"query_wait_timeout": "500ms",
                                   **database(f"postgresql://app:x@127.0.0.1:{free_port()}/app")})
    started = time.monotonic()
    with pytest.raises((wire.PgError, wire.Closed)) as caught:
        sluice.connect().query("select 1")
    assert 0.3 < time.monotonic() - started < 5 * targets.SCALE
    if isinstance(caught.value, wire.PgError):
        assert caught.value.code[:2] in ("08", "53", "57")


def test_backend_killed_in_mid_query_is_an_error_of_its_client(sluice, pg):
    client, other = sluice.connect(), sluice.connect()
    backend = client.backend()
    client.send(wire.query("select pg_sleep(30)"))
    wire.eventually(lambda: any(s["state"] == "active" for s in pg.sessions()), 5, "a busy query")
    busy = [s["pid"] for s in pg.sessions() if s["state"] == "active"]
    assert busy == [backend] or busy
    pg.query("select pg_terminate_backend(%s)", (busy[0],))
    rest = client.recv_until("EZ")
    assert rest.codes == ["57P01"]
    assert "terminating connection" in rest.errors[0]["M"]
    assert other.query("select 1").value == "1"


def test_backend_killed_in_a_transaction_is_never_silent(sluice, pg, table):
    client = sluice.connect()
    client.query("begin")
    client.query("insert into t values (1, 'lost')")
    pg.query("select pg_terminate_backend(%s, 5000)", (client.backend(),))
    try:
        result = client.query("insert into t values (2, 'second half')", check=False)
        assert result.codes and result.codes[0][:2] in ("57", "08"), result.messages
    except wire.Closed:
        pass
    assert pg.in_app("select count(*) from t") == [(0,)]


def test_dead_connection_in_a_transaction_disturbs_no_other_client(sluice, pg):
    client, other = sluice.connect(), sluice.connect()
    client.query("begin")
    pg.query("select pg_terminate_backend(%s, 5000)", (client.backend(),))
    for i in range(10):
        assert other.query(f"select {i}").value == str(i)


def test_server_that_closes_without_a_word_between_queries_is_replaced(make_sluice, make_fake):
    def answers_once(conn):
        if conn.login():
            conn.answer(conn.recv(), reply)

    def reply(sql):
        return fake_server.rows([sql]) + fake_server.ready()
    fake = make_fake(answers_once)
    client = make_sluice(postgres=database(fake.url())).connect()
    for i in range(8):
        assert client.query(f"select {i}").rows == [(f"select {i}",)]
        wire.eventually(lambda: fake.connections[-1].closed_at, 5, "the server's end")


def test_immediate_shutdown_notice_is_taken_as_the_end(make_sluice, make_fake):
    """PostgreSQL's immediate stop sends a WARNING 57P01 as a notice and then closes."""
    def script(conn):
        if conn.login():
            conn.answer(conn.recv(), lambda sql: fake_server.rows([sql]) + fake_server.ready())
            conn.send(fake_server.notice("terminating connection due to immediate shutdown "
                                         "command", "57P01", "WARNING"))
    fake = make_fake(script)
    client = make_sluice(postgres=database(fake.url())).connect()
    for i in range(5):
        result = client.query(f"select {i}")
        assert result.rows == [(f"select {i}",)]
        wire.eventually(lambda: fake.connections[-1].closed_at, 5, "the server's end")


# ---- refused logins -----------------------------------------------------------------------------


def test_wrong_upstream_password_is_an_error_at_once(make_sluice, pg):
    sluice = make_sluice(postgres=database(pg.url(secret="wrong")))
    started = time.monotonic()
    with pytest.raises(wire.PgError) as caught:
        served(sluice)
    assert caught.value.code == "28P01"
    assert time.monotonic() - started < 3 * targets.SCALE


def test_missing_upstream_database_is_an_error_at_once(make_sluice, pg):
    sluice = make_sluice(postgres=database(pg.url("nowhere")))
    started = time.monotonic()
    with pytest.raises(wire.PgError) as caught:
        served(sluice)
    assert caught.value.code == "3D000" and "nowhere" in caught.value.message
    assert time.monotonic() - started < 3 * targets.SCALE


def refuse(code, text):
    def script(conn):
        if conn.recv_startup() is not None:
            conn.send(fake_server.error(code, text, "FATAL"))
    return script


@pytest.mark.parametrize("code, text", [
    ("57P03", "the database system is starting up"),
    ("XX000", "Couldn't connect to compute node"),
    ("XX000", "Failed to acquire permit to connect to the database. Too many database "
              "connection attempts are currently ongoing."),
])
def test_refusal_that_passes_is_tried_again(make_sluice, make_fake, code, text):
    fake = make_fake(scripts=[refuse(code, text)] * 2)
    sluice = make_sluice(postgres=database(fake.url()))
    assert sluice.connect().query("select 1").status == "I"
    assert len(fake.connections) >= 3


def test_connection_closed_during_login_is_tried_again(make_sluice, make_fake):
    fake = make_fake(scripts=[lambda conn: conn.recv_startup(), lambda conn: None])
    sluice = make_sluice(postgres=database(fake.url()))
    assert sluice.connect().query("select 1").status == "I"


@pytest.mark.parametrize("code, text", [
    ("XX000", "password authentication failed for user 'app'"),
    ("28P01", "password authentication failed for user \"app\""),
    ("XX000", "Control plane request failed: endpoint is disabled"),
    ("XX000", "Control plane request failed: endpoint cannot be found"),
    ("28000", "no pg_hba.conf entry for host"),
    ("3D000", "database \"app\" does not exist"),
])
def test_refusal_that_stays_reaches_the_client_at_once(make_sluice, make_fake, code, text):
    fake = make_fake(refuse(code, text))
    sluice = make_sluice(postgres=database(fake.url()))
    started = time.monotonic()
    with pytest.raises(wire.PgError) as caught:
        sluice.connect().query("select 1")
    assert time.monotonic() - started < 3 * targets.SCALE
    assert text in caught.value.message
    if code != "XX000":
        assert caught.value.code == code
    assert len(fake.connections) <= 3, "a hopeless login was repeated"


def test_one_refusal_is_not_held_against_the_next_client(make_sluice, make_fake):
    fake = make_fake(scripts=[refuse("28P01", "password authentication failed")])
    sluice = make_sluice(postgres=database(fake.url()))
    with pytest.raises(wire.PgError):
        sluice.connect().query("select 1")
    started = time.monotonic()
    assert sluice.connect().query("select 1").status == "I"
    assert time.monotonic() - started < 2 * targets.SCALE


def test_few_logins_of_a_pool_run_at_once(make_sluice, make_fake):
    state = {"now": 0, "most": 0}
    lock = threading.Lock()

    def slow(conn):
        with lock:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
        time.sleep(0.1)  # the server's own slowness, not a wait of the test
        with lock:
            state["now"] -= 1
        if conn.login():
            conn.serve()
    fake = make_fake(slow)
    sluice = make_sluice(postgres={**database(fake.url()), "pool_size": 12,
                                   "max_concurrent_logins": 3})
    clients = []
    for _ in range(12):
        conn = sluice.raw()
        conn.send(wire.startup({"user": "app", "database": "app"}))
        clients.append(conn)
    for conn in clients:
        conn.authenticate(PASSWORDS["app"])
        conn.send(wire.query("begin"))
    for conn in clients:
        assert conn.recv_until("Z").status == "T"
    assert 2 <= state["most"] <= 3


# ---- quiet --------------------------------------------------------------------------------------


def test_idle_server_connection_is_left_alone(make_sluice, pg):
    sluice = make_sluice(postgres={"min_pool_size": 1})
    sluice.connect().query("select 'last words'")
    before = {s["pid"]: (s["state_change"], s["query"]) for s in pg.sessions()}
    assert sluice.connect().silent(1.5)  # time in which a pinging pooler would ping
    after = {s["pid"]: (s["state_change"], s["query"]) for s in pg.sessions()}
    assert before == after


def test_idle_fake_server_hears_nothing(make_sluice, make_fake):
    fake = make_fake()
    sluice = make_sluice(postgres=database(fake.url()))
    client = sluice.connect()
    client.query("select 1")
    heard = len(fake.received)
    assert client.silent(1.5)
    assert fake.received[heard:] == []


def test_client_without_work_costs_no_query(make_sluice, make_fake):
    fake = make_fake()
    sluice = make_sluice(postgres=database(fake.url()))
    first = sluice.connect()
    first.query("select 1")
    heard = len(fake.received)
    for _ in range(10):
        sluice.connect().terminate()
    assert first.query("select 2").status == "I"
    assert [m.body for m in fake.messages("Q")[-1:]] == [b"select 2\0"]
    assert len([m for _, _, m in fake.received[heard:] if m.type in "QP"]) == 1


def test_one_query_costs_one_message(make_sluice, make_fake):
    """No hidden query is put before or behind an ordinary one."""
    fake = make_fake()
    client = make_sluice(postgres=database(fake.url())).connect()
    for i in range(20):
        client.query(f"select {i}")
    asked = [m.body[:-1].decode() for m in fake.messages("Q")]
    assert asked[-20:] == [f"select {i}" for i in range(20)]
    assert len(asked) <= 21 and not fake.messages("P")


# ---- errors -------------------------------------------------------------------------------------


ERRORS = [
    "selekt 1", "select nope", "select 1/0", "select * from nowhere", "select 'abc'::int",
    "insert into unique_things values (1), (1)", "insert into unique_things values (null)",
    "insert into unique_things values (-1)", "insert into children values (7)",
    "do $$ begin raise exception using message='m', detail='d', hint='h', errcode='P0042', "
    "column='c', constraint='k', datatype='y', table='t', schema='s'; end $$",
    "select to_number_('x')", "select json '{bad'", "create table unique_things ()",
    "select broken_function()", "select pg_read_file('/etc/passwd')", "select 'ä' || nope",
    "do $$ begin raise fatal 'no such level'; end $$", "set work_mem to 'lots'",
]


def test_errors_and_notices_are_the_servers_own_in_every_field(sluice, direct, pg):
    pg.in_app("""
        drop table if exists children, unique_things cascade;
        create table unique_things (id int not null check (id > 0), primary key (id));
        create table children (parent int references unique_things (id));
        grant all on unique_things, children to public;
        create or replace function broken_function() returns int language plpgsql as
        $f$ begin raise notice 'on the way'; return (select x from nowhere); end $f$;""")
    ours, theirs = sluice.connect(), direct.connect()
    for sql in ERRORS:
        for conn_call in ("query", "execute"):
            mine = getattr(ours, conn_call)(sql, check=False)
            real = getattr(theirs, conn_call)(sql, check=False)
            assert mine.errors == real.errors and real.errors, sql
            assert mine.notices == real.notices
            assert mine.types == real.types and mine.status == real.status


def test_error_fields_include_position_and_routine(sluice):
    with pytest.raises(wire.PgError) as caught:
        sluice.connect().query("select nope from pg_class")
    assert caught.value.fields["P"] == "8" and caught.value.fields["R"] == "errorMissingColumn"
    assert caught.value.fields["V"] == "ERROR" and caught.value.fields["F"]
