"""The fifteen traps of a pooler's protocol, each by number."""

import socket
import struct
import threading

import pytest

import fake_server
import wire
from postgres import PASSWORDS

P, B, D, E, S = wire.parse, wire.bind, wire.describe, wire.execute, wire.SYNC


@pytest.fixture
def one(make_sluice):
    """One server connection, so that any mistake meets the next client."""
    return make_sluice(postgres={"pool_size": 1})


@pytest.fixture
def two(make_sluice):
    return make_sluice(postgres={"pool_size": 2})


def fake_database(fake):
    return {"databases": {"app": {"url": fake.url()}}}


# ---- 1: replies are paired by a queue -----------------------------------------------------------


def test_trap_1_parse_and_flush_right_behind_the_error_keep_the_connection(one):
    a, b = one.connect(), one.connect()
    a.send(P("", "selekt"), S, P("", "select 'a'"), wire.FLUSH)
    assert a.recv_until("Z").codes == ["42601"]
    assert a.recv().type == "1"
    b.send(wire.query("select 'b'"))
    assert b.silent(0.3), "released although a Parse was not yet synced"
    assert a.run(B(), E(), S).rows == [("a",)]
    assert b.recv_until("Z").rows == [("b",)]


def test_trap_1_every_reply_of_a_long_batch_comes_in_order(one):
    conn = one.connect()
    chunks = []
    for i in range(200):
        chunks += [P("", f"select {i}"), B(), D("P"), E(), wire.close("S")]
    result = conn.run(*chunks, S)
    assert result.types == "12TDC3" * 200 + "Z"
    assert result.rows == [(str(i),) for i in range(200)]


def test_trap_1_many_syncs_get_as_many_ready(one):
    conn = one.connect()
    conn.send(S * 500)
    assert conn.recv_count("Z", 500).types == "Z" * 500
    assert conn.query("select 1").value == "1"


def test_trap_1_pipelined_simple_queries_are_answered_in_order(one):
    conn = one.connect()
    conn.send(*[wire.query(f"select {i}; select {-i}") for i in range(100)])
    result = conn.recv_count("Z", 100)
    assert result.types == "TDCTDCZ" * 100
    assert [int(r[0]) for r in result.rows] == [x for i in range(100) for x in (i, -i)]


# ---- 2: errors in a pipeline --------------------------------------------------------------------


def test_trap_2_error_skips_to_the_matching_sync_only(one):
    conn = one.connect()
    conn.send(wire.batch("select 'a'"), P("", "select 1/0"), B(), E(), P("", "select 'no'"), B(),
              E(), S, wire.batch("select 'b'"))
    result = conn.recv_count("Z", 3)
    assert result.types == "12TDCZ" + "12EZ" + "12TDCZ" or result.types == "12TDCZ1EZ12TDCZ"
    assert result.rows == [("a",), ("b",)]


def test_trap_2_statement_whose_parse_was_skipped_does_not_exist(one):
    conn = one.connect()
    conn.send(P("", "selekt"), P("skipped", "select 7"), S)
    assert conn.recv_until("Z").types == "EZ"
    assert conn.run(B("", "skipped"), E(), S, check=False).codes == ["26000"]
    assert conn.run(P("skipped", "select 8"), B("", "skipped"), E(), S).rows == [("8",)]


def test_trap_2_close_that_was_skipped_did_not_close(one):
    conn = one.connect()
    conn.run(P("kept", "select 7"), S)
    conn.send(P("", "selekt"), wire.close("S", "kept"), S)
    conn.recv_until("Z")
    assert conn.run(B("", "kept"), E(), S).rows == [("7",)]


def test_trap_2_failed_parse_leaves_the_name_free(one):
    conn = one.connect()
    assert conn.run(P("s", "selekt"), S, check=False).codes == ["42601"]
    assert conn.run(P("s", "select 3"), B("", "s"), E(), S).rows == [("3",)]


def test_trap_2_failed_parse_is_undone_for_the_batches_behind_it_in_the_pipeline(one):
    """All sent before the first answer: the second Parse must not be taken for known."""
    conn = one.connect()
    conn.send(P("a", "selekt"), S, P("b", "selekt"), S, P("a", "select 'good'"), S)
    result = conn.recv_count("Z", 3)
    assert result.codes == ["42601", "42601"] and result.types == "EZEZ1Z"
    assert conn.run(B("", "a"), E(), S).rows == [("good",)]
    assert conn.run(B("", "b"), E(), S, check=False).codes == ["26000"]


def test_trap_2_skipped_parse_and_its_skipped_close_leave_nothing(one):
    conn = one.connect()
    conn.send(E("no_portal"), P("s", "select 1"), wire.close("S", "s"), S)
    assert conn.recv_until("Z").codes == ["34000"]
    assert conn.run(D("S", "s"), S, check=False).codes == ["26000"]
    assert conn.run(P("s", "select 2"), B("", "s"), E(), S).rows == [("2",)]


def test_trap_2_error_reaches_only_the_client_that_caused_it(one):
    a, b = one.connect(), one.connect()
    for i in range(30):
        a.send(P("", "select 1/0"), B(), E(), P("", "select 'x'"), B(), E(), S)
        b.send(wire.batch(f"select {i}"))
        assert a.recv_until("Z").codes == ["22012"]
        assert b.recv_until("Z").rows == [(str(i),)]


# ---- 3: nothing of a batch whose head was refused -----------------------------------------------


def test_trap_3_rest_of_a_batch_refused_by_the_queue_is_never_run(make_sluice, pg, table):
    sluice = make_sluice(postgres={"pool_size": 1, "query_wait_timeout": "300ms"})
    holder, waiter = sluice.connect(), sluice.connect()
    holder.query("begin")
    waiter.send(P("", "insert into t values (1, 'head')"), B(), E(), wire.FLUSH)
    refused = waiter.recv_until("E")
    assert refused.errors
    holder.query("commit")
    try:
        waiter.send(P("", "insert into t values (2, 'rest')"), B(), E(), S,
                    wire.query("select 'next'"))
        rest = waiter.recv_until_closed() if refused.errors[0]["S"] == "FATAL" else \
            waiter.recv_count("Z", 2)
        assert [r for r in rest.rows] in ([], [("next",)])
    except wire.Closed:
        pass
    assert sluice.connect().query("select count(*) from t").value == "0"


def test_trap_3_other_client_never_sees_rows_of_a_refused_batch(make_sluice):
    sluice = make_sluice(postgres={"pool_size": 1, "query_wait_timeout": "200ms"})
    holder = sluice.connect()
    for round_number in range(3):
        waiters = [sluice.connect() for _ in range(4)]
        holder.query("begin")
        for i, waiter in enumerate(waiters):
            waiter.send(wire.batch(f"select 'waiter {i}'"), wire.batch("select 'tail'"))
        for waiter in waiters:
            assert waiter.recv_until("E").errors
        holder.query("commit")
        fresh = sluice.connect()
        assert fresh.query(f"select {round_number}").rows == [(str(round_number),)]
        assert holder.query("select 'h'").rows == [("h",)]


# ---- 4: COPY ------------------------------------------------------------------------------------


def test_trap_4_copy_in_simple_and_extended(one, table):
    conn = one.connect()
    conn.send(wire.query("copy t from stdin"))
    assert conn.recv_until("G").types == "G"
    result = conn.run(wire.copy_data(b"1\ta\n2\t"), wire.copy_data(b"b\n"), wire.COPY_DONE)
    assert result.types == "CZ" and result.tags == ["COPY 2"]
    conn.send(P("", "copy t from stdin"), B(), E(), S)
    assert conn.recv_until("G").types == "12G"
    result = conn.run(wire.copy_data(b"3\tc\n"), wire.COPY_DONE, S)
    assert result.tags == ["COPY 1"]
    assert conn.query("select count(*) from t").value == "3"


def test_trap_4_sync_and_flush_are_ignored_while_copying_in(one, direct, table):
    for target in (direct, one):
        conn = target.connect()
        conn.send(wire.query("copy t from stdin"))
        conn.recv_until("G")
        result = conn.run(S, wire.FLUSH, wire.copy_data(b"1\ta\n"), S, S, wire.COPY_DONE)
        assert result.types == "CZ"
        assert conn.query("select 1").value == "1"


def test_trap_4_copy_fail_is_an_error_and_no_more(one, table):
    conn, other = one.connect(), one.connect()
    conn.send(wire.query("copy t from stdin"))
    conn.recv_until("G")
    result = conn.run(wire.copy_data(b"1\ta\n"), wire.copy_fail("changed my mind"), check=False)
    assert result.codes == ["57014"] and "changed my mind" in result.errors[0]["M"]
    assert other.query("select count(*) from t").value == "0"


def test_trap_4_data_after_a_copy_error_is_swallowed(one, table):
    conn, other = one.connect(), one.connect()
    conn.send(wire.query("copy t from stdin"))
    conn.recv_until("G")
    conn.send(wire.copy_data(b"not a number\tx\n"), wire.COPY_DONE)
    assert conn.recv_until("Z").codes == ["22P02"]
    conn.send(wire.copy_data(b"1\tlate\n"), wire.copy_data(b"2\tlate\n"), wire.COPY_DONE)
    assert other.query("select count(*) from t").value == "0"
    assert conn.query("select 'after'").rows == [("after",)]


def test_trap_4_late_copy_data_takes_no_server(make_sluice, pg, table):
    sluice = make_sluice(postgres={"pool_size": 1})
    conn, other = sluice.connect(), sluice.connect()
    conn.send(wire.query("copy t from stdin"))
    conn.recv_until("G")
    conn.send(wire.copy_data(b"bad\tx\n"), wire.COPY_DONE)
    conn.recv_until("Z")
    other.query("begin")
    conn.send(wire.copy_data(b"1\tlate\n"), wire.COPY_DONE, wire.copy_fail())
    assert conn.silent(0.2)
    assert sluice.waiting() == 0
    other.query("commit")
    assert conn.query("select 1").value == "1"


def test_trap_4_stray_copy_fail_of_postgres_js_is_dropped(one, table):
    conn, other = one.connect(), one.connect()
    conn.send(wire.query("copy t from stdin"))
    conn.recv_until("G")
    assert conn.run(wire.copy_data(b"1\ta\n"), wire.COPY_DONE).tags == ["COPY 1"]
    other.query("begin")
    conn.send(wire.copy_fail("stray"))
    assert conn.silent(0.2)
    assert one.waiting() == 0
    other.query("commit")
    assert conn.query("select 1").value == "1"


def test_trap_4_copy_out_simple_and_extended(one):
    conn = one.connect()
    sql = "copy (select i from generate_series(1, 1000) i) to stdout"
    result = conn.query(sql)
    assert result.types == "H" + "d" * 1000 + "cCZ" and result.tags == ["COPY 1000"]
    result = conn.run(P("", sql), B(), E(), S)
    assert result.types == "12H" + "d" * 1000 + "cCZ"
    assert result._of("d")[999].body == b"1000\n"


def test_trap_4_copies_among_other_statements_of_one_query(one, table):
    conn = one.connect()
    conn.send(wire.query("insert into t values (0, 'z'); copy t from stdin; "
                         "copy t to stdout; select count(*) from t"))
    assert conn.recv_until("G").types == "CG"
    result = conn.run(wire.copy_data(b"1\ta\n"), wire.COPY_DONE)
    assert result.types == "C" + "HddcC" + "TDCZ"


def test_trap_4_copy_in_pipeline_with_later_batches(one, direct, table):
    """Behind the Sync that ends the COPY the pipeline goes on."""
    seen = []
    for target in (direct, one):
        conn = target.connect()
        conn.send(P("", "copy t from stdin"), B(), E(), wire.copy_data(b"7\tx\n"),
                  wire.COPY_DONE, S, wire.batch("select 'next'"))
        seen.append(conn.recv_count("Z", 2).types)
    assert seen[0] == seen[1]


# ---- 5: Flush without Sync ----------------------------------------------------------------------


def test_trap_5_flush_holds_the_connection_until_sync(one):
    a, b = one.connect(), one.connect()
    a.send(P("", "select 'a'"), D("S"), wire.FLUSH)
    assert a.recv_until("Tn").types == "1tT"
    b.send(wire.query("select 'b'"))
    assert b.silent(0.3)
    assert a.run(B(), E(), S).types == "2DCZ"
    assert b.recv_until("Z").rows == [("b",)]


def test_trap_5_unnamed_statement_lives_over_a_sync_and_other_clients(one):
    a, b = one.connect(), one.connect()
    for i in range(5):
        a.run(P("", f"select 'a{i}', $1::int"), D("S"), S)
        assert b.run(P("", "select 'b'"), B(), E(), S).rows == [("b",)]
        assert b.query("select 'simple'").value == "simple"
        assert a.run(B("", "", [i]), E(), S).rows == [(f"a{i}", str(i))]


def test_trap_5_unnamed_statement_goes_to_another_connection(two):
    client, holder = two.connect(), two.connect()
    client.run(P("", "select pg_backend_pid(), $1::text"), D("S"), S)
    first = client.run(B("", "", ["x"]), E(), S).rows[0][0]
    holder.query("begin")
    if holder.backend() != int(first):
        holder2 = two.connect()
        holder2.query("begin")
        holder.query("commit")
    second, text = client.run(B("", "", ["y"]), E(), S).rows[0]
    assert second != first and text == "y"


def test_trap_5_postgres_js_two_round_trips(one):
    conns = [one.connect() for _ in range(4)]
    for i in range(10):
        for n, conn in enumerate(conns):
            conn.send(P("", "select $1::int + 1"), D("S"), wire.FLUSH)
            assert conn.recv_until("T").types == "1tT"
            assert conn.run(B("", "", [i * n]), E(), S).rows == [(str(i * n + 1),)]


def test_trap_5_forwarded_at_flush_and_not_at_sync(one):
    conn = one.connect()
    conn.send(P("", "select 1"), wire.FLUSH)
    assert conn.recv().type == "1"
    conn.send(B(), wire.FLUSH)
    assert conn.recv().type == "2"
    conn.send(E(), wire.FLUSH)
    assert conn.recv_until("C").types == "DC"
    assert conn.run(S).types == "Z"


# ---- 6: unnamed and named -----------------------------------------------------------------------


def test_trap_6_unnamed_statement_is_overwritten(one):
    conn = one.connect()
    conn.run(P("", "select 1"), P("", "select 2"), S)
    assert conn.run(B(), E(), S).rows == [("2",)]


def test_trap_6_simple_query_destroys_the_unnamed_statement(one):
    conn = one.connect()
    conn.run(P("", "select 1"), S)
    conn.query("select 2")
    assert conn.run(B(), E(), S, check=False).codes == ["26000"]
    assert conn.run(D("S"), S, check=False).codes == ["26000"]


def test_trap_6_close_of_what_does_not_exist_is_no_error(one):
    conn = one.connect()
    result = conn.run(wire.close("S"), wire.close("S", "never"), wire.close("P", "never"), S)
    assert result.types == "333Z"


def test_trap_6_duplicate_name_is_42P05_and_the_session_goes_on(one):
    conn = one.connect()
    conn.run(P("s", "select 1"), S)
    result = conn.run(P("s", "select 2"), B("", "s"), E(), S, check=False)
    assert result.types == "EZ" and result.codes == ["42P05"]
    assert result.errors[0]["S"] == "ERROR"
    assert conn.run(B("", "s"), E(), S).rows == [("1",)]


def test_trap_6_unknown_name_is_26000_and_the_session_goes_on(one):
    conn = one.connect()
    for chunk in (B("", "nope"), D("S", "nope")):
        result = conn.run(chunk, E(), S, check=False)
        assert result.types == "EZ" and result.codes == ["26000"]
        assert result.errors[0]["S"] == "ERROR"
    assert conn.query("select 1").value == "1"


def test_trap_6_unknown_name_in_a_transaction_fails_the_transaction(one):
    conn = one.connect()
    conn.query("begin")
    result = conn.run(B("", "nope"), E(), S, check=False)
    assert result.codes == ["26000"] and result.status == "E"
    assert conn.query("select 1", check=False).codes == ["25P02"]
    assert conn.query("rollback").status == "I"


def test_trap_6_portals_die_with_their_transaction(one):
    conn = one.connect()
    conn.run(P("s", "select 1"), B("p", "s"), S)
    assert conn.run(E("p"), S, check=False).codes == ["34000"]
    conn.query("begin")
    conn.run(B("p", "s"), S)
    assert conn.run(E("p"), S).rows == [("1",)]
    conn.query("commit")
    assert conn.run(E("p"), S, check=False).codes == ["34000"]


# ---- 7: names of our own ------------------------------------------------------------------------


def test_trap_7_close_of_one_clients_name_leaves_the_others(one):
    a, b = one.connect(), one.connect()
    a.run(P("s", "select 'shared'"), S)
    b.run(P("s", "select 'shared'"), S)
    assert a.run(wire.close("S", "s"), S).types == "3Z"
    assert a.run(B("", "s"), E(), S, check=False).codes == ["26000"]
    assert b.run(B("", "s"), E(), S).rows == [("shared",)]


def test_trap_7_same_name_for_different_statements(one):
    conns = [one.connect() for _ in range(5)]
    for i, conn in enumerate(conns):
        conn.run(P("s", f"select {i}"), S)
    for _ in range(3):
        for i, conn in enumerate(conns):
            assert conn.run(B("", "s"), E(), S).rows == [(str(i),)]


def test_trap_7_same_text_with_other_parameter_types_is_another_statement(one):
    a, b = one.connect(), one.connect()
    a.run(P("s", "select $1", [23]), S)
    b.run(P("s", "select $1", [25]), S)
    oid = lambda conn: struct.unpack("!hI", conn.run(D("S", "s"), S)._of("t")[0].body)[1]  # noqa
    assert (oid(a), oid(b)) == (23, 25)


def test_trap_7_close_and_parse_of_one_name_in_one_batch_keep_their_order(one):
    conn = one.connect()
    conn.run(P("s", "select 'old'"), S)
    result = conn.run(B("", "s"), E(), wire.close("S", "s"), P("s", "select 'new'"), B("", "s"),
                      E(), wire.close("S", "s"), P("", "select 'last'"), B(), E(), S)
    assert result.types == "2DC" + "3" + "12DC" + "3" + "12DCZ"
    assert result.rows == [("old",), ("new",), ("last",)]


def test_trap_7_own_names_are_not_shown_in_errors(one):
    conn = one.connect()
    error = conn.run(B("", "my_name"), E(), S, check=False).errors[0]
    assert '"my_name"' in error["M"]
    conn.run(P("my_name", "select 1"), S)
    error = conn.run(P("my_name", "select 1"), S, check=False).errors[0]
    assert '"my_name"' in error["M"]


# ---- 8: DISCARD and several statements ----------------------------------------------------------


@pytest.mark.parametrize("how", ["simple", "extended", "among_others"])
@pytest.mark.parametrize("word", ["DISCARD ALL", "DEALLOCATE ALL"])
def test_trap_8_discard_makes_all_names_unknown(one, how, word):
    a, b = one.connect(), one.connect()
    for conn in (a, b):
        conn.run(P("s", "select 'mine'"), S)
        assert conn.run(B("", "s"), E(), S).rows == [("mine",)]
    if how == "simple":
        a.query(word)
    elif how == "extended":
        a.execute(word)
    elif word == "DEALLOCATE ALL":
        a.query("select 1; deallocate all; select 2")
    else:
        a.query("DISCARD ALL")
    assert a.run(B("", "s"), E(), S, check=False).codes == ["26000"]
    assert b.run(B("", "s"), E(), S).rows == [("mine",)]
    assert a.run(P("s", "select 'again'"), B("", "s"), E(), S).rows == [("again",)]


def test_trap_8_several_statements_have_several_tags_and_one_ready(one):
    result = one.connect().query("select 1; select 2; values (3), (4)")
    assert result.types == "TDCTDCTDDCZ"
    assert result.tags == ["SELECT 1", "SELECT 1", "SELECT 2"]


def test_trap_8_error_aborts_the_rest_of_a_query_and_its_implicit_transaction(one, table):
    conn = one.connect()
    result = conn.query("insert into t values (1, 'x'); select 1/0; select 2", check=False)
    assert result.types == "CEZ" and result.status == "I"
    assert conn.query("select count(*) from t").value == "0"


# ---- 9: transaction status ----------------------------------------------------------------------


STATUS = [("begin", "T"), ("select 1", "T"), ("savepoint a", "T"), ("select 1/0", "E"),
          ("rollback to a", "T"), ("commit and chain", "T"), ("select 'COMMIT'", "T"),
          ("select 1/0", "E"), ("select 1", "E"), ("commit", "I"), ("select 'BEGIN'", "I"),
          ("begin; select 1; commit", "I"), ("begin; select 1; commit; begin", "T"),
          ("rollback and chain", "T"), ("rollback", "I"), ("/* begin */ select 1", "I"),
          ("start transaction", "T"), ("prepare transaction 'trap9'", "I"),
          ("rollback prepared 'trap9'", "I")]


def test_trap_9_status_is_the_servers_and_decides_who_holds(one):
    conn, other = one.connect(), one.connect()
    for sql, expected in STATUS:
        assert conn.query(sql, check=False).status == expected, sql
        other.send(wire.query("select 'other'"))
        if expected == "I":
            assert other.recv_until("Z").value == "other", sql
        else:
            assert other.silent(0.05), f"the connection was shared after {sql}"
            other.cancel()
            assert other.recv_until("Z").codes == ["57014"]


def test_trap_9_implicit_transaction_of_a_pipeline_is_kept_together(one, table):
    conn = one.connect()
    result = conn.run(P("", "insert into t values (1, 'x')"), B(), E(),
                      P("", "select 1/0"), B(), E(), S, check=False)
    assert result.codes == ["22012"]
    assert conn.query("select count(*) from t").value == "0"


def test_trap_9_fatal_error_without_ready_ends_the_query(two):
    conn, other = two.connect(), two.connect()
    conn.send(wire.query("select pg_terminate_backend(pg_backend_pid())"))
    result = conn.recv_until("EZ")
    assert result.codes in (["57P01"], ["42501"])
    assert other.query("select 1").value == "1"


# ---- 10: cancel (test_cancel.py has the rest) ---------------------------------------------------


def test_trap_10_cancel_is_answered_by_the_end_only(one, pg):
    conn = one.connect()
    conn.send(wire.query("select pg_sleep(60)"))
    wire.eventually(lambda: [s for s in pg.sessions() if s["state"] == "active"], 5, "work")
    conn.cancel(wait=True)
    assert conn.recv_until("Z").types == "TEZ"
    assert conn.query("select 1").types == "TDCZ"


# ---- 11: ParameterStatus ------------------------------------------------------------------------


def test_trap_11_changes_are_reported_in_the_servers_own_form(one, direct):
    for target in (direct, one):
        conn = target.connect()
        assert conn.query("begin; set timezone to 'asia/tokyo'").parameters == \
            {"TimeZone": "Asia/Tokyo"}
        assert conn.query("rollback").parameters == {"TimeZone": conn.parameters["TimeZone"]}


def test_trap_11_parameter_changed_by_the_server_while_linked_is_forwarded(make_sluice, make_fake):
    def reply(sql):
        if "change" in sql:
            return (fake_server.parameter_status("in_hot_standby", "on")
                    + fake_server.rows(["x"]) + fake_server.ready())
        return None
    fake = make_fake(fake_server.polite(reply))
    conn = make_sluice(postgres=fake_database(fake)).connect()
    assert conn.query("select change").parameters == {"in_hot_standby": "on"}


# ---- 12: asynchronous messages ------------------------------------------------------------------


def test_trap_12_notices_keep_their_place_among_the_rows(one, direct):
    sql = ("create or replace function pg_temp.loud(i int) returns int language plpgsql as "
           "$$ begin raise notice 'row %', i; return i; end $$; "
           "select pg_temp.loud(i) from generate_series(1, 3) i")
    seen = []
    for target in (direct, one):
        result = target.connect().query("begin; " + sql + "; rollback")
        seen.append([m.type for m in result.messages])
    assert seen[0] == seen[1]


def test_trap_12_notification_of_ones_own_session_comes_before_ready(make_sluice):
    sluice = make_sluice(postgres={"pool_mode": "session"})
    conn = sluice.connect()
    conn.query("listen channel")
    conn.query("begin")
    assert not conn.query("notify channel, 'hello'")._of("A")
    result = conn.query("commit")
    assert [m.type for m in result.messages] == ["C", "A", "Z"]


def test_trap_12_notification_reaches_an_idle_session(make_sluice, pg):
    sluice = make_sluice(postgres={"pool_mode": "session"})
    listener = sluice.connect()
    listener.query("listen channel")
    sluice.connect().query("notify channel, 'to all'")
    got = listener.recv()
    assert got.type == "A" and b"channel\0to all\0" in got.body


def test_trap_12_asynchronous_messages_are_not_counted_as_replies(make_sluice, make_fake):
    noise = fake_server.notice("noise") + fake_server.parameter_status("x.y", "z")

    def script(conn):
        if conn.login():
            conn.serve(lambda sql: noise + fake_server.rows([sql]) + noise + fake_server.ready()
                       + noise)
    fake = make_fake(script)
    sluice = make_sluice(postgres={**fake_database(fake), "pool_size": 1})
    a, b = sluice.connect(), sluice.connect()
    for i in range(20):
        for conn in (a, b):
            assert conn.query(f"select {i}").rows == [(f"select {i}",)]


# ---- 13: startup (test_clients.py has the rest) -------------------------------------------------


def test_trap_13_encryption_requests_then_startup_in_one_connection(one):
    conn = one.raw()
    conn.send(wire.GSSENC_REQUEST)
    assert conn.recv_byte() == b"N"
    conn.send(wire.SSL_REQUEST)
    assert conn.recv_byte() == b"N"
    conn.login("app", "app", PASSWORDS["app"])
    assert conn.query("select 1").value == "1"


# ---- 14: framing --------------------------------------------------------------------------------


def test_trap_14_messages_in_single_bytes_are_understood(one):
    conn = one.connect()
    stream = (wire.query("select 'simple'") + wire.batch("select $1::text", ["extended"])
              + P("s", "select 'named'") + B("", "s") + E() + S)
    for byte in stream:
        conn.send(bytes([byte]))
    assert conn.recv_count("Z", 3).rows == [("simple",), ("extended",), ("named",)]


def test_trap_14_stream_cut_at_every_byte_gives_the_same_answers(one):
    conn = one.connect()
    stream = (wire.query("select 'simple'") + P("", "select $1::text") + B("", "", ["ext"])
              + D("P") + E() + wire.FLUSH + S)
    for cut in range(1, len(stream)):
        conn.send(stream[:cut])
        conn.send(stream[cut:])
        result = conn.recv_count("Z", 2)
        assert result.rows == [("simple",), ("ext",)], cut


def test_trap_14_function_call_is_answered(one):
    conn = one.connect()
    oid = int(conn.query("select 'int4pl'::regproc::oid").value)
    result = conn.run(wire.function_call(oid, [20, 22]))
    assert result.types == "VZ"
    assert result._of("V")[0].body == struct.pack("!i", 2) + b"42"
    assert conn.run(wire.function_call(1, [1]), check=False).errors
    assert conn.query("select 1").value == "1"


def test_trap_14_error_without_sqlstate_is_passed_on(make_sluice, make_fake):
    bare = fake_server.report("E", "ERROR", None, "no code here")
    fake = make_fake(fake_server.polite(
        lambda sql: bare + fake_server.ready() if "bad" in sql else None))
    conn = make_sluice(postgres=fake_database(fake)).connect()
    result = conn.query("select bad", check=False)
    assert result.errors[0]["M"] == "no code here" and result.status == "I"
    assert conn.query("select good").status == "I"


def test_trap_14_both_directions_full_do_not_deadlock(one):
    """Queries are sent without reading while answers pile up; both sides' buffers fill."""
    conn = one.connect()
    rounds, width = 400, 50_000
    data = wire.batch("select $1::text", ["x" * width]) * rounds
    sender = threading.Thread(target=lambda: conn.sock.sendall(data), daemon=True)
    sender.start()
    for _ in range(rounds):
        assert len(conn.recv_until("Z").value) == width
    sender.join(10)
    assert conn.query("select 1").value == "1"


# ---- 15: portals --------------------------------------------------------------------------------


def test_trap_15_row_limit_suspends_and_resumes(one):
    conn, other = one.connect(), one.connect()
    conn.query("begin")
    result = conn.run(P("", "select generate_series(1, 5)"), B("p"), E("p", 2), S)
    assert result.types == "12DDsZ"
    assert conn.run(E("p", 2), S).types == "DDsZ"
    other.send(wire.query("select 'o'"))
    assert other.silent(0.1)
    assert conn.run(E("p", 2), S).types == "DCZ"
    conn.query("commit")
    assert other.recv_until("Z").value == "o"


def test_trap_15_suspended_portal_dies_at_sync_outside_a_transaction(one):
    conn = one.connect()
    assert conn.run(P("", "select generate_series(1, 5)"), B("p"), E("p", 2), S).types == "12DDsZ"
    assert conn.run(E("p", 2), S, check=False).codes == ["34000"]


def test_trap_15_cursor_with_flush_reads_portion_by_portion(one):
    conn = one.connect()
    conn.send(P("", "select generate_series(1, 5)"), B(), E("", 2), wire.FLUSH)
    assert conn.recv_until("s").types == "12DDs"
    conn.send(E("", 2), wire.FLUSH)
    assert conn.recv_until("s").types == "DDs"
    conn.send(E("", 2), wire.FLUSH)
    assert conn.recv_until("C").types == "DC"
    assert conn.run(S).types == "Z"


def test_trap_15_describe_has_every_kind_of_answer(one):
    conn = one.connect()
    result = conn.run(P("a", "select $1::int"), D("S", "a"), P("b", "set work_mem to '4MB'"),
                      D("S", "b"), B("p", "a", [1]), D("P", "p"), B("q", "b"), D("P", "q"), S)
    assert result.types == "1tT1tn2T2nZ"


def test_trap_15_empty_query_is_a_completion(one):
    conn = one.connect()
    assert conn.query("").types == "IZ"
    assert conn.query(" -- nothing\n ").types == "IZ"
    assert conn.run(P("", ""), B(), D("P"), E(), S).types == "12nIZ"
    assert conn.query(";;").types == "IZ"


def test_trap_15_terminate_behind_unread_answers_leaves_the_pool_sound(one, pg):
    backend = one.connect().backend()
    for _ in range(20):
        conn = one.connect()
        conn.send(wire.query("select generate_series(1, 20000)"), wire.TERMINATE)
        conn.close()
    assert one.connect().backend() == backend


def test_trap_15_half_closed_client_still_gets_its_answer(one, direct):
    seen = []
    for target in (direct, one):
        conn = target.connect()
        conn.send(wire.query("select 'answer'"), wire.TERMINATE)
        conn.sock.shutdown(socket.SHUT_WR)
        seen.append(conn.recv_until_closed().types)
    assert seen[0] == seen[1] == "TDCZ"


# ---- replication --------------------------------------------------------------------------------


@pytest.fixture
def replication(make_sluice, pg):
    return make_sluice(postgres={
        "databases": {"app": {"url": pg.url(user=None)}},
        "users": {"replicator": {"password": PASSWORDS["replicator"]}}})


def test_replication_connection_has_a_server_connection_of_its_own(replication, pg):
    conn = replication.connect(user="replicator", replication="database")
    result = conn.query("IDENTIFY_SYSTEM")
    assert result.rows[0][3] == "app"
    assert conn.query("select 1").value == "1"
    other = replication.connect(user="replicator", replication="database")
    assert other.query("IDENTIFY_SYSTEM").rows
    count = "select count(*) from pg_stat_activity where usename = 'replicator'"
    assert pg.value(count) == 2
    conn.terminate(), other.terminate()
    wire.eventually(lambda: pg.value(count) == 0, 5, "replication connections closed")


def test_replication_copy_both_streams(replication, pg):
    conn = replication.connect(user="replicator", replication="database")
    conn.query("CREATE_REPLICATION_SLOT trap TEMPORARY LOGICAL test_decoding") \
        if has_decoding(pg) else pytest.skip("no test_decoding")
    conn.send(wire.query("START_REPLICATION SLOT trap LOGICAL 0/0"))
    conn.recv_until("W")
    pg.in_app("create table if not exists replicated (x int); insert into replicated values (42)")
    text = b""
    while b"42" not in text:
        got = conn.recv()
        if got.type == "d" and got.body[:1] == b"w":
            text += got.body[25:]
    conn.send(wire.COPY_DONE)
    assert conn.recv_until("Z").types.endswith("CZ")
    assert conn.query("select 1").value == "1"


def has_decoding(pg):
    return (pg.bin.parent / "lib/test_decoding.so").exists()


def test_physical_replication_serves_pg_receivewal(replication, pg):
    """pg_receivewal names no database: PgBouncer and we take the user's name for it."""
    conn = replication.raw()
    conn.send(wire.startup({"user": "replicator", "replication": "true", "database": "app"}))
    conn.authenticate(PASSWORDS["replicator"])
    row = conn.query("IDENTIFY_SYSTEM").rows[0]
    assert row[3] is None
    conn.send(wire.query(f"START_REPLICATION PHYSICAL {row[2]}"))
    assert conn.recv_until("W").types[-1] == "W"
    conn.close()
    wire.eventually(lambda: not pg.query("select 1 from pg_stat_replication"), 10,
                    "the walsender gone")
