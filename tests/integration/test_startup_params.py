"""Startup parameters: kept with the client, applied to whatever connection serves it."""

import pytest

import wire

KINDS = {
    "application_name": ({"application_name": "my 'quoted' \"app\""}, "application_name",
                         "my 'quoted' \"app\""),
    "search_path": ({"search_path": "audit, public"}, "search_path", "audit, public"),
    "search_path_quoted": ({"search_path": '"Odd, Name", public'}, "search_path",
                           '"Odd, Name", public'),
    "extra_float_digits": ({"extra_float_digits": "3"}, "extra_float_digits", "3"),
    "statement_timeout": ({"statement_timeout": "54321"}, "statement_timeout", "54321ms"),
    "statement_timeout_unit": ({"statement_timeout": "7min"}, "statement_timeout", "7min"),
    "client_encoding": ({"client_encoding": "LATIN1"}, "client_encoding", "LATIN1"),
    "datestyle": ({"DateStyle": "SQL, DMY"}, "DateStyle", "SQL, DMY"),
    "timezone": ({"TimeZone": "Asia/Tokyo"}, "TimeZone", "Asia/Tokyo"),
    "intervalstyle": ({"IntervalStyle": "iso_8601"}, "IntervalStyle", "iso_8601"),
    "lower_case_timezone": ({"timezone": "Asia/Tokyo"}, "TimeZone", "Asia/Tokyo"),
    "work_mem": ({"work_mem": "11MB"}, "work_mem", "11MB"),
    "geqo": ({"geqo": "off"}, "geqo", "off"),
    "isolation": ({"default_transaction_isolation": "repeatable read"},
                  "transaction_isolation", "repeatable read"),
    "read_only": ({"default_transaction_read_only": "on"}, "transaction_read_only", "on"),
    "custom": ({"app.user_id": "u-42"}, "app.user_id", "u-42"),
    "options_c": ({"options": "-c work_mem=12MB"}, "work_mem", "12MB"),
    "options_c_together": ({"options": "-cwork_mem=13MB"}, "work_mem", "13MB"),
    "options_long": ({"options": "--work_mem=14MB"}, "work_mem", "14MB"),
    "options_dash": ({"options": "--work-mem=15MB"}, "work_mem", "15MB"),
    "options_several": ({"options": "-c geqo=off  -c work_mem=16MB"}, "work_mem", "16MB"),
    "options_escape": ({"options": r"-c application_name=a\ b\\c"}, "application_name", r"a b\c"),
    "options_search_path": ({"options": r"-c search_path=audit,\ public"}, "search_path",
                            "audit, public"),
    "parameter_beats_options": ({"options": "-c work_mem=12MB", "work_mem": "17MB"}, "work_mem",
                                "17MB"),
    "long_value": ({"search_path": ", ".join(f"schema_number_{i}" for i in range(60))},
                   "search_path", ", ".join(f"schema_number_{i}" for i in range(60))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_startup_parameter_is_applied(sluice, kind):
    parameters, name, expected = KINDS[kind]
    conn = sluice.connect(**parameters)
    assert conn.query(f"select current_setting('{name}')").value == expected


def test_every_value_is_postgres_own(sluice, direct):
    """The same parameters give the same settings as without a pooler."""
    for parameters, name, _ in KINDS.values():
        ours, theirs = sluice.connect(**parameters), direct.connect(**parameters)
        question = f"select current_setting('{name}')"
        assert ours.query(question).value == theirs.query(question).value
        assert {k: v for k, v in ours.parameters.items()} == theirs.parameters
        ours.terminate(), theirs.terminate()


@pytest.mark.parametrize("back", ["RESET datestyle", "SET datestyle TO DEFAULT", "RESET ALL",
                                  "DISCARD ALL", "SET SESSION CHARACTERISTICS AS TRANSACTION READ "
                                  "WRITE; RESET datestyle"])
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_reset_goes_back_to_the_startup_value(make_sluice, pg, mode, back):
    sluice = make_sluice(postgres={"pool_mode": mode, "pool_size": 1})
    conn = sluice.connect(datestyle="Postgres, MDY")
    question = "select date '2001-02-03', current_setting('datestyle')"
    for begin, end in ([], []), (["begin"], ["commit"]):
        if begin and back == "DISCARD ALL":
            continue
        for sql in ["SET datestyle TO ymd", *begin, back, *end]:
            conn.query(sql)
        assert conn.query(question).rows == [("02-03-2001", "Postgres, MDY")]
        assert conn.execute(question).rows == [("02-03-2001", "Postgres, MDY")]


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_set_runs_no_query_in_the_transaction(make_sluice, pg, mode):
    """SET TRANSACTION must come before any query, and a query takes the snapshot."""
    conn = make_sluice(postgres={"pool_mode": mode}).connect(datestyle="Postgres, MDY")
    for run in (conn.query, conn.execute):
        for sql in ["begin", "SET LOCAL datestyle = 'German'", "SET TRANSACTION READ ONLY",
                    "SET TRANSACTION READ WRITE", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"]:
            run(sql)
        assert run("show transaction_isolation").value == "serializable"
        run("commit")


def move(sluice, client, question):
    """Make another server connection serve `client`; the two backends and what it answered."""
    here = client.query(f"select pg_backend_pid(), {question}").rows[0]
    holder = sluice.connect()
    holder.query("begin")
    if holder.backend() != int(here[0]):  # it got another one: take the client's too
        second = sluice.connect()
        second.query("begin")
        assert second.backend() == int(here[0])
        holder.query("commit")
    there = client.query(f"select pg_backend_pid(), {question}").rows[0]
    assert here[0] != there[0], "the client was not moved"
    return here, there


@pytest.mark.parametrize("kind", ["search_path", "extra_float_digits", "statement_timeout",
                                  "timezone", "custom", "options_c", "application_name",
                                  "options_several", "long_value", "client_encoding"])
def test_startup_parameter_goes_with_the_client(make_sluice, kind):
    sluice = make_sluice(postgres={"pool_size": 2})
    parameters, name, expected = KINDS[kind]
    client = sluice.connect(**parameters)
    here, there = move(sluice, client, f"current_setting('{name}')")
    assert here[1] == there[1] == expected


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("read_only",)])
def test_startup_parameter_is_not_seen_by_others(make_sluice, kind):
    sluice = make_sluice(postgres={"pool_size": 1})
    parameters, name, _ = KINDS[kind]
    question = f"select pg_backend_pid(), current_setting('{name}', true)"
    before = sluice.connect().query(question).rows
    sluice.connect(**parameters).query(question)
    after = sluice.connect().query(question).rows
    assert before[0][0] == after[0][0], "one server connection was to serve them all"
    assert (before[0][1] or "") == (after[0][1] or "")


def test_parameters_of_many_clients_stay_apart(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 2})
    clients = [sluice.connect(application_name=f"app-{i}", statement_timeout=str(10001 + i),
                              TimeZone="Asia/Tokyo" if i % 2 else "UTC")
               for i in range(12)]
    for _ in range(5):
        for i, client in enumerate(clients):
            row = client.query("select current_setting('application_name'), "
                               "current_setting('statement_timeout'), "
                               "current_setting('TimeZone')").rows[0]
            assert row == (f"app-{i}", f"{10001 + i}ms", "Asia/Tokyo" if i % 2 else "UTC")


def test_parameters_hold_for_the_extended_protocol_and_inside_transactions(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1})
    a, b = sluice.connect(statement_timeout="1111"), sluice.connect(statement_timeout="2222")
    for _ in range(3):
        assert a.execute("select current_setting('statement_timeout')").value == "1111ms"
        assert b.query("begin").tags == ["BEGIN"]
        assert b.execute("select current_setting('statement_timeout')").value == "2222ms"
        b.query("commit")


def test_statement_timeout_of_the_startup_packet_really_works(sluice):
    conn = sluice.connect(statement_timeout="50")
    assert conn.query("select pg_sleep(5)", check=False).codes == ["57014"]
    assert sluice.connect().query("select pg_sleep(0.2)").tags == ["SELECT 1"]


def test_welcome_reports_the_clients_own_parameters(sluice):
    conn = sluice.connect(TimeZone="Asia/Tokyo", application_name="welcome", DateStyle="sql, dmy",
                          client_encoding="utf-8")
    assert conn.parameters["TimeZone"] == "Asia/Tokyo"
    assert conn.parameters["application_name"] == "welcome"
    assert conn.parameters["DateStyle"] == "SQL, DMY"
    assert conn.parameters["client_encoding"] == "UTF8"


def test_welcome_has_what_postgres_reports(sluice, direct):
    assert sluice.connect().parameters == direct.connect().parameters


@pytest.mark.parametrize("parameters, codes", [
    ({"statement_timeout": "abc"}, {"22023"}),
    ({"no_such_setting": "1"}, {"42704"}),
    ({"options": "-c no_such_setting=1"}, {"42704"}),
    ({"options": "-c work_mem"}, {"42601", "22023", "08P01"}),
    ({"client_encoding": "KLINGON"}, {"22023"}),
    ({"shared_buffers": "1GB"}, {"55P02"}),
    ({"log_statement": "all"}, {"42501"}),
])
def test_wrong_parameter_is_an_error_of_its_own_client_only(make_sluice, parameters, codes):
    """At login or, at the latest, at the first query; the others never notice."""
    sluice = make_sluice(postgres={"pool_size": 1})
    other = sluice.connect()
    backend = other.backend()
    for _ in range(2):
        with pytest.raises(wire.PgError) as caught:
            sluice.connect(**parameters).query("select 1")
        assert caught.value.code in codes
        assert other.backend() == backend, "a wrong parameter cost the server connection"


@pytest.mark.parametrize("value", [
    "public; create table injected()", "public'; create table injected(); --",
    "'; create table injected(); --", 'a"; create table injected(); --',
    "$$; create table injected(); --", "\\'; create table injected(); --"])
@pytest.mark.parametrize("name", ["search_path", "application_name", "app.custom"])
def test_startup_value_is_never_run_as_sql(sluice, pg, name, value):
    try:
        sluice.connect(**{name: value}).query("select 1")
    except wire.PgError:
        pass
    assert pg.in_app("select to_regclass('public.injected')") == [(None,)]


def test_startup_name_is_never_run_as_sql(sluice, pg):
    for name in ("a = 1; create table injected(); --", "x to 1; create table injected()"):
        with pytest.raises((wire.PgError, wire.Closed)):
            sluice.connect(**{name: "1"}).query("select 1")
    assert pg.in_app("select to_regclass('public.injected')") == [(None,)]


def test_empty_values_are_taken(sluice):
    conn = sluice.connect(application_name="", search_path="", options="")
    assert conn.query("select current_setting('search_path')").value in ("", '""')


def test_application_name_shows_in_pg_stat_activity(sluice, pg):
    sluice.connect(application_name="who-am-i").query("select 1")
    assert "who-am-i" in {s["application_name"] for s in pg.sessions()}


def test_parameters_survive_a_reset_of_the_server_connection(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_size": 1})
    conn = sluice.connect(search_path="audit", statement_timeout="4321")
    conn.query("select 1")
    pg.kill_sessions()
    row = conn.query("select current_setting('search_path'), "
                     "current_setting('statement_timeout')").rows[0]
    assert row == ("audit", "4321ms")
